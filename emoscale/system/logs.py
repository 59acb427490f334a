"""Where the lines that work writes while it runs go: the terminal, a file, or wherever a program routes them.

They go through the `logging` module, under the name ``emoscale``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from emoscale.errors import InputError

LOGGER = "emoscale"

_FILE_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class ConsoleHandler(logging.Handler):
    """Writes messages as people read them, above a bar that is shown."""

    def __init__(self, console: Console, level: int) -> None:
        super().__init__(level)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message: paths in it may contain brackets, and must not be broken."""
        try:
            text = self.format(record)
            before = "warning: " if record.levelno >= logging.WARNING else ""
            self._console.print(before + text, markup=False, highlight=False, soft_wrap=True)
        except Exception:
            self.handleError(record)


@contextmanager
def logging_to(console: Console, level: int = logging.INFO, file: Path | None = None) -> Iterator[None]:
    """Write messages to a console, and all of them to a file, while the block runs.

    Parameters
    ----------
    console : rich.console.Console
    level : int
        The least important messages that the console gets, as in `logging`.
    file : path, optional
        What is there is kept; lines with time and level are added. An exception that ends the block is written too.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    handlers: list[logging.Handler] = [ConsoleHandler(console, level)]
    if file is not None:
        handlers.append(_file_handler(file))
    logger = logging.getLogger(LOGGER)
    before = logger.level
    logger.setLevel(min(handler.level for handler in handlers))
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    except BaseException:
        logger.debug("ended by", exc_info=True)
        raise
    finally:
        logger.setLevel(before)
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()


@contextmanager
def logging_unless_routed(console: Console) -> Iterator[None]:
    """Write messages to a console while the block runs, unless a program has said where they go."""
    if logging.getLogger(LOGGER).hasHandlers():
        yield
        return
    with logging_to(console):
        yield


def _file_handler(file: Path) -> logging.Handler:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(file, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InputError(f"--log-file {file}: cannot be written ({error.strerror}); choose another") from None
    handler.setLevel(logging.DEBUG)
    handler.setFormatter(logging.Formatter(_FILE_FORMAT))
    return handler
