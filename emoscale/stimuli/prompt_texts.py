"""The texts that each prompt is trained and evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.stimuli.options import StimuliOptions
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
        Its decimal digits are also the name of the replicate.
    train, dev : Sample
        Texts to train on, and held-out ones.
    """

    concept: str
    seed: int
    train: Sample
    dev: Sample


def draw_prompt_texts(
    texts: pd.DataFrame, concepts: Sequence[str], seeds: Sequence[int], options: StimuliOptions
) -> list[PromptTexts]:
    """Draw the texts of every prompt (Li, Su et al. 2024, prompt tuning).

    Parameters
    ----------
    texts : DataFrame
        From `load_texts`.
    concepts, seeds : sequence
        Every concept is paired with every seed.
    options : StimuliOptions
        See `draw_samples`.

    Returns
    -------
    list of PromptTexts
        Seed by seed, in the order of the concepts.
    """

    def sample(concept: str, seed: int, split: str) -> Sample:
        return Sample(*draw_samples(texts, concept, seed, split, options))

    return [
        PromptTexts(concept, seed, sample(concept, seed, "train"), sample(concept, seed, "dev"))
        for seed in seeds
        for concept in concepts
    ]
