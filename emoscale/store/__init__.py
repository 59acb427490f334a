"""Chunked arrays on disk: the only place that knows Zarr.

A store is one Zarr group (format 3) with the arrays its schema declares. Data arrays carry a checksum in every chunk,
and a file may have many chunks; coordinates are one chunk unless they are long. A store is finished when
`Store.complete` is true, which is written last.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emoscale.store.chunks import chunk_checksum, has_checksum, is_chunk
    from emoscale.store.commits import CommitLog
    from emoscale.store.creating import COORDINATE_CHUNK, create_store, length_of_file
    from emoscale.store.means import Activations, mean_activations
    from emoscale.store.sizes import store_size
    from emoscale.store.store import Store, open_store
    from emoscale.store.writing import WRITE_BYTES

__all__ = [
    "COORDINATE_CHUNK",
    "WRITE_BYTES",
    "Activations",
    "CommitLog",
    "Store",
    "chunk_checksum",
    "create_store",
    "has_checksum",
    "is_chunk",
    "length_of_file",
    "mean_activations",
    "open_store",
    "store_size",
]

_MODULES = {
    "Activations": "means",
    "COORDINATE_CHUNK": "creating",
    "WRITE_BYTES": "writing",
    "CommitLog": "commits",
    "Store": "store",
    "chunk_checksum": "chunks",
    "create_store": "creating",
    "is_chunk": "chunks",
    "has_checksum": "chunks",
    "length_of_file": "creating",
    "mean_activations": "means",
    "open_store": "store",
    "store_size": "sizes",
}


def __getattr__(name: str) -> Any:
    # Only on first use: the settings import `emoscale.store.types`, and Zarr and Numba take a second.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
