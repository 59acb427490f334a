"""Starting the jobs that `benchmarks.faults` kills, waiting for what they do, and killing them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from emoscale.run.folder import RunFolder

POLL = 0.005


def command(stage: str, config: Path, folder: RunFolder) -> list[str]:
    return [sys.executable, "-m", "emoscale", stage, str(config), "--out", str(folder.path)]


def job_of(stage: str, config: Path, folder: RunFolder, processes: int) -> list[str]:
    """Return the command of a stage, or of a whole run, by so many processes."""
    python, *rest = command(stage, config, folder)
    if processes == 1:
        return [python, *rest]
    return [python, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), *rest]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}


def kill(stage: str, command: list[str], folder: RunFolder, moment: float, chance: random.Random) -> int:
    """Start a job, wait for a moment of a stage, kill a rank, and a little later the rest; return the rank."""
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    wait_for(stage, folder, job, "running")
    time.sleep(moment)
    launched = "torch.distributed.run" in command
    ranks = psutil.Process(job.pid).children() if launched and job.poll() is None else []
    number = chance.randrange(max(1, len(ranks)))
    if ranks:
        end(ranks[number])
        time.sleep(chance.random() * 0.2)
    for process in (*ranks, job):
        end(process)
    job.wait()
    psutil.wait_procs(ranks, timeout=30)
    return number


def end(process: psutil.Process | subprocess.Popen[bytes]) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGKILL)


def wait_for(stage: str, folder: RunFolder, job: subprocess.Popen[bytes], state: str) -> None:
    while job.poll() is None and folder.stage(stage).get("state") != state:
        time.sleep(POLL)
