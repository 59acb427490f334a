"""Attribute scores of concepts from ratings, with their reliability."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.concepts.agreement import Agreement, icc_2k, icc_2k_incomplete, unknown
from emoscale.concepts.batteries import Battery, analyse_battery
from emoscale.concepts.options import ScoreOptions
from emoscale.concepts.ratings import EventReports, RaterRatings
from emoscale.concepts.tables import Known, constant_problems
from emoscale.errors import InputError
from emoscale.names import canonical
from emoscale.statistics import benjamini_hochberg

_AGREEMENT_COLUMNS = [
    *("attribute", "icc_type", "icc", "F", "df1", "df2", "p", "q", "ci_low", "ci_high", "reliable", "raters")
]
STUDY_COMPONENTS = {
    "control": "item09",
    "fairness": "item04",
    "self-relativity": "item25",
    "other-relativity": "item24",
    "expectedness": "item01",
    "novelty": "item19",
}
"""The published study's appraisal components, each with the item of its released ratings that identifies it: within my
control; fair for me; high relevance for my life; interacting with people; expected to occur; likely to occur again.
The last loads positively, so that a high published "novelty" means *little* novelty."""


@dataclass(frozen=True, eq=False)
class RatingScores:
    """Scores of C concepts on A attributes.

    Parameters
    ----------
    scores : DataFrame, float64, shape (C, A)
        Indexed by concept, one column an attribute: the mean rating, in the units of the file, or the mean component
        score, in standard deviations of events. Components that are not reliable are not in it.
    agreement : DataFrame
        One row an attribute or component, reliable or not: `attribute`, `icc_type`, `icc`, `F`, `df1`, `df2`, `p`, `q`,
        `ci_low`, `ci_high`, `reliable`, `raters` (or events). Of means, NaN, and 0 raters.
    batteries : list of Battery
        Eigenvalues, thresholds and loadings of each file of event reports.
    notes : list of str
        What was excluded or filled in, and which forms of a name were joined.
    how : list of str
        How each file was read.
    """

    scores: pd.DataFrame
    agreement: pd.DataFrame
    batteries: list[Battery]
    notes: list[str]
    how: list[str]

    @property
    def reliable(self) -> list[str]:
        """Attributes on which concepts differ reliably, by the table of agreement."""
        return list(self.agreement.loc[self.agreement["reliable"], "attribute"])

    @property
    def tested(self) -> list[str]:
        """Attributes whose reliability is known."""
        return list(self.agreement.loc[self.agreement["icc_type"] != "", "attribute"])

    @property
    def scores01(self) -> pd.DataFrame:
        """The scores rescaled so that each attribute runs from 0 to 1 over the concepts."""
        low, high = self.scores.min(), self.scores.max()
        return (self.scores - low) / (high - low)


def scores_from_ratings(
    tables: Sequence[RaterRatings | EventReports], options: ScoreOptions, concepts: Sequence[str] | None = None
) -> RatingScores:
    """Turn ratings into attribute scores of concepts.

    Parameters
    ----------
    tables : sequence of RaterRatings or EventReports
        All of the same concepts. The score of an attribute that was rated is the mean over raters, its reliability
        ICC(2,k), or ICC(1,k) where raters cannot be told from error. Event reports give components, with ICC(1,k)
        between concepts; see :func:`emoscale.concepts.batteries.analyse_battery`.
    options : ScoreOptions
        E.g. with :data:`STUDY_COMPONENTS`.
    concepts : sequence of str, optional
        The order of the concepts; that of the first table if left out.

    Returns
    -------
    RatingScores

    Raises
    ------
    InputError
        If the tables differ in their concepts or share the name of an attribute; if all concepts have the same score
        on an attribute; if a component is identified by an item that no table has; if no attribute is left; and as
        :func:`~emoscale.concepts.batteries.analyse_battery` does.

    Notes
    -----
    Li, Su et al. 2024. Dissimilarities are differences of the scores as they are; rescaling is for display.
    """
    order = list(tables[0].concepts if concepts is None else concepts)
    _check_concepts(tables, order)
    _check_anchors(tables, options.components)
    parts, agreement, raters, batteries, notes = [], [], [], [], []
    for table in tables:
        notes += table.notes
        if isinstance(table, RaterRatings):
            part, found = _rater_means(table)
            notes += _rater_notes(table, found)
            raters += _raters(table)
        else:
            battery = analyse_battery(table, options)
            part, found = battery.scores, battery.agreement
            batteries.append(battery)
            notes += _battery_notes(battery, options.tolerance)
            raters += [battery.events] * len(found)
        known = Known(table.concepts)
        parts.append(part.iloc[[known.index(name) for name in order]].set_axis(pd.Index(order, name="concept")))
        agreement += found
    scores = pd.concat(parts, axis=1)
    attributes = [str(name) for name in scores]
    _check_names(attributes)
    result = _agreement_table(attributes, agreement, options.alpha).assign(raters=raters)[_AGREEMENT_COLUMNS]
    unreliable = _unreliable_components(result, batteries, options.alpha, notes)
    if len(unreliable) == scores.shape[1]:
        raise InputError(
            "concepts do not differ reliably on any component (q of its ICC is too high); give more events a concept"
        )
    return RatingScores(scores.drop(columns=unreliable), result, batteries, notes, [table.how for table in tables])


def of_concepts(table: RaterRatings | EventReports, names: Sequence[str]) -> RaterRatings | EventReports:
    """Return the ratings of some concepts; reports of events stay, since all of them say what their components are.

    Parameters
    ----------
    table : RaterRatings or EventReports
    names : sequence of str
        In any form; those that the table lacks are ignored.
    """
    if isinstance(table, EventReports):
        return table
    known = Known(table.concepts)
    kept = [known.index(name) for name in names if name in known]
    ratings = table.ratings[:, kept]
    present = np.isfinite(ratings).sum(axis=(1, 2)) > 0
    return replace(
        table,
        raters=[rater for rater, is_there in zip(table.raters, present, strict=True) if is_there],
        concepts=[table.concepts[i] for i in kept],
        ratings=ratings[present],
    )


def _rater_means(table: RaterRatings) -> tuple[pd.DataFrame, list[Agreement]]:
    means = np.nanmean(table.ratings, axis=0)
    if problems := constant_problems(table.path, table.attributes, means):
        raise InputError(problems)
    scores = pd.DataFrame(means, index=pd.Index(table.concepts, name="concept"), columns=table.attributes)
    return scores, [_rater_agreement(table, j) for j in range(len(table.attributes))]


def _rater_agreement(table: RaterRatings, attribute: int) -> Agreement:
    if table.are_means:
        return unknown()
    ratings: NDArray[np.float64] = table.ratings[:, :, attribute].T
    given = ~np.isnan(ratings)
    ratings, given = ratings[:, given.any(axis=0)], given[:, given.any(axis=0)]
    if given.all() and ratings.shape[1] > 1:
        return icc_2k(ratings)
    if given.sum() == len(ratings):
        raise InputError(
            f"{table.path}, column {table.attributes[attribute]!r}: one rating a concept, so reliability cannot be "
            "estimated; give ratings of several raters a concept"
        )
    return icc_2k_incomplete(ratings)


def _raters(table: RaterRatings) -> list[int]:
    """Count the raters of each attribute."""
    given = ~np.isnan(table.ratings).all(axis=1)
    return [0 if table.are_means else int(count) for count in given.sum(axis=0)]


def _rater_notes(table: RaterRatings, agreement: list[Agreement]) -> list[str]:
    missing = np.isnan(table.ratings).sum(axis=(0, 1))
    total = table.ratings.shape[0] * table.ratings.shape[1]
    return [
        f"{name}: {count} of {total} ratings are missing, so its mean is over the others and its reliability "
        f"{found.kind} by {_ESTIMATED[found.kind]}"
        for name, count, found in zip(table.attributes, missing, agreement, strict=True)
        if count
    ]


_ESTIMATED = {
    "ICC(2,k)": "crossed random effects (REML)",
    "ICC(1,k)": "one-way random effects, since raters cannot be told from error",
}
"""How reliability is estimated where ratings are missing."""


def _battery_notes(battery: Battery, tolerance: float) -> list[str]:
    name, items = battery.source.stem, len(battery.loadings)
    notes = []
    if battery.excluded:
        notes.append(
            f"{name}: excluded {len(battery.excluded)} event(s) with more than half of the {items} items not "
            f"applicable: {', '.join(battery.excluded)}"
        )
    if battery.filled:
        notes.append(
            f"{name}: {battery.filled} of {battery.events * items} answers are not applicable and count as "
            f"{battery.middle:g}, the middle of the scale"
        )
    lowest = battery.converged_r.min()
    if lowest < 0.9999:
        notes.append(
            f"{name}: the rotation stopped at a gain of {tolerance:g}; run to convergence, it gives scores that "
            f"correlate {lowest:.4f} to {battery.converged_r.max():.4f} with these"
        )
    return notes


def _agreement_table(attributes: list[str], agreement: list[Agreement], alpha: float) -> pd.DataFrame:
    table = pd.DataFrame([asdict(found) for found in agreement]).rename(columns={"kind": "icc_type"})
    q = benjamini_hochberg(table["p"])
    return table.assign(attribute=attributes, q=q, reliable=q < alpha)


def _unreliable_components(
    agreement: pd.DataFrame, batteries: list[Battery], alpha: float, notes: list[str]
) -> list[str]:
    components = [name for battery in batteries for name in battery.scores]
    rows = agreement[agreement["attribute"].isin(components) & ~agreement["reliable"]]
    notes += [
        f"{row.attribute}: excluded from the scores, since concepts do not differ on it reliably (ICC {row.icc:.2f}, "
        f"q {row.q:.3f}, not below {alpha:g})"
        for row in rows.itertuples()
    ]
    return list(rows["attribute"])


def _check_concepts(tables: Sequence[RaterRatings | EventReports], order: list[str]) -> None:
    problems = []
    wanted = Known(order)
    for table in tables:
        known = Known(table.concepts)
        problems += [
            f"{table.path}: has no concept {name!r}, which the others have; add its ratings or remove it everywhere"
            for name in order
            if name not in known
        ]
        problems += [
            f"{table.path}: has a concept {name!r} that the others lack; add its ratings there or remove it"
            for name in table.concepts
            if name not in wanted
        ]
    if problems:
        raise InputError(problems)


def _check_anchors(tables: Sequence[RaterRatings | EventReports], components: Mapping[str, str]) -> None:
    items = {item for table in tables if isinstance(table, EventReports) for item in table.items}
    problems = [
        f"component {name!r} is identified by item {item!r}, which no file of event reports has; name an "
        "item that one has"
        for name, item in components.items()
        if item not in items
    ]
    if problems:
        raise InputError(problems)


def _check_names(attributes: list[str]) -> None:
    forms = {canonical(name): name for name in attributes}
    problems = [
        f"{count} attributes are named {forms[name]!r}; rename their columns so that each has its own name"
        for name, count in Counter(map(canonical, attributes)).items()
        if count > 1
    ]
    if problems:
        raise InputError(problems)
