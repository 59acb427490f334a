"""Standard output that may close or fill up without stopping the work behind it."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO


class _Tolerant:
    """A stream whose text is dropped from the first failed write on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except OSError:
            self._drop()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._drop()

    def _drop(self) -> None:
        # Python flushes what it still buffers when it ends; that must not fail either.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def tolerate_closed_output() -> None:
    """Go on silently when the reader of standard output leaves (`| head -1`), or when nothing can be written there."""
    if sys.stdout is None:  # closed before the process began
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    else:
        sys.stdout = _Tolerant(sys.stdout)
