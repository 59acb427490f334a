"""The exact token ids of every input, in a store: written as they are tokenised, and read a row block at a time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoscale.errors import InputError
from emoscale.extraction.inputs import Rows
from emoscale.run.stores import open_finished
from emoscale.schema import INPUTS
from emoscale.store import Store, create_store, open_store
from emoscale.system.files import naming
from emoscale.system.progress import Progress

CHUNK_TOKENS = 2**18
"""Of a chunk of token ids."""


class Sequences:
    """The inputs of a finished store.

    Parameters
    ----------
    store : Store
        Of inputs.
    each : bool
        Whether every token that is used is a row, instead of every input.

    Attributes
    ----------
    lengths, first, stop : ndarray of int32, shape (inputs,)
        Tokens of every input, the first that is used and the one after the last.
    row_of : ndarray of int64, shape (inputs + 1,)
        First row of every input, and the number of rows.
    """

    def __init__(self, store: Store, each: bool) -> None:
        self._store = store
        self.each = each
        self.lengths, self.first, self.stop = (store.read(name) for name in ("length", "first", "stop"))
        self.row_of = _starts(self.stop - self.first if each else np.ones_like(self.lengths))
        self._token_of = _starts(self.lengths)

    @property
    def rows(self) -> int:
        """Number of rows of activations."""
        return int(self.row_of[-1])

    def ids(self, start: int, end: int) -> list[NDArray[np.int32]]:
        """Return the token ids of some inputs."""
        tokens = self._store.read("token_ids", token=slice(int(self._token_of[start]), int(self._token_of[end])))
        return np.split(tokens, self._token_of[start + 1 : end] - self._token_of[start])

    def labels(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return concept and replicate of every input."""
        return self._store.read("concept"), self._store.read("replicate")

    def parts(self) -> dict[str, NDArray[np.int32]]:
        """Return nothing: moments are kept by concept and replicate alone."""
        return {}

    def coordinates(self) -> dict[str, NDArray[Any]]:
        """Return the coordinates of every row of activations."""
        concept, replicate = self.labels()
        count = np.diff(self.row_of)
        item = np.repeat(np.arange(len(count), dtype=np.int32), count)
        within = np.arange(self.rows) - self.row_of[item]
        is_one = self.each | (self.stop - self.first == 1)
        position = np.where(is_one[item], self.first[item] + within, -1)
        ids = self._store.read("token_ids")
        token_id = np.where(position >= 0, ids[self._token_of[item] + np.maximum(position, 0)], -1)
        return {
            "concept": concept[item],
            "replicate": replicate[item],
            "item": item,
            "position": position,
            "token_id": token_id,
        }


def _starts(counts: NDArray[np.integer]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def write_sequences(path: Path, rows: Rows, origin: dict[str, Any], progress: Progress) -> None:
    """Tokenise all inputs into a store, a batch at a time; a complete store of the same origin is kept.

    Parameters
    ----------
    path : Path
    rows : Rows
    origin : dict
        Where the inputs come from; a store of another origin is replaced.
    progress : Progress
        Counts inputs.

    Raises
    ------
    InputError
        If there are no inputs.
    """
    if _is_complete(path, origin):
        return
    for leftover in path.parent.glob(f".{path.stem}-*.spool"):  # of processes that were killed
        leftover.unlink()
    spool = path.with_name(f".{path.stem}-{os.getpid()}.spool")
    try:
        with naming(spool):
            coordinates = _spool(rows, spool, progress)
        tokens = int(coordinates["length"].sum(dtype=np.int64))
        store = create_store(path, INPUTS, coordinates, {"token": CHUNK_TOKENS}, {"token": tokens}, attributes=origin)
        with spool.open("rb") as file:
            for start in range(0, tokens, CHUNK_TOKENS):
                store.write("token_ids", np.fromfile(file, dtype=np.int32, count=CHUNK_TOKENS), token=start)
        store.mark_complete()
    finally:
        spool.unlink(missing_ok=True)


def _spool(rows: Rows, spool: Path, progress: Progress) -> dict[str, NDArray[Any]]:
    """Write token ids to a file, since a store must know their number first; return the coordinates."""
    spool.parent.mkdir(parents=True, exist_ok=True)
    lengths, ranges, codes = [], [], []
    # There are few names and many inputs: each name is kept as a number.
    numbers: dict[str, int] = {}
    progress.start(None, "inputs tokenised")
    with spool.open("wb") as file:
        for batch in rows.inputs():
            progress.advance(len(batch.ids))
            np.fromiter((token for own in batch.ids for token in own), dtype=np.int32).tofile(file)
            lengths.append(np.fromiter(map(len, batch.ids), dtype=np.int32))
            ranges.append(np.array(batch.spans, dtype=np.int32).reshape(-1, 2))
            named = zip(batch.concept, batch.replicate, strict=True)
            codes.append(np.array([[numbers.setdefault(n, len(numbers)) for n in pair] for pair in named], np.int32))
    if not sum(map(len, lengths)):
        raise InputError("extraction: there are no rows; give another extraction.split, or other texts")
    first, stop = np.concatenate(ranges).T
    names = np.array(list(numbers), dtype=object)
    concept, replicate = (names[code] for code in np.concatenate(codes).T)
    return {
        "length": np.concatenate(lengths),
        "first": first,
        "stop": stop,
        "concept": concept,
        "replicate": replicate,
    }


def _is_complete(path: Path, origin: dict[str, Any]) -> bool:
    try:
        store = open_store(path, INPUTS)
    except InputError:
        return False
    return store.complete and store.attributes["origin"] == origin and not store.verify()


def open_sequences(path: Path, each: bool) -> Sequences:
    """Open what `write_sequences` wrote."""
    return Sequences(open_finished(path, INPUTS), each)
