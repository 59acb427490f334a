"""Does an extraction that is killed at any moment end as one that nothing disturbed, byte for byte?

A tiny random model, two ranks under torchrun. In every trial one rank is killed (SIGKILL) at a random moment of the
extraction, and the rest of the job soon after; then the same command continues, and every file of the store is compared
with the undisturbed one. The moments are spread evenly: the extraction's time is cut into as many parts as there are
kills, and each part has one.

    python -m benchmarks.faults --kills 30 [--json FILE]
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import torch
import yaml
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from benchmarks.common import arguments, tell
from emoscale.run_folder import RunFolder
from emoscale.store import CommitLog

RANKS, CONCEPTS = 2, 27
TEMPLATES, BLOCK_ROWS, CHUNK_NEURONS = 64, 16, 256
LAYERS, HIDDEN, WIDTH = 4, 64, 512
POLL = 0.005


def main() -> None:
    options = arguments(__doc__ or "", kills=30, seed=0)
    chance = random.Random(options.seed)  # noqa: S311
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as path:
        config = make_config(Path(path))
        tuned, whole, disturbed = (RunFolder(Path(path) / name) for name in ("tuned", "whole", "disturbed"))
        subprocess.run(command("tune", config, tuned), check=True, stdout=subprocess.DEVNULL, env=environment())
        shutil.copytree(tuned.path, whole.path)
        start = time.perf_counter()
        extraction_s = undisturbed(config, whole)
        run_s = time.perf_counter() - start
        expected = files_of(whole)
        blocks = -(-TEMPLATES * CONCEPTS // BLOCK_ROWS)
        print(f"undisturbed: {run_s:.1f} s, extraction {extraction_s:.1f} s of it; {len(expected)} files", flush=True)
        identical = midway = 0
        for trial in range(options.kills):
            moment = (trial + chance.random()) / options.kills * extraction_s
            shutil.rmtree(disturbed.path, ignore_errors=True)
            shutil.copytree(tuned.path, disturbed.path)
            rank = kill(config, disturbed, moment, chance)
            done = len(CommitLog(disturbed.commits(disturbed.activations) / "part-0").done())
            midway += 0 < done < blocks
            subprocess.run(
                torchrun(config, disturbed), check=True, stdout=subprocess.DEVNULL, env=environment(), timeout=600
            )
            same = files_of(disturbed) == expected
            identical += same
            print(
                f"kill {trial + 1} of {options.kills}: rank {rank} after {moment:.2f} s, {done} of {blocks} blocks "
                f"committed; continued: {'identical' if same else 'DIFFERENT'}",
                flush=True,
            )
    numbers = {
        "kills": options.kills,
        "identical": identical,
        "killed_midway": midway,
        "seconds": time.perf_counter() - begin,
        "ranks": RANKS,
        "blocks": blocks,
        "files": len(expected),
        "run_s": run_s,
        "extraction_s": extraction_s,
    }
    tell("Extractions killed and continued", numbers, options.json)
    sys.exit(identical != options.kills)


def make_config(folder: Path) -> Path:
    save_model(folder / "model")
    settings = {
        "model": {"name": str(folder / "model")},
        "stimuli": {"source": "scenarios", "train_texts": 4, "dev_texts": 4},
        "tuning": {"seeds": [1], "layout": "prefix", "prompt_length": 2, "epochs": 1},
        "extraction": {
            "rows": "templates",
            "templates": [f"{{concept}} {number}" for number in range(TEMPLATES)],
            "block_rows": BLOCK_ROWS,
            "batch_rows": 8,
            "chunk_neurons": CHUNK_NEURONS,
        },
        "masks": {"k": [5]},
        "machine": {"device": "cpu"},
    }
    config = folder / "faults.yaml"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return config


def save_model(folder: Path) -> None:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = "abcdefghijklmnopqrstuvwxyz0123456789.,'-"
    vocabulary = [*special, *characters, *(f"##{c}" for c in characters)]
    numbers = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(WordPiece(numbers, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, numbers[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **dict(zip(names, special, strict=True)))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=HIDDEN,
        intermediate_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        max_position_embeddings=512,
    )
    BertModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)


def command(stage: str, config: Path, folder: RunFolder) -> list[str]:
    return [sys.executable, "-m", "emoscale", stage, str(config), "--out", str(folder.path)]


def torchrun(config: Path, folder: RunFolder) -> list[str]:
    python, *rest = command("extract", config, folder)
    return [python, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(RANKS), *rest]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}


def undisturbed(config: Path, folder: RunFolder) -> float:
    """Extract; return the seconds from the stage's beginning to its end."""
    job = subprocess.Popen(torchrun(config, folder), stdout=subprocess.DEVNULL, env=environment())
    wait_for_extraction(folder, job, "running")
    start = time.perf_counter()
    wait_for_extraction(folder, job, "done")
    seconds = time.perf_counter() - start
    if job.wait():
        raise SystemExit("the undisturbed run failed")
    return seconds


def kill(config: Path, folder: RunFolder, moment: float, chance: random.Random) -> int:
    """Extract until a moment, kill a rank, and a little later all that is left of the job; return the rank."""
    job = subprocess.Popen(
        torchrun(config, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    )
    wait_for_extraction(folder, job, "running")
    time.sleep(moment)
    ranks = psutil.Process(job.pid).children() if job.poll() is None else []
    number = chance.randrange(RANKS)
    if number < len(ranks):
        end(ranks[number])
    time.sleep(chance.random() * 0.2)
    for process in (*ranks, job):
        end(process)
    job.wait()
    psutil.wait_procs(ranks, timeout=30)
    return number


def end(process: psutil.Process | subprocess.Popen[bytes]) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGKILL)


def wait_for_extraction(folder: RunFolder, job: subprocess.Popen[bytes], state: str) -> None:
    while job.poll() is None and folder.manifest()["stages"].get("extract", {}).get("state") != state:
        time.sleep(POLL)


def files_of(folder: RunFolder) -> dict[Path, bytes]:
    """Every file of the store and of its commit log, if one is left."""
    roots = (folder.activations, folder.commits(folder.activations))
    files = [file for root in roots for file in root.rglob("*") if file.is_file()]
    return {file.relative_to(folder.path): file.read_bytes() for file in files}


if __name__ == "__main__":
    main()
