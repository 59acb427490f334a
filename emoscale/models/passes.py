"""Attaching to sites while forward passes run. Hooks exist in a `with` block and are removed at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import nn

from emoscale.errors import StageError
from emoscale.models.sites.site import Site


class CallCounter:
    """Counts the calls of the sites' modules in one forward pass."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self._sites = sites
        self._number = {(site.path, site.call): number for number, site in enumerate(sites)}
        self._calls: Counter[str] = Counter()

    def reset(self) -> None:
        """Begin a forward pass."""
        self._calls.clear()

    def next(self, path: str) -> int:
        """Return the number of the site that this call of the module is."""
        call = self._calls[path]
        if (path, call) not in self._number:
            times = "once" if call == 1 else f"{call} times"
            raise StageError(
                f"{path} is called more than {times} in one forward pass; it cannot be one layer's units; set another "
                "model.site, or run forward passes one by one"
            )
        self._calls[path] += 1
        return self._number[path, call]

    def check_complete(self) -> None:
        """Raise if a site was not called."""
        silent = dict.fromkeys(site.path for site in self._sites if self._calls[site.path] <= site.call)
        if silent:
            raise StageError(f"no activation seen at {', '.join(silent)}; set another model.site, do not compile")


@contextmanager
def touching(model: nn.Module, sites: Sequence[Site], touch: Callable[[str, Any], Any]) -> Iterator[None]:
    """Pass the sites' values to `touch`, with the path of the module, and use what it returns.

    Parameters
    ----------
    model : Module
    sites : sequence of Site
    touch : callable
        (path, values) in, values out.

    Yields
    ------
    None
    """
    with ExitStack() as attached:
        for path, site in by_path(sites).items():
            attached.callback(site.attach(model, partial(touch, path)))
        yield


def by_path(sites: Sequence[Site]) -> dict[str, Site]:
    """Return one site of every module: those of the same module share what is attached to it."""
    found: dict[str, Site] = {}
    for site in sites:
        found.setdefault(site.path, site)
    return found
