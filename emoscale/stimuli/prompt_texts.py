"""The texts each prompt learns from and is judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.stimuli.samples import draw_samples


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


@dataclass(frozen=True)
class PromptTexts:
    """One prompt: a concept, a seed, and its texts.

    Attributes
    ----------
    concept : str
    seed : int
        Also the replicate's name.
    train, dev : Sample
        Texts to learn from, and held-out ones.
    """

    concept: str
    seed: int
    train: Sample
    dev: Sample


def draw_prompt_texts(
    texts: pd.DataFrame,
    concepts: Sequence[str],
    seeds: Sequence[int],
    *,
    train_limit: int | None = None,
    dev_limit: int | None = None,
    negatives: str = "others",
) -> list[PromptTexts]:
    """Draw the texts of every prompt (Li, Su et al. 2024, prompt tuning).

    Parameters
    ----------
    texts : DataFrame
        As `load_texts` gives it.
    concepts, seeds : sequence
        Every concept is paired with every seed.
    train_limit, dev_limit : int, optional
        The most texts that show the concept in either split; as many again do not show it.
    negatives : {"others", "any"}
        See `draw_samples`.

    Returns
    -------
    list of PromptTexts
        Seed by seed, in concept order.
    """

    def sample(concept: str, seed: int, split: str, limit: int | None) -> Sample:
        return Sample(*draw_samples(texts, concept, seed, split, limit=limit, negatives=negatives))

    return [
        PromptTexts(concept, seed, sample(concept, seed, "train", train_limit), sample(concept, seed, "dev", dev_limit))
        for seed in seeds
        for concept in concepts
    ]
