"""Selectivity on Dask clusters: the bytes of one machine, also when workers die, and errors that say what is wrong."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster
from selecting import executor, select

from emoscale.errors import InputError, StageError, StoreError
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS
from emoscale.selectivity import cluster
from emoscale.selectivity.measures import MEASURES
from emoscale.store import create_store
from emoscale.system.progress import Silent

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
JOBS = ROOT / "configs" / "cluster" / "jobqueue.yaml"
CONCEPTS, ATTRIBUTES, REPLICATES, NEURONS, CHUNK = ["joy", "anger", "fear", "grief"], ["arousal", "valence"], 2, 48, 3
BLOCKS = NEURONS // CHUNK
SCORES = np.random.default_rng(1).random((len(CONCEPTS), len(ATTRIBUTES)))


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    rows = len(CONCEPTS) * REPLICATES
    coordinates = {
        "concept": np.repeat(CONCEPTS, REPLICATES),
        "replicate": np.tile(["1", "3"], len(CONCEPTS)),
        "item": np.zeros(rows),
        "position": np.zeros(rows),
        "token_id": np.zeros(rows),
        "layer": np.zeros(NEURONS),
        "expert": np.full(NEURONS, -1),
        "unit": np.arange(NEURONS),
    }
    store = create_store(folder.activations, ACTIVATIONS, coordinates, {"neuron": CHUNK})
    store.write("activations", np.random.default_rng(0).normal(size=(rows, NEURONS)))
    store.mark_complete()
    return folder


def run(folder, progress=None, **machine):
    by = executor(block_neurons=CHUNK, **machine)
    return select(folder, SCORES, CONCEPTS, ATTRIBUTES, permutations=20, executor=by, progress=progress)


def digest(path):
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture
def expected(folder):
    """Give the digest of what threads write, and the folder as it was before."""
    run(folder, threads=2)
    expected = digest(folder.selectivity)
    folder.selectivity.rename(folder.path / "by-threads")
    return expected


def by_worker(monkeypatch, inference):
    """Let the workers compute with another function, which is sent to them as it is."""
    permuted = lambda values, **prepared: inference(values, prepared)  # noqa: E731
    monkeypatch.setitem(MEASURES, "kendall", replace(MEASURES["kendall"], permuted=permuted))


class Recorder(Silent):
    """Progress that does something when the first block is done."""

    def __init__(self, first=lambda: None):
        self.first, self.steps = first, []

    def advance(self, amount=1):
        self.steps.append(amount)
        if len(self.steps) == 1:
            self.first()


def until(condition, patience=60):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.02)


# Tests of a running cluster: its one worker is a thread here, but all that is sent is pickled.


@pytest.fixture(scope="module")
def address():
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", dashboard_address=":0"
    ) as running:
        yield running.scheduler_address


def test_a_running_cluster_gives_the_same_bytes(folder, expected, address):
    progress = Recorder()
    run(folder, progress, scheduler=address)
    assert digest(folder.selectivity) == expected
    assert progress.steps == [CHUNK] * BLOCKS


@pytest.mark.parametrize("on_cluster", [False, True])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.write_bytes(bytes([file.read_bytes()[0] ^ 4]) + file.read_bytes()[1:]), "is damaged"),
        (lambda file: file.unlink(), "is missing"),
    ],
)
def test_a_damaged_chunk_is_named_and_nothing_is_written(folder, address, on_cluster, damage, said):
    file = folder.activations / "activations" / "c" / "0" / "7"
    damage(file)
    with pytest.raises(StoreError) as caught:
        run(folder, scheduler=address if on_cluster else None)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{file}: chunk {said}")
    assert caught.value.exit_code == 1
    assert not folder.selectivity.exists()


def test_ctrl_c_cancels_the_tasks(folder, address, monkeypatch):
    usual = MEASURES["kendall"].permuted
    by_worker(monkeypatch, lambda values, prepared: (time.sleep(0.2), usual(values, **prepared))[1])

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, Recorder(interrupt), scheduler=address)
    assert not folder.selectivity.exists()
    with Client(address, set_as_default=False) as watcher:
        until(lambda: not watcher.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks)), 10)


def test_another_version_on_the_workers(folder, address, monkeypatch):
    monkeypatch.setattr(cluster, "__version__", "9.9")
    with pytest.raises(InputError, match=r"no emoscale 9\.9 at tcp://.*, the scheduler; start .* same environment"):
        run(folder, scheduler=address)
    assert not folder.selectivity.exists()


def test_the_workers_memory_bounds_the_tasks(folder, address):
    with pytest.raises(InputError, match=r"machine\.memory_limit: 500 bytes .* for each of 2 threads"):
        run(folder, scheduler=address, memory_limit=500)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense", "http://127.0.0.1:80", "tcp://127.0.0.1:x"])
def test_no_scheduler_at_the_address(folder, monkeypatch, address, capfd):
    monkeypatch.setattr(cluster, "_SCHEDULER_ANSWERS_IN", "0.2s")
    with pytest.raises(InputError, match=r"^scheduler .*: no Dask scheduler answers \(.*\); start it first$"):
        run(folder, scheduler=address)
    assert not folder.selectivity.exists()
    assert capfd.readouterr() == ("", "")


def test_two_clusters_at_once_or_an_unknown_one():
    with pytest.raises(ValueError, match="keep one of them"):
        executor(scheduler="tcp://127.0.0.1:1", cluster="slurm")
    with pytest.raises(InputError, match="cluster 'pbs': unknown"):
        executor(cluster="pbs")


# Tests of workers that are processes of their own, and die.


@pytest.fixture
def scheduler():
    """Give a scheduler without workers; the first death of a block's worker is one too many."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=0, processes=False, protocol="tcp", dashboard_address=":0") as running,
    ):
        yield running


