"""Controls: what they must have in common with the selective mask, and what they must not depend on."""

import dataclasses
from collections import Counter
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoscale.errors import InputError
from emoscale.masks.controls import BINS, CONTROLS
from emoscale.masks.drawing import check_disjoint, level_bins
from emoscale.masks.request import Request
from emoscale.masks.selective import most_selective

ATTRIBUTES = ("arousal", "valence", "fairness")
DRAWN = [name for name, control in CONTROLS.items() if control.strata]
BY_EFFECT = [name for name, control in CONTROLS.items() if control.needs_effects]


@st.composite
def requests(draw):
    """Few neurons with ties everywhere; every k has enough neurons with a rank."""
    neurons = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    attributes = ATTRIBUTES[: draw(st.integers(1, 3))]
    has_rank = rng.random((neurons, len(attributes))) < draw(st.sampled_from([0.5, 1.0]))
    has_rank[rng.integers(neurons)] = True
    level = rng.choice([0, 0.5, 1, *rng.random(neurons)], size=neurons)
    most = has_rank.sum(axis=0).min()
    return Request(
        rank=rng.integers(1, neurons + 1, size=has_rank.shape).astype(float),
        has_rank=has_rank,
        layer=np.sort(rng.integers(0, draw(st.integers(1, 5)), size=neurons)) * 2,
        activation_level=lambda: level,
        effects=lambda: np.zeros((2, neurons)),
        attributes=list(attributes),
        k=sorted(draw(st.sets(st.integers(1, most), min_size=1, max_size=3))),
        draws=draw(st.integers(0, 3)),
        disjoint=draw(st.booleans()),
        seed=draw(st.integers(0, 2**64)),
    )


def selective(request):
    return {(len(mask.neurons), mask.attribute): set(mask.neurons) for mask in most_selective(request)}


def made(kind, request):
    return {(len(mask.neurons), mask.attribute, mask.draw): mask.neurons for mask in CONTROLS[kind].draw(request)}


def groups(kind, request):
    if kind == "random":
        return np.zeros(len(request.layer), dtype=int)
    return request.layer if kind == "random-by-layer" else level_bins(request.activation_level(), BINS)


def can_be_drawn(kind, request):
    """Whether outside every selective mask there are as many neurons of each group as in it."""
    group = groups(kind, request)
    return all(
        sum(group == g) - (count if request.disjoint else 0) >= count
        for chosen in selective(request).values()
        for g, count in Counter(group[list(chosen)]).items()
    )


@given(st.sampled_from(DRAWN), requests())
def test_controls_balance_what_they_promise(kind, request):
    if not can_be_drawn(kind, request):
        with pytest.raises(InputError):
            made(kind, request)
        return
    masks, chosen, group = made(kind, request), selective(request), groups(kind, request)
    of_attributes = [""] if kind == "random" and not request.disjoint else request.attributes
    assert list(masks) == [(k, a, draw) for k in request.k for a in of_attributes for draw in range(request.draws)]
    for (k, attribute, _), neurons in masks.items():
        assert len(set(neurons)) == k
        assert 0 <= neurons.min() <= neurons.max() < len(group)
        if attribute:
            assert Counter(group[neurons]) == Counter(group[list(chosen[k, attribute])])
        if request.disjoint:
            assert chosen[k, attribute].isdisjoint(neurons)


@given(st.sampled_from(DRAWN), requests(), st.data())
def test_a_control_depends_on_nothing_but_its_own_coordinates(kind, request, data):
    if not can_be_drawn(kind, request):
        return
    columns = data.draw(st.lists(st.integers(0, len(request.attributes) - 1), min_size=1, unique=True))
    fewer = dataclasses.replace(
        request,
        rank=request.rank[:, columns],
        has_rank=request.has_rank[:, columns],
        attributes=[request.attributes[column] for column in columns],
        k=sorted(data.draw(st.sets(st.sampled_from(request.k), min_size=1))),
        draws=data.draw(st.integers(0, request.draws)),
    )
    many = made(kind, request)
    for name, neurons in made(kind, fewer).items():
        np.testing.assert_array_equal(neurons, many[name])


