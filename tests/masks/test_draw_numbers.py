"""As many draws as the interval asked for needs."""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy import stats

from emoscale.effect_schema import EFFECT_CHECK, EFFECT_MOMENTS
from emoscale.errors import InputError, StageError
from emoscale.masks.controls import CONTROLS
from emoscale.masks.draw_numbers import check_draws_can_be_chosen, choose_draws
from emoscale.masks.expected import expected_effects
from emoscale.masks.make_masks import make_masks, make_request
from emoscale.masks.options import MaskOptions
from emoscale.masks.request import Request
from emoscale.masks.strata import Strata
from emoscale.run.folder import RunFolder
from emoscale.schema import MASKS, SELECTIVITY
from emoscale.store import create_store, open_store
from emoscale.system.progress import Silent

NEURONS, ATTRIBUTES = 200, ["arousal", "valence"]
SIZES = (4, 40)


def write_check(folder, ratios=(2.0, 0.5), draws=6, sizes=SIZES, noise=0.0):
    """Groups whose exact changes spread as some multiple of the estimates, with noise."""
    rng = np.random.default_rng(5)
    k = np.repeat([1, *sizes], draws)
    estimated = rng.normal(size=(3, len(k)))
    change = np.concatenate([np.zeros(draws), *np.repeat(ratios, draws).reshape(len(sizes), draws)])
    coordinates = {
        **{name: np.array(["0"] * 3, object) for name in ("concept", "replicate")},
        "stratum": np.array(["any"] * len(k), object),
        "k": k.astype(np.int32),
        "neuron": np.where(k == 1, np.arange(len(k)), -1),
        "is_exact": np.zeros(len(k), bool),
    }
    store = create_store(folder.effect_check, EFFECT_CHECK, coordinates, {})
    store.write("estimated", estimated)
    store.write("exact", estimated)
    of_noise = noise * rng.normal(size=len(k))
    store.write("change", change * store.read("estimated").astype(float).mean(axis=0) + of_noise)
    store.mark_complete()


@pytest.fixture
def effects():
    return np.random.default_rng(4).normal(0, 0.01, NEURONS)


