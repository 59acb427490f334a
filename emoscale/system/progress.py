"""Live progress of each stage with rate and remaining time; without a terminal, a line now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

_log = logging.getLogger(__name__)

FIRST_LINE, LINES_APART = 10.0, 60.0
"""Seconds until a stage without a terminal says how far it is, and between its further lines."""


class Progress(Protocol):
    """Takes the progress of a stage."""

    def start(self, total: int | None, unit: str, done: int = 0) -> None:
        """Set the number of units of work, if it is known, and how many of them an earlier run has done."""

    def advance(self, amount: int = 1) -> None:
        """Add units that are done."""


class Silent:
    """Progress that is not shown: in tests, on ranks other than 0."""

    def start(self, total: int | None, unit: str, done: int = 0) -> None:
        """Do nothing."""

    def advance(self, amount: int = 1) -> None:
        """Do nothing."""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f} {task.fields['unit']}/s" if speed else "", style="progress.data.speed")


class _Line:
    def __init__(self, bars: RichProgress, name: str) -> None:
        self._bars = bars
        self._task = bars.add_task(name, total=None, unit="")

    def start(self, total: int | None, unit: str, done: int = 0) -> None:
        self._bars.update(self._task, total=total, unit=unit, completed=done)

    def advance(self, amount: int = 1) -> None:
        self._bars.update(self._task, advance=amount)


class _Lines:
    """Progress as lines of text, for log files and batch jobs."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.start(None, "")

    def start(self, total: int | None, unit: str, done: int = 0) -> None:
        self._total, self._unit, self._before, self._done = total, unit, done, done
        self._began = time.monotonic()
        self._next = self._began + FIRST_LINE

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        now = time.monotonic()
        if now >= self._next and self._done > self._before:
            self._next = now + LINES_APART
            self._tell(now - self._began)

    def _tell(self, spent: float) -> None:
        rate = (self._done - self._before) / spent if spent else 0.0
        parts = [f"{self._name}: {self._done:,}"]
        if self._total is not None:
            parts.append(f"of {self._total:,}")
        line = f"{' '.join(parts)} {self._unit}"
        if rate:
            line += f", {rate:,.1f} {self._unit}/s"
            if self._total is not None:
                line += f", {duration(max(self._total - self._done, 0) / rate)} left"
        _log.info(line)


def duration(seconds: float) -> str:
    """Write a duration in the unit that suits it.

    Examples
    --------
    >>> duration(3.21), duration(252), duration(5400)
    ('3.2 s', '4.2 min', '1.5 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:,.1f} h"


def say(console: Console, line: str) -> None:
    """Print a line without markup or wrapping: paths may contain brackets, and must not be broken."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def stage_progress(name: str, console: Console) -> Iterator[Progress]:
    """Show how far a stage is while the block runs: a bar in a terminal or notebook, a line a minute elsewhere.

    Parameters
    ----------
    name : str
        The stage.
    console : rich.console.Console

    Yields
    ------
    Progress
    """
    if not (_draws_in_terminal(console) or _draws_in_notebook(console)):
        yield _Lines(name)
        return
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        _Rate(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=console, transient=True) as bars:
        yield _Line(bars, name)


def _draws_in_terminal(console: Console) -> bool:
    # FORCE_COLOR, which notebooks' kernels and CI set, makes Rich take anything for a terminal.
    return not console.is_jupyter and console.file.isatty()


def _draws_in_notebook(console: Console) -> bool:
    return console.is_jupyter and find_spec("ipywidgets") is not None