@pytest.fixture
def start_worker(tmp_path):
    """Start workers as they are on a real cluster: they are not restarted."""
    started = []

    def call(address):
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny", "--no-dashboard"]
        options = ["--nthreads", "1", "--local-directory", str(tmp_path / "scratch")]
        with (tmp_path / "workers.log").open("a") as log:
            started.append(subprocess.Popen([*command, *options], stdout=log, stderr=log))
        return started[-1]

    yield call
    for worker in started:
        worker.kill()
        worker.wait()


def gated(folder, free):
    """Compute as usual; but after some blocks, a process waits until a file called `open` appears."""
    usual = MEASURES["kendall"].permuted

    def inference(values, prepared):
        me = os.getpid()
        done = len(list(folder.glob(f"{me}-done-*")))
        if done >= free:
            (folder / f"{me}-waits").touch()
            while not (folder / "open").exists():
                time.sleep(0.02)
        result = usual(values, **prepared)
        (folder / f"{me}-done-{done}").touch()
        return result

    return inference


def test_killing_one_of_two_workers_changes_nothing(folder, expected, scheduler, start_worker, tmp_path, monkeypatch):
    gate = tmp_path / "gate"
    gate.mkdir()
    by_worker(monkeypatch, gated(gate, free=4))
    scheduler.scheduler.allowed_failures = 3
    victim, _ = (start_worker(scheduler.scheduler_address) for _ in range(2))

    def kill():
        # Meanwhile nothing is fetched: what the victim has finished, it alone holds.
        until(lambda: len(list(gate.glob("*-waits"))) == 2)
        with Client(scheduler.scheduler_address, set_as_default=False) as watcher:
            pids = watcher.run(os.getpid)
            (address,) = (where for where, pid in pids.items() if pid == victim.pid)
            until(lambda: sum(key.startswith("_block") for key in watcher.has_what()[address]) >= 3)
            assert (gate / f"{victim.pid}-waits").exists()
            os.kill(victim.pid, signal.SIGKILL)
            victim.wait()
            until(lambda: address not in watcher.has_what())
        (gate / "open").touch()

    with Client(scheduler.scheduler_address, set_as_default=False) as watcher:
        watcher.wait_for_workers(2, timeout=60)
    progress = Recorder(kill)
    run(folder, progress, scheduler=scheduler.scheduler_address)
    assert digest(folder.selectivity) == expected
    assert progress.steps == [CHUNK] * BLOCKS
    assert len(list(gate.glob("*-done-*"))) >= BLOCKS + 3  # those that were lost were computed again


