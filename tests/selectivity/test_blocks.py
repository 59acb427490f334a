"""How many neurons a task takes, and what memory that is."""

import tracemalloc
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selecting import job

from emoscale.errors import InputError, StageError
from emoscale.schema import ACTIVATIONS
from emoscale.selectivity.executor import Capacity, block_ranges, block_tasks, neurons_per_task
from emoscale.store import create_store, open_store

MIB = 2**20


def pretend_store(neurons, chunk):
    return SimpleNamespace(schema=ACTIVATIONS, chunks=lambda _: (1, chunk), sizes={"neuron": neurons})


@dataclass
class PretendJob:
    bytes: int
    splits_chunks: bool = False

    def neuron_bytes(self, store):
        return self.bytes


@given(
    neurons=st.integers(1, 10**7),
    chunk=st.integers(1, 5000),
    bytes_=st.integers(1, 10**6),
    splits=st.booleans(),
    threads=st.integers(1, 128),
    processes=st.integers(1, 64),
    limit=st.integers(1, 10**12),
    block=st.none() | st.integers(1, 10**6),
)
def test_within_the_limit_and_enough_tasks(neurons, chunk, bytes_, splits, threads, processes, limit, block):
    store, pretend, chunk = pretend_store(neurons, chunk), PretendJob(bytes_, splits), min(chunk, neurons)
    options = {"memory_limit": limit, "block_neurons": block}
    try:
        taken = neurons_per_task(store, pretend, Capacity(processes, threads, 1), **options)
    except InputError as error:
        (problem,) = error.problems
        enough = int(problem.split("set it to ")[1].split(" or more")[0].replace(",", ""))
        assert enough > limit
        options["memory_limit"] = limit = enough
        taken = neurons_per_task(store, pretend, Capacity(processes, threads, 1), **options)
        assert taken == (1 if splits else chunk)
    assert taken * threads * bytes_ <= limit
    assert taken % chunk == 0 or (splits and taken < chunk)
    if taken >= chunk:
        tasks, columns = -(-neurons // taken), -(-neurons // chunk)
        if block is None:
            assert tasks >= min(columns, 4 * threads * processes)
        else:
            assert taken < block + chunk


@given(neurons=st.integers(1, 500), chunk=st.integers(1, 50), data=st.data())
def test_blocks_cover_the_neurons_and_no_chunk_is_in_two_of_several_chunks(neurons, chunk, data):
    block = data.draw(st.integers(1, chunk) | st.integers(1, 5).map(lambda times: times * chunk))
    ranges = block_ranges(pretend_store(neurons, chunk), block)
    assert [neuron for start, stop in ranges for neuron in range(start, stop)] == list(range(neurons))
    for start, stop in ranges:
        assert stop - start <= block
        assert start // chunk == (stop - 1) // chunk or start % chunk == 0


def test_a_limit_that_no_chunk_fits_is_refused_with_numbers():
    with pytest.raises(InputError, match=r"memory_limit: 1,000,000 .* 1,024 neurons \(2,000 .* 2 threads; .*4,096,000"):
        neurons_per_task(pretend_store(5000, 1024), PretendJob(2000), Capacity(1, 2, 0), 1_000_000, None)


def test_without_a_limit_a_quarter_of_the_memory_is_taken():
    taken = neurons_per_task(pretend_store(10**6, 1000), PretendJob(2000), Capacity(1, 1, 4 * 2000 * 7000), None, None)
    assert taken == 7000


CONCEPTS = [f"concept {c}" for c in range(27)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """270 observations x 4,096 neurons."""
    number, neurons = np.arange(270), np.arange(4096)
    coordinates = {
        "concept": np.array(CONCEPTS)[number % 27],
        "replicate": (number // 27).astype(str),
        **dict.fromkeys(("item", "position", "token_id"), number),
        **dict.fromkeys(("layer", "expert", "unit"), neurons),
    }
    path = tmp_path_factory.mktemp("store") / "x.zarr"
    store = create_store(path, ACTIVATIONS, coordinates, {"observation": 128, "neuron": 512})
    store.write("activations", np.random.default_rng(0).normal(size=(270, 4096)))
    return open_store(path, ACTIVATIONS)


def test_a_task_takes_no_more_memory_than_is_counted(store):
    scores = np.random.default_rng(1).random((27, 5))
    searchlight = job(store, scores, CONCEPTS, permutations=8)
    limit = 60 * MIB
    block = neurons_per_task(store, searchlight, Capacity(1, 1, 0), limit, 4096)
    assert 1024 <= block < 4096
    task = block_tasks(store, searchlight, block_ranges(store, block))[0]
    task.compute(scheduler="sync")
    tracemalloc.start()
    task.compute(scheduler="sync")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert limit / 3 < peak < limit


def test_a_worker_that_does_not_see_the_folder_says_so(store, tmp_path):
    (task,) = block_tasks(store, PretendJob(1), block_ranges(store, 4096))
    away = store.path.rename(tmp_path / "away.zarr")
    try:
        with pytest.raises(StageError, match=r"x\.zarr: a worker does not see it"):
            task.compute(scheduler="sync")
    finally:
        away.rename(store.path)
