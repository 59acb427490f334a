"""Neurons of single concepts: found where there are any, and p and intervals that hold where there are none."""

import numpy as np
import pandas as pd
import pytest

from emoscale.analysis.concept_effects import are_by_concept, concept_effects, judge_sets
from emoscale.effect_schema import EFFECT_MOMENTS
from emoscale.run.folder import RunFolder
from emoscale.store import create_store
from emoscale.tasks.outcomes import OUTCOMES, Design, gradient

NEURONS, K = 300, 12


def names(count):
    return [f"concept {number}" for number in range(count)]


def noise(rng, concepts, scale=0.0):
    """Neurons that matter, more to some concepts than to others, but in the same proportions; and noise."""
    common = 2 * rng.normal(size=NEURONS) * np.exp(scale * rng.normal(size=(1, concepts, 1)))
    return common + rng.normal(size=(2, concepts, NEURONS))


def plain(effects, k):
    """Concept by concept and neuron by neuron."""
    _, count, neurons = effects.shape
    beyond = np.empty_like(effects)
    for half in range(2):
        mean = effects[half].mean(axis=0)
        for concept in range(count):
            slope = sum(effects[half, concept] * mean) / sum(mean * mean)
            beyond[half, concept] = [effects[half, concept, n] - slope * mean[n] for n in range(neurons)]
    rows = []
    for concept in range(count):
        own, others, specific = [], [], []
        for half in range(2):
            chosen = sorted(range(neurons), key=lambda n: beyond[half, concept, n])[:k]
            own.append(sum(effects[1 - half, concept, n] for n in chosen))
            each = [sum(effects[1 - half, c, n] for n in chosen) for c in range(count) if c != concept]
            others.append(sum(each) / (count - 1))
            specific.append(sum(beyond[1 - half, concept, n] for n in chosen))
        rows.append((np.mean(own), np.mean(others), np.mean(own) - np.mean(specific), np.mean(specific)))
    return rows


def test_it_is_what_plain_python_says():
    effects = noise(np.random.default_rng(0), 5, scale=0.3)
    found = judge_sets(effects, names(5), [K, 2 * K], permutations=99)
    assert found["k"].tolist() == [K] * 6 + [2 * K] * 6
    assert found["concept"].tolist() == ["", *names(5)] * 2
    for k in (K, 2 * K):
        each = found[(found["k"] == k) & (found["concept"] != "")]
        values = each[["own", "others", "expected", "specificity"]]
        np.testing.assert_allclose(values, plain(effects, k), rtol=1e-9, atol=1e-9)
        (together,) = found[(found["k"] == k) & (found["concept"] == "")].to_dict("records")
        assert together["specificity"] == pytest.approx(values["specificity"].mean())
        assert each["p"].tolist() == [place / 5 for place in each["place"]]


def test_concepts_with_neurons_of_their_own():
    rng = np.random.default_rng(1)
    effects = noise(rng, 8)
    for concept in range(8):
        effects[:, concept, K * concept : K * (concept + 1)] -= 4
    found = judge_sets(effects, names(8), [K])
    together, each = found.iloc[0], found.iloc[1:]
    assert together["p"] < 0.001
    assert together["ci_low"] < together["ci_high"] < 0
    assert (each["place"] == 1).all()
    # 7 of 8 parts are beyond the mean of all concepts.
    np.testing.assert_allclose(each["specificity"], -4 * K * 7 / 8, rtol=0.35)


