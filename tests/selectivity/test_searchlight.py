import hashlib
import pickle
from pathlib import Path

import dask
import numpy as np
import pytest
import slow_twins
from selecting import executor, job, select

from emoscale.errors import InputError, StageError, StoreError
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS, SELECTIVITY
from emoscale.selectivity.executor import block_ranges, block_tasks
from emoscale.selectivity.measures import MEASURES
from emoscale.selectivity.row_measures import ROW_MEASURES
from emoscale.store import Store, create_store, open_store
from emoscale.system.progress import Silent

CONCEPTS = ["joy", "anger", "fear", "sadness", "pride"]
ATTRIBUTES = ["arousal", "valence"]
REPLICATES = ["1", "3", "5"]
NEURONS = 21
CONSTANT = 4


@pytest.fixture(scope="module")
def values():
    """(R, C, N), with ties and a constant neuron."""
    values = np.random.default_rng(0).normal(size=(len(REPLICATES), len(CONCEPTS), NEURONS)).astype(np.float32)
    values[:, :, 2] = values[:, :, 2].round()
    values[:, :, CONSTANT] = 0.5
    return values


@pytest.fixture(scope="module")
def scores():
    return np.random.default_rng(1).normal(size=(len(CONCEPTS), len(ATTRIBUTES))).round(1)


@pytest.fixture(scope="module")
def expected(values, scores):
    return slow_twins.searchlight(values.astype(np.float64), scores)


def write_activations(path, values, chunks, rows=None, complete=True):
    """Rows shuffled, with those of a concept that is not asked for among them."""
    folder = RunFolder(path)
    path.mkdir(exist_ok=True)
    table = [
        (concept, replicate, values[r, c])
        for c, concept in enumerate(CONCEPTS)
        for r, replicate in enumerate(REPLICATES)
    ]
    table += [("envy", "1", values[0, 0])]
    np.random.default_rng(2).shuffle(table)
    table = table if rows is None else rows(table)
    number = np.arange(len(table))
    coordinates = {
        "concept": np.array([concept for concept, _, _ in table]),
        "replicate": np.array([replicate for _, replicate, _ in table]),
        "item": number,
        "position": np.zeros_like(number),
        "token_id": number,
        "layer": np.arange(NEURONS) // 7,
        "expert": np.arange(NEURONS) % 3 - 1,
        "unit": np.arange(NEURONS) % 7,
    }
    store = create_store(folder.activations, ACTIVATIONS, coordinates, {"observation": chunks[0], "neuron": chunks[1]})
    store.write("activations", np.array([row for _, _, row in table]))
    if complete:
        store.mark_complete()
    return folder


@pytest.fixture
def folder(tmp_path, values):
    return write_activations(tmp_path / "run", values, (4, 4))


def run(folder, scores, **options):
    options = {"inference": "asymptotic", **options}
    return select(folder, scores, CONCEPTS, ATTRIBUTES, **options)


def check(folder, expected):
    store = open_store(folder.selectivity, SELECTIVITY)
    assert store.complete
    tau, p = expected
    np.testing.assert_array_equal(store.read("tau"), tau)
    np.testing.assert_allclose(store.read("p"), p, rtol=1e-12)
    np.testing.assert_allclose(store.read("q").ravel(), slow_twins.q_values(p.ravel()), rtol=1e-12)
    ranks = np.column_stack([slow_twins.ranks_of_largest(column) for column in tau.T])
    np.testing.assert_array_equal(store.read("rank"), ranks)
    return store


@pytest.mark.parametrize(
    ("chunks", "block_neurons", "threads"),
    [((4, 4), 4, 2), ((16, 21), 1, 1), ((1, 5), 7, 2), ((3, 1), 1, 3), ((16, 8), 1024, None)],
)
def test_result_does_not_depend_on_chunks_blocks_or_threads(
    tmp_path, values, scores, expected, chunks, block_neurons, threads
):
    folder = write_activations(tmp_path / "run", values, chunks)
    run(folder, scores, executor=executor(block_neurons=block_neurons, threads=threads))
    check(folder, expected)


