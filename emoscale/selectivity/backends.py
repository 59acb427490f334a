"""Which implementation of a kernel computes: resolved in the process that computes, which a cluster's client is not."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import cache
from typing import Any

from emoscale.errors import InputError
from emoscale.system.option_types import lookup
from emoscale_kernels import numba_backend

BACKENDS = {
    "auto": "a GPU where there is one",
    "cpu": "the processor",
    "cuda": "a GPU",
}
"""What may compute, by the setting `machine.backend`."""


@cache
def choose_backend(setting: str) -> str:
    """Choose what computes in this process, once.

    Parameters
    ----------
    setting : str
        Key of `BACKENDS`.

    Returns
    -------
    str
        ``cpu`` or ``cuda``.

    Raises
    ------
    InputError
        If there is no such setting, or no GPU here where one is asked for.
    """
    lookup("machine.backend", BACKENDS, setting)
    if setting == "cpu":
        return "cpu"
    # Imported here: PyTorch takes seconds, which a process that uses the processor need not pay.
    from emoscale_kernels import torch_backend

    found = torch_backend.available()
    if setting == "cuda" and not found:
        raise InputError(
            f"machine.backend cuda: no GPU is available on {socket.gethostname()}; set it to auto or cpu, or see "
            "`emoscale doctor` there"
        )
    return "cuda" if found else "cpu"


def kernel(name: str, setting: str) -> Callable[..., Any]:
    """Return a kernel of the backend that this process uses.

    Parameters
    ----------
    name : str
        A function of `emoscale_kernels.numba_backend`.
    setting : str
        Key of `BACKENDS`.

    Returns
    -------
    callable
        Its twin with the same signature if a GPU is used and there is one; else itself.
    """
    on_processor: Callable[..., Any] = getattr(numba_backend, name)
    if choose_backend(setting) != "cuda":
        return on_processor
    from emoscale_kernels import torch_backend

    return getattr(torch_backend, name, on_processor)
