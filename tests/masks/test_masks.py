import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from emoscale.errors import InputError, StageError
from emoscale.masks.controls import CONTROLS, Control
from emoscale.masks.make_masks import make_masks, resolve_k
from emoscale.masks.options import MaskOptions
from emoscale.masks.request import Mask
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS, MASKS, SELECTIVITY
from emoscale.store import create_store, open_store
from emoscale.system.progress import Silent

NEURONS = 21
ATTRIBUTES = ["arousal", "valence"]


def test_counts_and_fractions():
    assert resolve_k([500, 0.25, 1, 0.001, 250, 0.5], 1000) == [1, 250, 500]
    assert resolve_k([0.0001], 50) == [1]
    assert resolve_k([np.int64(7), np.float64(0.5)], 10) == [5, 7]
    assert all(type(k) is int for k in resolve_k([np.int64(7), np.float32(0.5)], 10))


@given(st.lists(st.integers(1, 80) | st.floats(0, 1, exclude_min=True, exclude_max=True), min_size=1))
def test_resolved_k_ascend_within_the_model(k):
    resolved = resolve_k(k, 80)
    assert resolved == sorted(set(resolved))
    assert all(1 <= value <= 80 for value in resolved)
    assert {value for value in k if isinstance(value, int)} <= set(resolved)


def test_every_k_that_cannot_be_used_is_reported():
    bad = [True, 0, -3, 51, 0.0, 1.0, 2.5, float("nan"), -0.5, "half"]
    with pytest.raises(InputError) as caught:
        resolve_k([10, *bad, 0.5], 50)
    assert len(caught.value.problems) == len(bad)
    assert "51" in caught.value.problems[3]
    assert "50 neurons" in caught.value.problems[3]
    with pytest.raises(InputError, match="no value"):
        resolve_k([], 50)


@pytest.fixture
def tau():
    tau = np.random.default_rng(0).normal(size=(NEURONS, 2)).round(1)
    tau[5] = np.nan
    return tau


@pytest.fixture
def folder(tmp_path, tau):
    return write_selectivity(tmp_path, tau)


