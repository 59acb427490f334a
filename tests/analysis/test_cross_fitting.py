"""Neurons that noise chose on one half of the items cost the other half nothing; those that matter are found."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from permuted_scores import write_scores

from emoscale.analysis.outcomes import evaluate
from emoscale.errors import StageError
from emoscale.masks.controls import LARGEST_LOSS
from emoscale.masks.options import MaskOptions
from emoscale.masks.request import Request
from emoscale.tasks.halves import halves
from emoscale.tasks.outcomes import NORMALIZATIONS, OUTCOMES, gradient, read_design

CONCEPTS, TEXTS, NEURONS, K = 9, 4, 300, 6
SIZE = 1e-3
"""Of what a neuron does: so small that outcomes are linear in it."""


def write(path, scores, kinds, draws, chunk=4):
    masks = [(kind, "", K if number else 0, draw) for number, (kind, draw) in enumerate(zip(kinds, draws, strict=True))]
    return write_scores(path, scores, masks, chunk=chunk)


def request(effects):
    return Request(
        rank=np.ones((NEURONS, 1)),
        has_rank=np.ones((NEURONS, 1), bool),
        layer=np.zeros(NEURONS, int),
        activation_level=lambda: np.ones(NEURONS),
        effects=lambda: effects,
        attributes=["valence"],
        k=[K],
        draws=1,
        disjoint=False,
        seed=0,
    )


def losses(path, rng, normalization, needed):
    """Choose the neurons needed most by estimates of a made-up model; return the mean loss, cross-fitted and not.

    Neurons add to every score of every item; the first few take away from the right one.
    """
    items = CONCEPTS * TEXTS
    base = rng.normal(size=(items, CONCEPTS))
    right = np.repeat(np.arange(CONCEPTS), TEXTS)
    does = rng.normal(size=(items, NEURONS, CONCEPTS))
    does[np.arange(items)[:, None], np.arange(K), right[:, None]] -= needed
    does *= SIZE
    design = read_design(write(path / "base", base[:, None], ["none"], [0]))
    weights = gradient(base[:, None], design, OUTCOMES["log-odds"], normalization)
    effects = (does * weights).sum(axis=2)
    half = halves(design.items)
    by_half = np.stack([effects[half == one].mean(axis=0) for one in (0, 1)])
    chosen = [mask.neurons for mask in LARGEST_LOSS.draw(request(by_half))]
    chosen.append(np.argsort(effects.mean(axis=0))[:K])
    scores = np.stack([base, *(base + does[:, neurons].sum(axis=1) for neurons in chosen)], axis=1)
    kinds = ["none", "largest-loss", "largest-loss", "same items"]
    store = write(path / "masked", scores, kinds, [0, 0, 1, 0])
    table = evaluate(store, normalization, ["largest-loss"]).table
    mean = table.groupby("kind")["log_odds"].mean() - table.loc[table["kind"] == "none", "log_odds"].mean()
    return mean["largest-loss"] / SIZE, mean["same items"] / SIZE


@pytest.mark.parametrize("normalization", ["none", "calibrated"])
def test_where_no_neuron_matters_none_is_found_to(tmp_path, normalization):
    rng = np.random.default_rng(0)
    found = np.array([losses(tmp_path / str(n), rng, normalization, needed=0) for n in range(40)])
    (crossed, same), error = found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert abs(crossed) < 3 * error[0] < 0.1 * abs(same)
    assert same < -10 * error[1]


def test_neurons_that_matter_are_found_both_ways(tmp_path):
    rng = np.random.default_rng(1)
    found = np.array([losses(tmp_path / str(n), rng, "calibrated", needed=2) for n in range(5)])
    # Each takes 2 from the right answer of every item; calibrated, 8 of 9 parts of that are left.
    expected = -2 * K * (CONCEPTS - 1) / CONCEPTS
    np.testing.assert_allclose(found[:, 0], expected, rtol=0.3)
    np.testing.assert_allclose(found[:, 1], expected, rtol=0.3)


@pytest.mark.parametrize("normalization", list(NORMALIZATIONS))
@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_each_item_is_judged_by_the_mask_of_the_other_half(tmp_path, normalization, chunk):
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(CONCEPTS * TEXTS, 5, CONCEPTS))
    kinds, draws = ["none", "crossed", "drawn", "crossed", "drawn"], [0, 1, 0, 0, 1]
    store = write(tmp_path, scores, kinds, draws, chunk)
    found, plain = evaluate(store, normalization, ["crossed"]), evaluate(store, normalization)
    rows = found.table[["kind", "draw", "mask"]].drop_duplicates()
    assert list(rows.itertuples(index=False, name=None)) == [
        ("none", 0, 0),
        ("drawn", 0, 2),
        ("crossed", 0, 3),
        ("drawn", 1, 4),
    ]
    others, same = (one.table[one.table["kind"] != "crossed"].reset_index(drop=True) for one in (found, plain))
    pd.testing.assert_frame_equal(others, same)
    design = read_design(store)
    half = halves(design.items)
    values = NORMALIZATIONS[normalization].apply(store.read("scores").astype(np.float64), design)
    odds = OUTCOMES["log-odds"].compute(values, design.items["right"].to_numpy()[:, None, None])[:, :, 0]
    judged = np.where(half == 0, odds[:, 1], odds[:, 3])
    crossed = found.table[found.table["kind"] == "crossed"]
    np.testing.assert_allclose(crossed["log_odds"], judged.reshape(CONCEPTS, TEXTS).mean(axis=1), rtol=1e-10)
    assert (crossed["items"] == TEXTS).all()
    assert found.answers.sum(axis=1) == pytest.approx(np.ones(len(found.table)))


def test_masks_that_all_items_chose_are_refused(tmp_path):
    scores = np.random.default_rng(3).normal(size=(CONCEPTS * TEXTS, 3, CONCEPTS))
    store = write(tmp_path, scores, ["none", "crossed", "drawn"], [0, 0, 0])
    with pytest.raises(StageError, match="crossed masks were not chosen on halves of the items; run mask"):
        evaluate(store, "none", ["crossed"])


def test_a_run_of_a_single_text_has_two_equal_masks():
    effects = np.random.default_rng(4).normal(size=NEURONS)
    one, other = LARGEST_LOSS.draw(request(np.stack([effects, effects])))
    assert one.neurons.tolist() == other.neurons.tolist()
    assert dataclasses.replace(LARGEST_LOSS, cross_fitted=False).masks_of_a_size(MaskOptions(draws=3)) == 1
    assert LARGEST_LOSS.masks_of_a_size(MaskOptions(draws=3)) == 2
