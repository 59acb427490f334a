"""Editing units during a forward pass: one batch, many masks, every row its own (Li, Su et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from emoscale.errors import StageError
from emoscale.models.passes import PassTracker, by_path, touching, tracking
from emoscale.models.sites.site import Editing, Site
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

    The masks stay packed, eight units a byte; of each site those of the pass's rows are unpacked when it is reached.
    """

    def __init__(
        self, model: nn.Module, sites: Sequence[Site], off: Tensor, edit: Edit, parts: tuple[int, int]
    ) -> None:
        self._model, self._sites, self._edit = model, sites, edit
        self._all, self._own = own_neurons(sites), own_neurons(sites, *parts)
        self._masks = off.cpu().numpy()
        self._packed: dict[tuple[int, bool, torch.device], Tensor] = {}
        self._donor_values: dict[tuple[int, bool, torch.device], Tensor] = {}
        self._rows: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self._passes = PassTracker(sites, self._end_of_pass)
        self._is_checking = True
        self._checks = ExitStack()
        self._expected: dict[str, Any] = {}

    def expect(self, masks: Tensor, donors: Tensor | None = None) -> None:
        """Set which mask each row of the next forward passes gets.

        Parameters
        ----------
        masks : Tensor
            Shape (rows,), int64.
        donors : Tensor, optional
            Shape (rows,), int64: which of the edit's donors each row takes its values from; the first if left out.

        Raises
        ------
        StageError
            If the pass before left a site out: its units were not edited. One that an error ended is forgotten.
        """
        self._passes.forget()
        chosen = torch.zeros_like(masks) if donors is None else donors
        self._rows = {torch.device("cpu"): (masks.cpu(), chosen.cpu())}
        self._expected.clear()
        if self._is_checking:
            self._attach_checks()

    def _attach_checks(self) -> None:
        """Check after all hooks that are set by now: what they make of the values is what the model uses."""
        self._checks.close()
        for path, site in by_path(self._sites).items():
            if detach := site.attach_check(self._model, partial(self._check, path)):
                self._checks.callback(detach)

    def _end_of_pass(self) -> None:
        self._is_checking = False
        self._checks.close()

    def _touch(self, path: str, values: Any) -> Any:
        if not self._rows:
            raise StageError("a forward pass ran before Masked.expect said which mask each row gets")
        number, name = self._passes.next(path), type(self._model).__name__
        rows = len(self._rows[torch.device("cpu")][0])
        editing = Editing(name, rows, self._passes.tokens, partial(self._at, number), self._edited)
        if self._is_checking:
            plainly = replace(editing, apply=self._edited_plainly)
            self._expected[path] = self._sites[number].edit(values, plainly)
        return self._sites[number].edit(values, editing)

    def _check(self, path: str, values: Tensor) -> None:
        expected = self._expected.pop(path, None)
        if expected is not None and not torch.allclose(values, expected, rtol=0, atol=0, equal_nan=True):
            raise StageError(f"{path}: its masked neurons are not at their edited values; remove other hooks on it")

    def _at(self, number: int, like: Tensor, width: int) -> tuple[Tensor, Tensor | None]:
        """Return what is masked at a site, (rows, units) bool, and the rows' donors' values (rows, units)."""
        has_all = width == self._sites[number].width
        neurons = (self._all if has_all else self._own)[number]
        key = (number, has_all, like.device)
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
        factor = torch.where(masked, rows.new_full((), self._edit.factor), rows.new_ones(()))[:, None]
        return rows.mul_(factor) if in_place else rows * factor

    def _edited_plainly(self, rows: Tensor, masked: Tensor, donors: Tensor | None, _in_place: bool) -> Tensor:
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
        If a forward pass left a site out or called it too often, if a site has other rows or tokens than the batch, or
        if in the first pass the model did not use the edited values: the ablation would not be what the mask says.
    """
    masked = Masked(model, sites, off, edit, (tp_rank, tp_size))
    with masked._checks, touching(model, sites, masked._touch), tracking(model, sites, masked._passes):
        yield masked
