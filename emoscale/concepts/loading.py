"""The concepts of a study: the built-in 27 emotions, or the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.concepts.dissimilarity import Judgements, read_dissimilarity
from emoscale.concepts.options import BUILT_IN, ConceptOptions, ScoreOptions
from emoscale.concepts.tables import Known, name_problems, read_attributes
from emoscale.errors import InputError
from emoscale.names import visible

if TYPE_CHECKING:
    from emoscale.concepts.scores import RatingScores

_DATA = Path(__file__).parent / "data"
_ATTRIBUTES = _DATA / "emotion_attributes.csv"
_DISSIMILARITY = _DATA / "emotion_dissimilarity.csv"

BUILT_IN_RATERS = "30 for each word and each face, and 300 events of their own for the appraisals; Li, Su et al. 2024"
BUILT_IN_JUDGES = "mean over 61 participants; Li, Su et al. 2024"
"""Whose answers the built-in tables are, see ``data/README.md``."""


@dataclass(frozen=True, eq=False)
class Concepts:
    """Concepts and people's judgements of them.

    Parameters
    ----------
    names : list of str
        The C concepts. Their order is that of every matrix of the run.
    attributes : list of str
        The A attributes.
    scores : ndarray, float64, shape (C, A)
        Score of each concept on each attribute, in the units of its table (0 to 1 for the built-in emotions).
    dissimilarity : ndarray, float64, shape (P,), or None
        People's mean dissimilarity of each pair of concepts, P = C(C-1)/2, in the order of
        ``numpy.triu_indices(C, 1)``; None when there is none.
    participants : ndarray, float64, shape (S, P), or None
        The same of each participant who judged every pair, where they are known.
    judges : int
        People whose mean the dissimilarity is; 0 if that is not known.
    agreement : DataFrame or None
        How well raters agree on each attribute, see `emoscale.concepts.scores.RatingScores`, where ratings were given.
    how : list of str
        How each file of ratings was read.
    notes : list of str
        What a user should know of the files: names that were joined, missing ratings, unreliable attributes.
    """

    names: list[str]
    attributes: list[str]
    scores: NDArray[np.float64]
    dissimilarity: NDArray[np.float64] | None
    participants: NDArray[np.float64] | None = None
    judges: int = 0
    agreement: pd.DataFrame | None = None
    how: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def load_concepts(options: ConceptOptions) -> Concepts:
    """Load concepts, their attribute scores and, where there are any, people's dissimilarities.

    Parameters
    ----------
    options : ConceptOptions
        `attributes` is ``"emotions"`` for the 27 emotions of GoEmotions with 14 attribute scores, or the path of a
        table with a column `concept` and one column of numbers an attribute; `ratings`, in its place, the paths of
        tables of ratings, see :func:`emoscale.concepts.ratings.read_ratings`. `dissimilarity` is ``"emotions"`` for the
        built-in judgements, or a path, see :func:`emoscale.concepts.dissimilarity.read_dissimilarity`.

    Returns
    -------
    Concepts
        Names as `options` writes them; names that differ only in capitals, spaces, invisible characters or Unicode form
        are one name.

    Raises
    ------
    InputError
        If a file is missing, is not a table or lacks a column, or holds a concept or a pair twice, an empty, infinite
        or non-numeric cell, an attribute that is the same for all concepts, a negative dissimilarity or the same one
        for all pairs; if a concept or a pair is missing; if there are fewer than 3 concepts.

    Examples
    --------
    >>> load_concepts(ConceptOptions(names=["joy", "fear", "grief"])).scores.shape
    (3, 14)

    Notes
    -----
    The built-in tables are figures of Li, M., Su, Y., et al. (2024), "Language-Specific Representation of
    Emotion-Concept Knowledge Causally Supports Emotion Inference", iScience, 111401, rounded to 4 decimals: the mean
    scores, rescaled to 0 to 1 within each attribute, and the mean over 61 participants of the judged dissimilarity of
    each pair. The emotion categories are those of Demszky et al. (2020), "GoEmotions". Li, Su et al. 2024.
    """
    if options.ratings is None:
        path = _ATTRIBUTES if options.are_built_in else Path(options.attributes)
        known, attributes, scores = read_attributes(path, options.names)
        found = None
    else:
        known, found = _scores_of_ratings(options)
        attributes, scores = [str(name) for name in found.scores], found.scores.to_numpy(np.float64)
    names = known if options.names is None else [visible(name) for name in options.names]
    judged = _judgements(options, names, known)
    forms = Known(known).forms(names)
    notes = [f"concepts.names: read as concepts of the table: {', '.join(forms)}"] if forms else []
    if judged is not None:
        notes += judged.notes
    return Concepts(
        names,
        attributes,
        scores,
        None if judged is None else judged.mean,
        None if judged is None else judged.participants,
        0 if judged is None else judged.people,
        found.agreement if found is not None and found.tested else None,
        [] if found is None else found.how,
        notes if found is None else [*found.notes, *_unreliable(found), *notes],
    )


def _scores_of_ratings(options: ConceptOptions) -> tuple[list[str], RatingScores]:
    """Return all concepts that were rated, and the scores of those that are used."""
    # SciPy takes half a second to import, which reading a config without ratings should not cost.
    from emoscale.concepts.score_files import read_files
    from emoscale.concepts.scores import of_concepts, scores_from_ratings

    paths, how = [Path(path) for path in options.ratings or []], ScoreOptions(scale=options.scale)
    tables = read_files(paths, how, options.names or ())
    known = tables[0].concepts
    if options.names is None:
        return known, scores_from_ratings(tables, how)
    problems = [
        problem for table in tables for problem in name_problems(table.path, options.names, Known(table.concepts))
    ]
    if problems:
        raise InputError(dict.fromkeys(problems))
    chosen = [of_concepts(table, options.names) for table in tables]
    return known, scores_from_ratings(chosen, how, [visible(name) for name in options.names])


def _unreliable(found: RatingScores) -> list[str]:
    reliable = {*found.reliable, *(set(map(str, found.scores)) - set(found.tested))}
    return [
        f"{row.attribute}: raters do not agree on how the concepts differ ({row.icc_type} {row.icc:.2f}), so little "
        "can follow this attribute"
        for row in found.agreement.itertuples()
        if row.attribute in found.scores and row.attribute not in reliable
    ]


def _judgements(options: ConceptOptions, names: list[str], known: Sequence[str]) -> Judgements | None:
    asked = BUILT_IN if options.dissimilarity is None and options.are_built_in else options.dissimilarity
    if asked is None:
        return None
    if asked != BUILT_IN:
        return read_dissimilarity(Path(asked), names, known)
    # The built-in judgements may cover more emotions than a user's own attributes score.
    emotions, _, _ = read_attributes(_ATTRIBUTES)
    return read_dissimilarity(_DISSIMILARITY, names, [*known, *emotions])
