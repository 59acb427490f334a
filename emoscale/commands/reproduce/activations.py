"""The importer: one CSV file a prompt becomes one row of the activation store."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emoscale.errors import InputError
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS
from emoscale.store import create_store
from emoscale.system.progress import Progress

Floats = NDArray[np.float64]

LAYERS = 12
"""Of RoBERTa-base. The files are layer-major and do not say where a layer ends."""
_CHUNK_NEURONS = 1024


def read_activations(files: Path, concepts: list[str], replicates: list[str], *, progress: Progress) -> Floats:
    """Read the released activations.

    Parameters
    ----------
    files : Path
        Holds ``{concept}-{replicate}.csv``: a line of column numbers and a line of activations (Li, Su et al. 2024).
    concepts, replicates : list of str
        In the order wanted: all replicates of the first concept, and so on.
    progress : Progress
        Counts files.

    Returns
    -------
    ndarray of float64, shape (C * R, N)
        The decimals of the files are not float32 numbers, and ranks depend on the last bits.

    Raises
    ------
    InputError
        Names every file that is missing, too short or too long, not numeric, or a copy of another. Other files, such as
        the repository's ``{concept}-all.csv``, are left alone.
    """
    names = [f"{concept}-{replicate}.csv" for concept in concepts for replicate in replicates]
    problems: list[str] = []
    progress.start(len(names), "files")
    neurons = _common_columns([files / name for name in names])
    values = np.empty((len(names), neurons))
    seen: dict[bytes, Path] = {}
    for row, name in enumerate(names):
        _read_into(values[row], files / name, seen, problems)
        progress.advance()
    problems += _copies(files, set(names), seen)
    if neurons % LAYERS:
        problems.append(f"{files}: {neurons:,} activations a file, which are not {LAYERS} equal layers; give all files")
    if problems:
        raise InputError(problems)
    return values


def write_activations(folder: RunFolder, values: Floats, concepts: list[str], replicates: list[str]) -> dict[str, int]:
    """Write ``activations.zarr``.

    Parameters
    ----------
    folder : RunFolder
    values : ndarray of float64, shape (C * R, N)
        From `read_activations`, with the same concepts and replicates.
    concepts, replicates : list of str

    Returns
    -------
    dict
        ``rows``, ``neurons``.
    """
    rows, neurons = values.shape
    width = neurons // LAYERS
    coordinates = {
        "concept": np.repeat(np.array(concepts), len(replicates)),
        "replicate": np.tile(np.array(replicates), len(concepts)),
        "item": np.arange(rows),
        "position": np.zeros(rows, dtype=np.int32),
        "token_id": np.full(rows, -1),
        "layer": np.repeat(np.arange(LAYERS), width),
        "expert": np.full(neurons, -1),
        "unit": np.tile(np.arange(width), LAYERS),
    }
    store = create_store(
        folder.activations,
        ACTIVATIONS,
        coordinates,
        {"neuron": _CHUNK_NEURONS},
        dtypes={"activations": "float64"},
        attributes={"source": "thunlp/Model_Emotion", "files": rows},
    )
    store.write("activations", values)
    store.mark_complete()
    return {"rows": rows, "neurons": neurons}


def _common_columns(files: list[Path]) -> int:
    counts: Counter[int] = Counter()
    for file in files:
        if file.is_file():
            with file.open("rb") as lines:
                counts[lines.readline().count(b",") + 1] += 1
    return counts.most_common(1)[0][0] if counts else 0


def _read_into(row: Floats, file: Path, seen: dict[bytes, Path], problems: list[str]) -> None:
    if not file.is_file():
        problems.append(f"{file}: missing; fetch it again")
        return
    lines = file.read_bytes().split()
    if len(lines) != 2:
        problems.append(f"{file}: {len(lines)} lines, not column numbers and activations; fetch it again")
        return
    cells = lines[1].count(b",") + 1
    if cells != len(row):
        problems.append(f"{file}: {cells:,} activations, other files have {len(row):,}; fetch it again")
        return
    digest = hashlib.sha256(lines[1]).digest()
    if digest in seen:
        problems.append(f"{file}: a copy of {seen[digest].name}; fetch it again")
        return
    seen[digest] = file
    values = _parse(lines[1])
    if values is None:
        cell, text = _first_bad(lines[1])
        problems.append(f"{file}: column {cell:,} is not a finite number ({text!r}); fetch it again")
    else:
        row[:] = values


def _copies(files: Path, names: set[str], seen: dict[bytes, Path]) -> list[str]:
    problems = []
    for file in sorted(files.glob("*.csv")):
        if file.name not in names:
            lines = file.read_bytes().split()
            digest = hashlib.sha256(lines[1]).digest() if len(lines) == 2 else b""
            if digest in seen:
                problems.append(f"{file}: a copy of {seen[digest].name}; remove it")
    return problems


def _parse(line: bytes) -> Floats | None:
    """Return the numbers of a line; None if not all are finite numbers."""
    with warnings.catch_warnings():
        # What NumPy cannot read to the end of the line is a warning in some versions and an error in others.
        warnings.simplefilter("error")
        try:
            values = np.fromstring(line.decode("ascii"), dtype=np.float64, sep=",")
        except (ValueError, DeprecationWarning):
            return None
    complete = len(values) == line.count(b",") + 1
    return values if complete and np.isfinite(values).all() else None


def _first_bad(line: bytes) -> tuple[int, str]:
    """Return number and beginning of the first cell that is no finite number."""
    for number, cell in enumerate(line.split(b",")):
        if not _is_number(cell):
            return number, cell[:20].decode("ascii", "replace")
    raise AssertionError("every cell is a number")


def _is_number(cell: bytes) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False
