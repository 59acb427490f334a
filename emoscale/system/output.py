"""Standard output that may close or fill up without stopping the work behind it."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

_CLOSED = (errno.EPIPE, *((errno.EINVAL,) if sys.platform == "win32" else ()))
"""What a write raises when the reader has left."""


class _Tolerant:
    """A stream whose text is dropped from the first failed write on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_result = True
        self.has_failed = False

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except OSError as error:
            self._drop(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        if error.errno not in _CLOSED:
            self._report(error)
        # Python flushes what it still buffers when it ends; that must not fail either.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def _report(self, error: OSError) -> None:
        self.has_failed = True
        lost = (
            "the result is not shown, or not all of it; print it to a place that has room"
            if self.is_result
            else "no more lines are shown; the work goes on, and its files are not affected"
        )
        with suppress(OSError):
            print(f"emoscale: standard output{_place(self._stream)}: {error.strerror}; {lost}", file=sys.stderr)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _place(stream: TextIO) -> str:
    """Return where a stream goes, in brackets, on systems that say so."""
    with suppress(OSError):
        return f" ({os.readlink(f'/proc/self/fd/{stream.fileno()}')})"
    return ""


def tolerate_failing_output() -> None:
    """Go on when nothing more can be written to standard output.

    That its reader has left (`| head -1`) is nothing to speak of; of any other reason a line on standard error says
    what is not shown.
    """
    if sys.stdout is None:  # closed before the process began
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    else:
        sys.stdout = _Tolerant(sys.stdout)


def results_are_in_files() -> None:
    """Declare that a command has done what it should even if nothing of what it prints can be shown."""
    if isinstance(sys.stdout, _Tolerant):
        sys.stdout.is_result = False


def result_is_lost() -> bool:
    """Whether a result that is only printed could not be, but for a reader that has left; call it at the end."""
    sys.stdout.flush()
    return isinstance(sys.stdout, _Tolerant) and sys.stdout.has_failed and sys.stdout.is_result
