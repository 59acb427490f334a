"""Reading and switching off neurons during a forward pass. Hooks live in a `with` block and vanish with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from emoscale.errors import StageError
from emoscale.models.sites import Site

_SHORT_ROW = 128

Read = Callable[[Tensor], Tensor]
"""How a row is read: values (rows, tokens, units) in, (rows, units) out."""


class Captured:
    """Activations of the latest forward pass, one vector a row."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self._sites = sites
        self._values: dict[str, Tensor] = {}
        self._read: Read | None = None
        self._rows = 0

    def expect(self, rows: int, read: Read) -> None:
        """Say how many rows the next forward pass has and how to read them."""
        self._rows, self._read = rows, read

    def take(self) -> Tensor:
        """Return the activations and forget them.

        Returns
        -------
        Tensor
            Shape (rows, neurons), the model's dtype, neurons layer-major.

        Raises
        ------
        StageError
            If a site was not passed: the model skipped a block, or it was compiled before the hooks were set.
        """
        if silent := [s.module for s in self._sites if s.module not in self._values]:
            raise StageError(f"no activation seen at {', '.join(silent)}; set another model.site, do not compile")
        values = torch.cat([self._values[s.module] for s in self._sites], dim=1)
        self._values.clear()
        return values

    def _see(self, site: Site, values: Tensor) -> None:
        if site.module in self._values:
            raise StageError(f"{site.module} is passed more than once in one forward; it cannot be one layer's neurons")
        if self._read is None:
            raise StageError("a forward pass ran before Captured.expect said how to read it")
        # A view of what is read would keep the values of all tokens in memory.
        self._values[site.module] = self._read(values.reshape(self._rows, -1, values.shape[-1])).clone()


@contextmanager
def capturing(model: nn.Module, sites: Sequence[Site]) -> Iterator[Captured]:
    """Read the neurons while the block lasts.

    Call `expect` of the yielded object before each forward pass, and `take` after it.

    Parameters
    ----------
    model : Module
    sites : sequence of Site

    Yields
    ------
    Captured
    """
    captured = Captured(sites)
    with ExitStack() as hooks:
        for site in sites:

            def see(_module: nn.Module, args: tuple[Any, ...], site: Site = site) -> None:
                captured._see(site, args[0])

            hooks.callback(model.get_submodule(site.module).register_forward_pre_hook(see).remove)
        yield captured


class Masked:
    """Masks by row."""

    def __init__(self, sites: Sequence[Site], keep: Tensor) -> None:
        self._sites, self._keep = sites, keep
        self._by_site: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}
        self._rows = torch.empty(0, dtype=torch.int64)
        self._ahead: set[str] = set()

    def expect(self, masks: Tensor) -> None:
        """Say which mask each row of the next forward pass gets.

        Parameters
        ----------
        masks : Tensor
            Shape (rows,), int64.

        Raises
        ------
        StageError
            If the pass before left a site out: its neurons were not switched off.
        """
        self._check_passed()
        self._rows = masks
        self._ahead = {site.module for site in self._sites}

    def _check_passed(self) -> None:
        if silent := [site.module for site in self._sites if site.module in self._ahead]:
            raise StageError(f"no activation seen at {', '.join(silent)}; set another model.site, do not compile")

    def _apply(self, site: Site, neurons: slice, values: Tensor) -> Tensor:
        if site.module not in self._ahead:
            raise StageError(f"{site.module} is passed more than once in one forward, or Masked.expect was not called")
        self._ahead.remove(site.module)
        key = (site.module, values.dtype, values.device)
        if key not in self._by_site:
            self._by_site[key] = self._keep[:, neurons].to(values.device, values.dtype)
        keep = self._by_site[key][self._rows.to(values.device)]
        return (values.reshape(len(keep), -1, values.shape[-1]) * keep[:, None, :]).reshape(values.shape)


@contextmanager
def masking(model: nn.Module, sites: Sequence[Site], off: Tensor) -> Iterator[Masked]:
    """Multiply masked neurons by 0, at every position, while the block lasts (Li, Su et al. 2024, neuron manipulation).

    Parameters
    ----------
    model : Module
    sites : sequence of Site
    off : Tensor
        Shape (masks, neurons), bool: which neurons a mask switches off. Call `expect` of the yielded object before
        each forward pass.

    Yields
    ------
    Masked

    Raises
    ------
    StageError
        If a forward pass left a site out or took it twice: the ablation would not be what the mask says.
    """
    masked = Masked(sites, ~off)
    with ExitStack() as hooks:
        first = 0
        for site in sites:
            neurons = slice(first, first := first + site.width)

            def apply(
                _module: nn.Module, args: tuple[Any, ...], site: Site = site, neurons: slice = neurons
            ) -> tuple[Any, ...]:
                return masked._apply(site, neurons, args[0]), *args[1:]

            hooks.callback(model.get_submodule(site.module).register_forward_pre_hook(apply).remove)
        yield masked
        masked._check_passed()


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


@contextmanager
def reading(model: Any, read: Read) -> Iterator[None]:
    """Give the model's head one hidden state a row.

    A head over the whole vocabulary at every position is the largest waste in evaluating masked language models.

    Parameters
    ----------
    model : PreTrainedModel
        What its head works on is the `last_hidden_state` of its base model; it becomes (rows, 1, hidden).
    read : callable
        (rows, tokens, hidden) in, (rows, hidden) out.
    """

    def keep(_module: nn.Module, _args: Any, output: Any) -> Any:
        output["last_hidden_state"] = read(output.last_hidden_state)[:, None]
        return output

    # The head of OPT takes the inner decoder's states, past its base model.
    body = getattr(model.base_model, "decoder", model.base_model)
    handle = body.register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()
