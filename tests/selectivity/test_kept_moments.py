"""Selectivity from the moments of cells alone equals that from every row."""

import tracemalloc

import numpy as np
import pytest
from selecting import executor, job, select

from emoscale.errors import InputError, StageError, StoreError
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS, MOMENTS, SELECTIVITY
from emoscale.selectivity.row_measures import ROW_MEASURES
from emoscale.store import create_store, open_store
from emoscale_kernels import empty_moments, merge_moments, update_moments

CONCEPTS, ATTRIBUTES = ["joy", "anger", "fear", "grief"], ["arousal", "valence"]
STORED, REPLICATES = ["envy", *reversed(CONCEPTS)], ["b", "a", "c"]
ROWS, NEURONS = 150, 13
NEVER, SELDOM = 3, 8
FROM_MOMENTS = [name for name, measure in ROW_MEASURES.items() if not measure.needs_rows]
CELLS = [(concept, replicate) for replicate in REPLICATES for concept in STORED]


@pytest.fixture(scope="module")
def scores():
    return np.random.default_rng(1).random((len(CONCEPTS), len(ATTRIBUTES))).round(1)


@pytest.fixture(scope="module")
def cells():
    """Number in `CELLS` of every row."""
    return np.concatenate([np.arange(15), np.random.default_rng(2).integers(0, 15, ROWS - 15)])


@pytest.fixture(scope="module")
def values(cells):
    values = np.random.default_rng(0).normal(size=(ROWS, NEURONS)).astype(np.float32)
    values[:, 2] = 0.5
    values[cells == CELLS.index(("fear", "a")), NEVER] = np.nan
    values[15::2, SELDOM] = np.nan
    return values


def neurons():
    number = np.arange(NEURONS)
    return {"layer": number // 4, "expert": number % 2, "unit": number % 4}


@pytest.fixture
def whole(tmp_path, cells, values):
    folder = RunFolder(tmp_path / "whole")
    folder.path.mkdir()
    number = np.arange(ROWS)
    coordinates = {
        "concept": np.array([CELLS[cell][0] for cell in cells]),
        "replicate": np.array([CELLS[cell][1] for cell in cells]),
        **dict.fromkeys(("item", "position", "token_id"), number),
        **neurons(),
    }
    store = create_store(folder.activations, ACTIVATIONS, coordinates, {"observation": 16, "neuron": 4})
    store.write("activations", values)
    store.mark_complete()
    return folder


def kept(path, cells, values, parts=1, complete=True):
    """Write what is known of the rows once they are summed up in so many parts."""
    folder = RunFolder(path)
    folder.path.mkdir()
    coordinates = {
        "concept": np.array([concept for concept, _ in CELLS]),
        "replicate": np.array([replicate for _, replicate in CELLS]),
        "rows": np.bincount(cells),
        **neurons(),
    }
    moments = empty_moments(len(CELLS), NEURONS)
    for rows in np.array_split(np.arange(ROWS), parts):
        part = empty_moments(len(CELLS), NEURONS)
        update_moments(part, values[rows], cells[rows])
        moments = merge_moments(moments, part)
    store = create_store(folder.moments, MOMENTS, coordinates, {"neuron": 4})
    for name, array in (("mean", moments.mean), ("m2", moments.m2), ("count", moments.counts)):
        store.write(name, array)
    if complete:
        store.mark_complete()
    return folder


def run(folder, scores, **options):
    options = {"permutations": 50, "row_measures": FROM_MOMENTS, **options}
    counts = select(folder, scores, CONCEPTS, ATTRIBUTES, **options)
    selectivity = open_store(folder.selectivity, SELECTIVITY)
    measures = open_store(folder.row_measures)
    arrays = {array.name: selectivity.read(array.name) for array in SELECTIVITY.arrays}
    arrays |= {name: measures.read(name) for name in FROM_MOMENTS}
    return counts, arrays, (selectivity.attributes["origin"], measures.attributes["origin"])


@pytest.mark.parametrize("by", [executor(threads=1), executor(threads=2, block_neurons=4)], ids=str)
def test_equal_moments_give_equal_results(tmp_path, whole, cells, values, scores, by):
    counts, arrays, origins = run(kept(tmp_path / "kept", cells, values), scores, executor=by)
    expected_counts, expected, expected_origins = run(whole, scores)
    assert counts == expected_counts
    assert origins == expected_origins
    assert (counts["absent"], counts["constant"]) == (1, 1)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)