def test_a_block_that_kills_its_workers_is_named(folder, scheduler, start_worker, monkeypatch):
    by_worker(monkeypatch, lambda values, prepared: os.kill(os.getpid(), signal.SIGKILL))
    start_worker(scheduler.scheduler_address)
    with pytest.raises(StageError) as caught:
        run(folder, scheduler=scheduler.scheduler_address)
    (problem,) = caught.value.problems
    assert re.fullmatch(
        rf"scheduler {scheduler.scheduler_address}: workers died of neurons \d+ to \d+ \(1 in all\), most likely "
        "for lack of memory; set a smaller machine.memory_limit, or give workers more, then the same command continues",
        problem,
    )
    assert not folder.selectivity.exists()


def test_a_cluster_that_gets_no_workers(folder, scheduler, monkeypatch):
    monkeypatch.setattr(cluster, "_PATIENCE", 0.3)
    monkeypatch.setattr(cluster, "_LOOK_AFTER", 0.1)
    with pytest.raises(StageError, match=r"no worker for .* minutes; start some, then "):
        run(folder, scheduler=scheduler.scheduler_address)
    assert not folder.selectivity.exists()


def test_a_cluster_that_loses_its_workers_or_its_scheduler(folder, monkeypatch):
    monkeypatch.setattr(cluster, "_PATIENCE", 0.3)
    monkeypatch.setattr(cluster, "_LOOK_AFTER", 0.1)
    usual = MEASURES["kendall"].permuted
    by_worker(monkeypatch, lambda values, prepared: (time.sleep(0.1), usual(values, **prepared))[1])
    one = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "protocol": "tcp", "dashboard_address": ":0"}
    with LocalCluster(**one) as running, pytest.raises(StageError, match="no worker for"):
        run(folder, Recorder(lambda: running.scale(0)), scheduler=running.scheduler_address)
    with (
        LocalCluster(**one) as running,
        pytest.raises(StageError, match=r"is gone, or .*; start it again"),
    ):
        run(folder, Recorder(running.close), scheduler=running.scheduler_address)
    assert not folder.selectivity.exists()


def test_workers_may_be_gone_for_a_while(folder, expected, monkeypatch):
    monkeypatch.setattr(cluster, "_LOOK_AFTER", 0.05)
    usual = cluster.Cluster.capacity

    def long_ago(self):
        capacity = usual(self)
        self._last_seen -= 2 * cluster._PATIENCE  # a long time without a look, as all goes well
        return capacity

    monkeypatch.setattr(cluster.Cluster, "capacity", long_ago)
    inference = MEASURES["kendall"].permuted
    by_worker(monkeypatch, lambda values, prepared: (time.sleep(0.05), inference(values, **prepared))[1])
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=":0"
    ) as running:

        def leave():
            running.scale(0)
            threading.Timer(0.5, running.scale, [1]).start()

        run(folder, Recorder(leave), scheduler=running.scheduler_address)
    assert digest(folder.selectivity) == expected


def test_a_slow_disk_on_a_worker_is_an_error(folder, address, monkeypatch):
    def inference(values, prepared):
        raise TimeoutError("disk")

    by_worker(monkeypatch, inference)
    with pytest.raises(TimeoutError, match="disk"):
        run(folder, scheduler=address)


# Tests of a cluster of SLURM jobs, with substitutes of SLURM's commands.

