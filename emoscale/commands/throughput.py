"""How much there is to extract, and how fast this machine extracts some of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from emoscale.errors import InputError
from emoscale.extraction.extract import extract
from emoscale.extraction.reading import tokens_read
from emoscale.extraction.rows import VECTOR, PromptRows, Rows, TemplateRows, TextRows
from emoscale.extraction.rows import Inputs as Piece
from emoscale.models.loading import LanguageModel
from emoscale.models.prompted import make_layout
from emoscale.pipeline.context import Context
from emoscale.run.folder import RunFolder
from emoscale.system.progress import Silent
from emoscale.system.ranks import one_process

SAMPLE = 4096
"""Texts whose tokens are counted, to stand for all."""
_PROBE_BYTES = 2 * 10**9
"""The most activations that a probe writes."""


class Amount(NamedTuple):
    """How much there is to extract.

    Attributes
    ----------
    inputs : int
        What the model is given: prompts, sentences or texts.
    cells : int
        Pairs of concept and replicate that they stand for.
    lengths : ndarray of int64, shape (sampled inputs,)
        Tokens of some or all inputs.
    rows_each : ndarray of int64, shape (sampled inputs,)
        Rows of activations that each of them gives.
    texts : DataFrame or None
        The sampled context, if they are texts.
    """

    inputs: int
    cells: int
    lengths: NDArray[np.int64]
    rows_each: NDArray[np.int64]
    texts: pd.DataFrame | None

    @property
    def tokens(self) -> int:
        """Tokens of all context, about if not all were sampled."""
        return round(self.inputs * float(self.lengths.mean()))

    @property
    def rows(self) -> int:
        """Rows of all context, about if not all were sampled and they differ."""
        return round(self.inputs * float(self.rows_each.mean()))


def count_rows(context: Context) -> Amount:
    """Count what is to be extracted; of texts, the tokens of a sample.

    Parameters
    ----------
    context : Context

    Returns
    -------
    Amount

    Raises
    ------
    InputError
        If there are no such texts, or they cannot be read as asked.
    """
    e = context.settings.extraction
    if e.rows == "prompts":
        return _amount_of(_prompt_piece(context), context.read, context.concepts.names)
    if e.rows == "templates":
        rows = TemplateRows(LanguageModel(context.outline, None), context.sentences, context.read)
        return _amount_of(next(rows.inputs()), context.read, context.concepts.names)
    count, cells, sample = _survey_texts(context.text_pieces, set(context.concepts.names))
    piece = next(_text_rows(context, LanguageModel(context.outline, None), [sample]).inputs())
    return _amount_of(piece, context.read, ())._replace(inputs=count, cells=cells, texts=sample)


def _prompt_piece(context: Context) -> Piece:
    t, tokenizer = context.settings.tuning, context.outline.tokenizer
    layout = make_layout(t.layout, context.outline)
    ids = [*layout.before, *[VECTOR] * t.prompt_length, *layout.after]
    names = [(concept, str(seed)) for seed in t.seeds for concept in context.concepts.names]
    concepts, seeds = zip(*names, strict=True)
    read = tokens_read(context.read, ids, tokenizer.mask_token_id)
    return Piece([ids] * len(names), concepts, seeds, [read] * len(names))


def _text_rows(context: Context, model: LanguageModel, texts: list[pd.DataFrame]) -> TextRows:
    return TextRows(model, texts, context.read, context.settings.stimuli.max_tokens)


def _amount_of(piece: Piece, read: str, concepts: Collection[str]) -> Amount:
    cells = {cell for cell in zip(piece.concept, piece.replicate, strict=True) if cell[0] in set(concepts)}
    rows_each = [stop - first if read == "all" else 1 for first, stop in piece.read]
    return Amount(len(piece.ids), len(cells), np.array([len(ids) for ids in piece.ids]), np.array(rows_each), None)


def _survey_texts(pieces: Iterator[pd.DataFrame], concepts: set[str]) -> tuple[int, int, pd.DataFrame]:
    """Return the number of texts and of concepts that are some text's only label, and a sample of the texts."""
    generator = np.random.default_rng(0)
    count, sample = 0, None
    seen: set[str] = set()
    for piece in pieces:
        count += len(piece)
        seen.update(labels[0] for labels in piece["labels"] if len(labels) == 1)
        drawn = piece.assign(draw=generator.random(len(piece)))
        # The lowest of as many draws as there are texts: every text has the same chance.
        sample = (drawn if sample is None else pd.concat([sample, drawn])).nsmallest(SAMPLE, "draw")
    if sample is None:
        raise InputError("extraction.split: there are no such texts; set another")
    return count, len(seen & concepts), sample.drop(columns="draw")


