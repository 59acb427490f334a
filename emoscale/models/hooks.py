"""Touching neurons during a forward pass, and reading them. Hooks live in a `with` block and vanish with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from emoscale.errors import StageError
from emoscale.models.experts import Read, Routed, read_routed, showing
from emoscale.models.sites import Site
from emoscale.models.tensor_parallel import own_values

_SHORT_ROW = 128


class Passes:
    """Counts the calls of the sites' modules in one forward pass."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self._sites = sites
        self._number = {(site.module, site.call): number for number, site in enumerate(sites)}
        self._calls: Counter[str] = Counter()

    def begin(self) -> None:
        """Forget what was seen."""
        self._calls.clear()

    def next(self, module: str) -> int:
        """Return the number of the site that this call of the module is."""
        call = self._calls[module]
        if (module, call) not in self._number:
            times = "once" if call == 1 else f"{call} times"
            raise StageError(
                f"{module} is passed more than {times} in one forward; it cannot be one layer's neurons; set another "
                "model.site, or run forward passes one by one"
            )
        self._calls[module] += 1
        return self._number[module, call]

    def check_complete(self) -> None:
        """Raise if a site was not passed."""
        silent = dict.fromkeys(site.module for site in self._sites if self._calls[site.module] <= site.call)
        if silent:
            raise StageError(f"no activation seen at {', '.join(silent)}; set another model.site, do not compile")


class _AllReadError(Exception):
    """Ends a forward pass of which nothing more is needed."""


class Captured:
    """Activations of the latest forward pass, one vector a row."""

    def __init__(
        self, sites: Sequence[Site], tp_rank: int = 0, tp_size: int = 1, *, may_end_early: bool = False
    ) -> None:
        self._sites, self._tp_rank, self._tp_size = sites, tp_rank, tp_size
        self._may_end_early = may_end_early
        self._ran_whole = self._ending_early = False
        self._passes = Passes(sites)
        self._values: dict[int, Tensor] = {}
        self._read: Read | None = None
        self._rows = 0

    def expect(self, rows: int, read: Read) -> None:
        """Say how many rows the next forward pass has and how to read them."""
        self._rows, self._read = rows, read

    def run(self, forward: Callable[[], object]) -> None:
        """Run a forward pass, and end it where the last neurons are read if that is safe.

        The first pass runs whole: a site that is passed more than once shows only there.

        Parameters
        ----------
        forward : callable
            Runs the model; what it returns is dropped.
        """
        self._ending_early = self._may_end_early and self._ran_whole
        try:
            forward()
        except _AllReadError:
            pass
        finally:
            self._ending_early = False
        self._ran_whole = True

    def take(self) -> Tensor:
        """Return the activations and forget them.

        Returns
        -------
        Tensor
            Shape (rows, own neurons), the model's dtype, layer-major, on the device of the first site. Neurons of an
            expert that nothing was routed to are NaN, see `read_routed`.

        Raises
        ------
        StageError
            If a site was not passed: the model skipped a block, or it was compiled before the hooks were set.
        """
        self._passes.check_complete()
        device = self._values[0].device
        values = torch.cat([self._values[number].to(device) for number in range(len(self._sites))], dim=1)
        self._values.clear()
        self._passes.begin()
        return values

    def _expected(self) -> Read:
        if self._read is None:
            raise StageError("a forward pass ran before Captured.expect said how to read it")
        return self._read

    def see(self, module: str, values: Tensor) -> Tensor:
        """Read a dense site; for the hooks."""
        number, read = self._passes.next(module), self._expected()
        own = own_values(values, self._sites[number], self._tp_rank, self._tp_size)
        # A view of what is read would keep the values of all tokens in memory.
        self._keep(number, read(own.reshape(self._rows, -1, own.shape[-1])).clone())
        return values

    def see_routed(self, module: str, routed: list[Routed], tokens: int) -> list[Routed]:
        """Read a site of experts; for the hooks."""
        number, read = self._passes.next(module), self._expected()
        self._keep(number, read_routed(routed, self._sites[number].experts, self._rows, tokens, read))
        return routed

    def _keep(self, number: int, values: Tensor) -> None:
        self._values[number] = values
        if self._ending_early and len(self._values) == len(self._sites):
            raise _AllReadError


@contextmanager
def capturing(model: nn.Module, sites: Sequence[Site], tp_rank: int = 0, tp_size: int = 1) -> Iterator[Captured]:
    """Read the neurons while the block lasts.

    Call `expect` of the yielded object before each forward pass, `run` for the pass, and `take` after it.

    Parameters
    ----------
    model : Module
    sites : sequence of Site
    tp_rank, tp_size : int
        Which part of the model this process computes, and how many there are; `own_neurons` are read.

    Yields
    ------
    Captured
    """
    # What Accelerate moved to a device for the pass would stay there, and the other parts would wait for this one.
    may_end_early = tp_size == 1 and not any(hasattr(module, "_hf_hook") for module in model.modules())
    captured = Captured(sites, tp_rank, tp_size, may_end_early=may_end_early)
    with touching(model, sites, captured.see, captured.see_routed):
        yield captured


@contextmanager
def touching(
    model: nn.Module,
    sites: Sequence[Site],
    dense: Callable[[str, Tensor], Tensor],
    routed: Callable[[str, list[Routed], int], list[Routed]],
) -> Iterator[None]:
    """Give the sites' values to functions that know the module by its path, and go on with what they return."""
    with ExitStack() as hooks:
        for name, experts in dict.fromkeys((site.module, site.experts) for site in sites):
            module = model.get_submodule(name)
            if experts:
                hooks.enter_context(showing(module, partial(routed, name)))
                continue

            def touch(_module: nn.Module, args: tuple[Any, ...], name: str = name) -> tuple[Any, ...]:
                return dense(name, args[0]), *args[1:]

            hooks.callback(module.register_forward_pre_hook(touch).remove)
        yield


@contextmanager
def attention_for_training(model: Any, device: torch.device, tokens: int) -> Iterator[None]:
    """Use the attention that trains fastest, while the block lasts.

    On CPUs the backward pass of fused attention is slower than plain matrix products for short rows (MiniLM, 34 tokens,
    bf16: 97 against 166 texts/s, benchmarks/attention.py). Plain attention keeps tokens x tokens weights, so longer
    rows stay fused.

    Parameters
    ----------
    model : PreTrainedModel
    device : device
    tokens : int
        Length of the longest row.
    """
    usual = model.config._attn_implementation
    if device.type == "cpu" and tokens <= _SHORT_ROW:
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(usual)
