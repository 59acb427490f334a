"""Masks that rankings choose: the least selective neurons, those of permuted concepts, those of half the replicates."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slow_twins import ranks_of_largest

from emoscale.concepts.loading import Concepts
from emoscale.errors import InputError
from emoscale.masks.controls import CONTROLS, of_permuted_concepts
from emoscale.masks.make_masks import make_masks
from emoscale.masks.options import MaskOptions
from emoscale.masks.request import Request
from emoscale.masks.selective import most_selective
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_extraction
from emoscale.schema import ACTIVATIONS, MASKS, MOMENTS, SELECTIVITY
from emoscale.selectivity import permuted_values
from emoscale.selectivity.executor import Executor
from emoscale.selectivity.options import SelectivityOptions
from emoscale.selectivity.permutation import concept_orders
from emoscale.selectivity.permuted_values import PermutedValues, values_of_orders
from emoscale.selectivity.select import select
from emoscale.store import create_store, open_store
from emoscale.system.options import MachineOptions
from emoscale.system.progress import Silent

ATTRIBUTES = ["arousal", "valence", "fairness"]
NAN = np.nan


def tau_of(rng, neurons, attributes):
    """Few different values, some of them missing; the first neuron has them all."""
    tau = rng.integers(-3, 4, size=(attributes, neurons)) / 7
    tau[rng.random(tau.shape) < 0.2] = NAN
    tau[:, 0] = 0
    return tau


@st.composite
def requests(draw):
    rng, neurons = np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.integers(1, 40))
    attributes = ATTRIBUTES[: draw(st.integers(1, 3))]
    tau, odd, even, *permuted = (tau_of(rng, neurons, len(attributes)) for _ in range(3 + draw(st.integers(0, 3))))
    most = min((~np.isnan(values)).sum(axis=1).min() for values in (tau, odd, even, *permuted))
    k = sorted(draw(st.sets(st.integers(1, int(most)), min_size=1, max_size=3)))
    return request_of(tau, permuted, attributes, k, draw(st.booleans()), (odd, even))


def request_of(tau, permuted, attributes, k, disjoint=False, halves=()):
    tau, N = np.asarray(tau, float), np.shape(tau)[1]
    return Request(
        rank=np.stack([ranks_of_largest(column) for column in tau], axis=1),
        has_rank=~np.isnan(tau.T),
        layer=np.zeros(N, int),
        activation_level=lambda: np.zeros(N),
        effects=lambda: np.zeros((2, N)),
        attributes=list(attributes),
        k=k,
        draws=5,
        disjoint=disjoint,
        seed=0,
        permuted_values=lambda: iter(np.asarray(permuted, float)),
        values_by_half=lambda: np.stack([half.T for half in halves]),
    )


def sets(masks):
    return {(len(mask.neurons), mask.attribute, mask.draw): set(mask.neurons) for mask in masks}


def sorted_neurons(values, sign, without=()):
    """From the largest value on if the sign is 1, of equal ones the lower index first; else the other way round."""
    there = [n for n, value in enumerate(values) if not np.isnan(value) and n not in without]
    return sorted(there, key=lambda n: (-sign * values[n], sign * n))


def check(name, request, tau_of_draws, sign):
    """Compare a control with sorting in plain Python, and where too few neurons are left, the errors."""
    own, expected, short = sets(most_selective(request)), {}, []
    for k in request.k:
        for a, attribute in enumerate(request.attributes):
            for draw, tau in enumerate(tau_of_draws):
                neurons = sorted_neurons(tau[a], sign, own[k, attribute, 0] if request.disjoint else ())
                expected[k, attribute, draw] = set(neurons[:k])
                if len(neurons) < k:
                    short.append(f"{name} controls of {attribute!r}, k = {k}: only {len(neurons)} neurons")
    if not short:
        assert sets(CONTROLS[name].draw(request)) == expected
        return
    with pytest.raises(InputError) as caught:
        list(CONTROLS[name].draw(request))
    assert all(any(problem.startswith(line) for line in short) for problem in caught.value.problems)


@given(requests())
def test_the_least_selective_are_the_end_of_the_order(request):
    tau = np.where(request.has_rank, -request.rank, NAN).T
    check("lowest", request, [tau], -1)


@given(requests())
def test_permuted_masks_are_those_of_permuted_values(request):
    check("permuted", request, list(request.permuted_values()), 1)


@given(requests(), st.integers(0, 3))
def test_permuted_masks_are_the_selective_ones_of_those_ranks(request, fewer):
    """The slow twin: rank, and select as always. Nor does a draw depend on how many there are."""
    request = dataclasses.replace(request, disjoint=False)
    permuted = list(request.permuted_values())
    expected = {}
    for draw, tau in enumerate(permuted):
        masks = sets(most_selective(request_of(tau, [], request.attributes, request.k)))
        expected |= {(k, attribute, draw): neurons for (k, attribute, _), neurons in masks.items()}
    assert sets(CONTROLS["permuted"].draw(request)) == expected
    few = dataclasses.replace(request, permuted_values=lambda: iter(permuted[:fewer]))
    kept = {name: neurons for name, neurons in expected.items() if name[2] < fewer}
    assert sets(CONTROLS["permuted"].draw(few)) == kept
    last = request.attributes[-1]
    of_one = {name: neurons for name, neurons in expected.items() if name[1] == last}
    assert sets(CONTROLS["permuted"].draw(request.of_attribute(last))) == of_one


@given(requests())
def test_masks_by_half_are_the_selective_ones_of_its_ranks(request):
    """The slow twin: rank each half, and select as always; whatever is selective for all replicates together."""
    expected = {}
    for half, tau in enumerate(request.values_by_half()):
        masks = sets(most_selective(request_of(tau.T, [], request.attributes, request.k)))
        expected |= {(k, attribute, half): neurons for (k, attribute, _), neurons in masks.items()}
    assert sets(CONTROLS["half"].draw(request)) == expected
    last = request.attributes[-1]
    of_one = {name: neurons for name, neurons in expected.items() if name[1] == last}
    assert sets(CONTROLS["half"].draw(request.of_attribute(last))) == of_one


def test_what_halves_cannot_choose():
    tau = np.array([[0.1, 0.2, NAN], [0.3, 0.4, 0.5]])
    request = request_of(tau, [], ATTRIBUTES[:2], [2, 3], halves=(tau, tau))
    with pytest.raises(InputError) as caught:
        list(CONTROLS["half"].draw(request))
    assert caught.value.problems == [
        "half controls of 'arousal', k = 3: only 2 neurons have a selectivity; give a smaller k"
    ]
    request = request_of(tau, [], ATTRIBUTES[:2], [1], halves=(np.full_like(tau, NAN), np.full_like(tau, NAN)))
    with pytest.raises(InputError, match="there is only one; list two"):
        list(CONTROLS["half"].draw(request))
    request = request_of(tau, [], ATTRIBUTES[:2], [1], halves=(tau, np.full_like(tau, NAN)))
    with pytest.raises(InputError, match="in one half of the replicates no neuron differs"):
        list(CONTROLS["half"].draw(request))
    with pytest.raises(ValueError, match="values_by_half"):
        list(CONTROLS["half"].draw(request_with_nothing_permuted()))


def test_too_few_neurons_are_named():
    tau = [[0.1, 0.2, 0.3, 0.4, 0.5, NAN], [0.5, 0.4, 0.3, 0.2, 0.1, 0.0]]
    request = request_of(tau, [tau, tau], ATTRIBUTES[:2], [2, 3], disjoint=True)
    for name in ("lowest", "permuted"):
        with pytest.raises(InputError) as caught:
            list(CONTROLS[name].draw(request))
        assert caught.value.problems == [
            f"{name} controls of 'arousal', k = 3: only 2 neurons have a selectivity and are not in the selective "
            "mask; give a smaller k, or set masks.disjoint to false"
        ]
    request = request_of(tau, [np.full((2, 6), NAN)], ATTRIBUTES[:2], [1])
    with pytest.raises(InputError, match=r"permuted controls of 'arousal', k = 1: only 0 neurons have a selectivity;"):
        list(CONTROLS["permuted"].draw(request))


def test_which_controls_need_permuted_values():
    assert of_permuted_concepts(["random", "permuted"])
    assert not of_permuted_concepts([name for name in CONTROLS if name != "permuted"])
    with pytest.raises(ValueError, match="permuted_values"):
        CONTROLS["permuted"].draw(request_with_nothing_permuted())
    assert sets(CONTROLS["lowest"].draw(request_with_nothing_permuted())) == {(1, "arousal", 0): {0}}


def request_with_nothing_permuted():
    request = request_of([[0.0, 1.0]], [], ATTRIBUTES[:1], [1])
    fields = {f.name: getattr(request, f.name) for f in dataclasses.fields(request) if f.default is dataclasses.MISSING}
    return Request(**fields)


NAMES = [f"c{number}" for number in range(6)]
OPTIONS = SelectivityOptions(permutations=9)
STUDY = Concepts(NAMES, ATTRIBUTES, np.random.default_rng(1).integers(0, 5, size=(6, 3)) / 10.0, None)
NEURONS = 50


@pytest.fixture
def folder(tmp_path):
    return selected(tmp_path)


def selected(path, replicates=(0, 1)):
    """A run in which neurons are equal, constant or absent."""
    folder, rng = RunFolder(path), np.random.default_rng(2)
    activations = rng.normal(size=(12, NEURONS)).astype(np.float32)
    activations[:, 10:30] = activations[:, [40]]
    activations[:, 3] = 1.0
    activations[4, 7] = NAN
    activations[:, 8] = NAN
    number = np.arange(NEURONS)
    activations = np.concatenate([activations[6 * replicate : 6 * replicate + 6] for replicate in replicates])
    rows = len(activations)
    coordinates = {
        "concept": np.tile(np.array(NAMES, object), len(replicates)),
        "replicate": np.repeat(np.array(replicates).astype(str).astype(object), 6),
        **dict.fromkeys(("item", "position", "token_id"), np.zeros(rows, np.int32)),
        **{"layer": number // 25, "expert": np.full(NEURONS, -1), "unit": number % 25},
    }
    store = create_store(folder.activations, ACTIVATIONS, coordinates, {"observation": 5, "neuron": 8})
    store.write("activations", activations)
    store.mark_complete()
    select(folder, STUDY, OPTIONS, executor=executor(), progress=Silent())
    return folder


def executor():
    return Executor.of(MachineOptions(threads=2), OPTIONS)


def made(folder, orders, threads=2, k=(1, 12, 0.5), disjoint=False):
    def values():
        permuted = PermutedValues.of(open_extraction(folder), STUDY, OPTIONS, executor(), Silent())
        return values_of_orders(permuted, np.asarray(orders), threads)

    chosen = MaskOptions(k=list(k), controls=["permuted", "lowest"], disjoint=disjoint, permutations=len(orders))
    make_masks(folder, chosen, Silent(), values)
    store = open_store(folder.masks, MASKS)
    names = zip(*(store.read(name) for name in ("kind", "attribute", "k", "draw")), strict=True)
    return dict(zip(names, (bits.tobytes() for bits in store.read("bits")), strict=True))


def test_the_concepts_own_order_gives_the_selective_masks(folder):
    tau = open_store(folder.selectivity, SELECTIVITY).read("tau")
    assert np.isnan(tau[[3, 7, 8]]).all()
    assert (tau[10:30] == tau[40]).all()
    own, other = np.arange(6), np.array([3, 1, 2, 5, 4, 0])
    masks = made(folder, [own, other])
    pairs = [(masks["permuted", *name[1:3], 0], bits) for name, bits in masks.items() if name[0] == "selective"]
    assert len(pairs) == 9
    assert all(permuted == selective for permuted, selective in pairs)
    others = [masks["permuted", *name[1:3], 1] != bits for name, bits in masks.items() if name[0] == "selective"]
    assert sum(others) > 4


def test_a_draw_depends_neither_on_their_number_nor_on_batches_nor_on_threads(folder, monkeypatch):
    many = made(folder, concept_orders(6, 5, 3))
    few = made(folder, concept_orders(6, 2, 3), threads=1)
    assert len(few) < len(many)
    assert all(many[name] == bits for name, bits in few.items())
    monkeypatch.setattr(permuted_values, "_BYTES_AT_A_TIME", 2 * 8 * NEURONS * len(ATTRIBUTES))
    monkeypatch.setattr(permuted_values, "_NEURONS_A_TASK", 7)
    assert made(folder, concept_orders(6, 5, 3)) == many


def test_disjoint_masks_hold_none_of_the_attributes_own(folder):
    masks = made(folder, concept_orders(6, 3, 0), k=(1, 20), disjoint=True)
    assert len(masks) == 1 + 6 * (1 + 3 + 1)
    for (kind, attribute, k, _), bits in masks.items():
        if kind in {"permuted", "lowest"}:
            own = masks["selective", attribute, k, 0]
            assert not np.bitwise_and(np.frombuffer(bits, np.uint8), np.frombuffer(own, np.uint8)).any()


def selective_masks(folder, *controls):
    make_masks(folder, MaskOptions(k=[1, 12], controls=[*controls]), Silent())
    store = open_store(folder.masks, MASKS)
    names = zip(*(store.read(name) for name in ("kind", "attribute", "k", "draw")), strict=True)
    return dict(zip(names, (bits.tobytes() for bits in store.read("bits")), strict=True))


def test_a_half_chooses_as_a_run_of_its_replicates_would(tmp_path):
    masks = selective_masks(selected(tmp_path / "all"), "half")
    assert [name[0] for name in masks].count("half") == 2 * 2 * len(ATTRIBUTES)
    for half in (0, 1):
        alone = selective_masks(selected(tmp_path / str(half), [half]), "lowest")
        for (kind, attribute, k, _), bits in alone.items():
            if kind == "selective":
                assert masks["half", attribute, k, half] == bits
    assert masks["half", "arousal", 12, 0] != masks["half", "arousal", 12, 1]


def test_a_single_replicate_is_known_before_permuted_masks_are_made(tmp_path):
    folder = selected(tmp_path, [0])

    def values():
        raise AssertionError

    options = MaskOptions(k=[1], controls=["permuted", "half"])
    with pytest.raises(InputError, match=r"^masks.controls 'half': neurons are chosen on each half of the replicates"):
        make_masks(folder, options, Silent(), values)
    assert not folder.masks.exists()


def test_moments_are_enough(folder, tmp_path):
    expected = made(folder, concept_orders(6, 3, 0))
    rows = open_store(folder.activations, ACTIVATIONS)
    values = rows.read("activations").astype(np.float64)
    cells = {name: rows.read(name) for name in ("concept", "replicate", "layer", "expert", "unit")}
    store = create_store(folder.moments, MOMENTS, {**cells, "rows": np.ones(12, np.int64)}, {"neuron": 8})
    store.write("mean", np.nan_to_num(values))
    store.write("m2", np.zeros(values.shape))
    store.write("count", (~np.isnan(values)).astype(np.int32))
    store.mark_complete()
    folder.activations.rename(tmp_path / "elsewhere")
    assert made(folder, concept_orders(6, 3, 0)) == expected
