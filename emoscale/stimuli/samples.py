"""Balanced samples of texts for one concept."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.errors import InputError, suggest
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.texts import SPLITS
from emoscale.system.option_types import lookup


@dataclass(frozen=True)
class Negatives:
    """Which texts of a split are drawn as those that do not show a concept.

    Parameters
    ----------
    name, meaning : str
    from_all : bool
        From all texts, with replacement, instead of from those that do not carry the concept.
    """

    name: str
    meaning: str
    from_all: bool


NEGATIVES = {
    kind.name: kind
    for kind in (
        Negatives("others", "from the texts that do not carry the concept, each once if there are enough", False),
        Negatives(
            "any",
            "from all texts with replacement, so that a few negatives are positives, as in the published study (Li, Su "
            "et al. 2024, prompt tuning)",
            True,
        ),
    )
}


def check_labels(texts: pd.DataFrame, concepts: Iterable[str], splits: Sequence[str] = SPLITS) -> None:
    """Raise unless every concept is a label of some text of each of these splits.

    Parameters
    ----------
    texts : DataFrame
        From `load_texts`.
    concepts : iterable of str
    splits : sequence of {"train", "dev"}

    Raises
    ------
    InputError
        For each concept that no text of a split carries, with the nearest label that there is.
    """
    found = {split: set(texts.loc[texts["split"] == split, "labels"].explode().dropna()) for split in splits}
    labels = sorted(set.union(*found.values()))
    problems = []
    for concept in concepts:
        if lacking := [split for split in splits if concept not in found[split]]:
            hint = "" if concept in labels else suggest(concept, labels)
            problems.append(
                f"concept {concept!r}: no {' and no '.join(lacking)} text carries it as a label{hint}; label some, or "
                "leave the concept out"
            )
    if problems:
        raise InputError(problems)


def draw_samples(
    texts: pd.DataFrame, concept: str, seed: int, split: str, options: StimuliOptions
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
    options : StimuliOptions
        `train_texts` and `dev_texts` limit the positives, which are then drawn without replacement; `negatives` is a
        name in `NEGATIVES`.

    Returns
    -------
    rows : ndarray, int64, shape (2 * positives,)
        Rows of `texts`, shuffled.
    labels : ndarray, int64, shape (2 * positives,)
        1 for a positive, 0 for a negative.

    Raises
    ------
    InputError
        If no text of the split carries the concept or all do, a limit is below 1, or `negatives` is unknown.
    """
    limit = options.train_texts if split == "train" else options.dev_texts
    negatives = lookup("negatives", NEGATIVES, options.negatives)
    if limit is not None and limit < 1:
        raise InputError(f"stimuli.{split}_texts {limit}: leaves no texts; give 1 or more")
    in_split = (texts["split"] == split).to_numpy()
    carries = np.fromiter((concept in labels for labels in texts["labels"]), dtype=bool, count=len(texts))
    positive = np.flatnonzero(in_split & carries)
    pool = np.flatnonzero(in_split if negatives.from_all else in_split & ~carries)
    if not len(positive):
        raise InputError(f"concept {concept!r}: no {split} text carries it as a label; label some or leave it out")
    if not len(pool):
        raise InputError(f"concept {concept!r}: every {split} text carries it; add texts that do not")
    # Python's own hash of a word differs from process to process.
    rng = np.random.default_rng([seed, zlib.crc32(split.encode()), zlib.crc32(concept.encode())])
    if limit is not None and len(positive) > limit:
        positive = rng.choice(positive, limit, replace=False)
    negative = rng.choice(pool, len(positive), replace=negatives.from_all or len(pool) < len(positive))
    order = rng.permutation(2 * len(positive))
    rows = np.concatenate([positive, negative]).astype(np.int64)[order]
    labels = np.repeat(np.array([1, 0], dtype=np.int64), len(positive))[order]
    return rows, labels


def hold_out(
    identities: NDArray[np.uint64], labels: NDArray[np.int64], share: float, concept: str, seed: int
) -> NDArray[np.bool_]:
    """Choose a share of a balanced sample, which stays balanced; all rows of a text go the same way.

    Parameters
    ----------
    identities : ndarray, uint64, shape (n,)
        Of the texts, see `identify`.
    labels : ndarray, int64, shape (n,)
        1 or 0.
    share : float
        Of the rows of each label that are chosen, between 0 and 1; at least one text is.
    concept : str
    seed : int
        What is chosen depends on it, the concept and the sample.

    Returns
    -------
    ndarray, bool, shape (n,)

    Raises
    ------
    InputError
        If there are not enough different texts to choose some with both labels and leave some.
    """
    texts, which = np.unique(identities, return_inverse=True)
    counts = np.zeros((len(texts), 2), np.int64)
    np.add.at(counts, (which, labels), 1)
    wanted = np.maximum(1, np.round(share * counts.sum(axis=0)).astype(np.int64))
    chosen, taken = np.zeros(len(texts), bool), np.zeros(2, np.int64)
    rng = np.random.default_rng([seed, zlib.crc32(b"validation"), zlib.crc32(concept.encode())])
    order = rng.permutation(len(texts))
    for text in order:
        if (taken + counts[text] <= wanted).all():
            chosen[text] = True
            taken += counts[text]
    for label in np.flatnonzero(taken == 0):  # each of its texts has more rows than are wanted
        chosen[min(order[counts[order, label] > 0], key=lambda text: counts[text].sum())] = True
    taken, rest = counts[chosen].sum(axis=0), counts[~chosen].sum(axis=0)
    if not (taken.all() and rest.all()):
        raise InputError(
            f"concept {concept!r}: too few different train texts ({len(texts)}, seed {seed}) to keep a share of "
            f"{share:g} that chooses the best epoch; add texts, or set tuning.validation to 0"
        )
    return chosen[which]
