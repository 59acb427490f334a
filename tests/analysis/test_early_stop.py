"""Comparisons that are decided, and what is made of the texts that were not asked."""

import numpy as np
import pytest
from permuted_scores import made_scores, masks_of, write_scores

from emoscale.analysis.drop_estimates import Drop
from emoscale.analysis.early_stop import is_decided, judge_masks
from emoscale.analysis.item_outcomes import ItemSample, item_outcomes
from emoscale.analysis.needed import needed_table
from emoscale.analysis.options import AnalysisOptions
from emoscale.analysis.outcomes import evaluate
from emoscale.analysis.permuted_masks import PermutedMasks
from emoscale.run.folder import RunFolder
from emoscale.tasks.outcomes import OUTCOMES, read_design

NAMES, DRAWS, TEXTS = ["needed", "idle", "unclear"], 19, 16
MASKS = masks_of(NAMES, [10, 20], DRAWS)


@pytest.fixture(scope="module")
def scores():
    """Losing the first attribute's neurons costs 1, the second's nothing; the third's permuted masks differ widely."""
    rng = np.random.default_rng(0)
    cost = [float(kind == "selective" and name == "needed") for kind, name, _, _ in MASKS]
    noisy = np.array([kind == "permuted" and name == "unclear" for kind, name, _, _ in MASKS])
    cost += np.where(noisy, rng.normal(scale=0.8, size=len(MASKS)), 0.0)
    return made_scores(rng, MASKS, texts=TEXTS, cost=cost, spread=0.02)


def judge(store, scores, asked, options=None, width=8):
    blocks = (scores[asked][:, first : first + width] for first in range(0, scores.shape[1], width))
    return judge_masks(options or AnalysisOptions(), 4, read_design(store), asked, blocks)


@pytest.mark.parametrize(
    ("drop", "se", "decided"),
    [(0.0, 0.02, True), (0.09, 0.02, False), (0.3, 0.02, True), (-0.3, 0.02, True), (0.3, 0.1, False), (0, 0.5, False)],
)
def test_what_decides(drop, se, decided):
    assert is_decided(Drop(drop, se, 30.0), 0.1, 4) == decided


def test_more_looks_need_narrower_intervals():
    drop = Drop(0.0, 0.05, 100.0)
    assert is_decided(drop, 0.1, 1)
    assert not is_decided(drop, 0.1, 4)


def test_nothing_is_decided_without_a_spread():
    assert not is_decided(Drop(np.nan, np.nan, 0.0), 0.1, 4)


@pytest.mark.parametrize("width", [1, 8, 500])
def test_decided_comparisons_end_with_their_controls(tmp_path, scores, width):
    store = write_scores(tmp_path, scores, MASKS)
    asked = np.arange(len(scores)) % TEXTS < 8
    ended = judge(store, scores, asked, width=width)
    names = np.array([name for _, name, _, _ in MASKS])
    assert np.array_equal(ended, np.isin(names, ["needed", "idle"]))


def test_what_has_ended_is_not_judged_again(tmp_path, scores):
    store = write_scores(tmp_path, scores, MASKS)
    partly, names = scores.copy(), np.array([name for _, name, _, _ in MASKS])
    asked = np.arange(len(scores)) % TEXTS
    partly[np.ix_(asked >= 4, names == "needed")] = np.nan
    ended = judge(store, partly, asked < 8)
    assert np.array_equal(ended, names == "idle")


def test_accuracies_are_judged_by_their_own_smallest_effect(tmp_path, scores):
    store, asked = write_scores(tmp_path, scores, MASKS), np.arange(len(scores)) % TEXTS < 8
    assert not judge(store, scores, asked, AnalysisOptions(outcome="accuracy")).all()
    assert judge(store, scores, asked, AnalysisOptions(outcome="accuracy", smallest_accuracy_effect=0.9))[1:].all()


def ended_early(scores, asked=4):
    """Scores as they are if the first attribute's comparison ended after some texts of each concept."""
    partly = scores.copy()
    own = [number for number, (_, name, _, _) in enumerate(MASKS) if name == "needed"]
    partly[np.ix_(np.arange(len(scores)) % TEXTS >= asked, own)] = np.nan
    return partly, np.array(own)


@pytest.mark.parametrize("normalization", ["none", "calibrated"])
def test_texts_that_were_not_asked_are_made_up_for(tmp_path, scores, normalization):
    """By the mean without a mask over all texts, and the mean difference over those that were asked."""
    (partly, own), means, asked = ended_early(scores), {}, np.arange(len(scores)) % TEXTS < 4
    for name, values in (("whole", scores), ("part", partly), ("asked", scores[asked])):
        table = evaluate(write_scores(tmp_path / name, values, MASKS), normalization).table
        means[name] = table.pivot(index="concept", columns="mask", values="log_odds")
    others = means["whole"].columns.difference(own)
    assert means["part"][others].equals(means["whole"][others])
    assert np.abs(means["part"][own] - means["whole"][own]).to_numpy().max() < 0.2
    if normalization == "none":
        difference = means["asked"][own].sub(means["asked"][0], axis=0)
        assert np.allclose(means["part"][own], difference.add(means["whole"][0], axis=0), atol=1e-6)


def test_the_answers_stay(tmp_path, scores):
    partly, _ = ended_early(scores)
    tables = []
    for name, values in (("whole", scores), ("part", partly)):
        write_scores(tmp_path / name, values, MASKS)
        tables.append(needed_table(PermutedMasks(RunFolder(tmp_path / name), NAMES, AnalysisOptions())))
    whole, part = tables
    assert part["answer"].tolist() == whole["answer"].tolist()
    own = whole["attribute"] == "needed"
    others = whole["attribute"].isin(["idle", "unclear"])
    assert np.allclose(part.loc[others, "drop"], whole.loc[others, "drop"])
    assert (np.abs(part.loc[own, "drop"] - whole.loc[own, "drop"]) < 4 * part.loc[own, "se"]).all()
    assert part.loc[own, "items"].tolist() == [36, 36]
    assert part.loc[others, "items"].eq(len(scores)).all()


def test_intervals_cover_as_often_as_with_all_texts(tmp_path):
    """A drop of .3 in simulated crossed designs of which a quarter of the texts are asked."""
    rng, masks = np.random.default_rng(1), masks_of(["one"], [10], 5)
    cost = [0.3 * (kind == "selective") for kind, *_ in masks]
    hits, runs = 0, 150
    for number in range(runs):
        scores = made_scores(rng, masks, texts=8, cost=cost, spread=0.05, noise=0.5)
        scores[np.ix_(np.arange(len(scores)) % 8 >= 2, range(1, len(masks)))] = np.nan
        folder = RunFolder(tmp_path / str(number))
        store = write_scores(folder.path, scores, masks, chunk=8)
        sample = ItemSample.of(read_design(store).items)
        values = item_outcomes(store, sample, OUTCOMES["log-odds"], "none")[1]
        drop = values[:, 2:].mean(axis=1) - values[:, 1]
        mean, se = sample.means(drop), np.sqrt(sample.variances(drop[:, None])[0] + 0.05**2 * (1 + 1 / 5))
        hits += abs(mean - 0.3) < 1.96 * se
    assert 0.9 <= hits / runs <= 0.99
