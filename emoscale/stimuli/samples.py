"""Balanced samples of texts for one concept."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.errors import InputError, suggest
from emoscale.stimuli.texts import SPLITS

NEGATIVES = ("others", "any")


def check_labels(texts: pd.DataFrame, concepts: Iterable[str]) -> None:
    """Raise unless every concept is a label of some train text and of some dev text.

    Parameters
    ----------
    texts : DataFrame
        From `load_texts`.
    concepts : iterable of str

    Raises
    ------
    InputError
        Names each concept that no text of a split carries, with the nearest label that there is.
    """
    found = {split: set(texts.loc[texts["split"] == split, "labels"].explode().dropna()) for split in SPLITS}
    labels = sorted(set.union(*found.values()))
    problems = []
    for concept in concepts:
        if lacking := [split for split in SPLITS if concept not in found[split]]:
            hint = "" if concept in labels else suggest(concept, labels)
            problems.append(
                f"concept {concept!r}: no {' and no '.join(lacking)} text carries it as a label{hint}; label some, or "
                "leave the concept out"
            )
    if problems:
        raise InputError(problems)


def draw_samples(
    texts: pd.DataFrame, concept: str, seed: int, split: str, *, limit: int | None = None, negatives: str = "others"
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw a balanced sample: texts of a concept and as many others.

    Parameters
    ----------
    texts : DataFrame
        From `load_texts`.
    concept : str
        The label of the positives: all texts of the split that carry it.
    seed : int
        0 or more. The sample depends on it, the split and the concept, and on nothing else but the texts.
    split : {"train", "dev"}
    limit : int, optional
        Most positives to take; drawn without replacement where there are more.
    negatives : {"others", "any"}
        ``"others"``: from the split's texts that do not carry the concept, without replacement (with, if they are
        too few). ``"any"``: from all texts of the split with replacement, so that a few negatives are positives, as
        in the published study (Li, Su et al. 2024, prompt tuning).

    Returns
    -------
    rows : ndarray, int64, shape (2 * positives,)
        Rows of `texts`, shuffled.
    labels : ndarray, int64, shape (2 * positives,)
        1 for a positive, 0 for a negative.

    Raises
    ------
    InputError
        If no text of the split carries the concept, all do (with ``"others"``), `limit` is below 1, or `negatives` is
        unknown.
    """
    if negatives not in NEGATIVES:
        raise InputError(f"negatives {negatives!r}: unknown; give one of {', '.join(NEGATIVES)}")
    if limit is not None and limit < 1:
        raise InputError(f"limit {limit}: leaves no texts; give 1 or more")
    in_split = (texts["split"] == split).to_numpy()
    carries = np.fromiter((concept in labels for labels in texts["labels"]), dtype=bool, count=len(texts))
    positive = np.flatnonzero(in_split & carries)
    pool = np.flatnonzero(in_split if negatives == "any" else in_split & ~carries)
    if not len(positive):
        raise InputError(f"concept {concept!r}: no {split} text carries it as a label; label some or leave it out")
    if not len(pool):
        raise InputError(f"concept {concept!r}: every {split} text carries it; add texts that do not")
    # Python's own hash of a word differs from process to process.
    rng = np.random.default_rng([seed, zlib.crc32(split.encode()), zlib.crc32(concept.encode())])
    if limit is not None and len(positive) > limit:
        positive = rng.choice(positive, limit, replace=False)
    negative = rng.choice(pool, len(positive), replace=negatives == "any" or len(pool) < len(positive))
    order = rng.permutation(2 * len(positive))
    rows = np.concatenate([positive, negative]).astype(np.int64)[order]
    labels = np.repeat(np.array([1, 0], dtype=np.int64), len(positive))[order]
    return rows, labels
