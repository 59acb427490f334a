"""The concepts of a study: the built-in 27 emotions, or the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emoscale.concepts.options import BUILT_IN, ConceptOptions
from emoscale.concepts.tables import read_attributes, read_dissimilarity

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
    """

    names: list[str]
    attributes: list[str]
    scores: NDArray[np.float64]
    dissimilarity: NDArray[np.float64] | None


def load_concepts(options: ConceptOptions) -> Concepts:
    """Load concepts, their attribute scores and, where there are any, people's dissimilarities.

    Parameters
    ----------
    options : ConceptOptions
        `attributes` is ``"emotions"`` for the 27 emotions of GoEmotions with 14 attribute scores, or the path of a CSV
        file with a column `concept` and one column of numbers an attribute. `dissimilarity` is ``"emotions"`` for the
        built-in judgements, or the path of a CSV file with columns `concept_1`, `concept_2` and `dissimilarity`, every
        unordered pair exactly once, in any order.

    Returns
    -------
    Concepts

    Raises
    ------
    InputError
        If a file is missing, is not a CSV or lacks a column, or holds a concept or a pair twice, an empty, infinite or
        non-numeric cell, an attribute that is the same for all concepts, a negative dissimilarity; if a concept or a
        pair is missing; if there are fewer than 3 concepts. All problems of a file are reported at once.

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
    built_in = options.attributes == BUILT_IN
    known, attributes, scores = read_attributes(_ATTRIBUTES if built_in else Path(options.attributes), options.names)
    names = known if options.names is None else list(options.names)
    dissimilarity = BUILT_IN if options.dissimilarity is None and built_in else options.dissimilarity
    if dissimilarity is None:
        return Concepts(names, attributes, scores, None)
    if dissimilarity != BUILT_IN:
        return Concepts(names, attributes, scores, read_dissimilarity(Path(dissimilarity), names, known))
    # The built-in judgements may cover more emotions than a user's own attributes score.
    emotions, _, _ = read_attributes(_ATTRIBUTES)
    return Concepts(names, attributes, scores, read_dissimilarity(_DISSIMILARITY, names, {*known, *emotions}))
