"""Editing neurons during a forward pass: one batch, many masks, every row its own (Li, Su et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from emoscale.errors import StageError
from emoscale.models.experts import Routed, edit_routed
from emoscale.models.hooks import Passes, touching
from emoscale.models.sites import Site
from emoscale.models.tensor_parallel import own_neurons


@dataclass(frozen=True)
class Edit:
    """What becomes of a masked neuron.

    Attributes
    ----------
    kind : {"scale", "replace"}
        ``scale`` multiplies it by `factor`: 0 is the study's ablation, a number below 1 its float mask. ``replace``
        sets it to its value in one of `donors`: a row's activations, or a mean over rows.
    factor : float
    donors : Tensor, optional
        Shape (donors, N), float32.
    """

    kind: Literal["scale", "replace"] = "scale"
    factor: float = 0.0
    donors: Tensor | None = None


ZERO = Edit()


class Masked:
    """Masks by row.

    The masks stay packed, eight neurons a byte; of each site those of the pass's rows are unpacked when it is reached.
    """

    def __init__(self, sites: Sequence[Site], off: Tensor, edit: Edit, tp_rank: int, tp_size: int) -> None:
        self._sites, self._edit = sites, edit
        self._whole, self._own = own_neurons(sites), own_neurons(sites, tp_rank, tp_size)
        self._masks = off.cpu().numpy()
        self._packed: dict[tuple[int, bool, torch.device], Tensor] = {}
        self._donor_values: dict[tuple[int, bool, torch.device], Tensor] = {}
        self._rows: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self._passes: Passes | None = None
        self._inside: list[nn.Module] = []
        self._is_checking = True
        self._expected: dict[str, Tensor] = {}

    def expect(self, masks: Tensor, donors: Tensor | None = None) -> None:
        """Say which mask each row of the next forward passes gets.

        Parameters
        ----------
        masks : Tensor
            Shape (rows,), int64.
        donors : Tensor, optional
            Shape (rows,), int64: which of the edit's donors each row takes its values from; the first if left out.

        Raises
        ------
        StageError
            If the pass before left a site out: its neurons were not edited. One that an error ended is forgotten.
        """
        self.check_passed()
        chosen = torch.zeros_like(masks) if donors is None else donors
        self._rows = {torch.device("cpu"): (masks.cpu(), chosen.cpu())}
        self._passes = None
        self._inside.clear()
        self._expected.clear()

    def check_passed(self) -> None:
        """Raise StageError if the latest pass left a site out, unless an error ended it."""
        if self._passes is not None and not self._inside:
            self._passes.check_complete()

    def begin(self, module: nn.Module, _args: Any) -> None:
        """Begin a pass; for the hooks."""
        if module in self._inside:  # an error ended the pass before
            self._inside.clear()
            self._passes = None
        if not self._inside:
            self.check_passed()
            self._passes = Passes(self._sites)
        self._inside.append(module)

    def end(self, module: nn.Module, _args: Any, _output: Any) -> None:
        """End a pass; for the hooks."""
        if module in self._inside:
            del self._inside[self._inside.index(module) :]
        if not self._inside:
            self.check_passed()
            self._is_checking = False

    def apply(self, module: str, values: Tensor) -> Tensor:
        """Edit a dense site; for the hooks."""
        number = self._next(module)
        masked, donors = self._at(number, values, values.shape[-1])
        if values.dim() > 2 and len(values) != len(masked):
            raise StageError(
                f"{module} takes {len(values)} rows where masks were given for {len(masked)}; give every row a mask, "
                "or set another model.site"
            )
        rows = values.reshape(len(masked), -1, values.shape[-1])
        if self._is_checking:
            self._expected[module] = self._edited_plainly(rows, masked, donors)
        # Nothing else takes the input of a block's second map, so that it may be changed where it lies.
        in_place = not self._sites[number].shares_input and not torch.is_grad_enabled()
        return self._edited(rows, masked, donors, in_place).reshape(values.shape)

    def apply_routed(self, module: str, routed: list[Routed], tokens: int) -> list[Routed]:
        """Edit a site of experts; for the hooks."""
        values = routed[0].values
        masked, donors = self._at(self._next(module), values)
        return edit_routed(routed, masked, donors, tokens, partial(self._edited, in_place=False))

    def check(self, module: str, args: tuple[Any, ...]) -> None:
        """Raise StageError unless a site's map takes the values that the masks ask for; for the hooks."""
        expected = self._expected.pop(module, None)
        if expected is None:
            return
        if not torch.allclose(args[0].reshape(expected.shape), expected, rtol=0, atol=0, equal_nan=True):
            raise StageError(f"{module}: its masked neurons are not at their edited values; remove other hooks on it")

    def _next(self, module: str) -> int:
        if not self._rows:
            raise StageError("a forward pass ran before Masked.expect said which mask each row gets")
        if self._passes is None:  # a part of the model was called by itself
            self._passes = Passes(self._sites)
        return self._passes.next(module)

    def _at(self, number: int, like: Tensor, width: int | None = None) -> tuple[Tensor, Tensor | None]:
        """Return what is masked at a site, (rows, units) bool, and the rows' donors' values (rows, units)."""
        is_whole = width in (None, self._sites[number].width)
        neurons = (self._whole if is_whole else self._own)[number]
        key = (number, is_whole, like.device)
        if key not in self._packed:
            bits = np.packbits(self._masks[:, neurons], axis=1)
            self._packed[key] = torch.from_numpy(bits).to(like.device)
        masks, donors = self._rows_on(like.device)
        masked = _unpacked(self._packed[key][masks], neurons.stop - neurons.start)
        if self._edit.donors is None:
            return masked, None
        if key not in self._donor_values:
            self._donor_values[key] = self._edit.donors[:, neurons].to(like.device)
        return masked, self._donor_values[key][donors].to(like.dtype)

    def _rows_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._rows:
            masks, donors = self._rows[torch.device("cpu")]
            self._rows[device] = (masks.to(device, non_blocking=True), donors.to(device, non_blocking=True))
        return self._rows[device]

    def _edited(self, rows: Tensor, masked: Tensor, donors: Tensor | None, in_place: bool) -> Tensor:
        """Edit values (rows, tokens, units) by masks and donors (rows, units)."""
        if donors is not None:
            return torch.where(masked[:, None], donors[:, None], rows)
        factor = torch.where(masked, self._edit.factor, 1.0).to(rows.dtype)[:, None]
        return rows.mul_(factor) if in_place else rows * factor

    def _edited_plainly(self, rows: Tensor, masked: Tensor, donors: Tensor | None) -> Tensor:
        # Rounded first as the edit is: in half precision a product with the exact factor may differ in its last bit.
        wanted = rows * rows.new_tensor(self._edit.factor) if donors is None else donors[:, None].expand_as(rows)
        return torch.where(masked[:, None], wanted, rows)