@pytest.fixture
def folder(tmp_path, effects):
    """A run with selectivity and effects; the effect of the last neuron is unknown."""
    folder, rng, number = RunFolder(tmp_path), np.random.default_rng(0), np.arange(NEURONS)
    neuron = {"layer": number // 50, "expert": np.full(NEURONS, -1), "unit": number % 50}
    tau = rng.normal(size=(NEURONS, 2)) + 0.02 * (number // 50)[:, None]
    coordinates = {"order": np.arange(0), "attribute": np.array(ATTRIBUTES, object), **neuron}
    store = create_store(folder.selectivity, SELECTIVITY, coordinates, {})
    store.write("tau", tau)
    store.write("rank", (-tau).argsort(axis=0).argsort(axis=0) + 1.0)
    store.mark_complete()
    cells = {name: np.array(["0"], object) for name in ("concept", "replicate")}
    cells |= {"half": np.zeros(1, np.int32), "rows": np.array([3])}
    store = create_store(folder.effect_moments, EFFECT_MOMENTS, {**cells, **neuron}, {})
    store.write("mean", effects[None])
    store.write("m2", np.zeros((1, NEURONS)))
    store.write("count", np.where(number == NEURONS - 1, 0, 3)[None].astype(np.int32))
    store.mark_complete()
    effects[-1] = 0.0
    return folder


def options(**given):
    return MaskOptions(**{"k": [5, 30], "draws": "auto", **given})


def made(folder, chosen):
    counts = make_masks(folder, chosen, Silent())
    store = open_store(folder.masks, MASKS)
    return counts, store.attributes["origin"].get("chosen_draws"), store


@pytest.mark.parametrize("width", [0.06, 0.02])
def test_the_fewest_that_make_the_interval_as_narrow_as_asked(folder, effects, width):
    write_check(folder)
    counts, chosen, store = made(folder, options(draw_width=width))
    # The nearer size of groups to 5 is 4, where the spread is twice the estimated; to 30 it is 40, where it is half.
    spread = {k: ratio * np.sqrt(k * (1 - k / NEURONS) * effects.var(ddof=1)) for k, ratio in ((5, 2.0), (30, 0.5))}
    assert spread[5] > spread[30]
    halves = {n: stats.t.ppf(0.975, n - 1) * spread[5] / np.sqrt(n) for n in range(3, 51)}
    wanted = min(n for n, half in halves.items() if half <= width)
    found = chosen["random"]
    assert (found["draws"], found["k"], found["measured_at"]) == (wanted, 5, 4)
    assert found["spread"] == pytest.approx(spread[5], rel=1e-5)
    assert found["half_width"] == pytest.approx(halves[wanted], rel=1e-5)
    assert counts["random"] == 2 * wanted
    assert store.attributes["origin"]["draws"] == "auto"


def test_what_estimates_do_not_tell_is_spread_as_well(folder, effects):
    """Exact effects that have nothing to do with the estimated ones spread as they do, which many groups tell."""
    write_check(folder, ratios=(0.0, 0.0), draws=400, noise=0.3)
    for k, spread in ((4, 0.3), (40, 0.3), (10, 0.3 * np.sqrt(10 * (1 - 10 / NEURONS) / (4 * (1 - 4 / NEURONS))))):
        assert made(folder, options(k=[k]))[1]["random"]["spread"] == pytest.approx(spread, rel=0.08)


def test_masks_are_those_of_as_many_draws(folder):
    write_check(folder)
    _, chosen, store = made(folder, options())
    bits = store.read("bits")
    made(folder, options(draws=chosen["random"]["draws"]))
    np.testing.assert_array_equal(open_store(folder.masks, MASKS).read("bits"), bits)


def test_at_least_three_and_at_most_so_many(folder):
    write_check(folder)
    assert made(folder, options(draw_width=10.0))[1]["random"]["draws"] == 3
    found = made(folder, options(draw_width=1e-6, most_draws=7))[1]["random"]
    assert found["draws"] == 7
    assert found["half_width"] > 1e-6
    assert made(folder, options(most_draws=2))[1]["random"]["draws"] == 2


def test_masks_for_each_attribute_need_fewer_draws(folder, effects):
    write_check(folder, ratios=(1.0, 1.0))
    kinds = ["random", "random-by-layer", "largest-loss"]
    counts, chosen, _ = made(folder, options(k=[30], controls=kinds, draw_width=0.02))
    assert list(chosen) == ["random", "random-by-layer"]
    assert counts["largest-loss"] == 2
    assert counts["random-by-layer"] == 2 * chosen["random-by-layer"]["draws"]
    request = Request(
        **{name: open_store(folder.selectivity, SELECTIVITY).read(name) for name in ("rank", "layer")},
        has_rank=np.ones((NEURONS, 2), bool),
        activation_level=lambda: effects,
        effects=lambda: effects,
        attributes=ATTRIBUTES,
        k=[30],
        draws=3000,
        disjoint=False,
        seed=1,
    )
    sums = {name: [] for name in ATTRIBUTES}
    for mask in CONTROLS["random-by-layer"].draw(request):
        sums[mask.attribute].append(effects[mask.neurons].sum())
    # A draw is the mean over the attributes' masks.
    spread = np.mean(list(sums.values()), axis=0).std(ddof=1)
    assert chosen["random-by-layer"]["spread"] == pytest.approx(spread, rel=0.05)
    assert chosen["random"]["draws"] > chosen["random-by-layer"]["draws"]


def test_disjoint_random_masks_are_all_draws_of_one_kind(folder):
    write_check(folder, ratios=(1.0, 1.0))
    found = made(folder, options(k=[30], draw_width=0.02, disjoint=True))[1]["random"]
    masks = 2 * found["draws"]
    assert found["half_width"] == pytest.approx(stats.t.ppf(0.975, masks - 1) * found["spread"] / np.sqrt(masks))
    assert found["half_width"] <= 0.02


def test_chosen_numbers_give_such_intervals(folder, effects):
    """Masks whose exact effect is known: half the interval of their mean comes to about what was asked."""
    write_check(folder, ratios=(1.0, 1.0))
    _, chosen, _ = made(folder, options(k=[30], draw_width=0.02))
    rng, n, halves = np.random.default_rng(2), chosen["random"]["draws"], []
    for _ in range(300):
        exact = [effects[rng.choice(NEURONS, 30, replace=False)].sum() for _ in range(n)]
        halves.append(stats.t.ppf(0.975, n - 1) * np.std(exact, ddof=1) / np.sqrt(n))
    assert 0.8 * 0.02 < np.mean(halves) <= 1.05 * 0.02


def test_a_run_that_cannot_tell(folder):
    with pytest.raises(InputError, match=r"masks\.draws auto: needs random groups.*attribution\.check_groups"):
        made(folder, options())
    write_check(folder, draws=2)
    with pytest.raises(InputError, match="3 or more of a size"):
        made(folder, options())
    write_check(folder)
    own = dataclasses.replace(CONTROLS["random"], name="mine", draw=lambda request: iter(()))
    with pytest.raises(InputError, match="'mine' does not say what its neurons are drawn from"):
        choose_draws(folder, make_request(folder, options(), Silent()), [own], options())
    assert not folder.masks.exists()


def test_permutations_are_as_many_as_they_are(folder):
    write_check(folder)
    chosen = options(controls=["permuted", "random"], permutations=4)
    values = np.random.default_rng(3).normal(size=(4, 2, NEURONS))
    counts = make_masks(folder, chosen, Silent(), lambda: iter(values))
    origin = open_store(folder.masks, MASKS).attributes["origin"]
    assert list(origin["chosen_draws"]) == ["random"]
    assert origin["permutations"] == 4
    assert counts["permuted"] == 2 * 2 * 4
    names = ("permuted", "random", "lowest", "half", "largest-loss")
    sizes = {name: CONTROLS[name].masks_of_a_size(chosen) for name in names}
    assert sizes == {"permuted": 4, "random": chosen.most_draws, "lowest": 1, "half": 2, "largest-loss": 2}
    assert CONTROLS["random"].masks_of_a_size(options(draws=7)) == 7


def test_a_run_without_effects(folder):
    write_check(folder)
    folder.effect_moments.rename(folder.path / "elsewhere")
    with pytest.raises(StageError, match="run `emoscale attribute-effects` first"):
        made(folder, options())


def test_settings_are_checked_before_anything_is_done():
    check_draws_can_be_chosen(list(CONTROLS.values()), groups=1, draws=3)
    for groups, draws in ((0, 8), (3, 2)):
        with pytest.raises(InputError, match=r"or masks\.draws to a number"):
            check_draws_can_be_chosen(list(CONTROLS.values()), groups, draws)


def test_moments_are_those_of_all_masks():
    values = np.random.default_rng(0).normal(size=8)
    strata = Strata([np.array([0, 2, 4, 6]), np.array([1, 3, 5]), np.array([7])], np.array([2, 1, 1]))
    pairs = itertools.combinations([0, 2, 4, 6], 2)
    sums = [values[[*pair, one, 7]].sum() for pair, one in itertools.product(pairs, [1, 3, 5])]
    assert strata.k == 4
    assert strata.moments(values) == pytest.approx((np.mean(sums), np.var(sums)))


def test_expected_effects_of_every_control(folder, effects):
    kinds = ["random", "random-by-layer", "random-by-activation", "largest-loss"]
    found = expected_effects(folder, options(controls=kinds, draws=2), effects)
    assert list(found["control"].unique()) == ["random", "random-by-layer"]
    random = found[found["control"] == "random"]
    assert random["k"].tolist() == [5, 30]
    np.testing.assert_allclose(random["expected"], np.array([5, 30]) * effects.mean())
    assert found[found["control"] == "random-by-layer"]["attribute"].tolist() == ATTRIBUTES * 2
    store = open_store(folder.selectivity, SELECTIVITY)
    chosen = np.flatnonzero(store.read("rank")[:, 1] <= 30)
    means = np.array([effects[layer * 50 : layer * 50 + 50].mean() for layer in range(4)])
    by_layer = found[(found["control"] == "random-by-layer") & (found["k"] == 30) & (found["attribute"] == "valence")]
    assert by_layer["expected"].item() == pytest.approx(means[store.read("layer")[chosen]].sum())
