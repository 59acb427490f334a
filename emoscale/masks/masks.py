"""The stage: from ranks to packed masks."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np

from emoscale.errors import InputError, StageError
from emoscale.masks.kinds import KINDS, Request
from emoscale.progress import Progress
from emoscale.run_folder import RunFolder
from emoscale.schema import MASKS, SELECTIVITY
from emoscale.store import Store, create_store, open_store

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
    folder: RunFolder, *, k: Sequence[int | float], draws: int, seed: int, progress: Progress
) -> dict[str, int]:
    """Make the masks of every kind and write ``masks.zarr``.

    Parameters
    ----------
    folder : RunFolder
        Holds the finished selectivity.
    k : sequence of int or float
        Numbers or fractions of the neurons to switch off, as `resolve_k` reads them.
    draws : int
        Random masks of each k.
    seed : int
        Not negative. The random mask of a given seed, k and draw is always the same.
    progress : Progress

    Returns
    -------
    dict of str to int
        Number of masks by kind, in the order of the store: first ``none``, then ``selective`` by k and attribute, then
        ``random`` by k and draw.

    Raises
    ------
    InputError
        If k, draws or seed cannot be used; nothing has been written then.
    StageError
        If the selectivity is not there or not finished.
    """
    store = _finished_selectivity(folder)
    neurons = store.sizes["neuron"]
    problems = [
        f"{name} = {value}: negative; give 0 or more" for name, value in (("draws", draws), ("seed", seed)) if value < 0
    ]
    if problems:
        raise InputError(problems)
    request = Request(
        rank=store.read("rank"),
        has_rank=~np.isnan(store.read("tau")),
        attributes=[str(attribute) for attribute in store.read("attribute")],
        k=resolve_k(k, neurons),
        draws=draws,
        seed=seed,
    )
    masks = [(kind, mask) for kind, make in KINDS.items() for mask in make(request)]
    progress.start(len(masks), "masks")
    bits = np.empty((len(masks), -(-neurons // 8)), dtype=np.uint8)
    for row, (_, mask) in enumerate(masks):
        off = np.zeros(neurons, dtype=np.bool_)
        off[mask.neurons] = True
        bits[row] = np.packbits(off)
        progress.advance()
    coordinates = {
        "kind": np.array([kind for kind, _ in masks]),
        "attribute": np.array([mask.attribute for _, mask in masks]),
        "k": np.array([len(mask.neurons) for _, mask in masks]),
        "draw": np.array([mask.draw for _, mask in masks]),
    }
    written = create_store(
        folder.masks,
        MASKS,
        coordinates,
        chunks={"mask": _MASKS_A_CHUNK},
        sizes={"neuron_byte": bits.shape[1]},
        attributes={"seed": seed, "draws": draws, "neurons": neurons},
    )
    written.write("bits", bits)
    written.mark_complete()
    return {kind: sum(made == kind for made, _ in masks) for kind in KINDS}


def _finished_selectivity(folder: RunFolder) -> Store:
    if not folder.selectivity.exists():
        raise StageError(f"{folder.selectivity}: not there; run `emoscale select` first")
    store = open_store(folder.selectivity, SELECTIVITY)
    if not store.complete:
        raise StageError(f"{folder.selectivity}: not finished; run `emoscale select` to its end first")
    return store
