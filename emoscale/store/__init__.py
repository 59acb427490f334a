"""Chunked arrays on disk: the only place that knows Zarr.

A store is one Zarr group (format 3) with the arrays its schema declares. Data arrays carry a checksum in every chunk;
coordinates are one chunk unless they are long. A store is finished when `Store.complete` is true, which is written
last.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emoscale.store.chunks import chunk_checksum, is_chunk, is_damaged
    from emoscale.store.commits import CommitLog
    from emoscale.store.creating import COORDINATE_CHUNK, create_store
    from emoscale.store.means import Activations, mean_activations
    from emoscale.store.store import Store, open_store

__all__ = [
    "COORDINATE_CHUNK",
    "Activations",
    "CommitLog",
    "Store",
    "chunk_checksum",
    "create_store",
    "is_chunk",
    "is_damaged",
    "mean_activations",
    "open_store",
]

_MODULES = {
    "Activations": "means",
    "COORDINATE_CHUNK": "creating",
    "CommitLog": "commits",
    "Store": "store",
    "chunk_checksum": "chunks",
    "create_store": "creating",
    "is_chunk": "chunks",
    "is_damaged": "chunks",
    "mean_activations": "means",
    "open_store": "store",
}


def __getattr__(name: str) -> Any:
    # Only on first use: the settings import `emoscale.store.types`, and Zarr and Numba take a second.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