def test_moments_that_were_merged_give_them_but_for_rounding(tmp_path, whole, cells, values, scores):
    _, arrays, _ = run(kept(tmp_path / "kept", cells, values, parts=7), scores)
    _, expected, _ = run(whole, scores)
    for name in ("tau", "p", "rank", "tau_odd", "tau_even", *FROM_MOMENTS):
        np.testing.assert_allclose(arrays[name], expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("splits", [1, 5])
def test_a_block_reads_its_own_neurons_only(tmp_path, cells, values, scores, monkeypatch, splits):
    folder = kept(tmp_path / "kept", cells, values)
    store_class, read = type(open_store(folder.moments, MOMENTS)), []
    usual = store_class.read

    def watched(store, name, **ranges):
        if store.schema.kind == "moments" and name in ("mean", "m2", "count"):
            read.append((name, ranges["neuron"].start, ranges["neuron"].stop))
        return usual(store, name, **ranges)

    monkeypatch.setattr(store_class, "read", watched)
    run(folder, scores, executor=executor(threads=1, block_neurons=splits))
    blocks = [(first, min(first + 4 * -(-splits // 4), NEURONS)) for first in range(0, NEURONS, 4 * -(-splits // 4))]
    assert sorted(read) == sorted((name, *block) for name in ("mean", "m2", "count") for block in blocks)


def test_measures_that_need_ranks_are_refused(tmp_path, cells, values, scores):
    folder = kept(tmp_path / "kept", cells, values)
    with pytest.raises(InputError, match=r"row_measures spearman, auroc: needs every row.* set extraction\.keep"):
        run(folder, scores, row_measures=["mean", "spearman", "auroc"])
    assert not folder.selectivity.exists()


def test_activations_are_taken_where_there_are_both(tmp_path, whole, cells, values, scores):
    _, expected, _ = run(whole, scores)
    kept(tmp_path / "kept", cells, 2 * values).moments.rename(whole.moments)
    _, arrays, _ = run(whole, scores)
    np.testing.assert_array_equal(arrays["mean"], expected["mean"])


def test_a_task_takes_no_more_memory_than_is_counted(tmp_path):
    concepts, generator = [f"concept {c}" for c in range(27)], np.random.default_rng(0)
    coordinates = {
        "concept": np.tile(concepts, 10),
        "replicate": np.repeat([f"seed {r}" for r in range(10)], 27),
        "rows": np.full(270, 9),
        **dict.fromkeys(("layer", "expert", "unit"), np.zeros(4096)),
    }
    store = create_store(tmp_path / "moments.zarr", MOMENTS, coordinates, {"neuron": 512})
    for name in ("mean", "m2", "count"):
        store.write(name, 1 + 8 * generator.random((270, 4096)))
    searchlight = job(store, generator.random((27, 5)), concepts, permutations=8, row_measures=FROM_MOMENTS)
    searchlight(store, 0, 512)
    tracemalloc.start()
    searchlight(store, 0, 2048)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    counted = 2048 * searchlight.neuron_bytes(store)
    assert counted / 3 < peak < counted


def test_unfinished_or_damaged_moments(tmp_path, cells, values, scores):
    with pytest.raises(StageError, match=r"moments\.zarr: not finished; run `emoscale extract`"):
        run(kept(tmp_path / "part", cells, values, complete=False), scores)
    folder = kept(tmp_path / "kept", cells, values)
    file = folder.moments / "m2" / "c" / "0" / "2"
    file.write_bytes(bytes([file.read_bytes()[0] ^ 4]) + file.read_bytes()[1:])
    with pytest.raises(StoreError, match="m2/c/0/2: chunk is damaged"):
        run(folder, scores)
    assert not folder.selectivity.exists()


def test_a_concept_without_a_cell_is_refused(tmp_path, cells, values):
    folder = kept(tmp_path / "kept", cells, values)
    with pytest.raises(InputError, match="concept 'awe' has no activations"):
        select(folder, np.eye(4)[:, :2], ["joy", "anger", "awe", "fear"], ATTRIBUTES)
