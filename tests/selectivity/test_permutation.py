import numpy as np
import pytest
from scipy import stats
from selecting import executor, select
from slow_twins import followers, mean_pair_distances

from emoscale.permutations import count_tests
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS, SELECTIVITY
from emoscale.selectivity import kendall
from emoscale.selectivity.inference import INFERENCES, gated_q
from emoscale.selectivity.permutation import Results, concept_orders, family_p, permutation_p
from emoscale.statistics import benjamini_hochberg
from emoscale.store import create_store, open_store
from emoscale_kernels import NullCounts, attribute_patterns, decimal_distances, numba_backend

CONCEPTS = ["joy", "anger", "fear", "grief", "pride", "relief"]
ATTRIBUTES = ["arousal", "valence"]
REPLICATES, NEURONS, PERMUTATIONS = 2, 21, 9
CONSTANT, TIED = 4, 7


@pytest.fixture(scope="module")
def values():
    values = np.random.default_rng(0).normal(size=(REPLICATES, len(CONCEPTS), NEURONS))
    values[:, :, CONSTANT] = 0.5
    values[:, :, TIED] = values[:, :, TIED].round()
    return values


@pytest.fixture(scope="module")
def scores():
    return np.random.default_rng(1).random((len(CONCEPTS), len(ATTRIBUTES))).round(1)


@pytest.fixture(scope="module")
def null(values, scores):
    """(n, B, A): SciPy's tau with permuted scores."""
    distances = mean_pair_distances(values)
    permuted = [decimal_distances(scores[order]) for order in concept_orders(len(CONCEPTS), PERMUTATIONS, 5)]
    with np.errstate(invalid="ignore"):
        return np.array(
            [[[stats.kendalltau(d, rdm).statistic for rdm in rdms] for rdms in permuted] for d in distances]
        )


def test_counts_and_highest_are_those_of_a_plain_loop(values, scores, null):
    patterns = attribute_patterns(decimal_distances(scores))
    results = kendall.permuted(values, patterns, concept_orders(len(CONCEPTS), PERMUTATIONS, 5))
    for n in range(NEURONS):
        for a in range(len(ATTRIBUTES)):
            p = (1 + (null[n, :, a] >= results.value[n, a]).sum()) / (1 + PERMUTATIONS)
            assert results.p[n, a] == p if n != CONSTANT else np.isnan(results.p[n, a])
    np.testing.assert_array_equal(results.highest, np.nanmax(null, axis=0))
    assert np.isnan(results.spread[CONSTANT]).all()
    # For an RDM and an attribute without ties.
    pairs = patterns.pairs
    free = attribute_patterns(decimal_distances(np.array([[0.0], [1], [3], [7], [12], [20]])))
    alone = kendall.permuted(values[:, :, :1], free, concept_orders(len(CONCEPTS), PERMUTATIONS, 5))
    assert free.ties[0, 0] == 0
    null_alone = [
        stats.kendalltau(mean_pair_distances(values[:, :, :1])[0], rdm).statistic
        for rdm in (
            decimal_distances(np.array([[0.0], [1], [3], [7], [12], [20]])[order])[0]
            for order in concept_orders(len(CONCEPTS), PERMUTATIONS, 5)
        )
    ]
    assumed = np.sqrt(2 * (2 * pairs + 5) / (9 * pairs * (pairs - 1)))
    np.testing.assert_allclose(alone.spread[0, 0], np.sqrt(np.mean(np.square(null_alone))) / assumed)


@pytest.mark.parametrize(("neurons", "patterns"), [(1, 1), (5, 5000), (1000, 10**7)])
def test_does_not_depend_on_what_is_compared_together(monkeypatch, values, scores, neurons, patterns):
    arguments = values, attribute_patterns(decimal_distances(scores)), concept_orders(len(CONCEPTS), 150, 5)
    expected = kendall.permuted(*arguments)
    monkeypatch.setattr(kendall, "_LEAST_NEURONS", neurons)
    monkeypatch.setattr(kendall, "_MOST_NEURONS", neurons)
    monkeypatch.setattr(numba_backend, "_PATTERN_BYTES", patterns)
    for got, want in zip(kendall.permuted(*arguments), expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_merge_sort_gives_the_same(values, scores):
    orders = concept_orders(len(CONCEPTS), 20, 5)
    by = [
        kendall.permuted(values, attribute_patterns(decimal_distances(scores), bits=bits), orders)
        for bits in (True, False)
    ]
    for got, want in zip(*by, strict=True):
        np.testing.assert_array_equal(got, want)


def test_orders_are_permutations_and_the_first_do_not_depend_on_how_many():
    orders = concept_orders(6, 5, seed=3)
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(6), (5, 1)))
    np.testing.assert_array_equal(concept_orders(6, 2, seed=3), orders[:2])
    assert (concept_orders(6, 5, seed=4) != orders).any()
    assert concept_orders(6, 0, seed=3).shape == (0, 6)


