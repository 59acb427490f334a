"""Selectivity on Dask clusters: the bytes of one machine, also when workers die, and errors that say what is wrong."""

import time

import pytest
from clusters import BLOCKS, CHUNK, Recorder, by_worker, digest, run, until
from distributed import Client, LocalCluster
from selecting import executor

from emoscale.errors import InputError, StoreError
from emoscale.selectivity import cluster
from emoscale.selectivity.measures import MEASURES

pytestmark = pytest.mark.slow


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


def test_a_slow_disk_on_a_worker_is_an_error(folder, address, monkeypatch):
    def inference(values, prepared):
        raise TimeoutError("disk")

    by_worker(monkeypatch, inference)
    with pytest.raises(TimeoutError, match="disk"):
        run(folder, scheduler=address)
