"""The one place for compiler options."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def kernel(function: Function) -> Function:
    """Compile a function on its first call.

    - ``nogil``: the threads of the caller's scheduler run kernels side by side.
    - ``cache``: compiled code is kept between processes. Numba looks only at the file a kernel is in to see whether
      it is stale, so a kernel calls no kernel of another module.
    - no ``parallel``: the caller owns the threads, and two owners multiply them (or abort: the workqueue layer).
    - no ``fastmath``: NaN must stay NaN, and sums must not depend on the machine's vector width.
    """
    return cast(Function, numba.njit(nogil=True, cache=True)(function))
