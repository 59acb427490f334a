"""Whether the model needs the neurons of each attribute: losing them against losing those of permuted attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.analysis.drop_estimates import Covariate, Drop, estimate_drops
from emoscale.analysis.item_outcomes import ItemSample
from emoscale.analysis.options import AnalysisOptions
from emoscale.analysis.permuted_masks import PermutedMasks
from emoscale.permutations import permutation_tests
from emoscale.run.verdicts import LEVEL, Answer, can_decide, deciding_p
from emoscale.schema import ALL_ATTRIBUTES
from emoscale.statistics import Floats
from emoscale.tasks.outcomes import OUTCOMES

INTERVAL, EQUIVALENCE = 1 - LEVEL, 1 - 2 * LEVEL
_NO_DROP = Drop(np.nan, np.nan, 0.0)


def smallest_effect(options: AnalysisOptions) -> float:
    """Return the smallest effect of interest, in the unit of the outcome."""
    return options.smallest_accuracy_effect if OUTCOMES[options.outcome].unit == "" else options.smallest_effect


def with_mean(values: Floats) -> Floats:
    """Append the mean over attributes, the last axis."""
    return np.concatenate([values, values.mean(axis=-1, keepdims=True)], axis=-1)


def needed_table(masks: PermutedMasks) -> pd.DataFrame:
    """Test, for each size and attribute, whether losing its neurons costs more than losing those of permuted ones.

    Parameters
    ----------
    masks : PermutedMasks

    Returns
    -------
    DataFrame
        One row a size and attribute, and one a size for the mean over attributes:

        - ``k``, ``attribute``, ``draws``: permutations whose masks were ablated; ``items`` that were asked, of the mean
          the fewest;
        - ``drop``: mean outcome after the permuted masks minus that after the attribute's own, positive where its own
          neurons are needed more; ``ci_low``, ``ci_high``, ``se``, ``df``, and ``equivalence_low``,
          ``equivalence_high``, the 90 % interval that two one-sided tests at .05 need: see `estimate_drops`;
        - ``p``, ``p_corrected``: exact, two-sided, from the ablated masks; corrected for all rows of a size;
        - ``estimated_drop``, ``estimated_low``, ``estimated_high``, ``estimated_draws``, ``estimated_p``,
          ``estimated_p_corrected``: the same from the sums of the neurons' estimated effects, with the middle 95 % of
          the drop under permutation; NaN without estimates;
        - ``accuracy_drop``, ``accuracy_low``, ``accuracy_high``: the drop of the share of right answers;
        - ``tests_disagree``: the exact test and the estimated one come to different conclusions at .05;
        - ``answer``: ``yes``: needed, ``no``: equivalent to permuted ones, or ``unknown``. See `answer`.

    Notes
    -----
    One permutation of the concepts serves all attributes, so the masks of a draw overlap as the true ones do, and p are
    exact where attributes' scores are exchangeable over concepts: `emoscale.statistics.permutation_tests`. The test by
    estimates is as valid, whatever the estimates are worth; only its power depends on them.
    """
    return pd.concat([_of_size(masks, k) for k in masks.numbers], ignore_index=True)


def _of_size(masks: PermutedMasks, k: int) -> pd.DataFrame:
    draws, values = masks.draws(k), masks.values(k)
    exact = permutation_tests(with_mean(masks.outcomes(k)))
    drops = _drops(values, masks.sample, masks.covariate(k))
    accuracy = _drops(masks.accuracies(k), masks.sample)
    table = pd.DataFrame(
        {
            "k": k,
            "attribute": [*masks.attributes, ALL_ATTRIBUTES],
            "draws": draws,
            "items": _with_least(masks.items(k)),
            "drop": [drop.drop for drop in drops],
            **_ends("ci", drops, INTERVAL),
            "se": [drop.se for drop in drops],
            "df": [drop.df for drop in drops],
            **_ends("equivalence", drops, EQUIVALENCE),
            "p": exact.p,
            "p_corrected": exact.p_corrected,
            **_by_estimates(masks.estimates(k), len(drops)),
            "accuracy_drop": [drop.drop for drop in accuracy],
            **_ends("accuracy", accuracy, INTERVAL),
        }
    )
    rows, smallest = [row for _, row in table.iterrows()], smallest_effect(masks.options)
    return table.assign(
        tests_disagree=[_disagree(row) for row in rows], answer=[answer(row, smallest).value for row in rows]
    )


def _with_least(items: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.append(items, items.min(initial=items.max(initial=0)))


def _drops(values: Floats, sample: ItemSample, covariate: Covariate | None = None) -> list[Drop]:
    if values.shape[1] == 1:
        return [_NO_DROP] * (values.shape[2] + 1)
    return estimate_drops(values, sample, covariate)


def _ends(name: str, drops: list[Drop], level: float) -> dict[str, list[float]]:
    intervals = [drop.interval(level) for drop in drops]
    return {f"{name}_low": [low for low, _ in intervals], f"{name}_high": [high for _, high in intervals]}


def _by_estimates(effects: Floats | None, rows: int) -> dict[str, Any]:
    names = ("drop", "low", "high", "p", "p_corrected")
    if effects is None:
        return {"estimated_draws": 0, **{f"estimated_{name}": np.full(rows, np.nan) for name in names}}
    effects = with_mean(effects)
    test = permutation_tests(effects)
    return {
        "estimated_draws": len(effects) - 1,
        "estimated_drop": test.null_mean - effects[0],
        "estimated_low": test.null_mean - test.null_high,
        "estimated_high": test.null_mean - test.null_low,
        "estimated_p": test.p,
        "estimated_p_corrected": test.p_corrected,
    }


def _disagree(row: pd.Series) -> bool:
    if not (can_decide(row["draws"]) and can_decide(row["estimated_draws"])):
        return False
    sides = [
        np.sign(drop) if p <= LEVEL else 0.0
        for drop, p in ((row["drop"], row["p_corrected"]), (row["estimated_drop"], row["estimated_p_corrected"]))
    ]
    return bool(sides[0] != sides[1])


def answer(row: pd.Series, smallest: float) -> Answer:
    """Decide whether neurons are needed more than those of permuted attributes.

    Parameters
    ----------
    row : Series
        Of `needed_table`.
    smallest : float
        Smallest effect of interest.

    Returns
    -------
    Answer
        `YES`: the drop is at least the smallest effect, and corrected p at most .05, by the ablated masks if there are
        19 or more for each attribute; otherwise by the estimates, which must be of a drop as well, and then the
        interval of the ablated drop must lie above 0. `NO`: the 90 % interval of the drop lies within the smallest
        effect on either side (two one-sided tests; Schuirmann 1987, *Journal of Pharmacokinetics and Biopharmaceutics*
        15, 657-680). `UNKNOWN` otherwise.
    """
    confirmed = can_decide(row["draws"]) or min(row["ci_low"], row["estimated_drop"]) > 0
    if deciding_p(row) <= LEVEL and row["drop"] >= smallest and confirmed:
        return Answer.YES
    return no_or_unknown((row["equivalence_low"], row["equivalence_high"]), smallest)


def no_or_unknown(interval: tuple[float, float], smallest: float) -> Answer:
    """Return `NO` if the 90 % interval of a drop lies within the smallest effect on either side, else `UNKNOWN`."""
    low, high = interval
    return Answer.NO if -smallest < low and high < smallest else Answer.UNKNOWN