def counts_of(null):
    sums = np.array([[[(null**power).sum()]] for power in (1, 2, 3)])
    highest, counted = np.zeros((len(null), 1)), np.zeros((1 + len(null), 1), np.int64)
    return lambda tau: NullCounts(np.array([[(null >= tau).sum()]]), sums, highest, counted)


def test_common_values_have_their_share_and_rare_ones_the_tail_of_a_gamma():
    null = np.random.default_rng(0).gamma(4, size=999) / 100 - 0.04
    counted = counts_of(null)
    tau = np.sort(null)[-10]
    assert permutation_p(np.array([[tau]]), counted(tau))[0, 0] == 11 / 1000
    p = [permutation_p(np.array([[tau]]), counted(tau))[0, 0] for tau in (0.1, 0.12, 0.16)]
    expected = [stats.pearson3.sf(tau, stats.skew(null), null.mean(), null.std()) for tau in (0.1, 0.12, 0.16)]
    np.testing.assert_allclose(p, expected, rtol=1e-9)
    # It is about the truth, far beyond 1 / 1000.
    np.testing.assert_allclose(p, stats.gamma.sf([14, 16, 20], 4), rtol=0.7)


def test_a_short_tail_is_not_believed():
    null = -np.random.default_rng(0).gamma(1, size=999) / 100
    counted = counts_of(null)
    p = permutation_p(np.array([[0.05]]), counted(0.05))[0, 0]
    assert p == pytest.approx(stats.norm.sf((0.05 - null.mean()) / null.std()))
    assert p > 0


def test_few_permutations_are_only_counted():
    null = np.random.default_rng(0).normal(size=99) / 10
    assert permutation_p(np.array([[0.9]]), counts_of(null)(0.9))[0, 0] == 1 / 100


def test_family_p_counts_the_largest():
    p = family_p(np.array([[0.5, 0.2], [np.nan, 0.9]]), np.array([0.1, 0.5, 0.3]))
    np.testing.assert_array_equal(p, [[0.5, 0.75], [np.nan, 0.25]])
    assert np.isnan(family_p(np.array([0.5]), np.empty(0))).all()


@pytest.fixture(scope="module")
def folder(values, tmp_path_factory):
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    coordinates = {
        "concept": np.repeat(CONCEPTS, REPLICATES),
        "replicate": np.tile(["1", "3"], len(CONCEPTS)),
        "item": np.zeros(len(CONCEPTS) * REPLICATES),
        "position": np.zeros(len(CONCEPTS) * REPLICATES),
        "token_id": np.zeros(len(CONCEPTS) * REPLICATES),
        "layer": np.zeros(NEURONS),
        "expert": np.full(NEURONS, -1),
        "unit": np.arange(NEURONS),
    }
    store = create_store(folder.activations, ACTIVATIONS, coordinates, {"neuron": 5}, dtypes={"activations": "float64"})
    store.write("activations", values.transpose(1, 0, 2).reshape(-1, NEURONS))
    store.mark_complete()
    return folder


def test_the_store_holds_every_inference(folder, scores, null):
    options = {"permutations": PERMUTATIONS, "seed": 5}
    select(folder, scores, CONCEPTS, ATTRIBUTES, executor=executor(block_neurons=5), **options)
    store = open_store(folder.selectivity, SELECTIVITY)
    tau, p, q = (store.read(name) for name in ("tau", "p", "q"))
    highest = np.nanmax(null, axis=0)
    for a in range(len(ATTRIBUTES)):
        np.testing.assert_array_equal(store.read("p_attribute")[:, a], family_p(tau[:, a], highest[:, a]))
    np.testing.assert_array_equal(store.read("p_all"), family_p(tau, highest.max(axis=1)))
    counts = followers(np.concatenate([tau[None], null.transpose(1, 0, 2)]))
    np.testing.assert_array_equal(store.read("followers"), counts)
    np.testing.assert_array_equal(store.read("order"), np.arange(1 + PERMUTATIONS))
    assert (counts.sum(axis=0) == NEURONS - 1).all()
    corrected = [(counts.max(axis=1) >= count).mean() for count in counts[0]]
    known = ~np.isnan(p[:, 0])
    adjusted = stats.false_discovery_control(p[known], axis=None).reshape(-1, 2)
    np.testing.assert_array_equal(q[known], np.maximum(adjusted, corrected))
    assert np.isnan(q[CONSTANT]).all()
    origin = store.attributes["origin"]
    assert (origin["inference"], origin["permutations"], origin["seed"]) == ("permutation", PERMUTATIONS, 5)
    p_asymptotic = store.read("p_asymptotic")
    select(folder, scores, CONCEPTS, ATTRIBUTES, inference="asymptotic")
    store = open_store(folder.selectivity, SELECTIVITY)
    np.testing.assert_array_equal(store.read("p"), p_asymptotic)
    assert np.isnan(store.read("p_all")).all()
    assert np.isnan(store.read("null_spread")).all()
    assert store.read("followers").shape == (0, len(ATTRIBUTES))
    assert np.isfinite(store.read("q")[0]).all()


