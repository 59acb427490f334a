"""Component scores of concepts from event reports on a battery of items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.concepts.agreement import Agreement, icc_1k
from emoscale.concepts.components import Components, parallel_thresholds, principal_components, rotate
from emoscale.concepts.options import ScoreOptions
from emoscale.concepts.ratings import EventReports
from emoscale.errors import InputError
from emoscale.rounding import varies

MOST_NOT_APPLICABLE = 0.5
_FULL_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class Battery:
    """The components of a battery of items, and the concepts' scores on them.

    Parameters
    ----------
    source : Path
    events : int
        Reports that were used.
    excluded : list of str
        Events with too many items not applicable.
    filled : int
        Answers of the used events that were not applicable and count as the middle of the scale.
    middle : float
    eigenvalues : DataFrame
        Columns `component` (1 to I), `eigenvalue`, `threshold` (by parallel analysis).
    loadings : DataFrame, shape (I, K + 1)
        Indexed by item; one column a component, and `communality`.
    scores : DataFrame, shape (C, K)
        Mean component score of a concept's events, in standard deviations of events.
    agreement : list of Agreement, length K
    converged_r : ndarray, float64, shape (K,)
        Correlation over concepts of each component's scores with those of the most similar component after a rotation
        run to convergence: 1 where stopping earlier changes nothing.
    """

    source: Path
    events: int
    excluded: list[str]
    filled: int
    middle: float
    eigenvalues: pd.DataFrame
    loadings: pd.DataFrame
    scores: pd.DataFrame
    agreement: list[Agreement]
    converged_r: NDArray[np.float64]


def analyse_battery(reports: EventReports, options: ScoreOptions) -> Battery:
    """Find the components of a battery of items and score the concepts on them.

    Events of which more than half of the items are not applicable are excluded; in the others an item that is not
    applicable counts as the middle of the scale. Components of the item correlations are kept as far as parallel
    analysis says, rotated by varimax with Kaiser normalisation, and an event's regression scores are averaged over the
    events of each concept.

    Parameters
    ----------
    reports : EventReports
    options : ScoreOptions
        Components without a name in `components` are named after the file and numbered by their share of variance, and
        signed so that their loadings sum to 0 or more.

    Returns
    -------
    Battery

    Raises
    ------
    InputError
        If a concept is left without an event or no concept has two; if an item has the same answer everywhere; if
        two names are given to one component.

    Notes
    -----
    Li, Su et al. 2024. In the published study one event (33 of 38 items not applicable) was excluded, and the rotation
    stopped at R's tolerance: with both, the published scores are reproduced to 1e-13.
    """
    used, excluded = _drop_empty_events(reports)
    middle = sum(reports.scale) / 2
    empty = np.isnan(used.answers)
    values = np.where(empty, middle, used.answers)
    _check(used, values)
    thresholds = parallel_thresholds(len(values), values.shape[1], options.draws, options.seed)
    unrotated = principal_components(values, thresholds)
    components = rotate(unrotated, options.tolerance)
    names, sign = _names(reports, components.loadings, options.components)
    loadings, scores = components.loadings * sign, components.scores * sign
    means = _concept_means(scores, used.concept_of)
    table = pd.DataFrame(loadings, index=pd.Index(reports.items, name="item"), columns=names)
    return Battery(
        source=reports.path,
        events=len(values),
        excluded=excluded,
        filled=int(empty.sum()),
        middle=middle,
        eigenvalues=_eigenvalue_table(components, thresholds),
        loadings=table.assign(communality=(loadings**2).sum(axis=1)),
        scores=pd.DataFrame(means, index=pd.Index(reports.concepts, name="concept"), columns=names),
        agreement=[icc_1k(column, used.concept_of) for column in scores.T],
        converged_r=_converged_correlations(unrotated, means, used.concept_of),
    )


def _eigenvalue_table(components: Components, thresholds: NDArray[np.float64]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "component": np.arange(1, len(thresholds) + 1),
            "eigenvalue": components.eigenvalues,
            "threshold": thresholds,
        }
    )


def _converged_correlations(
    unrotated: Components, means: NDArray[np.float64], concept_of: NDArray[np.int64]
) -> NDArray[np.float64]:
    converged = _concept_means(rotate(unrotated, _FULL_TOLERANCE).scores, concept_of)
    K = means.shape[1]
    largest: NDArray[np.float64] = np.abs(np.corrcoef(means, converged, rowvar=False)[:K, K:]).max(axis=1)
    return largest


def _drop_empty_events(reports: EventReports) -> tuple[EventReports, list[str]]:
    keep = np.isnan(reports.answers).mean(axis=1) <= MOST_NOT_APPLICABLE
    used = replace(
        reports,
        events=[event for event, kept in zip(reports.events, keep, strict=True) if kept],
        concept_of=reports.concept_of[keep],
        answers=reports.answers[keep],
    )
    return used, [event for event, kept in zip(reports.events, keep, strict=True) if not kept]


def _check(used: EventReports, values: NDArray[np.float64]) -> None:
    count = np.bincount(used.concept_of, minlength=len(used.concepts))
    problems = [
        f"{used.path}: no event of {concept!r} has half of its items answered; add a report or remove the concept"
        for concept, events in zip(used.concepts, count, strict=True)
        if not events
    ]
    if not problems and count.max() < 2:
        problems.append(
            f"{used.path}: one event a concept, so reliability cannot be estimated; give several reports a concept"
        )
    if not problems:
        problems = [
            f"{used.path}, column {item!r}: the same answer in every event that is used; remove the column"
            for item, differ in zip(used.items, varies(values), strict=True)
            if not differ
        ]
    if problems:
        raise InputError(problems)


def _names(
    reports: EventReports, loadings: NDArray[np.float64], anchors: Mapping[str, str]
) -> tuple[list[str], NDArray[np.float64]]:
    K = loadings.shape[1]
    names, sign = [f"{reports.path.stem} {i + 1}" for i in range(K)], np.ones(K)
    named: dict[int, str] = {}
    problems = []
    for name, item in anchors.items():
        if item not in reports.items:
            continue
        on_item = loadings[reports.items.index(item)]
        component = int(np.abs(on_item).argmax())
        if component in named:
            problems.append(
                f"{reports.path}: the names {named[component]!r} and {name!r} are anchored to items of one component; "
                "name it once, or choose an item that another component loads on"
            )
        named[component] = names[component] = name
        sign[component] = -1.0 if on_item[component] < 0 else 1.0
    if problems:
        raise InputError(problems)
    return names, sign


def _concept_means(scores: NDArray[np.float64], concept_of: NDArray[np.int64]) -> NDArray[np.float64]:
    means = [np.bincount(concept_of, column) / np.bincount(concept_of) for column in scores.T]
    return np.column_stack(means)
