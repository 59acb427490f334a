"""The types that values have in a store. A new one is one entry of `STORED_TYPES`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emoscale.store.bfloat16 import NAN_BITS, bfloat16_bits, from_bfloat16_bits
from emoscale.system.option_types import lookup

if TYPE_CHECKING:
    import zarr

ENCODED_AS = "bits_of"
"""Name of the attribute of an array whose values are encoded; it holds the type's name."""


@dataclass(frozen=True)
class StoredType:
    """A type of values in a store, and both directions of its encoding.

    Attributes
    ----------
    name : str
    encode : callable
        From values of any type, at least one-dimensional, to what the array holds.
    decode : callable
        From what the array holds to values.
    on_disk : dtype
        What the array holds.
    read_as : dtype
        Type of the decoded values.
    itemsize : int
        Bytes of a value on disk.
    fill : float, int or str
        What the array holds where nothing has been written.
    gathered_as : str
        PyTorch's name of the type in which values are gathered before they are encoded. A narrow one moves the rounding
        to the many threads of PyTorch; an overflow must show in it.
    """

    name: str
    encode: Callable[[NDArray[Any]], NDArray[Any]]
    decode: Callable[[NDArray[Any]], NDArray[Any]]
    on_disk: np.dtype[Any]
    read_as: np.dtype[Any]
    itemsize: int
    fill: float | int | str
    gathered_as: str = "float32"

    @property
    def is_encoded(self) -> bool:
        """Whether what the array holds is not the values themselves."""
        return self.on_disk != self.read_as


def _plain(name: str) -> StoredType:
    dtype = np.dtype(name)
    fill = math.nan if dtype.kind == "f" else 0
    return StoredType(name, partial(_as_type, dtype=dtype), _same, dtype, dtype, dtype.itemsize, fill)


def _as_type(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    return values.astype(dtype, copy=False)


def _same(values: NDArray[Any]) -> NDArray[Any]:
    return values


_OBJECT = np.dtype(object)
TEXT = StoredType("str", partial(_as_type, dtype=_OBJECT), _same, _OBJECT, _OBJECT, itemsize=16, fill="")
"""Text of any length; 16 bytes is about what the name of a concept takes."""

STORED_TYPES: dict[str, StoredType] = {
    "float32": _plain("float32"),
    "float16": replace(_plain("float16"), gathered_as="float16"),
    "bfloat16": StoredType(
        "bfloat16",
        bfloat16_bits,
        from_bfloat16_bits,
        on_disk=np.dtype(np.uint16),
        read_as=np.dtype(np.float32),
        itemsize=2,
        fill=NAN_BITS,
    ),
}
"""Types of activations by name."""


def stored_type(name: str) -> StoredType:
    """Return the type of this name: one of `STORED_TYPES`, text, or NumPy's.

    Examples
    --------
    >>> stored_type("bfloat16").itemsize, stored_type("int64").itemsize
    (2, 8)
    """
    if name in STORED_TYPES:
        return STORED_TYPES[name]
    return TEXT if name == TEXT.name else _plain(name)


def type_of(array: zarr.Array[Any]) -> StoredType:
    """Return the type of an array's values.

    Raises
    ------
    InputError
        If they are encoded as a type that is not known.
    """
    if (name := array.attrs.get(ENCODED_AS)) is not None:
        return lookup(f"{array.name}: type", STORED_TYPES, str(name))
    return TEXT if array.dtype.kind in "TO" else stored_type(str(array.dtype))
