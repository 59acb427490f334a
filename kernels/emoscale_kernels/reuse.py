"""Memory that a thread uses again.

Arrays of some 100 kB and more may go back to the system when they are freed, and every page of the next ones is a
fault: where they do, a map takes 1.3 to 1.4 times as long with new memory (`benchmarks.scratch_memory`). Whether they
do depends on what the C library was asked for before.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_own = threading.local()


def reused(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array of this thread, whose values the next call of the same name overwrites.

    Parameters
    ----------
    name : str
    shape : tuple of int
    dtype : dtype

    Returns
    -------
    ndarray
        Of any values.
    """
    held: dict[str, NDArray[np.uint8]] = _own.__dict__
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if name not in held or held[name].nbytes < size:
        held[name] = np.empty(size, dtype=np.uint8)
    return held[name][:size].view(dtype).reshape(shape)
