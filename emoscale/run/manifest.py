"""What the manifest records of a run and its stages, and the line that is logged of each."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from emoscale import __version__
from emoscale.run.checksums import write_checksums
from emoscale.run.folder import RunFolder
from emoscale.system.files import sha256, write_text
from emoscale.system.progress import Progress, stage_progress

_log = logging.getLogger(__name__)

_LIBRARIES = ("torch", "transformers", "accelerate", "zarr", "dask", "numba", "numpy", "scipy", "pandas")


def new_manifest() -> dict[str, Any]:
    """Return the manifest of a run of which nothing is done."""
    return {"emoscale": __version__, "created": now(), "stages": {}}


def environment() -> dict[str, Any]:
    """Return what results can depend on besides the settings: versions of Python and libraries, and the machine."""
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
        "hardware": {"machine": platform.machine(), "cores": os.cpu_count()},
    }


def do_stage(
    name: str,
    summary: str,
    work: Callable[[Progress], Mapping[str, Any]],
    folder: RunFolder,
    facts: Mapping[str, Any],
    console: Console,
    outputs: Iterable[Path] = (),
) -> None:
    """Do one stage, show its progress, record it in the manifest and log its line.

    Parameters
    ----------
    name : str
    summary : str
        The line, a format of the counts.
    work : callable
        Takes the progress, does the stage, and returns counts for the manifest.
    folder : RunFolder
    facts : mapping
        What the manifest records of the stage besides, while it runs and when it is done.
    console : Console
    outputs : iterable of Path
        What the stage may leave; the files that are there when it is done are listed with their checksums.
    """
    start = time.perf_counter()
    record(folder, name, {"state": "running", "started": now(), **facts})
    _log.debug(f"{name}: begun, settings {facts.get('settings')}")
    with stage_progress(name, console) as progress:
        counts = work(progress)
    wall = time.perf_counter() - start
    made = [path for path in outputs if path.exists()]
    left = {
        "outputs": [path.relative_to(folder.path).as_posix() for path in made],
        "checksums": write_checksums(folder, name, made),
    }
    done = {"state": "done", "wall_s": round(wall, 3), "finished": now(), **facts, "counts": dict(counts), **left}
    record(folder, name, done)
    _log.debug(f"{name}: {dict(counts)}; left {', '.join(left['outputs'])}")
    _log.info(f"{name:<8} {summary.format(**counts)}  [{wall:.1f} s]")


def record(folder: RunFolder, name: str, facts: Mapping[str, Any]) -> None:
    """Replace what the manifest records of a stage."""
    manifest = folder.manifest()
    manifest["stages"][name] = dict(facts)
    folder.write_manifest(manifest)


def write_config(folder: RunFolder, text: str) -> None:
    """Replace the settings as used, and what the manifest records of them.

    Parameters
    ----------
    folder : RunFolder
        With a manifest.
    text : str
        YAML.
    """
    manifest = folder.manifest()
    if manifest.pop("config", None):  # should this be killed in between, nothing wrong is recorded of the file
        folder.write_manifest(manifest)
    write_text(folder.config, text)
    folder.write_manifest(manifest | {"config": f"sha256:{sha256(folder.config)}"})


def forget(folder: RunFolder, names: list[str]) -> None:
    """Remove stages from the manifest."""
    manifest = folder.manifest()
    if manifest:
        manifest["stages"] = {name: facts for name, facts in manifest["stages"].items() if name not in names}
        folder.write_manifest(manifest)


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
