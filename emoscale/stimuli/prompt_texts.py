"""The texts that each prompt is trained and evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.errors import InputError
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.same_text import identify, is_repeated
from emoscale.stimuli.samples import draw_samples, hold_out


@dataclass(frozen=True)
class Sample:
    """A balanced sample of texts.

    Attributes
    ----------
    rows : ndarray of int64, shape (n,)
        Row numbers in the table of texts.
    labels : ndarray of int64, shape (n,)
        1 where the text shows the concept, else 0.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, which: NDArray[np.bool_] | slice) -> Sample:
        """Return some of the texts."""
        return Sample(self.rows[which], self.labels[which])


@dataclass(frozen=True)
class AskedTexts:
    """A concept, a seed, and texts that are asked about.

    Attributes
    ----------
    concept : str
    seed : int
        Its decimal digits are also the name of the replicate.
    dev : Sample
        Held-out texts.
    """

    concept: str
    seed: int
    dev: Sample


@dataclass(frozen=True)
class PromptTexts:
    """One prompt: a concept, a seed, and its texts.

    Attributes
    ----------
    concept : str
    seed : int
        Its decimal digits are also the name of the replicate.
    train, dev : Sample
        Texts to train on, and held-out ones.
    validation : Sample or None
        Texts that choose the best epoch; the held-out ones do where there are none.
    """

    concept: str
    seed: int
    train: Sample
    dev: Sample
    validation: Sample | None = None

    @property
    def choosing(self) -> Sample:
        """The texts that choose the best epoch."""
        return self.dev if self.validation is None else self.validation


def draw_asked_texts(
    texts: pd.DataFrame, concepts: Sequence[str], seeds: Sequence[int], options: StimuliOptions
) -> list[AskedTexts]:
    """Draw the held-out texts of every concept and seed; those of `draw_prompt_texts` are the same."""
    return [AskedTexts(c, seed, _sample(texts, c, seed, "dev", options)) for seed in seeds for c in concepts]


def draw_prompt_texts(
    texts: pd.DataFrame,
    concepts: Sequence[str],
    seeds: Sequence[int],
    options: StimuliOptions,
    *,
    validation: float = 0,
    keep_repeated: bool = False,
) -> list[PromptTexts]:
    """Draw the texts of every prompt (Li, Su et al. 2024, prompt tuning, whose `validation` is 0).

    Parameters
    ----------
    texts : DataFrame
        From `load_texts`.
    concepts, seeds : sequence
        Every concept is paired with every seed.
    options : StimuliOptions
        See `draw_samples`.
    validation : float
        Share of the texts to train on that choose the best epoch instead, see `hold_out`; 0 for none.
    keep_repeated : bool
        Whether texts of the train split that are held out too are trained on, as published.

    Returns
    -------
    list of PromptTexts
        Seed by seed, in the order of the concepts.

    Raises
    ------
    InputError
        For each concept whose train texts are all held out too; see also `draw_samples` and `hold_out`.
    """
    identities = identify(texts["text"])
    learned = texts
    if not keep_repeated:
        learned = texts.assign(split=texts["split"].mask(is_repeated(texts, identities)))
        _check_some_are_left(texts, learned, concepts)

    def draw(concept: str, seed: int) -> PromptTexts:
        train = _sample(learned, concept, seed, "train", options)
        dev = _sample(texts, concept, seed, "dev", options)
        if not validation:
            return PromptTexts(concept, seed, train, dev)
        chosen = hold_out(identities[train.rows], train.labels, validation, concept, seed)
        return PromptTexts(concept, seed, train.take(~chosen), dev, train.take(chosen))

    return [draw(concept, seed) for seed in seeds for concept in concepts]


def _check_some_are_left(texts: pd.DataFrame, learned: pd.DataFrame, concepts: Sequence[str]) -> None:
    before, after = (set(table["labels"][table["split"] == "train"].explode()) for table in (texts, learned))
    problems = [
        f"concept {concept!r}: all its train texts are held out too; give others, or set tuning.keep_repeated to true"
        for concept in concepts
        if concept in before - after
    ]
    if problems:
        raise InputError(problems)


def _sample(texts: pd.DataFrame, concept: str, seed: int, split: str, options: StimuliOptions) -> Sample:
    return Sample(*draw_samples(texts, concept, seed, split, options))
