"""Workers of a Dask cluster that are processes of their own, and die or leave."""

import os
import re
import signal
import subprocess
import sys
import threading
import time

import dask
import pytest
from clusters import BLOCKS, CHUNK, Recorder, by_worker, digest, run, until
from distributed import Client, LocalCluster

from emoscale.errors import StageError
from emoscale.selectivity import cluster
from emoscale.selectivity.measures import MEASURES

pytestmark = pytest.mark.slow


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
