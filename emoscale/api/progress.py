"""Progress of calls from Python: a bar in a notebook or terminal, else lines of the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from emoscale.system.logs import logging_unless_routed
from emoscale.system.progress import Progress, stage_progress


@contextmanager
def shown(name: str) -> Iterator[Progress]:
    """Show on standard error how far a call is while the block runs, or where a program has routed the log."""
    console = Console(stderr=True)
    with logging_unless_routed(console), stage_progress(name, console) as progress:
        yield progress
