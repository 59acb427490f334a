"""Attaching to sites while forward passes run. Hooks exist in a `with` block and are removed at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from emoscale.errors import StageError
from emoscale.models.sites.blocks import stack_of
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


class PassTracker:
    """Follows forward passes: which site a module's call is, how many tokens the batch has, that no site is left out.

    Parameters
    ----------
    sites : sequence of Site
    ended : callable
        Called at the end of each pass that was complete.
    """

    def __init__(self, sites: Sequence[Site], ended: Callable[[], None] = lambda: None) -> None:
        self._sites, self._ended = sites, ended
        self.tokens: int | None = None
        """Of the batch, padding included; None if only a part of the model runs."""
        self._calls: CallCounter | None = None
        self._inside: list[nn.Module] = []

    def next(self, path: str) -> int:
        """Return the number of the site that this call of the module is."""
        if self._calls is None:  # a part of the model was called by itself
            self._calls = CallCounter(self._sites)
        return self._calls.next(path)

    def forget(self) -> None:
        """Expect a new pass; raise StageError if the one before left a site out. One that an error ended is dropped."""
        self.check_complete()
        self._calls = self.tokens = None
        self._inside.clear()

    def check_complete(self) -> None:
        """Raise StageError if the latest pass is over and left a site out."""
        if self._calls is not None and not self._inside:
            self._calls.check_complete()

    def begin(self, module: nn.Module, args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
        """Note that a module's pass begins, unless it is within another's; a forward pre-hook."""
        if module in self._inside:  # an error ended the pass before
            self._inside.clear()
            self._calls = None
        if not self._inside:
            self.check_complete()
            self._calls, self.tokens = CallCounter(self._sites), None
        self._inside.append(module)
        self.tokens = _tokens(args, inputs) or self.tokens

    def end(self, module: nn.Module, _args: Any, _output: Any) -> None:
        """Note that a module's pass ends; a forward hook."""
        if module in self._inside:
            del self._inside[self._inside.index(module) :]
        if not self._inside:
            self.check_complete()
            self._ended()


def _tokens(args: tuple[Any, ...], inputs: dict[str, Any]) -> int | None:
    """Return the tokens of a batch, as a model is given it."""
    candidates = (inputs.get("inputs_embeds"), inputs.get("input_ids"), *args[:1])
    given = next((value for value in candidates if value is not None), None)
    return given.shape[1] if isinstance(given, Tensor) and given.dim() > 1 else None


@contextmanager
def tracking(model: nn.Module, sites: Sequence[Site], passes: PassTracker) -> Iterator[None]:
    """Let a tracker follow the model's forward passes while the block lasts."""
    with ExitStack() as hooks:
        for module in _passed_by_all_tokens(model, sites):
            hooks.callback(module.register_forward_pre_hook(passes.begin, with_kwargs=True).remove)
            hooks.callback(module.register_forward_hook(passes.end).remove)
        yield
        passes.check_complete()


def _passed_by_all_tokens(model: Any, sites: Sequence[Site]) -> list[nn.Module]:
    """Return the modules whose call is a pass of the sites' stack: the model, its base model, and one of two stacks."""
    modules = [model, getattr(model, "base_model", model)]
    stack = stack_of(sites[0].path)
    if stack and getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        modules.append(model.get_decoder() if stack == "decoder" else model.get_encoder())
    return list(dict.fromkeys(modules))


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
