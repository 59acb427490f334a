"""Measures over rows, from a store with many rows a concept, against the plain versions."""

import numpy as np
import pytest
import slow_twins
from selecting import executor, select

from emoscale.errors import StoreError
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS, SELECTIVITY
from emoscale.selectivity import reading
from emoscale.selectivity.row_measures import ROW_MEASURES
from emoscale.store import create_store, open_store
from emoscale.store.bfloat16 import bfloat16_bits, from_bfloat16_bits

CONCEPTS, ATTRIBUTES = ["joy", "anger", "fear", "grief"], ["arousal", "valence"]
ROWS, NEURONS = 93, 11


@pytest.fixture(scope="module")
def scores():
    return np.random.default_rng(1).random((len(CONCEPTS), len(ATTRIBUTES))).round(1)


@pytest.fixture(scope="module")
def concepts():
    return np.random.default_rng(2).choice([*CONCEPTS, "envy"], ROWS)


def values_of(dtype):
    values = np.random.default_rng(0).normal(size=(ROWS, NEURONS))
    values[:, 1] = values[:, 1].round()
    values[:, 2] = 0.5
    return values.astype(dtype)


def make(path, concepts, values, chunks=(16, 4), dtype=None):
    folder = RunFolder(path)
    path.mkdir(exist_ok=True)
    number, neurons = np.arange(ROWS), np.arange(NEURONS)
    coordinates = {
        "concept": concepts,
        "replicate": np.where(number % 3 == 0, "a", "b"),
        **{"item": number, "position": number * 0, "token_id": number},
        **{"layer": neurons, "expert": neurons * 0 - 1, "unit": neurons},
    }
    sizes = {"observation": chunks[0], "neuron": chunks[1]}
    dtypes = {"activations": dtype or str(values.dtype)}
    store = create_store(folder.activations, ACTIVATIONS, coordinates, sizes, dtypes=dtypes)
    store.write("activations", values)
    store.mark_complete()
    return folder


def measure(folder, scores, **options):
    options = {"inference": "asymptotic", "row_measures": list(ROW_MEASURES), **options}
    select(folder, scores, CONCEPTS, ATTRIBUTES, **options)
    store = open_store(folder.row_measures)
    return {array.name: store.read(array.name) for array in store.schema.data}


