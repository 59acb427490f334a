"""What the manifest says of a stage, and the line that the reader sees of it."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from rich.console import Console

from emoscale.run.folder import RunFolder
from emoscale.system.progress import say, stage_progress

_LIBRARIES = ("torch", "transformers", "accelerate", "zarr", "zarrs", "dask", "numba", "numpy", "scipy", "pandas")


def do_stage(
    stage: str, work: Callable[..., Mapping[str, Any]], folder: RunFolder, console: Console, summary: str
) -> None:
    """Do one stage, show its progress, record it in the manifest and print its line.

    Parameters
    ----------
    stage : str
    work : callable
        Takes the progress, does the stage, and returns counts for the manifest.
    folder : RunFolder
    console : Console
    summary : str
        The line, a format of the counts.
    """
    start = time.perf_counter()
    record(folder, stage, {"state": "running", "started": now()})
    with stage_progress(stage, console) as progress:
        counts = work(progress)
    finish(folder, stage, counts, time.perf_counter() - start, console, summary)


def finish(
    folder: RunFolder, stage: str, counts: Mapping[str, Any], wall: float, console: Console, summary: str
) -> None:
    """Record a stage that is done, after `wall` seconds, and print its line."""
    record(folder, stage, {"state": "done", "wall_s": round(wall, 3), "finished": now(), **counts})
    say(console, f"{stage:<8} {summary.format(**counts)}  [{wall:.1f} s]")


def record(folder: RunFolder, stage: str, facts: dict[str, Any]) -> None:
    """Replace what the manifest says of a stage."""
    manifest = folder.manifest()
    manifest["stages"][stage] = facts
    folder.write_manifest(manifest)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that results can depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
