"""How much memory this process has needed."""

from __future__ import annotations

import sys

import psutil


def peak_memory() -> int:
    """Return the most memory that this process has used, in bytes.

    Examples
    --------
    >>> peak_memory() > 1_000_000
    True
    """
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # not there on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
