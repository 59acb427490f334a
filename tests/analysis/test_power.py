"""The effect that is said to be detectable is found about as often as it is said."""

import numpy as np
import pytest
from permuted_scores import masks_of, write_scores

from emoscale.analysis.needed import needed_table
from emoscale.analysis.options import AnalysisOptions
from emoscale.analysis.permuted_masks import PermutedMasks
from emoscale.analysis.power import Spread, detectable, measure_spread, power_table
from emoscale.run.folder import RunFolder
from emoscale.schema import ALL_ATTRIBUTES

ATTRIBUTES = ["valence", "arousal"]
CONCEPTS, K = 6, 3
OPTIONS = AnalysisOptions(normalization="none", smallest_effect=0.01)


def run(path, rng, cost, texts, draws=19, spread=0.2, noise=0.4):
    """A run whose masks, and texts' responses to them, differ by chance; log-odds of two options add up exactly."""
    masks = masks_of(ATTRIBUTES, [K], draws)
    items = CONCEPTS * texts
    loss = spread * rng.normal(size=len(masks)) + noise * rng.normal(size=(items, len(masks)))
    loss += [cost if (kind, name) == ("selective", "valence") else 0.0 for kind, name, *_ in masks]
    right = np.repeat(np.arange(CONCEPTS), texts)
    scores = np.full((items, len(masks), CONCEPTS), -50.0)
    scores[np.arange(items), :, right] = -loss
    scores[np.arange(items), :, (right + 1) % CONCEPTS] = 0
    write_scores(path, scores, masks)
    return PermutedMasks(RunFolder(path), ATTRIBUTES, OPTIONS)


def test_what_is_detectable_is_found_in_four_of_five_runs(tmp_path):
    rng, texts, runs = np.random.default_rng(0), 3, 120
    sd = np.sqrt(0.2**2 + 0.4**2 / (CONCEPTS * texts))
    said = detectable(Spread(np.full(2, 0.2**2), np.full(2, sd**2 - 0.2**2), np.eye(2), 18), 18, 19, 0.01)[0]
    found = [
        needed_table(run(tmp_path / str(number), rng, said, texts)).loc[0, "answer"] == "yes" for number in range(runs)
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=2.5 * np.sqrt(0.16 / runs))


def test_spread_of_masks_and_of_texts_are_told_apart(tmp_path):
    spread = measure_spread(run(tmp_path, np.random.default_rng(1), 0.0, 20, draws=400), K)
    assert spread.of_masks == pytest.approx([0.04, 0.04], rel=0.2)
    assert spread.of_texts == pytest.approx([0.16 / 120] * 2, rel=0.2)
    assert np.sqrt(np.diag(spread.covariance(12))) == pytest.approx([np.sqrt(0.04 + 0.16 / 12)] * 2, rel=0.1)


def test_more_texts_and_draws_find_smaller_effects(tmp_path):
    masks = run(tmp_path, np.random.default_rng(2), 0.0, 2, noise=2.0)
    small, texts, both = (
        power_table(masks, *sizes).set_index("attribute")["detectable"]
        for sizes in ((None, None), (1200, None), (1200, 99))
    )
    assert list(small.index) == [*ATTRIBUTES, ALL_ATTRIBUTES]
    assert (both < texts).all()
    assert (texts < small).all()


def test_no_effect_below_the_smallest_of_interest_is_called_detectable():
    tiny = Spread(np.full(2, 1e-8), np.zeros(2), np.eye(2), 18)
    np.testing.assert_array_equal(detectable(tiny, 18, 19, 0.1)[:2] >= 0.1, True)
