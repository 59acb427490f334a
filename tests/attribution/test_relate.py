"""Relating selectivity to effects: against SciPy for every permutation, and where the truth is known."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from emoscale.analysis.mask_effects import sum_over_masks
from emoscale.analysis.relation import effect_of_selective, shared_effects, tau_and_effect
from emoscale.attribution.options import SHARES, AttributionOptions
from emoscale.attribution.relate import relate
from emoscale.concepts.loading import Concepts
from emoscale.effect_schema import EFFECT, EFFECT_IN_LAYERS, EFFECT_MOMENTS, RELATION, RELATIONS, SIZE
from emoscale.errors import InputError
from emoscale.masks.make_masks import make_masks
from emoscale.masks.options import MaskOptions
from emoscale.permutations import permutation_tests
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS, ALL_ATTRIBUTES, MASKS, SELECTIVITY
from emoscale.selectivity import permuted_values
from emoscale.selectivity.executor import Executor
from emoscale.selectivity.options import SelectivityOptions
from emoscale.selectivity.permutation import concept_orders
from emoscale.selectivity.permuted_values import PermutedValues, values_of_orders
from emoscale.selectivity.select import select
from emoscale.store import create_store, open_store
from emoscale.system.options import MachineOptions
from emoscale.system.progress import Silent

LAYERS, WIDTH, CONCEPTS, REPLICATES = 3, 40, 7, 2
NEURONS = LAYERS * WIDTH
LAYER = np.repeat(np.arange(LAYERS, dtype=np.int32), WIDTH)
NEURON_COORDINATES = {
    "layer": LAYER,
    "expert": np.full(NEURONS, -1, np.int32),
    "unit": np.tile(np.arange(WIDTH, dtype=np.int32), LAYERS),
}
NAMES = [f"c{number}" for number in range(CONCEPTS)]
OPTIONS = SelectivityOptions(permutations=20, seed=5)
SCORES = np.random.default_rng(1).random((CONCEPTS, 3))
K = [7, 0.25, NEURONS]
STUDY = Concepts(NAMES, ["a", "b", "c"], SCORES, None)


def write_run(path, activations, effects, chunk=16):
    """A run with these activations (R, C, N) and mean effects (N,)."""
    folder = RunFolder(path)
    R, C, N = activations.shape
    rows = R * C
    coordinates = {
        "concept": np.tile(np.array(NAMES, object), R),
        "replicate": np.repeat(np.array([str(r) for r in range(R)], object), C),
        **{name: np.zeros(rows, np.int32) for name in ("item", "position", "token_id")},
        **NEURON_COORDINATES,
    }
    store = create_store(folder.activations, ACTIVATIONS, coordinates, {"observation": 8, "neuron": chunk})
    store.write("activations", activations.reshape(rows, N).astype(np.float32))
    store.mark_complete()
    cells = {name: np.array([""], object) for name in ("concept", "replicate")}
    cells |= {"half": np.zeros(1, np.int32), "rows": np.array([5])}
    moments = create_store(folder.effect_moments, EFFECT_MOMENTS, cells | NEURON_COORDINATES, {"neuron": chunk})
    moments.write("mean", np.nan_to_num(effects)[None])
    moments.write("m2", np.zeros((1, N)))
    moments.write("count", np.where(np.isnan(effects), 0, 5).astype(np.int32)[None])
    moments.mark_complete()
    return folder


def executor(threads=2):
    return Executor.of(MachineOptions(threads=threads), OPTIONS)


def run(folder, permutations=20, threads=2, progress=None, k=K):
    options = AttributionOptions(permutations=permutations)
    return relate(folder, STUDY, OPTIONS, options, k, executor=executor(threads), progress=progress or Silent())


def drawn(seed=0):
    """Activations with two constant neurons, and effects of which some are absent and some equal."""
    rng = np.random.default_rng(seed)
    activations = rng.normal(size=(REPLICATES, CONCEPTS, NEURONS))
    activations[:, :, [4, 50]] = 1.0
    effects = np.round(rng.normal(size=NEURONS), 1)
    effects[[7, 50, 90]] = np.nan
    return activations, effects


@pytest.fixture
def folder(tmp_path):
    activations, effects = drawn()
    made = write_run(tmp_path, activations, effects)
    select(made, STUDY, OPTIONS, executor=executor(), progress=Silent())
    return made


def read(folder):
    store = open_store(folder.relation, RELATION)
    return store, {array.name: store.read(array.name) for array in RELATION.data}


def test_the_concepts_own_order_gives_the_searchlights_tau(folder):
    store = open_store(folder.activations, ACTIVATIONS)
    permuted = PermutedValues.of(store, STUDY, OPTIONS, executor(), Silent())
    own = np.arange(CONCEPTS)[None]
    with ThreadPoolExecutor(2) as threads:
        found = permuted.compute(own, threads)[0]
    np.testing.assert_array_equal(found.T, open_store(folder.selectivity, SELECTIVITY).read("tau"))


def test_every_order_as_scipy_says(folder, tmp_path):
    assert run(folder) == {"neurons": NEURONS - 4, "permutations": 20}
    store, found = read(folder)
    _, effects = drawn()
    orders = [np.arange(CONCEPTS), *concept_orders(CONCEPTS, 20, OPTIONS.seed)]
    assert list(store.read("order")) == list(range(21))
    for number in (0, 1, 20):
        other = RunFolder(tmp_path / f"order-{number}")
        other.path.mkdir()
        other.activations.symlink_to(folder.activations)
        permuted = Concepts(NAMES, STUDY.attributes, SCORES[orders[number]], None)
        select(other, permuted, OPTIONS, executor=executor(), progress=Silent())
        tau = open_store(other.selectivity, SELECTIVITY).read("tau")
        ranked = ~np.isnan(tau[:, 0])
        used = ~np.isnan(effects) & ranked
        for a in range(3):
            check_relations(found["rho"][number, a], tau[used, a], effects[used], LAYER[used])
            check_first(
                found["effect"][number, a], found["shared"][number, a], store.read("k"), tau[ranked, a], effects[ranked]
            )


def test_sizes_are_the_shares_and_those_of_the_masks(folder):
    run(folder)
    known, ranked = NEURONS - 4, NEURONS - 2
    shares = {max(1, round(share * known)) for share in SHARES}
    assert read(folder)[0].read("k").tolist() == sorted(shares | {7, NEURONS // 4, ranked})
    before = files(folder)
    run(folder, k=[7])  # of another run: its sizes are not those
    assert read(folder)[0].read("k").tolist() == sorted(shares | {7})
    run(folder)
    assert files(folder) == before
    with pytest.raises(InputError, match=r"k = 0: not positive"):
        run(folder, k=[0])


def test_masks_are_the_first_neurons_of_the_relation(tmp_path):
    """Sums are of the same neurons, also where tau are equal, a neuron is absent or an effect is not known."""
    activations, effects = drawn()
    activations[:, :, 20:40] = activations[:, :, [60]]
    activations[1, 3, 70] = np.nan
    folder = write_run(tmp_path, activations, effects)
    select(folder, STUDY, OPTIONS, executor=executor(), progress=Silent())
    tau = open_store(folder.selectivity, SELECTIVITY).read("tau")
    assert (tau[:, 0] == tau[60, 0]).sum() >= 21
    k = [7, 0.25, int((tau[:, 0] > tau[60, 0]).sum()) + 10, 117]  # one of them cuts the tied neurons apart
    run(folder, k=k)
    store, found = read(folder)
    permuted = PermutedValues.of(open_store(folder.activations, ACTIVATIONS), STUDY, OPTIONS, executor(), Silent())
    options = MaskOptions(k=k, controls=["permuted"], permutations=3, seed=OPTIONS.seed)
    orders = concept_orders(CONCEPTS, 3, OPTIONS.seed)
    made = make_masks(folder, options, Silent(), lambda: values_of_orders(permuted, orders, 2))
    assert made == {"none": 1, "selective": 12, "permuted": 36}
    masks = open_store(folder.masks, MASKS)
    sums = sum_over_masks(masks, effects)
    sizes, attributes = store.read("k").tolist(), STUDY.attributes
    names = zip(*(masks.read(name) for name in ("kind", "attribute", "k", "draw")), sums, strict=True)
    for kind, attribute, k, draw, total in names:
        if kind != "none":
            order = draw + 1 if kind == "permuted" else 0
            expected = found["effect"][order, attributes.index(attribute), sizes.index(k)]
            assert total == pytest.approx(expected, abs=1e-12)
    assert len(np.unique(sums)) > 20


def check_relations(found, tau, effects, layer):
    for place, values in enumerate((effects, np.abs(effects))):
        assert found[place] == pytest.approx(spearmanr(tau, values).statistic, abs=1e-12)
        x, y = (
            np.concatenate([rankdata(v[layer == one]) - (np.sum(layer == one) + 1) / 2 for one in range(LAYERS)])
            for v in (tau, values)
        )
        assert found[2 + place] == pytest.approx(x @ y / np.sqrt((x @ x) * (y @ y)), abs=1e-12)
    assert len(found) == len(RELATIONS)


def check_first(effect, shared, ks, tau, effects):
    needed = np.argsort(effects, kind="stable")
    for k, total, number in zip(ks, effect, shared, strict=True):
        first = sorted(range(len(tau)), key=lambda i: (-tau[i], i))[:k]
        assert total == pytest.approx(np.nansum(effects[first]), abs=1e-9)
        assert number == len(set(first) & set(needed[:k]))


def files(folder):
    return {str(p.relative_to(folder.path)): p.read_bytes() for p in folder.relation.rglob("*") if p.is_file()}


def test_it_depends_neither_on_threads_nor_on_how_many_orders_are_held_nor_on_a_kill(folder, monkeypatch):
    run(folder)
    expected = files(folder)
    monkeypatch.setattr(permuted_values, "_BYTES_AT_A_TIME", 1)
    run_again(folder, threads=1)
    assert files(folder) == expected

    class Killing(Silent):
        unit, left = "", 18

        def start(self, total, unit, done=0):
            self.unit = unit

        def advance(self, amount=1):
            self.left -= amount if self.unit == "permutations" else 0
            if self.left < 0:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_again(folder, progress=Killing())
    computed = []
    compute = PermutedValues.compute
    monkeypatch.setattr(PermutedValues, "compute", lambda *a: computed.append(len(a[1])) or compute(*a))
    run(folder)
    assert sum(computed) == 21 - 16  # the first chunk was committed
    assert files(folder) == expected
    assert not folder.commits(folder.relation).exists()


def run_again(folder, **options):
    shutil.rmtree(folder.relation)
    return run(folder, **options)


def test_other_effects_are_related_again(folder, tmp_path):
    run(folder)
    _, before = read(folder)
    activations, _ = drawn()
    write_run(tmp_path, activations, drawn(seed=3)[1])
    run(folder)
    _, after = read(folder)
    assert not np.allclose(before["rho"], after["rho"])


def test_tables(folder):
    run(folder)
    _, found = read(folder)
    table = tau_and_effect(folder).set_index(["relation", "attribute"])
    for number, relation in enumerate(RELATIONS):
        values = found["rho"][:, :, number]
        np.testing.assert_array_equal(table.loc[relation].loc[["a", "b", "c"], "rho"], values[0])
        np.testing.assert_allclose(table.loc[(relation, ALL_ATTRIBUTES), "rho"], values[0].mean())
        np.testing.assert_allclose(table.loc[relation].loc[["a", "b", "c"], "p"], permutation_tests(values).p)
    first = effect_of_selective(folder)
    assert len(first) == 4 * found["effect"].shape[2]
    half = first[first["k"].eq(first["k"].max())].set_index("attribute")
    np.testing.assert_allclose(half.loc[["a", "b", "c"], "effect"], found["effect"][0, :, -1])
    np.testing.assert_allclose(half.loc["b", "shared_expected"], found["shared"][1:, 1, -1].mean())


def test_without_permutations_there_is_no_p(folder):
    run(folder, permutations=0)
    table = tau_and_effect(folder)
    assert table["rho"].notna().all()
    assert table[["null_mean", "p", "p_corrected"]].isna().all(axis=None)


def test_effects_that_attributes_share(folder):
    rank = open_store(folder.selectivity, SELECTIVITY).read("rank")
    _, effects = drawn()
    row = shared_effects(folder, rank, STUDY.attributes, [10]).set_index(["attribute_1", "attribute_2"]).loc[("a", "c")]
    first, second = (set(np.argsort(rank[:, a], kind="stable")[:10]) for a in (0, 2))
    assert row["effect_1"] == pytest.approx(np.nansum(effects[list(first)]))
    assert row["effect_2"] == pytest.approx(np.nansum(effects[list(second)]))
    assert row["shared_effect"] == pytest.approx(np.nansum(effects[list(first & second)]))


def test_neurons_that_are_selective_and_used_are_found(tmp_path):
    rng = np.random.default_rng(2)
    activations, effects = rng.normal(size=(REPLICATES, CONCEPTS, NEURONS)), rng.normal(size=NEURONS) * 0.01
    activations[:, :, ::3] = SCORES[:, :1] + 0.1 * activations[:, :, ::3]
    effects[::3] -= 1
    folder = write_run(tmp_path, activations, effects)
    select(folder, STUDY, OPTIONS, executor=executor(), progress=Silent())
    run(folder, permutations=99)
    table = tau_and_effect(folder).set_index(["relation", "attribute"])
    assert table.loc[(SIZE, "a"), "rho"] > 0.5
    assert table.loc[(EFFECT_IN_LAYERS, "a"), "rho"] < -0.5
    assert table.loc[(EFFECT, "a"), "p_corrected"] < 0.05


def test_under_the_null_p_are_uniform():
    """Statistics of attributes that are dependent, as permuted together: p and corrected p keep their level."""
    rng = np.random.default_rng(0)
    single, corrected = [], []
    for _ in range(2000):
        common = rng.normal(size=(40, 1))
        tests = permutation_tests(common + 0.5 * rng.standard_exponential((40, 5)))
        single.append(tests.p[0])
        corrected.append(tests.p_corrected.min())
    for level in (0.05, 0.1, 0.5):
        error = 3 * np.sqrt(level * (1 - level) / 2000)
        assert np.mean(np.array(single) <= level) == pytest.approx(level, abs=error)
        assert np.mean(np.array(corrected) <= level) == pytest.approx(level, abs=error)


def test_what_does_not_vary_is_not_significant():
    tests = permutation_tests(np.array([[1.0, np.nan], [1.0, 2.0], [1.0, 3.0]]))
    assert (tests.p[0], tests.p_corrected[0]) == (1, 1)
    assert np.isnan([tests.p[1], tests.p_corrected[1], tests.null_mean[1]]).all()