def test_store_and_counts(folder, scores, expected):
    counts = run(folder, scores)
    store = check(folder, expected)
    assert counts == {"neurons": NEURONS, "tests": (NEURONS - 1) * len(ATTRIBUTES), "constant": 1}
    assert np.isnan(store.read("q")[CONSTANT]).all()
    np.testing.assert_array_equal(store.read("rank")[CONSTANT], NEURONS)
    assert store.attributes["origin"] == {
        "measure": "kendall",
        "measure_symbol": "τ",
        "measure_meaning": MEASURES["kendall"].meaning,
        "inference": "asymptotic",
        "replicates": 3,
        "tests": counts["tests"],
        "constant": 1,
    }
    assert list(store.read("attribute")) == ATTRIBUTES
    np.testing.assert_array_equal(store.read("layer"), np.arange(NEURONS) // 7)
    np.testing.assert_array_equal(store.read("expert"), np.arange(NEURONS) % 3 - 1)
    np.testing.assert_array_equal(store.read("unit"), np.arange(NEURONS) % 7)


def digest(path: Path) -> dict[str, str]:
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


@pytest.mark.parametrize(
    "by",
    [
        executor(threads=2),
        executor(threads=1, block_neurons=8),
        executor(threads=1, memory_limit=8_000),
        executor(threads=2, memory_limit=10**9, block_neurons=1000),
    ],
    ids=str,
)
@pytest.mark.parametrize("inference", ["asymptotic", "permutation"])
def test_what_is_written_does_not_depend_on_the_executor(folder, scores, by, inference):
    options = {"inference": inference, "permutations": 120, "row_measures": list(ROW_MEASURES)}
    run(folder, scores, executor=executor(threads=1), **options)
    first = digest(folder.selectivity), digest(folder.row_measures)
    run(folder, scores, executor=by, **options)
    assert (digest(folder.selectivity), digest(folder.row_measures)) == first


def job_of(folder, scores):
    store = open_store(folder.activations, ACTIVATIONS)
    return store, job(store, scores, CONCEPTS, inference="permutation", permutations=3)


def test_building_the_graph_reads_and_computes_nothing(folder, scores, monkeypatch):
    store, searchlight = job_of(folder, scores)

    def refuse(*_, **__):
        raise AssertionError("computed")

    monkeypatch.setattr(Store, "read", refuse)
    with dask.config.set(scheduler=refuse):
        tasks = block_tasks(store, searchlight, block_ranges(store, 8))
        assert len(tasks) == 3
        with pytest.raises(AssertionError, match="computed"):
            tasks[0].compute()


def test_one_task_a_block_and_its_progress(folder, scores):
    class Recorder(Silent):
        steps = ()

        def start(self, total, unit, done=0):
            self.started = (total, unit, done)

        def advance(self, amount=1):
            self.steps += (amount,)

    progress = Recorder()
    run(folder, scores, executor=executor(block_neurons=7), progress=progress)
    assert progress.started == (NEURONS, "neurons", 0)
    # Blocks are complete chunks of the activations: 7 neurons become 8.
    assert sorted(progress.steps) == [5, 8, 8]


def test_what_a_task_carries_can_be_pickled(folder, scores):
    store, searchlight = pickle.loads(pickle.dumps(job_of(folder, scores)))
    assert store.read("activations", neuron=slice(2, 5)).shape == (16, 3)
    expected = job_of(folder, scores)[1](store, 0, 8).results.value
    np.testing.assert_array_equal(searchlight(store, 0, 8).results.value, expected)


def test_no_or_unfinished_activations(tmp_path, values, scores):
    with pytest.raises(StageError, match="emoscale extract"):
        run(RunFolder(tmp_path), scores)
    folder = write_activations(tmp_path / "run", values, (4, 4), complete=False)
    with pytest.raises(StageError, match="emoscale extract"):
        run(folder, scores)
    assert not folder.selectivity.exists()


def test_a_damaged_chunk_is_named(folder, scores):
    file = folder.activations / "activations" / "c" / "1" / "0"
    content = bytearray(file.read_bytes())
    content[5] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match="c/1/0"):
        run(folder, scores)
    assert not folder.selectivity.exists()


def test_every_hole_in_the_design_is_named(tmp_path, values, scores):
    def remove(table):
        return [row for row in table if row[:2] not in {("joy", "3"), ("joy", "5")} and row[0] != "fear"]

    folder = write_activations(tmp_path / "run", values, (4, 4), rows=remove)
    with pytest.raises(InputError) as caught:
        run(folder, scores)
    problems = caught.value.problems
    assert len(problems) == 2
    assert "'joy' lacks replicates" in problems[0]
    assert "3" in problems[0]
    assert "5" in problems[0]
    assert "'fear' has no activations" in problems[1]


