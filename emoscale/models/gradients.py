"""What editing every single unit would change, estimated from one backward pass (attribution patching).

Of a unit with value v that an edit sets to e, a first-order estimate of the change of any outcome is the sum over
positions of (e - v) times the gradient of the outcome at v (Nanda 2023; Syed, Rager & Conmy 2023, arXiv 2310.10348).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from emoscale.errors import StageError
from emoscale.models.masking import ZERO, Edit
from emoscale.models.passes import PassTracker, touching, tracking
from emoscale.models.sites.site import Editing, Site, own_units
from emoscale.models.tensor_parallel import own_neurons


class Estimated:
    """Estimated effects of editing each unit by itself, one vector a row.

    Each site's share is computed as soon as its gradient is known, so that gradients are never kept.
    """

    def __init__(self, model: nn.Module, sites: Sequence[Site], edit: Edit, parts: tuple[int, int]) -> None:
        self._model, self._sites, self._edit, self._parts = model, sites, edit, parts
        self._passes = PassTracker(sites)
        self._rows = 0
        self._effects: dict[int, Tensor] = {}
        self._donors = [None if edit.donors is None else edit.donors[:, own].mean(0) for own in own_neurons(sites)]
        self._path: tuple[int, float] | None = None

    def expect(self, rows: int, path: tuple[int, float] | None = None) -> None:
        """Set how many rows the next forward passes have.

        Parameters
        ----------
        rows : int
            The passes until `take` are of the same rows: what several of them contribute is added.
        path : (int, float), optional
            The number of a site and a share: its units are moved by that share of the way to their edited values, and
            only their effects are estimated. By default all sites' are, at the values that they have.
        """
        self._passes.forget()
        self._effects.clear()
        self._rows, self._path = rows, path

    def take(self, outcome: Tensor) -> Tensor:
        """Run the backward pass of an outcome, and return what editing each unit would change of it.

        Parameters
        ----------
        outcome : Tensor
            Scalar: the sum of the rows' own outcomes.

        Returns
        -------
        Tensor
            Shape (rows, own neurons), float32, on the device of the first site. NaN for the units of an expert that
            none of a row's tokens was routed to.
        """
        if outcome.requires_grad:
            outcome.backward()  # type: ignore[no-untyped-call]
        numbers = range(len(self._sites)) if self._path is None else [self._path[0]]
        device = self._effects[numbers[0]].device
        found = [self._own(number).to(device) for number in numbers]
        self._effects.clear()
        return torch.cat(found, dim=1)

    def _own(self, number: int) -> Tensor:
        effects, (tp_rank, tp_size) = self._effects[number], self._parts
        has_all = effects.shape[1] == self._sites[number].width
        return effects[:, own_units(self._sites[number], tp_rank, tp_size)] if has_all else effects

    def _touch(self, path: str, values: Any) -> Any:
        if not self._rows:
            raise StageError("a forward pass ran before Estimated.expect said how many rows it has")
        number = self._passes.next(path)
        if self._path is not None and self._path[0] != number:
            return values
        name, site = type(self._model).__name__, self._sites[number]
        editing = Editing(
            name, self._rows, self._passes.tokens, partial(self._places, number), partial(self._watch, number)
        )
        return site.edit(values, editing)

    def _places(self, number: int, like: Tensor, width: int) -> tuple[Tensor, Tensor | None]:
        """Return where the effect of each unit of each row goes, (rows, units), and what the edit sets it to."""
        site = self._sites[number]
        if number not in self._effects:
            # Units of an expert are absent until a token is routed to it.
            start = torch.nan if site.experts else 0.0
            self._effects[number] = torch.full((self._rows, width), start, dtype=torch.float32, device=like.device)
        places = torch.arange(self._rows * width, device=like.device).reshape(self._rows, width)
        donors = self._donors[number]
        if donors is None:
            return places, None
        own = donors if width == site.width else donors[own_units(site, *self._parts)]
        return places, own.to(like.device, like.dtype).expand(self._rows, -1)

    def _watch(self, number: int, rows: Tensor, places: Tensor, donors: Tensor | None, _in_place: bool) -> Tensor:
        """Return values (rows, tokens, units) that report their effects when their gradients are known."""
        # What others read they may change in place, before the gradient is there.
        actual = rows.detach() if self._sites[number].owns_values else rows.detach().clone()
        target = self._effects[number].view(-1)
        if self._sites[number].experts:
            target[places] = target[places].nan_to_num(0.0)
        used = rows if rows.requires_grad else rows.detach().clone().requires_grad_()
        if self._path is not None:
            share = self._path[1]
            end = used * self._edit.factor if donors is None else donors[:, None]
            used = used + share * (end - used)

        def report(gradient: Tensor) -> None:
            of_values = (actual * gradient).sum(dim=1, dtype=torch.float32)
            if donors is None:
                effects = (self._edit.factor - 1) * of_values
            else:
                effects = donors * gradient.sum(dim=1, dtype=torch.float32) - of_values
            target.index_add_(0, places.flatten(), effects.flatten().to(target.dtype))

        used.register_hook(report)  # type: ignore[no-untyped-call]
        return used


@contextmanager
def estimating(
    model: nn.Module, sites: Sequence[Site], tp_rank: int = 0, tp_size: int = 1, *, edit: Edit = ZERO
) -> Iterator[Estimated]:
    """Estimate what editing each unit by itself would change, while the block lasts.

    Call `expect` of the yielded object before each forward pass, and `take` with what came of it. Where an edit has
    several donors, the effect is that of their mean, which to first order is the mean of their effects.

    Parameters
    ----------
    model : Module
        Frozen: gradients exist only at the sites and after them.
    sites : sequence of Site
    tp_rank, tp_size : int
        Which part of every layer this process computes, and how many there are; its own units are estimated.
    edit : Edit
        By default units are set to zero.

    Yields
    ------
    Estimated

    Raises
    ------
    StageError
        If a site has other rows or tokens than the batch, or is left out.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from emoscale.models.sites.linear_inputs import LinearInput
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).requires_grad_(False)
    >>> with estimating(model, [LinearInput(0, "1", 3)]) as estimated:
    ...     estimated.expect(rows=4)
    ...     effects = estimated.take(model(torch.ones(4, 2)).sum())
    >>> effects.shape
    torch.Size([4, 3])
    """
    estimated = Estimated(model, sites, edit, (tp_rank, tp_size))
    with torch.enable_grad(), touching(model, sites, estimated._touch), tracking(model, sites, estimated._passes):
        yield estimated
