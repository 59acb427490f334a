"""One method of capturing activations, in a process of its own: the workers of benchmarks.extraction.

    python -m benchmarks.extraction_ways JOB

JOB is a `Job` as JSON; the last line printed is the result as JSON.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import RobertaConfig, RobertaForMaskedLM

from benchmarks import extraction_rivals
from benchmarks.common import matmul_flops, peak_rss_mib, seconds
from benchmarks.extraction import RIVALS, TOLERANCE, Job
from emoscale.extraction.batches import batches_of
from emoscale.extraction.extract import extract
from emoscale.extraction.inputs import InputBatch
from emoscale.extraction.options import ExtractionOptions
from emoscale.extraction.pooling import POOLINGS
from emoscale.extraction.work import Job as ExtractionJob
from emoscale.models.forward import run_body
from emoscale.models.loading import LanguageModel, load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import outline_model
from emoscale.models.packing import pad_rows
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS
from emoscale.store import open_store
from emoscale.system.options import MachineOptions
from emoscale.system.progress import Silent
from emoscale.system.ranks import cores, one_process

LIBRARIES = ("nnsight", "transformer_lens")
BATCH_ROWS, CHUNK_NEURONS, MAX_TOKENS, PIECE = 32, 1024, 256, 1024

Ids = list[NDArray[np.int32]]


def save(job: Job) -> dict[str, Any]:
    """Save a random model of RoBERTa-base's shape with another model's tokenizer."""
    tokenizer = outline_model(ModelOptions(job.model)).tokenizer
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        max_position_embeddings=514,
        type_vocab_size=1,
    )
    RobertaForMaskedLM(config).save_pretrained(job.folder)
    tokenizer.save_pretrained(job.folder)
    return {}


def measure(job: Job) -> dict[str, Any]:
    """Read all texts once, from token ids to files, after a bare run; return both wall times and the peak memory."""
    model, ids = prepare(job)
    # A rival may leave its changes in the model.
    bare_s = seconds(bare(model, ids, job.block_rows))
    wall_s = seconds(way(job, model, ids))
    found = {"bare_s": bare_s, "wall_s": wall_s, "rss_mib": peak_rss_mib()}
    return {**found, "version": version(job.way)} if job.way in LIBRARIES else found


def way(job: Job, model: LanguageModel, ids: Ids) -> Callable[[], object]:
    """Return the method to measure."""
    if job.way == "bare":
        return bare(model, ids, job.block_rows)
    if job.way == "ours":
        return ours(model, ids, job.block_rows, Path(job.folder))
    read = getattr(extraction_rivals, job.way)(model)
    with torch.inference_mode():
        read(*padded(model, ids, np.arange(min(len(ids), BATCH_ROWS))))
    return collected(model, ids, job.block_rows, read, Path(job.folder))


def alternate(job: Job) -> dict[str, Any]:
    """Alternate bare and ours, so that other load affects both; return the wall times and the ceilings."""
    model, ids = prepare(job)
    walls: dict[str, list[float]] = {"bare": [], "ours": []}
    folder = Path(job.folder)
    matmul = matmul_flops()
    for repeat in range(job.repeats):
        works = {"bare": bare(model, ids, job.block_rows), "ours": ours(model, ids, job.block_rows, folder)}
        for way in sorted(works, reverse=bool(repeat % 2)):
            walls[way].append(seconds(works[way]))
        shutil.rmtree(folder)
    shapes = [padded(model, ids, rows)[0].shape for rows in batches(ids, job.block_rows)]
    tokens = sum(map(len, ids))
    return {
        "walls": walls,
        "tokens": tokens,
        "neurons": model.outline.neurons,
        "padding": 1 - tokens / sum(shape.numel() for shape in shapes),
        "forward_flop": sum(forward_flop(model, *shape) for shape in shapes),
        "matmul_flop_s": max(matmul, matmul_flops()),
    }


def agree(job: Job) -> dict[str, Any]:
    """Compare the files of the rivals with our store: the largest difference, and whether all are close."""
    values = open_store(RunFolder(Path(job.folder) / "ours").activations, ACTIVATIONS).read("activations")
    found = {}
    for rival in RIVALS:
        file = Path(job.folder) / rival / "values.npy"
        if file.exists():
            theirs, rows = np.load(file), np.load(file.with_name("rows.npy"))
            close = np.allclose(theirs, values[rows], rtol=TOLERANCE, atol=TOLERANCE)
            found[rival] = {"max_abs_difference": float(np.abs(theirs - values[rows]).max()), "agrees": bool(close)}
    return found


TASKS: dict[str, Callable[[Job], dict[str, Any]]] = {
    "save": save,
    "measure": measure,
    "alternate": alternate,
    "agree": agree,
}


class TokenisedRows:
    """Texts that are already tokenised, pooled by the mean over the text."""

    pooling = POOLINGS["mean"]

    def __init__(self, model: LanguageModel, ids: Ids) -> None:
        self.model = model
        self._ids = ids

    def inputs(self) -> Iterator[InputBatch]:
        """Yield all texts."""
        for piece in pieces(self._ids):
            names = [""] * len(piece)
            yield InputBatch([own.tolist() for own in piece], names, names, [(0, len(own)) for own in piece])

    def run(self, numbers: NDArray[np.int64], ids: Tensor, attention: Tensor) -> None:
        """Run the model on some texts."""
        run_body(self.model, ids, attention)


def ours(model: LanguageModel, ids: Ids, block_rows: int, folder: Path) -> Callable[[], object]:
    """Return emoscale's extraction, from token ids to a finished store."""
    return lambda: extract(
        RunFolder(folder),
        TokenisedRows(model, ids),
        ExtractionOptions(block_rows=block_rows, batch_rows=BATCH_ROWS, chunk_neurons=CHUNK_NEURONS),
        job=ExtractionJob(origin={"model": model.outline.name}, concepts=(), writers=MachineOptions().writers),
        ranks=one_process(),
        progress=Silent(),
    )