def no_probe(context: Context, name: str) -> str | None:
    """Say why the extraction of the model of this name cannot be tried here; None if it can."""
    if context.settings.machine.split_model == "tensors":
        return "no probe: machine.split_model 'tensors' needs all its processes, and hours are not estimated"
    if not any(context.outline.folder.glob("*.safetensors")):
        return f"no probe: the weights of {name} are not here, and hours are not estimated"
    return None


def try_extracting(context: Context, amount: Amount, seconds: float) -> dict[str, Any]:
    """Extract some of the inputs into a folder that is then deleted, on the disk of the current one.

    Parameters
    ----------
    context : Context
    amount : Amount
    seconds : float
        See `probe`.

    Returns
    -------
    dict
        ``device`` by name, ``seconds`` it took, ``rows_a_second``.

    Raises
    ------
    InputError
        If the current folder cannot be written, or the weights cannot be loaded.
    """
    e, most = context.settings.extraction, amount.inputs
    if e.keep == "activations":
        input_bytes = 4 * context.outline.neurons * float(amount.rows_each.mean())
        most = max(e.batch_rows, min(most, int(_PROBE_BYTES / input_bytes)))
    spent = time.perf_counter()
    try:
        place = tempfile.TemporaryDirectory(prefix=".emoscale-plan-", dir=Path.cwd())
    except OSError as error:
        raise InputError(
            f"{Path.cwd()}: cannot be written ({error.strerror}), and the probe writes where a run would; go to "
            "another folder, or give --probe 0"
        ) from error
    with place as folder:
        rate = probe(lambda count: _extract_some(context, amount, Path(folder), count), e.batch_rows, most, seconds)
    device = context.ranks.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    return {"device": name, "seconds": time.perf_counter() - spent, "rows_a_second": rate}


def probe(run: Callable[[int], tuple[int, float]], first: int, most: int, seconds: float) -> float:
    """Measure how fast rows are extracted.

    The number of inputs grows until one run takes a third of the time there is; that run alone counts, so what is
    slow only once does not.

    Parameters
    ----------
    run : callable
        Extracts so many context, and returns how many rows they are and how many seconds it took.
    first, most : int
        The least number of inputs to try, and the greatest.
    seconds : float
        About how long to try.

    Returns
    -------
    float
        Rows a second.
    """
    count, left = min(first, most), seconds
    while True:
        rows, took = run(count)
        left -= took
        if took >= seconds / 3 or count == most or left <= 0:
            return rows / took
        count = min(most, max(count + 1, int(count * min(8.0, 0.8 * left / took))))


def _extract_some(context: Context, amount: Amount, folder: Path, count: int) -> tuple[int, float]:
    rows = _some_rows(context, amount, count)
    concepts = sorted({concept for piece in rows.inputs() for concept in piece.concept})
    start = time.perf_counter()
    done = extract(
        RunFolder(folder / str(count)),
        rows,
        **context.extraction_options,
        concepts=concepts,
        parts=1,
        origin={},
        ranks=one_process(str(context.ranks.device)),
        progress=Silent(),
    )
    return done["rows"], time.perf_counter() - start


def _some_rows(context: Context, amount: Amount, count: int) -> Rows:
    if amount.texts is not None:
        texts = amount.texts.iloc[np.arange(count) % len(amount.texts)]
        return _text_rows(context, context.model, [texts])
    if context.settings.extraction.rows == "templates":
        # In an order of its own: sentences of one concept may be longer than those of another.
        sentences = context.sentences.sample(count, random_state=0)
        return TemplateRows(context.model, sentences, context.read)
    # Time does not depend on what a prompt's vectors hold, so they need not be tuned.
    hidden = context.model.module.get_input_embeddings().embedding_dim
    vectors = torch.zeros(count, context.settings.tuning.prompt_length, hidden)
    table = pd.DataFrame({"concept": ["any"] * count, "replicate": [""] * count})
    return PromptRows(context.prompted, vectors, table, context.read)