SBATCH = """#!/bin/sh
if [ "$1" = --test-only ]; then
    [ ! -e "{folder}/refuse" ] || {{ echo "sbatch: error: invalid partition" >&2; exit 1; }}
    exit 0
fi
cp "$1" "{folder}/job-$$.sh"
setsid sh "{folder}/job-$$.sh" >"{folder}/job-$$.log" 2>&1 &
echo "$!" >>"{folder}/submitted"
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
echo "$1" >>"{folder}/cancelled"
kill -KILL "-$1"
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Give a folder with `sbatch` and `scancel`, which run jobs here, each as a group of processes."""
    pytest.importorskip("dask_jobqueue")
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, script in {"sbatch": SBATCH, "scancel": SCANCEL}.items():
        (folder / name).write_text(script.format(folder=folder))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    small = {"cores": 1, "memory": "2 GB", "processes": 1, "local-directory": str(folder / "scratch")}
    with dask.config.set({f"jobqueue.slurm.{key}": value for key, value in small.items()}):
        yield folder


def test_slurm_jobs_are_submitted_again_and_cancelled_in_the_end(folder, expected, slurm, monkeypatch):
    monkeypatch.setattr(cluster, "_LOOK_AFTER", 0.5)
    usual, lost = MEASURES["kendall"].permuted, slurm / "lost"

    def inference(values, prepared):
        if not lost.exists():
            lost.touch()
            os.killpg(os.getpgrp(), signal.SIGKILL)
        return usual(values, **prepared)

    by_worker(monkeypatch, inference)
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "0.2s"}):
        run(folder, cluster="slurm", workers=1)
    assert digest(folder.selectivity) == expected
    submitted = (slurm / "submitted").read_text().split()
    assert len(submitted) == 2
    assert set(submitted) == set((slurm / "cancelled").read_text().split())


def test_slurm_refuses_the_job(folder, slurm):
    (slurm / "refuse").touch()
    with pytest.raises(InputError, match=r"refuses the jobs \(sbatch: error: invalid partition\); correct .*jobqueue"):
        run(folder, cluster="slurm")
    assert not (slurm / "submitted").exists()
    assert not folder.selectivity.exists()


def test_slurm_jobs_that_nobody_described(folder, slurm):
    with dask.config.set({"jobqueue.slurm.cores": None}), pytest.raises(InputError) as caught:
        run(folder, cluster="slurm")
    (problem,) = caught.value.problems
    assert problem.startswith("cluster slurm: dask-jobqueue cannot describe a job (You must specify how much cores")
    assert problem.endswith("write ~/.config/dask/jobqueue.yaml, configs/cluster/jobqueue.yaml shows how")


def test_what_slurm_lacks_is_named(folder, slurm, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "dask_jobqueue.slurm", None)
        with pytest.raises(InputError, match=r"needs dask-jobqueue; pip install 'emoscale\[cluster\]'"):
            run(folder, cluster="slurm")
    monkeypatch.setenv("PATH", str(folder.path))
    with pytest.raises(InputError, match="no sbatch"):
        run(folder, cluster="slurm")


def test_the_config_that_is_shown_describes_a_job():
    pytest.importorskip("dask_jobqueue")
    first = JOBS.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(f"# DASK_CONFIG={JOBS.relative_to(ROOT)} emoscale run configs/demo.yaml --set ")
    code = "from emoscale.selectivity.cluster import make_slurm\nwith make_slurm() as jobs: print(jobs.job_script())"
    environment = {**os.environ, "DASK_CONFIG": str(JOBS)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    script = done.stdout.splitlines()
    for line in ("-J emoscale", "-p compute", "--cpus-per-task=16", "--mem=30G", "-t 04:00:00"):
        assert f"#SBATCH {line}" in script
    (command,) = (line for line in script if "dask_worker" in line)
    assert command.startswith(f"{sys.executable} -m distributed.cli.dask_worker tcp://")
    assert "--nthreads 16 --memory-limit 29.80GiB" in command
