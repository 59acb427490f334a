"""The stage: from ranks to packed masks."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emoscale.errors import InputError, StageError
from emoscale.masks.activation_level import mean_absolute_activation
from emoscale.masks.controls import KINDS
from emoscale.masks.drawing import check_disjoint
from emoscale.masks.request import Mask, Request
from emoscale.run.folder import RunFolder
from emoscale.schema import MASKS, SELECTIVITY
from emoscale.store import Store, create_store, open_store
from emoscale.system.progress import Progress

_MASKS_A_CHUNK = 64


def resolve_k(k: Sequence[int | float], neurons: int) -> list[int]:
    """Turn what the user asked for into numbers of neurons.

    Parameters
    ----------
    k : sequence of int or float
        Whole numbers are counts; numbers between 0 and 1 are fractions of `neurons`, rounded, at least 1.
    neurons : int
        Number N of neurons.

    Returns
    -------
    list of int
        Ascending, each once.

    Raises
    ------
    InputError
        Names every value that is neither.
    """
    problems = [] if k else ["k: no value given; give at least one number of neurons"]
    counts: set[int] = set()
    for value in k:
        if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
            problems.append(f"k = {value!r}: not a number; give a count of neurons or a fraction between 0 and 1")
        elif isinstance(value, Integral):
            if value <= 0:
                problems.append(f"k = {value}: not positive; give 1 or more")
            elif value > neurons:
                problems.append(f"k = {value}: the model has {neurons} neurons; give that many or fewer")
            counts.add(int(value))
        elif 0 < value < 1:
            counts.add(max(1, round(float(value) * neurons)))
        else:
            problems.append(f"k = {value}: a fraction lies between 0 and 1; for a count give a whole number")
    if problems:
        raise InputError(problems)
    return sorted(counts)


def make_masks(
    folder: RunFolder,
    *,
    k: Sequence[int | float],
    controls: Sequence[str],
    disjoint: bool,
    draws: int,
    seed: int,
    progress: Progress,
) -> dict[str, int]:
    """Make the masks and write ``masks.zarr``.

    Parameters
    ----------
    folder : RunFolder
        Holds the finished selectivity, and the activations if controls are matched by them.
    k : sequence of int or float
        Numbers or fractions of the neurons to switch off, as `resolve_k` reads them.
    controls : sequence of str
        Kinds of control, names in `KINDS`.
    disjoint : bool
        Whether a control holds none of the neurons that are selective for its attribute. Controls that are drawn evenly
        then belong to an attribute each, as the matched ones always do.
    draws : int
        Controls of each kind and k, and of each attribute where they belong to one.
    seed : int
        Not negative. The control of a given seed, kind, attribute, k and draw is always the same.
    progress : Progress

    Returns
    -------
    dict of str to int
        Number of masks by kind, in the order of the store: first ``none``, then ``selective`` by k and attribute, then
        the controls in the order given, by k, attribute and draw.

    Raises
    ------
    InputError
        If k, draws or seed cannot be used, or too few neurons are left for a control; nothing has been written then.
    StageError
        If the selectivity, or the activations if they are needed, are not there or not finished.
    """
    store = _finished_selectivity(folder)
    neurons = store.sizes["neuron"]
    problems = [
        f"{name} = {value}: negative; give 0 or more" for name, value in (("draws", draws), ("seed", seed)) if value < 0
    ]
    if problems:
        raise InputError(problems)
    sizes = resolve_k(k, neurons)
    if disjoint:
        check_disjoint(sizes, neurons)
    request = Request(
        rank=store.read("rank"),
        has_rank=~np.isnan(store.read("tau")),
        layer=store.read("layer"),
        activation_level=lambda: mean_absolute_activation(folder, progress),
        attributes=[str(attribute) for attribute in store.read("attribute")],
        k=sizes,
        draws=draws,
        disjoint=disjoint,
        seed=seed,
    )
    made = _make(request, ["none", "selective"], progress) + _make(request, controls, progress)
    coordinates = {
        "kind": np.array([row.kind for row in made]),
        "attribute": np.array([row.attribute for row in made]),
        "k": np.array([row.k for row in made]),
        "draw": np.array([row.draw for row in made]),
    }
    written = create_store(
        folder.masks,
        MASKS,
        coordinates,
        chunks={"mask": _MASKS_A_CHUNK},
        sizes={"neuron_byte": made[0].bits.size},
        attributes={"seed": seed, "draws": draws, "disjoint": disjoint, "neurons": neurons},
    )
    written.write("bits", np.stack([row.bits for row in made]))
    written.mark_complete()
    return {kind: sum(row.kind == kind for row in made) for kind in ("none", "selective", *controls)}


class _Row(NamedTuple):
    kind: str
    attribute: str
    k: int
    draw: int
    bits: NDArray[np.uint8]


def _make(request: Request, kinds: Sequence[str], progress: Progress) -> list[_Row]:
    """Make all masks of some kinds, or tell of every one of these kinds why it cannot be made."""
    rows: list[_Row] = []
    problems: list[str] = []
    for kind in kinds:
        try:
            masks = KINDS[kind](request)
            progress.start(None, f"{kind} masks")
            for mask in masks:
                # Packed at once: a neuron's index takes 64 times the memory of its bit.
                rows.append(_Row(kind, mask.attribute, len(mask.neurons), mask.draw, _pack(mask, len(request.rank))))
                progress.advance()
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return rows


def _pack(mask: Mask, neurons: int) -> NDArray[np.uint8]:
    off = np.zeros(neurons, dtype=np.bool_)
    off[mask.neurons] = True
    return np.packbits(off)


def _finished_selectivity(folder: RunFolder) -> Store:
    if not folder.selectivity.exists():
        raise StageError(f"{folder.selectivity}: not there; run `emoscale select` first")
    store = open_store(folder.selectivity, SELECTIVITY)
    if not store.complete:
        raise StageError(f"{folder.selectivity}: not finished; run `emoscale select` to its end first")
    return store
