"""Tensor parallelism: which neurons a process computes when every layer's tensors are spread over several."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from torch import Tensor

from emoscale.errors import StageError
from emoscale.models.sites import Site


def own_neurons(sites: Sequence[Site], tp_rank: int = 0, tp_size: int = 1) -> list[slice]:
    """Return the neurons that a part of the model computes.

    Parameters
    ----------
    sites : sequence of Site
        Of widths that `parts` divides.
    tp_rank, tp_size : int
        This process's number among those that share the model, from 0, and how many there are.

    Returns
    -------
    list of slice
        Of the flat, layer-major neurons, one slice a site: the contiguous `tp_rank`-th share of the site.
    """
    starts = accumulate((site.width for site in sites), initial=0)
    own = [_own_units(site, tp_rank, tp_size) for site in sites]
    return [slice(start + units.start, start + units.stop) for start, units in zip(starts, own, strict=False)]


def own_values(values: Tensor, site: Site, tp_rank: int, tp_size: int) -> Tensor:
    """Return a part's own units of what its process sees at a site.

    Parameters
    ----------
    values : Tensor
        Shape (..., units): the part's own, or those of the whole site where its map takes all of them in every process.
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
    own = _own_units(site, tp_rank, tp_size)
    if values.shape[-1] == site.width:
        return values[..., own]
    if values.shape[-1] == own.stop - own.start:
        return values
    raise StageError(
        f"{site.module} takes {values.shape[-1]} values where {site.width} are spread over {tp_size} processes; "
        "set machine.split_model to 'layers'"
    )


def _own_units(site: Site, tp_rank: int, tp_size: int) -> slice:
    units = site.width // tp_size
    return slice(tp_rank * units, (tp_rank + 1) * units)
