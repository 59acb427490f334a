"""Chunked arrays on disk: the only place that knows Zarr.

A store is one Zarr group (format 3) with the arrays its schema declares. Data arrays carry a checksum in every chunk;
coordinates are one chunk unless they are long. A store is finished when `Store.complete` is true, which is written
last.
"""

from emoscale.store.commits import CommitLog
from emoscale.store.creating import COORDINATE_CHUNK, create_store
from emoscale.store.means import mean_activations
from emoscale.store.store import Store, open_store

__all__ = ["COORDINATE_CHUNK", "CommitLog", "Store", "create_store", "mean_activations", "open_store"]
