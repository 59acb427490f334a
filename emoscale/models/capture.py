"""Reading units during a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from emoscale.errors import StageError
from emoscale.models.passes import CallCounter, touching
from emoscale.models.sites.site import Read, Reading, Site


class _AllReadError(Exception):
    """Ends a forward pass of which nothing more is needed."""


class Captured:
    """Activations of the latest forward pass, one vector a row."""

    def __init__(self, model: nn.Module, sites: Sequence[Site], tp_rank: int, tp_size: int) -> None:
        self._model, self._sites, self._tp_rank, self._tp_size = type(model).__name__, sites, tp_rank, tp_size
        # What Accelerate moved to a device for the pass would stay there, and the other parts would wait for this one.
        self._may_end_early = tp_size == 1 and not any(hasattr(module, "_hf_hook") for module in model.modules())
        self._has_completed = self._is_ending_early = False
        self._calls = CallCounter(sites)
        self._values: dict[int, Tensor] = {}
        self._reading: Reading | None = None

    def expect(self, rows: int, tokens: int, read: Read) -> None:
        """Set how many rows and tokens, padding included, the next forward pass has and how to read them."""
        self._reading = Reading(self._model, rows, tokens, read, self._tp_rank, self._tp_size)

    def run(self, forward: Callable[[], object]) -> None:
        """Run a forward pass, and end it where the last units are read if that is safe.

        The first pass is completed: only there it shows that a site is called more than once.

        Parameters
        ----------
        forward : callable
            Runs the model; what it returns is dropped.
        """
        self._is_ending_early = self._may_end_early and self._has_completed
        try:
            forward()
        except _AllReadError:
            pass
        finally:
            self._is_ending_early = False
        self._has_completed = True

    def take(self) -> Tensor:
        """Return the activations and forget them.

        Returns
        -------
        Tensor
            Shape (rows, own neurons), the model's dtype, layer-major, on the device of the first site. Neurons of an
            expert that nothing was routed to are NaN.

        Raises
        ------
        StageError
            If a site was not called: the model skipped a block, or it was compiled before the hooks were set.
        """
        self._calls.check_complete()
        device = self._values[0].device
        values = torch.cat([self._values[number].to(device) for number in range(len(self._sites))], dim=1)
        self._values.clear()
        self._calls.reset()
        return values

    def _see(self, path: str, values: Any) -> Any:
        number = self._calls.next(path)
        if self._reading is None:
            raise StageError("a forward pass ran before Captured.expect said how to read it")
        self._values[number] = self._sites[number].read(values, self._reading)
        if self._is_ending_early and len(self._values) == len(self._sites):
            raise _AllReadError
        return values


@contextmanager
def capturing(model: nn.Module, sites: Sequence[Site], tp_rank: int = 0, tp_size: int = 1) -> Iterator[Captured]:
    """Read the sites' units while the block lasts.

    Call `expect` of the yielded object before each forward pass, `run` for the pass, and `take` after it.

    Parameters
    ----------
    model : Module
    sites : sequence of Site
    tp_rank, tp_size : int
        Which part of every layer this process computes, and how many there are; its own units are read.

    Yields
    ------
    Captured

    Raises
    ------
    StageError
        If a site has other rows or tokens than the batch.
    """
    captured = Captured(model, sites, tp_rank, tp_size)
    with touching(model, sites, captured._see):
        yield captured
