"""Preemption: SIGTERM ends the process within seconds, whatever it is doing; so does Ctrl-C while it loads."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from emoscale.errors import PreemptedError
from emoscale.system.launcher import rank

GRACE = 4.0
"""Seconds for a regular exit. Schedulers give 30 (SLURM's default) or as few as 10 before they kill."""

STOPPED = "stopped by SIGTERM; rerun the same command to resume"
INTERRUPTED = "interrupted; rerun the same command to resume"


class InterruptedBySignal(KeyboardInterrupt):
    """Ctrl-C.

    Once a `KeyboardInterrupt` itself has passed through `exec`, as of a dataclass in a library, CPython ends by the
    signal, whatever exit code is asked for.
    """


@contextmanager
def ending_at_once() -> Iterator[None]:
    """End the process at SIGINT or SIGTERM, in one line, while the block lasts; it begins nothing that must be ended.

    Libraries that are imported may take an exception for a failure of their own.
    """

    def end(number: int, _frame: Any) -> None:
        if rank() == 0:
            said = STOPPED if number == signal.SIGTERM else INTERRUPTED
            os.write(2, f"emoscale: {said}\n".encode())
        os._exit(128 + number)

    # What is ignored stays so: shells start commands in the background without SIGINT.
    caught = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    usual = [(number, signal.signal(number, end)) for number in caught]
    try:
        yield
    finally:
        for number, handler in usual:
            signal.signal(number, handler)


def interrupt_on_sigint() -> None:
    """Raise `InterruptedBySignal` where Python would raise `KeyboardInterrupt`."""
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def end_on_sigterm(last_act: Callable[[], None]) -> None:
    """Raise `PreemptedError` on SIGTERM, and end the process by force if it has not ended soon.

    Python's handlers run between two instructions of the main thread, and a rank that waits for others, or for a
    library's long computation, executes none.

    Parameters
    ----------
    last_act : callable
        Called in another thread before the process ends by force.
    """
    signal.signal(signal.SIGTERM, _preempt)
    _watch(last_act)


def _interrupt(_signal: int, _frame: Any) -> None:
    raise InterruptedBySignal


def _preempt(_signal: int, _frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # launchers repeat it, and once is enough
    raise PreemptedError(STOPPED)


@cache
def _watch(last_act: Callable[[], None]) -> None:
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    # A child shares the socket: a signal to it must not end its parent.
    if sys.platform != "win32":
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    threading.Thread(target=_end, args=(reader, writer, last_act), name="preemption", daemon=True).start()


def _end(reader: socket.socket, _writer: socket.socket, last_act: Callable[[], None]) -> None:
    while reader.recv(1)[0] != signal.SIGTERM:
        pass
    time.sleep(GRACE)
    last_act()
    os._exit(PreemptedError.exit_code)