def absent_of(concepts):
    """Where neurons are absent: some in some rows, one in a whole concept, one in all concepts asked for."""
    absent = np.random.default_rng(3).random((ROWS, NEURONS)) < 0.3
    absent[:, :3] = False
    absent[:, 5] |= concepts == "fear"
    absent[:, 6] = concepts != "envy"
    return absent


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:Degrees of freedom", "ignore:invalid value")
@pytest.mark.parametrize("with_absent", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_every_measure_equals_its_twin(tmp_path, concepts, scores, dtype, with_absent):
    values = values_of(dtype)
    values[absent_of(concepts) & with_absent] = np.nan
    found = measure(make(tmp_path / "run", concepts, values), scores)
    used = np.isin(concepts, CONCEPTS)
    label = np.array([CONCEPTS.index(name) for name in concepts[used]])
    for n, x in enumerate(values[used].astype(np.float64).T):
        for c in range(len(CONCEPTS)):
            mine = x[(label == c) & ~np.isnan(x)]
            np.testing.assert_allclose(found["mean"][n, c], mine.mean(), rtol=1e-12, atol=1e-15)
            np.testing.assert_allclose(found["variance"][n, c], mine.var(), rtol=1e-12, atol=1e-15)
            np.testing.assert_allclose(found["auroc"][n, c], slow_twins.auroc(x, label, c))
            np.testing.assert_allclose(found["average_precision"][n, c], slow_twins.average_precision(x, label, c))
        np.testing.assert_allclose(found["eta_squared"][n], slow_twins.eta_squared(x, label), atol=1e-12)
        for a, score in enumerate(scores.T):
            expected = slow_twins.pearson_with_scores(x, label, score)
            np.testing.assert_allclose(found["pearson"][n, a], expected, atol=1e-12)
            expected = slow_twins.spearman_with_scores(x, label, score)
            np.testing.assert_allclose(found["spearman"][n, a], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("chunks", "by", "box"),
    [
        ((93, 11), executor(threads=1), 2**23),
        ((1, 1), executor(threads=2), 100),
        ((7, 5), executor(threads=1, memory_limit=6000), 1),
        ((16, 11), executor(threads=2, memory_limit=36_000), 5000),
    ],
    ids=str,
)
def test_no_bit_depends_on_chunks_boxes_blocks_or_memory(tmp_path, concepts, scores, monkeypatch, chunks, by, box):
    values = values_of("float32")
    expected = measure(make(tmp_path / "one", concepts, values), scores)
    monkeypatch.setattr(reading, "_BOX_BYTES", box)
    other = measure(make(tmp_path / "other", concepts, values, chunks), scores, executor=by)
    for name in ROW_MEASURES:
        np.testing.assert_array_equal(other[name], expected[name])


def test_streamed_measures_read_every_chunk_once_and_unused_rows_not_at_all(tmp_path, scores, monkeypatch):
    concepts = np.array([*np.resize(CONCEPTS, 64), *["envy"] * 29])
    folder = make(tmp_path / "run", concepts, values_of("float32"))
    read = []
    usual = reading.used_boxes

    def watched(store, *arguments):
        for rows, values in usual(store, *arguments):
            read.append((rows.start, rows.stop, values.shape[1]))
            yield rows, values

    monkeypatch.setattr(reading, "used_boxes", watched)
    monkeypatch.setattr(reading, "_BOX_BYTES", 16 * 4 * 4)
    streamed = ["mean", "eta_squared", "pearson"]
    measure(folder, scores, row_measures=streamed, executor=executor(threads=1))
    assert sorted(read) == sorted((r, r + 16, n) for r in (0, 16, 32, 48) for n in (4, 4, 3))


def test_the_searchlight_compares_means_over_rows(tmp_path, concepts, scores):
    values = values_of("float32")
    folder = make(tmp_path / "run", concepts, values)
    measure(folder, scores)
    replicate = np.where(np.arange(ROWS) % 3 == 0, "a", "b")
    means = [
        [values[(concepts == concept) & (replicate == name)].astype(np.float64).mean(axis=0) for concept in CONCEPTS]
        for name in ("a", "b")
    ]
    tau, _ = slow_twins.searchlight(np.array(means), scores)
    np.testing.assert_array_equal(open_store(folder.selectivity, SELECTIVITY).read("tau")[3:], tau[3:])


def test_a_value_that_is_infinite_spoils_its_neuron_alone(tmp_path, concepts, scores):
    values = values_of("float32")
    expected = measure(make(tmp_path / "whole", concepts, values), scores)
    infinite = values.copy()
    infinite[np.flatnonzero(concepts == "joy")[0], 4] = np.inf
    found = measure(make(tmp_path / "infinite", concepts, infinite), scores)
    others = np.arange(NEURONS) != 4
    for name in ROW_MEASURES:
        np.testing.assert_array_equal(found[name][others], expected[name][others])
    for name in ("eta_squared", "pearson"):
        assert np.isnan(found[name][4]).all()
    for name in ("spearman", "auroc", "average_precision"):  # to which it is merely the largest
        assert np.isfinite(found[name][4]).all()


def test_bfloat16_is_measured_as_the_numbers_it_represents(tmp_path, concepts, scores):
    values = values_of("float32")
    values[absent_of(concepts)] = np.nan
    rounded = from_bfloat16_bits(bfloat16_bits(values))
    expected = measure(make(tmp_path / "float32", concepts, rounded), scores)
    found = measure(make(tmp_path / "bfloat16", concepts, values, dtype="bfloat16"), scores)
    for name in ROW_MEASURES:
        np.testing.assert_array_equal(found[name], expected[name])


def test_a_damaged_chunk_stops_the_ranks_too(tmp_path, concepts, scores):
    folder = make(tmp_path / "run", concepts, values_of("float32"))
    measure(folder, scores)
    before = (folder.row_measures / "zarr.json").stat().st_mtime_ns
    file = folder.activations / "activations" / "c" / "1" / "0"
    file.write_bytes(bytes([file.read_bytes()[0] ^ 4]) + file.read_bytes()[1:])
    with pytest.raises(StoreError, match="c/1/0: chunk is damaged"):
        measure(folder, scores)
    assert (folder.row_measures / "zarr.json").stat().st_mtime_ns == before


def test_measures_of_an_earlier_call_are_removed(tmp_path, concepts, scores):
    folder = make(tmp_path / "run", concepts, values_of("float32"))
    measure(folder, scores)
    measure(folder, scores, row_measures=["auroc"])
    assert not (folder.row_measures / "mean").exists()
    select(folder, scores, CONCEPTS, ATTRIBUTES, inference="asymptotic")
    assert not folder.row_measures.exists()
