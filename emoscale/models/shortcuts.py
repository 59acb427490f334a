"""What a masked forward pass need not compute: the last block where nothing is read, the first once for every mask.

Both depend on knowing the linear maps of a block by name (`ATTENTION_MAPS`): in a family that is not known there, in
mixtures of experts, in encoder-decoder models, where layers share weights, and where units are not the inputs of a
linear map, everything is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from emoscale.models.sites.attention import ATTENTION_MAPS
from emoscale.models.sites.blocks import block_of
from emoscale.models.sites.linear_inputs import LinearInput, map_shape
from emoscale.models.sites.site import Site

TRIED_TOKENS = range(7)
"""Tokens of a row that a shortcut is tried on; equal ones could hide that their states were mixed."""

_TOLERANCE, _TOLERANCE_IN_HALF = 1e-3, 2e-2
"""Logits of one row computed in two ways differ by rounding: some 1e-6 of their size, in half precision some 1e-2."""


def narrowable(model: nn.Module, sites: Sequence[Site]) -> tuple[str, ...]:
    """Name the last block's maps that need to be computed only where rows are read.

    These are attention's output map and the feed-forward's: what other positions get from them goes nowhere. The map
    whose input is the neurons is computed completely, unless one before it is narrowed.

    Parameters
    ----------
    model : Module
    sites : sequence of Site

    Returns
    -------
    tuple of str
        Paths of modules; empty where they are not known.
    """
    block = _block(model, sites, sites[-1])
    if block is None or not _is_in_last_block(model, sites[-1]):
        return ()
    _, output, others = block
    return tuple(name for name in (output, *others) if name != sites[-1].path)


def shareable(model: nn.Module, sites: Sequence[Site]) -> tuple[str, ...]:
    """Name the first block's maps that come before any neuron: the same whatever is masked.

    Parameters
    ----------
    model : Module
    sites : sequence of Site

    Returns
    -------
    tuple of str
        Paths of modules; empty where they are not known.
    """
    first = sites[0]
    block = _block(model, sites, first)
    if block is None:
        return ()
    attention, output, others = block
    # Of a single block, what follows attention's input maps is computed only where rows are read, see `narrowable`.
    if first.path == output or _is_in_last_block(model, first):
        return tuple(attention)
    return (*attention, output, *(name for name in others if name != first.path))


@torch.inference_mode()
def confirmed(names: Sequence[str], run: Callable[[Sequence[str]], Tensor]) -> tuple[str, ...]:
    """Return the names of maps if the model's results do not change with a shortcut at them, else none.

    Parameters
    ----------
    names : sequence of str
        From `narrowable` or `shareable`.
    run : callable
        Runs the model with some maps narrowed or shared, and returns what is read of it.

    Returns
    -------
    tuple of str
    """
    if not names:
        return ()
    full = run(())
    try:
        short = run(names)
    except RuntimeError:  # shapes that do not fit: a block that adds to the narrowed values in place
        return ()
    return tuple(names) if agree(full, short) else ()


def agree(full: Tensor, short: Tensor) -> bool:
    """Whether what is read of a model is the same, up to rounding, when it is computed in a shorter way."""
    tolerance = _TOLERANCE if full.element_size() > 2 else _TOLERANCE_IN_HALF
    return torch.allclose(full, short, rtol=tolerance, atol=tolerance * float(full.abs().max()))


def _block(model: nn.Module, sites: Sequence[Site], site: Site) -> tuple[list[str], str, list[str]] | None:
    """Return attention's input maps, its output map and the other maps of a site's block."""
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return None
    is_plain = all(isinstance(site, LinearInput) and site.call == 0 and site.owns_values for site in sites)
    place = block_of(site.path)
    if not is_plain or place is None or site.path not in dict(model.named_modules()):
        return None
    path = f"{place[0]}.{place[1]}"
    block = model.get_submodule(path)
    maps = [name for name, module in block.named_modules() if map_shape(module)[0]]
    output = next((name for name in ATTENTION_MAPS if name in maps), None)
    if output is None:
        return None
    inside = f"{output.split('.')[0]}."
    attention = [name for name in maps if name.startswith(inside) and name != output]
    others = [name for name in maps if not name.startswith(inside)]
    return [f"{path}.{name}" for name in attention], f"{path}.{output}", [f"{path}.{name}" for name in others]


def _is_in_last_block(model: nn.Module, site: Site) -> bool:
    place = block_of(site.path)
    if place is None:
        return False
    blocks: Any = model.get_submodule(place[0])
    return place[1] == len(blocks) - 1


class Shared:
    """Which rows of a pass are the same up to the first neuron."""

    def __init__(self) -> None:
        self._first: Tensor | None = None
        self._row: Tensor | None = None
        self._is_taken = False

    def expect(self, first: Tensor, row: Tensor) -> None:
        """Set which rows are the same.

        Parameters
        ----------
        first : Tensor
            Shape (distinct,), int64: one row of each kind.
        row : Tensor
            Shape (rows,), int64: the kind that each row is of.
        """
        self._first, self._row = (first, row) if len(first) < len(row) else (None, None)

    def before(self, _module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Compute one row of each kind; a forward pre-hook."""
        self._is_taken = self._row is not None and len(args[0]) == len(self._row)
        if self._first is None or not self._is_taken:
            return args
        return (args[0].index_select(0, self._first.to(args[0].device)), *args[1:])

    def after(self, _module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        """Give every row the result of its kind; a forward hook."""
        # What was not taken may have as many rows: one, where DeBERTa maps its relative positions.
        if self._row is None or not self._is_taken:
            return output
        return output.index_select(0, self._row.to(output.device))


@contextmanager
def sharing(model: nn.Module, names: Sequence[str]) -> Iterator[Shared]:
    """Compute some linear maps once for rows that are the same, while the block lasts.

    Parameters
    ----------
    model : Module
    names : sequence of str
        From `shareable`. Call `expect` of the yielded object before each forward pass.

    Yields
    ------
    Shared
    """
    shared = Shared()
    with ExitStack() as hooks:
        for name in names:
            module = model.get_submodule(name)
            hooks.callback(module.register_forward_pre_hook(shared.before).remove)
            hooks.callback(module.register_forward_hook(shared.after).remove)
        yield shared
