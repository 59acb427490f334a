"""What a unit is, and how its values are read and edited during a forward pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emoscale.errors import StageError

Read = Callable[[Tensor], Tensor]
"""How a row is read: values (rows, tokens, units) in, (rows, units) out. It must choose tokens or average them with
weights that do not depend on the values."""

Touch = Callable[[Any], Any]
"""Takes a site's values, in the form that the site gives and understands, and returns what the model uses instead."""

Detach = Callable[[], None]

Order = Literal["rows", "padded", "tokens"]
"""How a site has a batch's values: as the batch has them, (rows, tokens); with padding on the right that the model adds
inside; or tokens first, (tokens, rows). Only a trial of the model can tell (`emoscale.models.trials`)."""


@dataclass(frozen=True)
class Reading:
    """How the rows of a forward pass are read.

    Attributes
    ----------
    model : str
        For messages.
    rows, tokens : int
        Of the batch, padding included.
    read : callable
    tp_rank, tp_size : int
        See `own_units`.
    """

    model: str
    rows: int
    tokens: int
    read: Read
    tp_rank: int = 0
    tp_size: int = 1


@dataclass(frozen=True)
class Editing:
    """How the values of one site are edited in a forward pass.

    Attributes
    ----------
    model : str
        For messages.
    rows : int
        Of the batch.
    tokens : int or None
        Of the batch, padding included; None if only a part of the model runs.
    masks : callable
        Given values of the site's type and device and their number of units, returns what is masked (rows, units),
        bool, and what replaces it (rows, units), or None.
    apply : callable
        Given values (rows, tokens, units), masks and replacements (rows, units), and whether the values may be changed
        in place, returns the edited values.
    """

    model: str
    rows: int
    tokens: int | None
    masks: Callable[[Tensor, int], tuple[Tensor, Tensor | None]]
    apply: Callable[[Tensor, Tensor, Tensor | None, bool], Tensor]


@dataclass(frozen=True)
class Site(ABC):
    """The units of one block.

    Subclasses say where the units are: `attach` and, unless the values are a tensor (..., units), `read` and `edit`.

    Attributes
    ----------
    layer : int
        Number of the block in the model, from 0.
    path : str
        Path of the module whose input, output or inner values the units are.
    width : int
        Number of units.
    call : int
        Which of the module's calls in one forward pass this is, from 0. Only models whose layers share their weights
        call it more than once.
    experts : int
        Number of experts that the units belong to, in equal parts; 0 if there are none.
    order : {"rows", "padded", "tokens"}
        See `Order`.
    """

    layer: int
    path: str
    width: int
    call: int = 0
    experts: int = 0
    order: Order = "rows"

    @abstractmethod
    def attach(self, model: nn.Module, touch: Touch) -> Detach:
        """Call `touch` with the module's values in every forward pass, and use what it returns instead.

        Sites of one path share one attachment; which site a call belongs to follows from `call`.
        """

    def attach_check(self, model: nn.Module, see: Callable[[Tensor], None]) -> Detach | None:
        """Call `see` with the values that the model uses in the end; None where that cannot be observed."""
        return None

    @property
    def owns_values(self) -> bool:
        """Whether nothing else reads the values: then they may be changed in place."""
        return False

    def read(self, values: Any, reading: Reading) -> Tensor:
        """Read a process's own units, (rows, own units); raise StageError unless the values are those of the batch."""
        own = self._turned(own_values(values, self, reading.tp_rank, reading.tp_size))
        if self.order == "padded" and own.dim() == 3:
            own = own[:, : reading.tokens]
        shape, batch = own.shape[:-1], (reading.rows, reading.tokens)
        if shape not in (batch, (reading.rows * reading.tokens,)):
            raise self.other_shape(shape, batch, reading.model)
        # A view of what is read would keep the values of all tokens in memory.
        return reading.read(own.reshape(*batch, own.shape[-1])).clone()

    def edit(self, values: Any, editing: Editing) -> Any:
        """Return edited values; raise StageError unless the values are those of the batch."""
        turned = self._turned(values)
        by_row = self._by_row(turned, editing)
        masked, donors = editing.masks(values, values.shape[-1])
        in_place = self.owns_values and not torch.is_grad_enabled()
        return self._turned(editing.apply(by_row, masked, donors, in_place).reshape(turned.shape))

    def _turned(self, values: Tensor) -> Tensor:
        return values.transpose(0, 1) if self.order == "tokens" and values.dim() == 3 else values

    def _by_row(self, values: Tensor, editing: Editing) -> Tensor:
        shape, rows, tokens = values.shape[:-1], editing.rows, editing.tokens
        # Where only some positions are computed there are fewer tokens: the same masks hold for each of them.
        if len(shape) == 2:
            # The padding inside is edited too; no token sees it.
            fits = shape[0] == rows and (tokens is None or shape[1] <= tokens or self.order == "padded")
        else:
            fits = shape == (rows,) or (tokens is not None and shape == (rows * tokens,))
        if not fits:
            raise self.other_shape(shape, (rows, tokens), editing.model)
        return values.reshape(rows, -1, values.shape[-1])

    def other_shape(self, shape: Sequence[int], batch: tuple[int, int | None], model: str) -> StageError:
        """Say that a module has other rows or tokens than the batch."""
        here, given = (" x ".join("?" if size is None else str(size) for size in sizes) for sizes in (shape, batch))
        return StageError(
            f"{model}: {self.path} has {here} values of a unit where the batch has {given} (rows x tokens): the model "
            "pads, shortens, flattens or swaps rows inside; set another model.site, or use rows of a length that it "
            "leaves unchanged"
        )


def own_units(site: Site, tp_rank: int, tp_size: int) -> slice:
    """Return the units of a site that a process computes: the contiguous `tp_rank`-th of `tp_size` parts."""
    units = site.width // tp_size
    return slice(tp_rank * units, (tp_rank + 1) * units)


def own_values(values: Tensor, site: Site, tp_rank: int, tp_size: int) -> Tensor:
    """Return a process's own units of what it sees at a site.

    Parameters
    ----------
    values : Tensor
        Shape (..., units): the process's own, or all of the site's where every process has them.
    site : Site
    tp_rank, tp_size : int

    Returns
    -------
    Tensor
        Shape (..., own units).

    Raises
    ------
    StageError
        If it is neither.
    """
    own = own_units(site, tp_rank, tp_size)
    if values.shape[-1] == site.width:
        return values[..., own]
    if values.shape[-1] == own.stop - own.start:
        return values
    raise StageError(
        f"{site.path} has {values.shape[-1]} values where {site.width} are spread over {tp_size} processes; "
        "set machine.split_model to 'layers'"
    )


def neuron_coordinates(sites: Sequence[Site]) -> dict[str, NDArray[np.int32]]:
    """Return the layer, the expert and the unit of every neuron, in the order of the sites.

    Parameters
    ----------
    sites : sequence of Site
        Of a model: N neurons in total.

    Returns
    -------
    dict
        ``layer``; ``expert``, -1 where there are none; ``unit``, which counts within the expert, or within the layer
        where there are none. Each of shape (N,), int32.
    """
    layers, experts, units = [], [], []
    for site in sites:
        within = site.width // max(site.experts, 1)
        numbers = np.arange(site.width, dtype=np.int32)
        layers.append(np.full(site.width, site.layer, np.int32))
        experts.append(numbers // within if site.experts else np.full(site.width, -1, np.int32))
        units.append(numbers % within)
    return {"layer": np.concatenate(layers), "expert": np.concatenate(experts), "unit": np.concatenate(units)}
