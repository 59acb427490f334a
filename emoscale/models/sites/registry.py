"""The kinds of sites, by the name that `model.site` gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from emoscale.errors import InputError, suggest
from emoscale.models.options import ModelOptions
from emoscale.models.sites.attention import find_attention
from emoscale.models.sites.blocks import STACKS, block_of
from emoscale.models.sites.by_path import find_by_path, possible_paths
from emoscale.models.sites.experts import expert_shape
from emoscale.models.sites.feed_forward import find_feed_forward
from emoscale.models.sites.linear_inputs import is_of_attention, map_shape
from emoscale.models.sites.residual import find_residual
from emoscale.models.sites.site import Site


@dataclass(frozen=True)
class SiteKind:
    """A kind of unit.

    Attributes
    ----------
    name : str
        As `model.site` names it.
    meaning : str
        What a unit is.
    find : callable
        Given a model, which may be on the meta device, and ``"encoder"``, ``"decoder"`` or None, returns the sites in
        layer order; an empty list if there are none.
    """

    name: str
    meaning: str
    find: Callable[[nn.Module, str | None], Sequence[Site]]


SITES = {
    "ffn": SiteKind("ffn", "input of a block's second feed-forward map", find_feed_forward),
    "attention": SiteKind("attention", "input of attention's output map", find_attention),
    "residual": SiteKind("residual", "output of a block", find_residual),
}
"""Kinds of sites by name; `model.site` accepts the path of a linear map besides."""


def find_sites(model: nn.Module, site: str | SiteKind = ModelOptions.site) -> list[Site]:
    """Find every block's units.

    Parameters
    ----------
    model : Module
        A transformers model; it may be on the meta device.
    site : str or SiteKind
        A name in `SITES`. Of an encoder-decoder model it means the encoder; ``"encoder"``, ``"decoder"``,
        ``"encoder attention"``, ``"decoder residual"`` and the like select the stack. Or the path of a linear map with
        ``{layer}`` for the block's number: ``"model.layers.{layer}.mlp.down_proj"``.

    Returns
    -------
    list of Site
        In layer order, of the blocks that have one; see `site_notes`.

    Raises
    ------
    InputError
        If no units are found, with the linear maps that there are; or if a model without two stacks is asked for one.
    """
    stack, kind = _parse(site) if isinstance(site, str) else (None, site)
    if kind is not None:
        found = list(kind.find(model, stack))
        reason = f"no {kind.meaning} found in {type(model).__name__}"
    else:
        found = find_by_path(model, str(site))
        reason = f"no kind of unit, nor a linear map of {type(model).__name__}"
    if not found:
        paths = possible_paths(model)
        kinds = [name for name, other in SITES.items() if other is not kind]
        raise InputError(
            f"model.site {getattr(site, 'name', site)!r}: {reason}{suggest(str(site), [*kinds, *paths])}; set "
            f"{', '.join(kinds)}, or one of: {', '.join(paths)}"
        )
    return found


def site_notes(model: nn.Module, sites: Sequence[Site]) -> tuple[str, ...]:
    """Return what a user should know about the units that were found.

    Parameters
    ----------
    model : Module
    sites : sequence of Site
        From `find_sites`.

    Returns
    -------
    tuple of str
        Which blocks have no units, and which similar maps of the blocks are not read.
    """
    return (*_blocks_without(model, sites), *_maps_besides(model, sites))


def _parse(site: str) -> tuple[str | None, SiteKind | None]:
    """Split the setting into stack and kind; a path has no kind."""
    words = site.split()
    stack = words.pop(0) if words and words[0] in STACKS else None
    if stack and not words:
        words = [ModelOptions.site]
    return (stack, SITES[words[0]]) if len(words) == 1 and words[0] in SITES else (None, None)


def _blocks_without(model: nn.Module, sites: Sequence[Site]) -> Iterator[str]:
    numbers: dict[str, set[int]] = {}
    for site in sites:
        if block := block_of(site.path):
            numbers.setdefault(block[0], set()).add(block[1])
    for blocks, found in numbers.items():
        layers = model.get_submodule(blocks)
        if isinstance(layers, nn.ModuleList) and (lacking := sorted(set(range(len(layers))) - found)):
            yield (
                f"{len(found)} of {len(layers)} blocks of {blocks} have units; without: {', '.join(map(str, lacking))}"
            )


def _maps_besides(model: nn.Module, sites: Sequence[Site]) -> Iterator[str]:
    modules, read = dict(model.named_modules()), {site.path for site in sites}
    besides: dict[str, None] = {}
    for site in sites:
        block = block_of(site.path)
        is_map = map_shape(modules[site.path])[0] or site.experts
        if block is None or not is_map or is_of_attention(site.path):
            continue
        inside = f"{block[0]}.{block[1]}."
        # Experts are given as one module; a shared expert is a feed-forward of its own beside it.
        same = ".down_proj" if site.experts else f".{'.'.join(site.path.removeprefix(inside).split('.')[-2:])}"
        for path, module in modules.items():
            is_similar = expert_shape(module)[0] or (map_shape(module)[0] and path.endswith(same))
            if path.startswith(inside) and path not in read and is_similar and not is_of_attention(path):
                besides[path.replace(f"{block[0]}.{block[1]}.", f"{block[0]}.{{layer}}.", 1)] = None
    if besides:
        yield f"similar maps that are not read: {', '.join(besides)}; set model.site to one of them to read it"
