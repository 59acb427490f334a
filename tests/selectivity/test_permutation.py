import numpy as np
import pytest
import slow_twins
from scipy import stats

from emoscale.progress import Silent
from emoscale.run_folder import RunFolder
from emoscale.schema import ACTIVATIONS, SELECTIVITY
from emoscale.selectivity import permutation_table, permutation_test, q_values, select
from emoscale.selectivity.permutation import permuted_rdms
from emoscale.store import create_store, open_store
from emoscale_kernels import condensed_distances

CONCEPTS = ["joy", "anger", "fear", "grief", "pride", "relief"]
ATTRIBUTES = ["arousal", "valence"]
REPLICATES, NEURONS, PERMUTATIONS = 2, 21, 9
CONSTANT = 4


@pytest.fixture(scope="module")
def values():
    values = np.random.default_rng(0).normal(size=(REPLICATES, len(CONCEPTS), NEURONS))
    values[:, :, CONSTANT] = 0.5
    return values


@pytest.fixture(scope="module")
def rdms():
    return condensed_distances(np.random.default_rng(1).random((len(CONCEPTS), len(ATTRIBUTES))))


@pytest.fixture(scope="module")
def folder(values, tmp_path_factory):
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    coordinates = {
        "concept": np.repeat(CONCEPTS, REPLICATES),
        "replicate": np.tile(["1", "3"], len(CONCEPTS)),
        "item": np.zeros(len(CONCEPTS) * REPLICATES),
        "position": np.zeros(len(CONCEPTS) * REPLICATES),
        "layer": np.zeros(NEURONS),
        "unit": np.arange(NEURONS),
    }
    store = create_store(folder.activations, ACTIVATIONS, coordinates, {"neuron": 5}, dtypes={"activations": "float64"})
    store.write("activations", values.transpose(1, 0, 2).reshape(-1, NEURONS))
    store.mark_complete()
    return folder


def run(folder, rdms, **options):
    scores = np.random.default_rng(2).random((len(CONCEPTS), len(ATTRIBUTES)))
    select(folder, scores, CONCEPTS, ATTRIBUTES, rdms=rdms, progress=Silent())
    options = {"permutations": PERMUTATIONS, "seed": 5, "block_neurons": 5, **options}
    return permutation_test(folder, rdms, CONCEPTS, progress=Silent(), **options)


def test_counts_are_those_of_a_plain_loop(folder, values, rdms):
    test = run(folder, rdms)
    distances = slow_twins.mean_pair_distances(values)
    tau = np.array([[stats.kendalltau(d, rdm).statistic for rdm in rdms] for d in distances])
    permuted = permuted_rdms(rdms, len(CONCEPTS), PERMUTATIONS, 5).reshape(PERMUTATIONS, len(ATTRIBUTES), -1)
    null = np.array([[[stats.kendalltau(d, rdm).statistic for rdm in each] for each in permuted] for d in distances])
    for n in range(NEURONS):
        for a in range(len(ATTRIBUTES)):
            if n == CONSTANT:
                assert np.isnan([test.p[n, a], test.q[n, a], test.p_family[n, a]]).all()
                continue
            pooled = null[:, :, a][~np.isnan(null[:, :, a])]
            assert test.p[n, a] == (1 + (pooled >= tau[n, a] - 1e-9).sum()) / (1 + len(pooled))
            largest = np.nanmax(null, axis=(0, 2))
            assert test.p_family[n, a] == (1 + (largest >= tau[n, a] - 1e-9).sum()) / (1 + PERMUTATIONS)
    np.testing.assert_array_equal(test.q, q_values(test.p))
    pairs = rdms.shape[1]
    variance = 2 * (2 * pairs + 5) / (9 * pairs * (pairs - 1))
    spread = np.sqrt(np.nanmean(null**2, axis=(0, 1)) / variance)
    np.testing.assert_allclose(test.spread, spread)


@pytest.mark.parametrize("block", [5, 10, 1000])
def test_does_not_depend_on_blocks(folder, rdms, block):
    one, other = run(folder, rdms), run(folder, rdms, block_neurons=block)
    np.testing.assert_array_equal(one.p, other.p)
    np.testing.assert_array_equal(one.p_family, other.p_family)


def test_permuting_rdms_is_permuting_concepts():
    scores = np.random.default_rng(0).random((6, 3))
    permuted = permuted_rdms(condensed_distances(scores), 6, 4, seed=8)
    generator = np.random.default_rng(8)
    expected = [condensed_distances(scores[generator.permutation(6)]) for _ in range(4)]
    np.testing.assert_array_equal(permuted, np.concatenate(expected))


def test_table(folder, rdms):
    test = run(folder, rdms)
    table = permutation_table(test, ATTRIBUTES, 0.5)
    assert table["attribute"].tolist() == ATTRIBUTES
    assert table["significant"].tolist() == (test.q < 0.5).sum(axis=0).tolist()
    assert (table["survivors"] == 0).all()  # 1 / (9 + 1) is the smallest p there can be


def test_as_published_rounds_before_it_compares(folder, values, rdms):
    scores = np.random.default_rng(2).random((len(CONCEPTS), len(ATTRIBUTES)))
    select(folder, scores, CONCEPTS, ATTRIBUTES, rdms=rdms, inference="as_published", progress=Silent())
    tau = open_store(folder.selectivity, SELECTIVITY).read("tau")
    distances = slow_twins.published_distances(values)
    for n, row in enumerate(distances):
        for a, rdm in enumerate(rdms):
            np.testing.assert_array_equal(tau[n, a], stats.kendalltau(row, rdm).statistic)
