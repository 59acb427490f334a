"""Extraction into a folder, with defaults where a test has no opinion."""

from __future__ import annotations

from typing import Any

from emoscale.extraction.extract import extract
from emoscale.extraction.inputs import Rows
from emoscale.extraction.options import ExtractionOptions
from emoscale.extraction.work import Job
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS
from emoscale.store import Store, open_store
from emoscale.system.progress import Progress, Silent
from emoscale.system.ranks import one_process

_OF_JOB = ("origin", "concepts", "writers", "repair")


def extract_rows(path, rows: Rows, progress: Progress | None = None, **changes: Any) -> dict[str, int]:
    """Extract rows into a run folder; `changes` are the job's fields and the options'."""
    job = {"origin": {}, "concepts": (), "writers": 2} | {
        name: changes.pop(name) for name in _OF_JOB if name in changes
    }
    options = ExtractionOptions(**changes)
    return extract(RunFolder(path), rows, options, job=Job(**job), ranks=one_process(), progress=progress or Silent())


def activations_of(path) -> Store:
    """Open the activations of a run folder."""
    return open_store(RunFolder(path).activations, ACTIVATIONS)
