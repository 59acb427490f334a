"""The concepts of a study: the built-in 27 emotions, or the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emoscale.concepts.tables import read_attributes, read_dissimilarity

BUILT_IN = "emotions"
_DATA = Path(__file__).parent / "data"
_ATTRIBUTES = _DATA / "emotion_attributes.csv"
_DISSIMILARITY = _DATA / "emotion_dissimilarity.csv"


@dataclass(frozen=True, eq=False)
class Concepts:
    """Concepts and what people say of them.

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


def load_concepts(
    attributes: str = BUILT_IN, dissimilarity: str | None = None, names: list[str] | None = None
) -> Concepts:
    """Load concepts, their attribute scores and, where there are any, people's dissimilarities.

    Parameters
    ----------
    attributes : str
        ``"emotions"`` for the 27 emotions of GoEmotions with 14 attribute scores, or the path of a CSV file with a
        column `concept` and one column of numbers an attribute.
    dissimilarity : str, optional
        ``"emotions"`` for the built-in judgements of the 27 emotions, or the path of a CSV file with columns
        `concept_1`, `concept_2` and `dissimilarity`, every unordered pair exactly once, in any order. Left out, it is
        the built-in one when the attributes are the built-in ones, and none otherwise.
    names : list of str, optional
        Which concepts to take, in which order; all, in the table's order, if left out.

    Returns
    -------
    Concepts

    Raises
    ------
    InputError
        If a file is missing, is no CSV or lacks a column, or holds a concept or a pair twice, an empty, infinite or
        non-numeric cell, an attribute that is the same for all concepts, a negative dissimilarity; if a concept or a
        pair is missing; if there are fewer than 3 concepts. All problems of a file are told at once.

    Notes
    -----
    The built-in tables are figures of Li, M., Su, Y., et al. (2024), "Language-Specific Representation of
    Emotion-Concept Knowledge Causally Supports Emotion Inference", iScience, 111401, rounded to 4 decimals: the mean
    scores, rescaled to 0 to 1 within each attribute, and the mean over 61 participants of the judged dissimilarity of
    each pair. The emotion categories are those of Demszky et al. (2020), "GoEmotions". Li, Su et al. 2024.
    """
    attributes_path = _ATTRIBUTES if attributes == BUILT_IN else Path(attributes)
    known, attribute_names, scores = read_attributes(attributes_path, names)
    names = known if names is None else list(names)
    if dissimilarity is None and attributes == BUILT_IN:
        dissimilarity = BUILT_IN
    if dissimilarity is None:
        return Concepts(names, attribute_names, scores, None)
    if dissimilarity != BUILT_IN:
        return Concepts(names, attribute_names, scores, read_dissimilarity(Path(dissimilarity), names, known))
    # The built-in judgements cover more emotions than a user's own attributes may score: those are no mistake.
    emotions, _, _ = read_attributes(_ATTRIBUTES)
    built_in = read_dissimilarity(_DISSIMILARITY, names, {*known, *emotions})
    return Concepts(names, attribute_names, scores, built_in)
