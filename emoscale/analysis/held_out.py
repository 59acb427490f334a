"""Whether neurons chosen by one half of the replicates are needed as much as those chosen by the other half."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from emoscale.analysis.drop_estimates import FEWEST_DRAWS, Drop, estimate_drops
from emoscale.analysis.needed import EQUIVALENCE, INTERVAL, no_or_unknown, smallest_effect, with_mean
from emoscale.analysis.permuted_masks import PermutedMasks, numbers_of_kind
from emoscale.permutations import permutation_tests
from emoscale.run.stores import open_finished
from emoscale.run.verdicts import LEVEL, Answer, can_decide
from emoscale.schema import ALL_ATTRIBUTES, HALF, MASKS
from emoscale.statistics import Floats


def held_out_table(masks: PermutedMasks) -> pd.DataFrame | None:
    """Compare what is lost with the neurons that either half of the replicates chose.

    Parameters
    ----------
    masks : PermutedMasks
        Its folder holds the masks, too.

    Returns
    -------
    DataFrame, optional
        One row a size and attribute, and one a size for the mean over attributes; None where no masks were made by
        halves, or fewer than three of permuted attributes:

        - ``k``, ``attribute``, ``draws``: permutations whose masks were ablated;
        - ``shared``: share of the k neurons that both masks have; ``shared_by_chance``: k by the number of neurons;
        - ``drop_1``, ``ci_low_1``, ``ci_high_1``, ``equivalence_low_1``, ``equivalence_high_1``: as in the table
          ``needed``, with the mask of the first, third, ... replicate in place of the selective one (see
          `estimate_drops`); ``p_corrected_1``: exact, two-sided, from the ablated masks, corrected for all rows of a
          size; ``drop_2``, ...: with that of the others;
        - ``answer_1``, ``answer_2``: see `half_answer`; ``same``: whether they are equal.

    Notes
    -----
    Only the choice of the neurons is held out: both halves are judged by the same items and against the same permuted
    masks, so what chance did to these is common to both. Equal answers say that the answer does not depend on which
    replicates chose, not that it would hold for other texts; those are what the intervals are about.
    """
    parts = [_of_size(masks, k) for k in masks.numbers if len(masks.halves(k)) and masks.draws(k) >= FEWEST_DRAWS]
    return pd.concat(parts, ignore_index=True) if parts else None


def _of_size(masks: PermutedMasks, k: int) -> pd.DataFrame:
    smallest, covariate = smallest_effect(masks.options), masks.covariate(k)
    shared, by_chance = _shared(masks, k)
    columns: dict[str, Any] = {
        "k": k,
        "attribute": [*masks.attributes, ALL_ATTRIBUTES],
        "draws": masks.draws(k),
        "shared": [*shared, shared.mean()],
        "shared_by_chance": by_chance,
    }
    for half in range(len(masks.halves(k))):
        values = masks.values_of_half(k, half)
        drops = estimate_drops(values, masks.sample, covariate)
        p = permutation_tests(with_mean(masks.sample.means(values))).p_corrected
        # Fewer masks allow no p that could decide anything.
        decisive = p if can_decide(masks.draws(k)) else [None] * len(p)
        answers = [half_answer(drop, smallest, of_drop) for drop, of_drop in zip(drops, decisive, strict=True)]
        found = pd.DataFrame([_described(drop) for drop in drops])
        found = found.assign(p_corrected=p, answer=[one.value for one in answers])
        columns |= {f"{name}_{half + 1}": found[name] for name in found}
    return pd.DataFrame(columns).assign(same=columns["answer_1"] == columns["answer_2"])


def _described(drop: Drop) -> dict[str, float]:
    (low, high), (within_low, within_high) = drop.interval(INTERVAL), drop.interval(EQUIVALENCE)
    return {
        "drop": drop.drop,
        "ci_low": low,
        "ci_high": high,
        "equivalence_low": within_low,
        "equivalence_high": within_high,
    }


def half_answer(drop: Drop, smallest: float, p: float | None = None) -> Answer:
    """Decide whether neurons are needed more than those of permuted attributes.

    Parameters
    ----------
    drop : Drop
    smallest : float
        Smallest effect of interest.
    p : float, optional
        Corrected; None if there are too few masks of permuted attributes for one to be .05.

    Returns
    -------
    Answer
        `YES`: the drop is at least the smallest effect, its 95 % interval lies above 0, and p is at most .05; `NO`: its
        90 % interval lies within the smallest effect on either side (two one-sided tests; Schuirmann 1987, *Journal of
        Pharmacokinetics and Biopharmaceutics* 15, 657-680); `UNKNOWN` otherwise. The interval takes the mask for given,
        which chance can have made a costly one: it is no test of the attribute, and without p a yes is weak.
    """
    if drop.drop >= smallest and drop.interval(INTERVAL)[0] > 0 and (p is None or p <= LEVEL):
        return Answer.YES
    return no_or_unknown(drop.interval(EQUIVALENCE), smallest)


def _shared(masks: PermutedMasks, k: int) -> tuple[Floats, float]:
    """Return the share of k neurons that both masks of each attribute have, and what it is by chance."""
    store = open_finished(masks.folder.masks, MASKS)
    table = pd.DataFrame({array.name: store.read(array.name) for array in MASKS.coordinates})
    numbers = numbers_of_kind(table.assign(mask=np.arange(len(table))), HALF, k, masks.attributes)
    start = numbers.min()
    first, second = store.read("bits", mask=slice(start, numbers.max() + 1))[numbers - start]
    common = np.unpackbits(first & second, axis=1).sum(axis=1)
    return common / k, k / store.attributes["origin"]["neurons"]
