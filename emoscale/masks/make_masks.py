"""Making masks: from ranks to packed bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emoscale.errors import InputError, collect_problems
from emoscale.masks.activation_level import mean_absolute_activation
from emoscale.masks.by_rank import checked_halves
from emoscale.masks.controls import CONTROLS, Control
from emoscale.masks.draw_numbers import choose_draws
from emoscale.masks.drawing import check_disjoint
from emoscale.masks.options import AUTO, MaskOptions
from emoscale.masks.request import Mask, Request, no_permuted_values
from emoscale.masks.selective import most_selective, no_neurons
from emoscale.run.effects import effects_by_half
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_extraction, open_finished
from emoscale.schema import MASKS, NO_MASK, SELECTIVE, SELECTIVITY
from emoscale.store import create_store, length_of_file
from emoscale.system.option_types import lookup
from emoscale.system.progress import Progress

_MASKS_A_CHUNK = 64


def resolve_k(k: Sequence[int | float], neurons: int) -> list[int]:
    """Turn counts and fractions into numbers of neurons.

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
    options: MaskOptions,
    progress: Progress,
    permuted_values: Callable[[], Iterator[NDArray[np.float64]]] = no_permuted_values,
) -> dict[str, int]:
    """Make the masks and write ``masks.zarr``.

    Parameters
    ----------
    folder : RunFolder
        Holds the finished selectivity, and the activations or the effects if a control, or the number of draws, needs
        them.
    options : MaskOptions
        A control may be given itself in place of its name.
    progress : Progress
    permuted_values : callable
        As in `Request`, for ``masks.permutations`` permutations; needed by controls from permuted concepts.

    Returns
    -------
    dict of str to int
        Number of masks by kind, in the order of the store: first ``none``, then ``selective`` by k and attribute, then
        the controls in the order given, by k, attribute and draw.

    Raises
    ------
    InputError
        If an option cannot be used, or too few neurons are left for a control; nothing has been written then.
    StageError
        If the selectivity, or the activations or effects if they are needed, are missing or not finished.
    """
    request = replace(make_request(folder, options, progress), permuted_values=permuted_values)
    controls = [lookup("masks.controls", CONTROLS, control) for control in options.controls]
    for control in controls:
        if control.needs_rows:
            open_extraction(folder, needed_by=f"masks.controls {control.name!r}")
        if control.needs_halves:
            checked_halves(request)  # before permuted masks are made, which takes long
    chosen = choose_draws(folder, request, controls, options) if options.draws == AUTO else {}
    makers = {NO_MASK: no_neurons, SELECTIVE: most_selective}
    made = _make(request, makers, {}, progress)
    totals = {
        control.name: len(request.k) * control.count_masks(options, len(request.attributes))
        for control in controls
        if control.needs_permuted_values  # of others fewer may be drawn
    }
    made += _make(request, {control.name: _maker(control, chosen) for control in controls}, totals, progress)
    origin = {
        "seed": options.seed,
        "draws": options.draws,
        "disjoint": options.disjoint,
        "neurons": len(request.rank),
        "controls": {control.name: control.words(options.disjoint) for control in controls},
        **({"chosen_draws": chosen} if chosen else {}),
        **({"permutations": options.permutations} if totals else {}),
    }
    _write(folder, made, origin)
    counts = Counter(row.kind for row in made)
    return {kind: counts[kind] for kind in (*makers, *(control.name for control in controls))}


def make_request(folder: RunFolder, options: MaskOptions, progress: Progress) -> Request:
    """Read the finished selectivity and resolve the options.

    Raises
    ------
    InputError
        If k, draws or seed cannot be used.
    StageError
        If the selectivity is missing or not finished.
    """
    store = open_finished(folder.selectivity, SELECTIVITY)
    draws = 0 if options.draws == AUTO else options.draws
    numbers = {"draws": draws, "seed": options.seed}
    if problems := [f"{name} = {value}: negative; give 0 or more" for name, value in numbers.items() if value < 0]:
        raise InputError(problems)
    k = resolve_k(options.k, store.sizes["neuron"])
    if options.disjoint:
        check_disjoint(k, store.sizes["neuron"])
    return Request(
        rank=store.read("rank"),
        has_rank=~np.isnan(store.read("tau")),
        layer=store.read("layer"),
        activation_level=lambda: mean_absolute_activation(folder, progress),
        effects=lambda: effects_by_half(folder),
        attributes=[str(attribute) for attribute in store.read("attribute")],
        k=k,
        draws=draws,
        disjoint=options.disjoint,
        seed=options.seed,
        values_by_half=lambda: np.stack([store.read(name) for name in ("tau_odd", "tau_even")]),
    )


def _maker(control: Control, chosen: Mapping[str, Mapping[str, Any]]) -> Callable[[Request], Iterator[Mask]]:
    """Return what makes a control's masks, as many as were chosen."""
    if control.name not in chosen:
        return control.draw
    return lambda request: control.draw(replace(request, draws=chosen[control.name]["draws"]))


class _Row(NamedTuple):
    kind: str
    attribute: str
    k: int
    draw: int
    bits: NDArray[np.uint8]


def _make(
    request: Request,
    makers: Mapping[str, Callable[[Request], Iterator[Mask]]],
    totals: Mapping[str, int],
    progress: Progress,
) -> list[_Row]:
    """Make all masks of some kinds; if some cannot be made, raise what is wrong with every kind."""
    rows: list[_Row] = []

    def make(kind: str, maker: Callable[[Request], Iterator[Mask]]) -> None:
        masks, made = maker(request), []
        progress.start(totals.get(kind), f"{kind} masks")
        for mask in masks:
            # Packed at once: a neuron's index takes 64 times the memory of its bit.
            made.append(_Row(kind, mask.attribute, len(mask.neurons), mask.draw, _pack(mask, len(request.rank))))
            progress.advance()
        rows.extend(sorted(made, key=lambda row: (row.k, place[row.attribute], row.draw)))

    place = {name: number for number, name in enumerate(["", *request.attributes])}
    collect_problems(partial(make, kind, maker) for kind, maker in makers.items())
    return rows


def _pack(mask: Mask, neurons: int) -> NDArray[np.uint8]:
    off = np.zeros(neurons, dtype=np.bool_)
    off[mask.neurons] = True
    return np.packbits(off)


def _write(folder: RunFolder, rows: Sequence[_Row], origin: Mapping[str, Any]) -> None:
    coordinates = {
        "kind": np.array([row.kind for row in rows]),
        "attribute": np.array([row.attribute for row in rows]),
        "k": np.array([row.k for row in rows]),
        "draw": np.array([row.draw for row in rows]),
    }
    chunks, sizes = {"mask": _MASKS_A_CHUNK}, {"neuron_byte": rows[0].bits.size}
    files = {"mask": length_of_file(_MASKS_A_CHUNK, rows[0].bits.size)}
    store = create_store(folder.masks, MASKS, coordinates, chunks, sizes, attributes=origin, files=files)
    store.write("bits", np.stack([row.bits for row in rows]))
    store.mark_complete()
