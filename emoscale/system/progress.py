"""Live progress: one line a stage with rate and time left, quiet when nobody watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text


class Progress(Protocol):
    """What a stage tells of its advance."""

    def start(self, total: int | None, unit: str, done: int = 0) -> None:
        """Say how many units of work there are, if it is known, and how many were done by an earlier run."""

    def advance(self, amount: int = 1) -> None:
        """Say that some more units are done."""


class Silent:
    """Progress that nobody watches: in tests, in notebooks, on ranks other than 0."""

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


def say(console: Console, line: str) -> None:
    """Print a line as it is: paths in it may hold brackets, and must stay in one piece."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def stage_progress(name: str, console: Console) -> Iterator[Progress]:
    """Show one stage's line while the block runs, if `console` is a terminal.

    Parameters
    ----------
    name : str
        The stage.
    console : rich.console.Console

    Yields
    ------
    Progress
    """
    if not console.is_terminal:
        yield Silent()
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