_BITS = torch.arange(7, -1, -1, dtype=torch.uint8)


def _unpacked(packed: Tensor, width: int) -> Tensor:
    """Unpack bits (rows, bytes), the first neuron in the highest, to bool (rows, width)."""
    bits = packed[:, :, None] >> _BITS.to(packed.device)
    return (bits & 1).bool().reshape(len(packed), -1)[:, :width]


@contextmanager
def masking(
    model: nn.Module, sites: Sequence[Site], off: Tensor, tp_rank: int = 0, tp_size: int = 1, *, edit: Edit = ZERO
) -> Iterator[Masked]:
    """Edit masked neurons at every position while the block lasts (Li, Su et al. 2024, neuron manipulation).

    Parameters
    ----------
    model : Module
    sites : sequence of Site
    off : Tensor
        Shape (masks, neurons), bool: which neurons a mask edits. Call `expect` of the yielded object before forward
        passes.
    tp_rank, tp_size : int
        Which part of the model this process computes, and how many there are; the others edit their own neurons.
    edit : Edit
        What becomes of masked neurons; by default they are multiplied by 0.

    Yields
    ------
    Masked

    Raises
    ------
    StageError
        If a forward pass left a site out or took it too often, or if in the first pass a site's map did not take the
        edited values: the ablation would not be what the mask says.
    """
    masked = Masked(sites, off, edit, tp_rank, tp_size)
    with ExitStack() as hooks, touching(model, sites, masked.apply, masked.apply_routed):
        for module in dict.fromkeys((model, getattr(model, "base_model", model))):
            hooks.callback(module.register_forward_pre_hook(masked.begin).remove)
            hooks.callback(module.register_forward_hook(masked.end).remove)
        for name in dict.fromkeys(site.module for site in sites if not site.experts):
            seen = model.get_submodule(name).register_forward_hook(_checking(masked, name))
            hooks.callback(seen.remove)
        yield masked
        masked.check_passed()


def _checking(masked: Masked, name: str) -> Any:
    def check(_module: nn.Module, args: tuple[Any, ...], _output: Any) -> None:
        masked.check(name, args)

    return check
