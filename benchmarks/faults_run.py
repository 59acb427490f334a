"""Whole runs that are killed: `benchmarks.faults --stage run`.

Every stage is killed as often as any other, by one process and by two in turns: at a random moment of its time, one
rank first. Then `emoscale run` continues to the end, and every file is compared with those of an undisturbed run, but
for those that say when they were written; nothing else may be there.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.faults_job import environment, job_of, kill, wait_for
from benchmarks.faults_stages import make_run_config
from emoscale.config import load_settings
from emoscale.pipeline.stage import stages_of_run
from emoscale.pipeline.stages import STAGES
from emoscale.run.folder import RunFolder

DATED = {"manifest.json", "report.html", "checksums/report.txt"}
"""Files that say when, and how long something took."""
PROCESSES = (1, 2)
TRIES = 5
"""How often a kill is tried at most, until it is in its stage."""


def kill_runs(kills: int, chance: random.Random) -> dict[str, Any]:
    """Kill so many runs within a stage and continue each; return the numbers.

    A run whose stage had ended when it was to be killed, for it took less time than before, is killed again, earlier.
    """
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as path:
        config = make_run_config(Path(path))
        stages = stages_of_run(STAGES, load_settings(config))
        before, seconds = _undisturbed(config, stages, Path(path))
        expected, folder = _files(before[-1]), RunFolder(Path(path) / "disturbed")
        found = {"kills": 0, "identical": 0, "of_two_processes": 0, **{f"in_{stage}": 0 for stage in stages}}
        for trial in range(kills):
            stage, processes = stages[trial % len(stages)], PROCESSES[trial // len(stages) % len(PROCESSES)]
            job = job_of("run", config, folder, processes)
            for _ in range(TRIES):
                shutil.rmtree(folder.path, ignore_errors=True)
                shutil.copytree(before[stages.index(stage)].path, folder.path)
                moment = chance.random() * seconds[stage]
                rank = kill(stage, job, folder, moment, chance)
                is_midway = folder.stage(stage).get("state") == "running"
                differing = _continue(job, folder, expected)
                found["kills"] += 1
                found["identical"] += not differing
                found["of_two_processes"] += processes == 2
                found[f"in_{stage}"] += is_midway
                print(
                    f"kill {trial + 1} of {kills}: rank {rank} of {processes}, {stage} after {moment:.2f} s"
                    f"{'' if is_midway else ' (it had ended)'}; continued: "
                    f"{f'DIFFERENT: {differing[:5]}' if differing else 'identical'}",
                    flush=True,
                )
                if is_midway:
                    break
                seconds[stage] = moment
    return {**found, "seconds": time.perf_counter() - begin, "files": len(expected)}


def _continue(job: list[str], folder: RunFolder, expected: dict[str, bytes]) -> list[str]:
    """Continue a run to its end; return the files that are not as expected."""
    subprocess.run(job, check=True, stdout=subprocess.DEVNULL, env=environment())
    there = _files(folder)
    return sorted(name for name in there.keys() | expected if there.get(name) != expected.get(name))


def _undisturbed(config: Path, stages: list[str], path: Path) -> tuple[list[RunFolder], dict[str, float]]:
    """Do a run stage by stage; return how it was before each stage and at the end, and the seconds of each."""
    before, seconds = [RunFolder(path / "before-0")], {}
    before[0].path.mkdir()
    for number, stage in enumerate(stages):
        folder = RunFolder(path / f"before-{number + 1}")
        shutil.copytree(before[-1].path, folder.path)
        job = subprocess.Popen(job_of(stage, config, folder, 1), stdout=subprocess.DEVNULL, env=environment())
        wait_for(stage, folder, job, "running")
        start = time.perf_counter()
        wait_for(stage, folder, job, "done")
        seconds[stage] = time.perf_counter() - start
        if job.wait():
            raise SystemExit(f"the undisturbed {stage} failed")
        before.append(folder)
    return before, seconds


def _files(folder: RunFolder) -> dict[str, bytes]:
    """Return every file's content; of those that are dated, nothing but that they are there."""
    files = {file.relative_to(folder.path).as_posix(): file for file in folder.path.rglob("*") if file.is_file()}
    return {name: b"" if name in DATED else file.read_bytes() for name, file in files.items()}