def test_options_that_cannot_be_used_are_refused_together(folder, scores):
    unusable = np.column_stack([np.full(len(CONCEPTS), 0.3), scores[:, 1]])
    unusable[0, 1] = np.nan
    with pytest.raises(InputError) as caught:
        run(folder, unusable, measure="pearson")
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "selectivity.measure 'pearson'",
        "attribute 'arousal'",
        "attribute 'valence'",
    ]
    with pytest.raises(InputError, match=r"inference 'guess'.*asymptotic"):
        run(folder, scores, inference="guess")
    with pytest.raises(InputError, match="permutations: 0"):
        run(folder, scores, permutations=0)
    with pytest.raises(InputError, match=r"row_measures 'hubris': unknown; use one of mean, .*auroc"):
        run(folder, scores, row_measures=["auroc", "hubris"])
    with pytest.raises(InputError, match=r"machine\.backend 'tpu'.*: unknown"):
        run(folder, scores, inference="permutation", executor=executor(backend="tpu"))
    with pytest.raises(InputError, match="2 given"):
        select(folder, scores[:2], CONCEPTS[:2], ATTRIBUTES)
    with pytest.raises(ValueError, match="expected 5 concepts"):
        run(folder, scores[:, :1])


def test_rows_of_one_cell_are_averaged(tmp_path, values, scores):
    """Each replicate of a concept said in two rows, half above and half below."""
    off = np.float32(0.25)

    def twice(table):
        return [(c, r, v + off) for c, r, v in table] + [(c, r, v - off) for c, r, v in table]

    # Sums and differences of quarters are exact in these.
    values = (values * 16).round() / 16
    expected = slow_twins.searchlight(values.astype(np.float64), scores)
    folder = write_activations(tmp_path / "run", values, (4, 4), rows=twice)
    run(folder, scores)
    check(folder, expected)


def test_halves_are_the_odd_and_the_even_replicates(folder, values, scores):
    run(folder, scores)
    store = open_store(folder.selectivity, SELECTIVITY)
    # Replicates come in the order in which the store first has them.
    seen = list(dict.fromkeys(open_store(folder.activations, ACTIVATIONS).read("replicate")))
    order = [REPLICATES.index(name) for name in seen]
    for name, half in (("tau_odd", order[0::2]), ("tau_even", order[1::2])):
        tau, _ = slow_twins.searchlight(values[half].astype(np.float64), scores)
        np.testing.assert_array_equal(store.read(name), tau)


def test_one_replicate_has_no_halves(tmp_path, values, scores):
    folder = write_activations(tmp_path / "run", values, (4, 4), rows=lambda t: [row for row in t if row[1] == "1"])
    run(folder, scores)
    store = open_store(folder.selectivity, SELECTIVITY)
    assert np.isnan(store.read("tau_odd")).all()
    assert np.isnan(store.read("tau_even")).all()


ABSENT = {7: ("joy", "3"), 11: ("fear", None)}
"""Neurons and the concepts and replicates in which their expert was not routed to."""


def without_absent(values):
    values = values.copy()
    for neuron, (concept, replicate) in ABSENT.items():
        replicates = slice(None) if replicate is None else REPLICATES.index(replicate)
        values[replicates, CONCEPTS.index(concept), neuron] = np.nan
    return values


@pytest.mark.parametrize("inference", ["asymptotic", "permutation"])
def test_a_neuron_absent_in_a_cell_has_no_tau_and_is_counted(tmp_path, values, scores, inference):
    options = {"inference": inference, "permutations": 30}
    run(write_activations(tmp_path / "whole", values, (4, 4)), scores, **options)
    folder = write_activations(tmp_path / "run", without_absent(values), (4, 4))
    counts = run(folder, scores, **options)
    absent = list(ABSENT)
    assert (counts["absent"], counts["constant"]) == (len(absent), 1)
    assert counts["tests"] == (NEURONS - 1 - len(absent)) * len(ATTRIBUTES)
    store, whole = (open_store(tmp_path / name / "selectivity.zarr", SELECTIVITY) for name in ("run", "whole"))
    assert store.attributes["origin"]["absent"] == len(absent)
    for name in ("tau", "p", "q", "p_asymptotic", "p_attribute", "p_all", "null_spread"):
        assert np.isnan(store.read(name)[absent]).all()
    others = np.setdiff1d(np.arange(NEURONS), absent)
    np.testing.assert_array_equal(store.read("tau")[others], whole.read("tau")[others])
    np.testing.assert_array_equal(store.read("p_asymptotic")[others], whole.read("p_asymptotic")[others])
    last = NEURONS - len(absent)  # the constant one and these share the last ranks
    assert (store.read("rank")[[*absent, CONSTANT]] == (last + NEURONS) / 2).all()
    assert (store.read("rank")[np.setdiff1d(others, CONSTANT)] < last).all()


def test_a_neuron_absent_in_some_rows_of_a_cell_is_averaged_over_the_others(tmp_path, values, scores, expected):
    def with_nothing(table):
        return table + [(concept, replicate, np.full(NEURONS, np.nan)) for concept, replicate, _ in table]

    folder = write_activations(tmp_path / "run", values, (4, 4), rows=with_nothing)
    assert "absent" not in run(folder, scores)
    check(folder, expected)