def write_selectivity(path, tau, complete=True):
    folder = RunFolder(path)
    number = np.arange(len(tau))
    neuron = {"layer": number // 7, "expert": np.full(len(tau), -1), "unit": number % 7}
    coordinates = {"order": np.arange(0), "attribute": np.array(ATTRIBUTES), **neuron}
    store = create_store(folder.selectivity, SELECTIVITY, coordinates, {"neuron": 8})
    keys = np.where(np.isnan(tau), np.inf, -tau)
    ranks = [[(keys[:, a] < x).sum() + ((keys[:, a] == x).sum() + 1) / 2 for a, x in enumerate(row)] for row in keys]
    for name, values in {"tau": tau, "p": tau, "q": tau, "rank": np.array(ranks)}.items():
        store.write(name, values)
    if complete:
        store.mark_complete()
    return folder


def write_activations(folder, activations, complete=True):
    rows, number = np.arange(len(activations)), np.arange(NEURONS)
    coordinates = {
        **{name: rows.astype(str) for name in ("concept", "replicate")},
        **dict.fromkeys(("item", "position", "token_id"), rows),
        **{"layer": number // 7, "expert": np.full(NEURONS, -1), "unit": number % 7},
    }
    store = create_store(folder.activations, ACTIVATIONS, coordinates, {"observation": 4, "neuron": 8})
    store.write("activations", activations)
    if complete:
        store.mark_complete()


def make(folder, k=(3, 0.5), controls=("random",), disjoint=False, draws=2, seed=7):
    options = MaskOptions(k=list(k), controls=list(controls), disjoint=disjoint, draws=draws, seed=seed)
    return make_masks(folder, options, Silent())


def read(folder):
    store = open_store(folder.masks, MASKS)
    assert store.complete
    off = np.unpackbits(store.read("bits"), axis=1, count=NEURONS).astype(bool)
    names = [tuple(row) for row in zip(*(store.read(c) for c in ("kind", "attribute", "k", "draw")), strict=True)]
    return dict(zip(names, off, strict=True)), store


def test_masks_in_their_order(folder):
    counts = make(folder, k=(10, 3))
    masks, store = read(folder)
    assert list(masks) == [
        ("none", "", 0, 0),
        *(("selective", attribute, k, 0) for k in (3, 10) for attribute in ATTRIBUTES),
        *(("random", "", k, draw) for k in (3, 10) for draw in (0, 1)),
    ]
    assert counts == {"none": 1, "selective": 4, "random": 4}
    assert all(off.sum() == k for (_, _, k, _), off in masks.items())
    origin = store.attributes["origin"]
    words = origin.pop("controls")["random"]
    assert origin == {"seed": 7, "draws": 2, "disjoint": False, "neurons": NEURONS}
    assert words == CONTROLS["random"].words(disjoint=False)
    assert not words["per_attribute"]
    assert store.read("bits").shape == (9, 3)


def test_selective_masks_hold_the_best_and_of_equal_ones_the_first(folder, tau):
    make(folder, k=(1, 4, 9, 20))
    masks, _ = read(folder)
    for column, attribute in enumerate(ATTRIBUTES):
        best = sorted(range(NEURONS), key=lambda n: (np.isnan(tau[n, column]), -tau[n, column], n))
        assert len(np.unique(tau[:, column])) < NEURONS
        for k in (1, 4, 9, 20):
            assert set(np.flatnonzero(masks["selective", attribute, k, 0])) == set(best[:k])


def test_a_neuron_without_selectivity_is_never_selective(folder):
    make(folder, k=(20,))
    masks, _ = read(folder)
    assert not any(off[5] for (kind, *_), off in masks.items() if kind == "selective")
    with pytest.raises(InputError) as caught:
        make(folder, k=(21,))
    assert len(caught.value.problems) == len(ATTRIBUTES)
    assert "only 20 neurons" in caught.value.problems[0]


def test_random_controls_do_not_depend_on_the_others(folder):
    make(folder, k=(3, 8, 10), draws=3)
    many, _ = read(folder)
    make(folder, k=(8,), draws=2)
    few, _ = read(folder)
    for name, off in few.items():
        np.testing.assert_array_equal(off, many[name])
    drawn = {name[2:]: off.tobytes() for name, off in many.items() if name[0] == "random"}
    assert len(set(drawn.values())) == len(drawn)


def test_random_controls_depend_on_the_seed_and_reach_every_neuron(folder):
    make(folder, k=(10,), draws=40)
    first, _ = read(folder)
    make(folder, k=(10,), draws=40, seed=8)
    second, _ = read(folder)
    names = [name for name in first if name[0] == "random"]
    assert any((first[name] != second[name]).any() for name in names)
    share = np.mean([first[name] for name in names], axis=0)
    assert share.min() > 0.1
    assert share.max() < 0.9


def test_random_controls_are_those_of_earlier_versions(folder):
    make(folder, k=(3, 8))
    masks, _ = read(folder)
    for k, draw in itertools.product((3, 8), (0, 1)):
        drawn = np.random.default_rng([7, k, draw]).choice(NEURONS, size=k, replace=False)
        np.testing.assert_array_equal(np.flatnonzero(masks["random", "", k, draw]), np.sort(drawn))


def test_no_draws(folder):
    assert make(folder, draws=0) == {"none": 1, "selective": 4, "random": 0}


def test_made_again_they_are_the_same_byte_for_byte(folder):
    def digest():
        files = sorted(file for file in folder.masks.rglob("*") if file.is_file())
        return [(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]

    make(folder)
    first = digest()
    make(folder)
    assert digest() == first


def test_bad_settings_write_nothing(folder):
    with pytest.raises(InputError, match="seed = -1") as caught:
        make(folder, draws=-2, seed=-1)
    assert len(caught.value.problems) == 2
    with pytest.raises(InputError, match="k = 22"):
        make(folder, k=(22,))
    assert not folder.masks.exists()


def test_missing_or_unfinished_selectivity(tmp_path, tau):
    with pytest.raises(StageError, match="emoscale select"):
        make(RunFolder(tmp_path))
    folder = write_selectivity(tmp_path, tau, complete=False)
    with pytest.raises(StageError, match="emoscale select"):
        make(folder)


def test_a_control_of_ones_own(folder):
    def first_neurons(request):
        for k in request.k:
            yield Mask(np.arange(k))

    words = {"label": "the first", "neurons": "the first neurons", "adjective": "first", "drawn": "the first ones"}
    own = Control("first", first_neurons, per_attribute=False, **words)
    counts = make(folder, k=(3,), controls=(own, "random"))
    assert counts == {"none": 1, "selective": 2, "first": 1, "random": 2}
    masks, store = read(folder)
    assert np.flatnonzero(masks["first", "", 3, 0]).tolist() == [0, 1, 2]
    assert store.attributes["origin"]["controls"]["first"] == {**words, "per_attribute": False, "cross_fitted": False}
    with pytest.raises(InputError, match=r"masks\.controls 'firts'.*use one of random"):
        make(folder, controls=("firts",))


def test_masks_are_stored_by_size_attribute_and_draw_whatever_the_order_they_are_made_in(folder):
    def backwards(request):
        for draw, attribute, k in itertools.product((1, 0), reversed(ATTRIBUTES), (4, 3)):
            yield Mask(np.arange(k) + draw, attribute=attribute, draw=draw)

    own = Control("backwards", backwards, label="", neurons="", adjective="", drawn="")
    assert make(folder, k=(3, 4), controls=(own,))["backwards"] == 8
    masks, _ = read(folder)
    assert list(masks)[5:] == [("backwards", a, k, d) for k, a, d in itertools.product((3, 4), ATTRIBUTES, (0, 1))]


def test_the_settings_accept_every_control():
    names = TypeAdapter(MaskOptions).json_schema()["properties"]["controls"]["items"]["enum"]
    assert names == list(CONTROLS)
    assert TypeAdapter(MaskOptions).validate_python({"controls": names}).controls == names


def test_controls_of_different_names_take_different_random_numbers():
    drawn = [control.draw.stream for control in CONTROLS.values() if control.strata]
    assert len(set(drawn)) == len(drawn)


def test_controls_in_the_order_asked_for(folder):
    write_activations(folder, np.random.default_rng(1).normal(size=(9, NEURONS)))
    counts = make(folder, k=(3,), controls=("random-by-activation", "random", "random-by-layer"))
    masks, _ = read(folder)
    assert list(masks)[3:] == [
        *(("random-by-activation", attribute, 3, draw) for attribute in ATTRIBUTES for draw in (0, 1)),
        *(("random", "", 3, draw) for draw in (0, 1)),
        *(("random-by-layer", attribute, 3, draw) for attribute in ATTRIBUTES for draw in (0, 1)),
    ]
    assert counts == {"none": 1, "selective": 2, "random-by-activation": 4, "random": 2, "random-by-layer": 4}
    assert all(off.sum() == k for (_, _, k, _), off in masks.items())


def test_layers_come_from_the_selectivity(folder):
    make(folder, k=(9,), controls=("random-by-layer",), draws=3)
    masks, _ = read(folder)
    for attribute in ATTRIBUTES:
        layers = masks["selective", attribute, 9, 0].reshape(3, 7).sum(axis=1)
        for draw in range(3):
            drawn = masks["random-by-layer", attribute, 9, draw].reshape(3, 7).sum(axis=1)
            np.testing.assert_array_equal(drawn, layers)


def test_levels_come_from_the_activations(folder):
    """Two levels of activation make two bins; the mean, not its absolute value, would make one."""
    sign = np.where(np.arange(8) % 2, 1, -1)[:, None]
    write_activations(folder, sign * np.where(np.arange(NEURONS) < 9, 0.5, 3.0))
    make(folder, k=(8,), controls=("random-by-activation",), draws=20)
    masks, _ = read(folder)
    drawn = set()
    for attribute in ATTRIBUTES:
        weak = masks["selective", attribute, 8, 0][:9].sum()
        assert 0 < weak < 8
        for draw in range(20):
            off = masks["random-by-activation", attribute, 8, draw]
            assert off[:9].sum() == weak
            drawn |= set(np.flatnonzero(off))
    assert drawn == set(range(NEURONS))


def test_disjoint_random_controls_belong_to_an_attribute(folder):
    counts = make(folder, k=(10,), disjoint=True, draws=9)
    masks, store = read(folder)
    assert counts == {"none": 1, "selective": 2, "random": 18}
    assert store.attributes["origin"]["disjoint"] is True
    assert store.attributes["origin"]["controls"]["random"]["per_attribute"]
    for (kind, attribute, k, _), off in masks.items():
        if kind == "random":
            assert not (off & masks["selective", attribute, k, 0]).any()


def test_disjoint_controls_that_do_not_fit_beside_the_selective_mask(folder):
    with pytest.raises(InputError) as caught:
        make(folder, k=(10, 11, 0.9), disjoint=True)
    assert caught.value.problems == [
        f"k = {k}: the model has 21 neurons, so {21 - k} are left for a disjoint control of {k}; "
        "give 10 or fewer, or set masks.disjoint to false"
        for k in (11, 19)
    ]
    assert not folder.masks.exists()


def test_problems_of_all_controls_are_reported_together(tmp_path):
    folder = write_selectivity(tmp_path, np.repeat(-np.arange(NEURONS)[:, None], 2, axis=1).astype(float))
    level = np.repeat([1.0, 2, 3], 7)
    write_activations(folder, np.tile(level, (4, 1)))
    with pytest.raises(InputError) as caught:
        make(folder, k=(3, 10), controls=("random-by-layer", "random", "random-by-activation"), disjoint=True)
    assert caught.value.problems == [
        f"{kind} controls of {attribute!r}, k = 10: {place} has 0 of 7 neurons left outside the selective mask, "
        "7 are needed; give a smaller k, or set masks.disjoint to false"
        for kind, place in (
            ("random-by-layer", "layer 0"),
            ("random-by-activation", "bin 1 of 20 (of mean |activation|)"),
        )
        for attribute in ATTRIBUTES
    ]
    assert not folder.masks.exists()


def test_controls_that_need_activations_without_them(folder):
    with pytest.raises(StageError, match="missing; run `emoscale extract`"):
        make(folder, controls=("random-by-activation",))
    folder.moments.mkdir()
    with pytest.raises(InputError, match=r"masks.controls 'random-by-activation'.*every row.*extraction\.keep"):
        make(folder, controls=("random-by-activation",))
    folder.moments.rmdir()
    write_activations(folder, np.ones((4, NEURONS)), complete=False)
    with pytest.raises(StageError, match="not finished; run `emoscale extract`"):
        make(folder, controls=("random-by-activation",))
    assert not folder.masks.exists()
