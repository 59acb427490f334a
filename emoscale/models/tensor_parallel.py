"""Tensor parallelism: which neurons a process computes when every layer's tensors are spread over several."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from emoscale.models.sites.site import Site, own_units


def own_neurons(sites: Sequence[Site], tp_rank: int = 0, tp_size: int = 1) -> list[slice]:
    """Return the neurons that a part of the model computes.

    Parameters
    ----------
    sites : sequence of Site
        Of widths that `tp_size` divides.
    tp_rank, tp_size : int
        This process's number among those that share the model, from 0, and how many there are.

    Returns
    -------
    list of slice
        Of the flat, layer-major neurons, one slice a site: the contiguous `tp_rank`-th share of the site.
    """
    starts = accumulate((site.width for site in sites), initial=0)
    own = [own_units(site, tp_rank, tp_size) for site in sites]
    return [slice(start + units.start, start + units.stop) for start, units in zip(starts, own, strict=False)]