@pytest.mark.parametrize("kind", DRAWN)
@pytest.mark.parametrize("disjoint", [False, True])
def test_every_coordinate_gives_another_draw(kind, disjoint):
    rng = np.random.default_rng(0)
    request = Request(
        rank=np.argsort(rng.random((400, 3)), axis=0) + 1.0,
        has_rank=np.ones((400, 3), dtype=bool),
        layer=np.arange(400) // 200,
        activation_level=lambda: np.arange(400) % 2 * 1.0,
        effects=lambda: np.zeros((2, 400)),
        attributes=list(ATTRIBUTES),
        k=[40, 41],
        draws=3,
        disjoint=disjoint,
        seed=0,
    )
    masks = [*made(kind, request).values(), *made(kind, dataclasses.replace(request, seed=1)).values()]
    assert len({frozenset(neurons) for neurons in masks}) == len(masks) == (36 if disjoint or kind != "random" else 12)


def test_the_generator_of_a_matched_control():
    """Written out once, so that later versions draw the same."""
    request = one_attribute(layer=[0, 0, 0, 0, 1, 1, 1, 1], k=[3], draws=2)
    for (_, _, draw), neurons in made("random-by-layer", request).items():
        rng = np.random.default_rng([5, crc32(b"layer-matched"), crc32(b"arousal"), 3, draw])
        assert list(neurons) == list(rng.choice([0, 1, 2, 3], size=3, replace=False))


def test_neurons_without_a_rank_may_be_drawn():
    request = one_attribute(layer=[0] * 8, k=[4], draws=40, has_rank=np.arange(8)[:, None] < 4, disjoint=True)
    for kind in DRAWN:
        assert all(set(neurons) == {4, 5, 6, 7} for neurons in made(kind, request).values())


def test_a_group_is_drawn_from_evenly():
    request = one_attribute(layer=[0] * 4 + [1] * 4, k=[2], draws=600)
    drawn = Counter(np.concatenate(list(made("random-by-layer", request).values())).tolist())
    assert set(drawn) == {0, 1, 2, 3}
    # 600 x 2 / 4 = 300 each, with a standard deviation of sqrt(600 / 4) = 12.
    assert max(abs(count - 300) for count in drawn.values()) < 60


def test_too_few_left_names_the_group_that_lacks_most():
    request = one_attribute(layer=[3, 3, 3, 5, 5, 5, 5, 5], k=[2, 5], disjoint=True)
    with pytest.raises(InputError) as caught:
        made("random-by-layer", request)
    # The five best are all of layer 3 and two of layer 5.
    assert caught.value.problems == [
        "random-by-layer controls of 'arousal', k = 2: layer 3 has 1 of 3 neurons left outside the selective mask, "
        "2 are needed; give a smaller k, or set masks.disjoint to false",
        "random-by-layer controls of 'arousal', k = 5: layer 3 has 0 of 3 neurons left outside the selective mask, "
        "3 are needed; give a smaller k, or set masks.disjoint to false",
    ]


def test_room_for_disjoint_controls():
    check_disjoint([1, 4], 8)
    check_disjoint([1, 4], 9)
    with pytest.raises(InputError) as caught:
        check_disjoint([4, 5, 9], 9)
    assert [problem[:6] for problem in caught.value.problems] == ["k = 5:", "k = 9:"]
    assert "give 4 or fewer" in caught.value.problems[0]


def one_attribute(layer, k, draws=1, disjoint=False, has_rank=None):
    """Make a request where the first neurons are the most selective, all of one activation level."""
    n = len(layer)
    return Request(
        rank=np.arange(1.0, n + 1)[:, None],
        has_rank=np.ones((n, 1), dtype=bool) if has_rank is None else has_rank,
        layer=np.array(layer),
        activation_level=lambda: np.ones(n),
        effects=lambda: np.ones((2, n)),
        attributes=["arousal"],
        k=k,
        draws=draws,
        disjoint=disjoint,
        seed=5,
    )


def test_neurons_by_effect_come_without_chance():
    effects = np.array([[0.2, -0.5, np.nan, -0.1, 0.9, -0.5], [-0.3, 0.0, -0.4, 0.5, -0.1, 0.1]])
    request = dataclasses.replace(one_attribute([0] * 6, k=[1, 3], draws=4), effects=lambda: effects)
    found = {kind: {(k, half): list(mask) for (k, _, half), mask in made(kind, request).items()} for kind in BY_EFFECT}
    assert found == {
        "largest-loss": {(1, 0): [1], (1, 1): [2], (3, 0): [1, 5, 3], (3, 1): [2, 0, 4]},
        "largest-effect": {(1, 0): [4], (1, 1): [3], (3, 0): [4, 1, 5], (3, 1): [3, 2, 0]},
    }