@pytest.mark.parametrize("concepts", [4, 12])
@pytest.mark.parametrize("scale", [0.0, 0.3])
def test_where_there_are_none_p_and_intervals_hold(concepts, scale):
    rng = np.random.default_rng([concepts, int(10 * scale)])
    runs = 400
    found = [judge_sets(noise(rng, concepts, scale), names(concepts), [K], permutations=99) for _ in range(runs)]
    p = np.array([one["p"].iloc[0] for one in found])
    each = np.concatenate([one["p"].iloc[1:] for one in found])
    inside = np.mean([one["ci_low"].iloc[0] <= 0 <= one["ci_high"].iloc[0] for one in found])
    # Three standard errors of shares of .05 and .5.
    assert np.mean(p <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)
    assert abs(np.mean(p <= 0.5) - 0.5) <= 0.02 + 3 * np.sqrt(0.25 / runs)
    assert abs(np.mean(each <= 0.5) - 0.5) <= 3 * np.sqrt(0.25 / runs)
    assert 0.92 <= inside <= 0.985


def write(folder, cells, normalization="none"):
    coordinates = {
        "concept": np.array([cell[0] for cell in cells], object),
        "replicate": np.array([cell[1] for cell in cells], object),
        "half": np.array([cell[2] for cell in cells], np.int32),
        "rows": np.array([cell[3] for cell in cells]),
        **{name: np.zeros(4, np.int32) for name in ("layer", "expert", "unit")},
    }
    means = np.array([cell[4] for cell in cells], float)
    origin = {"normalization": normalization}
    store = create_store(folder.effect_moments, EFFECT_MOMENTS, coordinates, {}, attributes=origin)
    store.write("mean", means)
    store.write("m2", np.zeros_like(means))
    store.write("count", np.where(np.isnan(means), 0, coordinates["rows"][:, None]).astype(np.int32))
    store.mark_complete()


def test_concepts_of_a_single_text_are_left_out(tmp_path):
    absent = np.nan
    cells = [
        ("joy", "0", 0, 1, [-1, 0, 0, absent]),
        ("joy", "1", 0, 3, [-5, 0, 0, absent]),
        ("joy", "0", 1, 1, [-2, 0, -1, absent]),
        ("fear", "0", 0, 1, [0, -1, 0, absent]),
        ("fear", "0", 1, 1, [0, -3, 0, absent]),
        ("awe", "0", 1, 1, [9, 9, 9, absent]),
    ]
    write(RunFolder(tmp_path / "two"), cells)
    found = concept_effects(RunFolder(tmp_path / "two"), ["awe", "fear", "joy"], [1])
    assert found["concept"].tolist() == ["", "fear", "joy"]
    # By the first half joy needs neuron 0 (-4 by weight), by the second too; fear needs neuron 1.
    assert found["own"].tolist() == [(-2 - 3) / 2, (-3 - 1) / 2, (-2 - 4) / 2]
    assert found["others"].tolist() == [0, 0, 0]
    write(RunFolder(tmp_path / "one"), [cell for cell in cells if cell[0] != "fear"])
    assert concept_effects(RunFolder(tmp_path / "one"), ["awe", "fear", "joy"], [1]) is None


@pytest.mark.parametrize("normalization", ["none", "calibrated"])
@pytest.mark.parametrize("options", [["joy", "fear"], ["other", "concept"]])
def test_effects_are_by_concept_unless_calibration_mixes_concepts(tmp_path, normalization, options):
    concept = ["joy"] * 4 + ["fear"] * 4
    right = [0] * 4 + [1] * 4 if "joy" in options else [0, 1] * 4
    items = pd.DataFrame({"concept": concept, "replicate": "0", "right": right, "text": range(8)})
    question = np.zeros(8, int) if "joy" in options else np.repeat([0, 1], 4)
    design = Design(items, pd.DataFrame(), options, np.ones(2, int), question)
    write(RunFolder(tmp_path), [("joy", "0", 0, 1, [0] * 4)], normalization)
    found = are_by_concept(RunFolder(tmp_path), design)
    assert found == (normalization == "none" or options == ["other", "concept"])
    # Of calibrated outcomes, none changes with a name's score whatever the text.
    scores = np.random.default_rng(5).normal(size=(8, 1, 2))
    weights = gradient(scores, design, OUTCOMES["log-odds"], normalization)[:, 0, 0]
    if normalization == "calibrated":
        assert (abs(weights[:4].sum()) < 1e-12) == found