def test_permutation_keeps_its_promise_and_the_published_test_does_not():
    """6,000 neurons that know nothing of 12 concepts, against attributes with equal, even and skewed scores."""
    generator = np.random.default_rng(2)
    values = generator.normal(size=(2, 12, 6000))
    scores = np.column_stack([generator.integers(0, 4, 12), np.arange(12), generator.lognormal(sigma=1, size=12)])
    orders = concept_orders(12, 999, seed=1)
    results = kendall.permuted(values, attribute_patterns(decimal_distances(scores)), orders)
    # All neurons share the permutations: 999 of them leave a standard error of .007 at .05, of .003 at .01.
    for level, tolerance in ((0.05, 0.02), (0.01, 0.008)):
        np.testing.assert_allclose((results.p < level).mean(axis=0), level, atol=tolerance)
    assert ((results.p < 0.001).mean(axis=0) < 0.0025).all()
    assert ((results.p_asymptotic < 0.05).mean(axis=0) > 0.06).all()
    assert ((results.p_asymptotic < 0.001).mean(axis=0) > 0.005).all()
    assert (results.spread[:, 2] > 1.1).mean() > 0.9


def test_family_wise_error_is_nominal():
    """In 300 studies without any effect, the largest tau of 40 neurons is called significant in about 5 %."""
    generator = np.random.default_rng(3)
    patterns = attribute_patterns(decimal_distances(generator.random((8, 2)).round(2)))
    orders = concept_orders(8, 99, seed=1)
    hits = 0
    for _ in range(300):
        results = kendall.permuted(generator.normal(size=(1, 8, 40)), patterns, orders)
        hits += family_p(results.value, results.highest.max(axis=1)).min() <= 0.05
    assert 4 <= hits <= 28  # 15 expected, standard deviation 4


def test_blocks_add_their_followers(values, scores):
    patterns, orders = attribute_patterns(decimal_distances(scores)), concept_orders(len(CONCEPTS), 30, 5)
    whole = kendall.permuted(values, patterns, orders)
    some = [kendall.permuted(values[:, :, part], patterns, orders) for part in (slice(5), slice(5, 5), slice(5, None))]
    for got, expected in zip(Results.joined(some), whole, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_q_is_no_smaller_than_the_corrected_p_of_the_followers():
    p = np.array([[1e-9, 1e-9], [0.5, np.nan], [1e-9, 0.9]])
    counts = np.zeros((200, 2), np.int64)
    counts[:, 0] = 1
    counts[0] = 7, 2
    counts[5] = 3, 2
    np.testing.assert_array_equal(gated_q(p, counts), np.maximum(benjamini_hochberg(p), [1 / 200, 2 / 200]))
    uncounted = gated_q(p, np.empty((0, 2), np.int64))
    np.testing.assert_array_equal(uncounted, np.where(np.isnan(p), np.nan, 1.0))


SIMULATIONS, LEVEL = 200, 0.05


def simulated(generator, effect):
    """Neurons that share six sources, so that they are right or wrong together; q and the tests of counts."""
    C = 10
    scores = generator.random((C, 3)).round(2)
    values = generator.normal(size=(2, C, 6)) @ generator.normal(size=(6, 600))
    values += 0.3 * generator.normal(size=values.shape)
    values[:, :, :400] += effect * scores[:, :1]
    orders = np.array([generator.permutation(C) for _ in range(199)])
    results = kendall.permuted(values, attribute_patterns(decimal_distances(scores)), orders)
    q = INFERENCES["permutation"].correct(results.p, results.followers)
    return q, benjamini_hochberg(results.p), count_tests(results.followers)


def test_findings_without_any_effect_are_as_rare_as_the_level_says():
    generator = np.random.default_rng(4)
    found, p, corrected = [], [], []
    for _ in range(SIMULATIONS):
        q, ungated, tests = simulated(generator, 0.0)
        assert (q >= ungated).all()
        found.append((q < LEVEL).any())
        p.append(tests.p <= LEVEL)
        corrected.append(tests.p_corrected.min() <= LEVEL)
    # The share of runs, and three standard errors of what the level allows.
    most = LEVEL + 3 * np.sqrt(LEVEL * (1 - LEVEL) / SIMULATIONS)
    assert np.mean(found) <= most
    assert 0.01 <= np.mean(corrected) <= most
    assert 0.02 <= np.mean(p) <= most


def test_an_effect_is_found():
    generator = np.random.default_rng(5)
    found = [(simulated(generator, 20.0)[0] < LEVEL).any(axis=0) for _ in range(20)]
    assert np.mean(found, axis=0)[0] >= 0.9
