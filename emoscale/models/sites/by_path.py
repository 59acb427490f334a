"""Units at a path given by hand: the inputs of any linear map, or fused experts."""

from __future__ import annotations

import re

from torch import nn

from emoscale.models.sites.experts import RoutedExperts, expert_shape
from emoscale.models.sites.linear_inputs import LinearInput, map_shape
from emoscale.models.sites.site import Site

LAYER = "{layer}"
"""Represents the block's number in a path."""


def find_by_path(model: nn.Module, path: str) -> list[Site]:
    """Find the modules at a path: those of all blocks that have it, by number, or one module, which is layer 0."""
    if LAYER not in path:
        modules = dict(model.named_modules())
        return [site] if (site := _site(modules.get(path), 0, path)) else []
    numbered = re.escape(path).replace(re.escape(LAYER), r"(\d+)", 1).replace(re.escape(LAYER), r"\1")
    pattern = re.compile(numbered)
    found = []
    for name, module in model.named_modules():
        match = pattern.fullmatch(name)
        if match and (site := _site(module, int(match[1]), name)):
            found.append(site)
    return sorted(found, key=lambda site: site.layer)


def _site(module: nn.Module | None, layer: int, path: str) -> Site | None:
    experts, units = expert_shape(module)
    if experts:
        return RoutedExperts(layer, path, experts * units, experts=experts)
    width = map_shape(module)[0]
    return LinearInput(layer, path, width, shares_input=True) if width else None


def possible_paths(model: nn.Module) -> list[str]:
    """Return the paths that can be given by hand."""
    return sorted({_with_layer(name) for name, module in model.named_modules() if _site(module, 0, name)})


def _with_layer(name: str) -> str:
    return re.sub(r"(^|\.)\d+(?=\.|$)", rf"\1{LAYER}", name, count=1)