def bare(model: LanguageModel, ids: Ids, block_rows: int) -> Callable[[], object]:
    """Return the forward passes alone, on the same batches, without hooks: the lower bound of every method."""
    body = model.module.base_model

    def work() -> None:
        with torch.inference_mode():
            for rows in batches(ids, block_rows):
                tokens, attention = padded(model, ids, rows)
                body(input_ids=tokens, attention_mask=attention)

    return work


def collected(
    model: LanguageModel, ids: Ids, block_rows: int, read: extraction_rivals.Read, folder: Path
) -> Callable[[], object]:
    """Return what scripts usually do: capture the same batches into a list, concatenate and save it."""

    def work() -> None:
        order = list(batches(ids, block_rows))
        with torch.inference_mode():
            values = torch.cat([read(*padded(model, ids, rows)) for rows in order])
        folder.mkdir(parents=True)
        np.save(folder / "values.npy", values.numpy())
        np.save(folder / "rows.npy", np.concatenate(order))

    return work


def prepare(job: Job) -> tuple[LanguageModel, Ids]:
    """Load the model, run it once, and tokenise the texts."""
    torch.set_num_threads(cores())
    model = load_model(outline_model(ModelOptions(job.model)))
    texts = json.loads(Path(job.texts).read_text(encoding="utf-8"))
    ids: Ids = []
    for piece in pieces(texts * job.copies):
        encoded = model.outline.tokenizer(piece, truncation=True, max_length=MAX_TOKENS)["input_ids"]
        ids += [np.array(own, dtype=np.int32) for own in encoded]
    bare(model, ids[:BATCH_ROWS], job.block_rows)()
    return model, ids


def pieces(items: list[Any]) -> Iterator[list[Any]]:
    """Yield a list a piece at a time."""
    for start in range(0, len(items), PIECE):
        yield items[start : start + PIECE]


def batches(ids: Ids, block_rows: int) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of every batch, as emoscale batches its blocks."""
    lengths = np.array([len(own) for own in ids])
    first, row_of = np.zeros_like(lengths), np.arange(len(ids) + 1)
    for start in range(0, len(ids), block_rows):
        end = min(start + block_rows, len(ids))
        for batch in batches_of(lengths, first, lengths, row_of, slice(start, end), BATCH_ROWS):
            yield batch.rows


def padded(model: LanguageModel, ids: Ids, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return token ids and attention of some rows."""
    return pad_rows([ids[row] for row in rows], model.outline.pad_id)


def forward_flop(model: LanguageModel, rows: int, tokens: int) -> int:
    """Count the blocks' multiplications and additions: their linear maps, and attention's two products."""
    blocks = model.module.base_model.encoder
    weights: int = sum(module.weight.numel() for module in blocks.modules() if isinstance(module, nn.Linear))
    config = model.outline.config
    products: int = 2 * config.num_hidden_layers * tokens * config.hidden_size
    return 2 * rows * tokens * (weights + products)


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    try:
        found = TASKS[job.task](job)
    except ModuleNotFoundError as error:
        if error.name not in LIBRARIES:
            raise
        found = {"reason": f"{error.name} is not installed (pip install 'emoscale[bench]')"}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
