"""Many planted models, one after the other in every process; what was recorded stays."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.planted_record import Job, keep_few_tables, record

MEMORY = Path("/dev/shm")  # noqa: S108
"""Folder in memory, where there is one: the files of a run are small and many."""
TELL_EVERY = 10


Do = Callable[[Job, Sequence[int], Path], dict[str, Any]]
"""From a model, numbers and a folder for its files to the record, see `record`."""


def run_jobs(
    jobs: Sequence[Job], draws: Sequence[int], file: Path, processes: int, do: Do = record
) -> list[dict[str, Any]]:
    """Run the models that have no record yet; return the records of all.

    Parameters
    ----------
    jobs : sequence of Job
    draws : sequence of int
        Numbers of permuted masks.
    file : Path
        Where records are and to which new ones are appended as they come.
    processes : int
    do : callable
    """
    done = read_records(file)
    todo = [job for job in jobs if job.key not in done]
    start = time.perf_counter()
    with file.open("a", encoding="utf-8") as records:
        for number, found in enumerate(_results(todo, draws, processes, do), 1):
            records.write(json.dumps(found) + "\n")
            records.flush()
            if number % TELL_EVERY == 0 or number == len(todo):
                each = (time.perf_counter() - start) / number
                print(f"{number} of {len(todo)} models, {each:.1f} s each, {each * (len(todo) - number):.0f} s to go")
    asked = {job.key for job in jobs}
    return [one for key, one in read_records(file).items() if key in asked]


def read_records(file: Path) -> dict[str, dict[str, Any]]:
    """Read finished records by the job's key; a line that was cut off does not count."""
    found: dict[str, dict[str, Any]] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            one = json.loads(line)
        except ValueError:
            continue
        found[Job(**one["job"]).key] = one
    return found


def _results(todo: Sequence[Job], draws: Sequence[int], processes: int, do: Do) -> Iterator[dict[str, Any]]:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn, initializer=_prepare) as pool:
        waiting = {pool.submit(_record, job, draws, do) for job in todo}
        for future in as_completed(waiting):
            yield future.result()


def _prepare() -> None:
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    keep_few_tables()


def _record(job: Job, draws: Sequence[int], do: Do) -> dict[str, Any]:
    folder = MEMORY if MEMORY.is_dir() else Path(tempfile.gettempdir())
    return do(job, draws, folder)
