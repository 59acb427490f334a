"""Readouts: how the scores of two labels come out of what was read at a prompt's read position.

A further readout is a class here and a line in `READOUTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from emoscale.errors import InputError
from emoscale.models.outline import ModelOutline


class Readout(Protocol):
    """What was read in, label scores out.

    Attributes
    ----------
    words : list of int or None
        The tokens whose logits are needed; None where hidden states are.
    """

    words: list[int] | None

    def new_head(self) -> Tensor:
        """Return the weights a prompt trains besides its vectors; no elements if it needs none."""

    def scores(self, read: Tensor, heads: Tensor) -> Tensor:
        """Return (rows, 2) float32 scores of what was read (rows, words or hidden)."""


class Verbaliser:
    """The logits of two words, one a label, at the read position.

    Parameters
    ----------
    outline : ModelOutline
    words : sequence of str
        For label 0 and label 1.

    Raises
    ------
    InputError
        If a word is not one token of the model.
    """

    def __init__(self, outline: ModelOutline, words: Sequence[str]) -> None:
        self.words: list[int] | None = verbaliser_tokens(outline, words)

    def new_head(self) -> Tensor:
        """Return no weights."""
        return torch.empty(0)

    def scores(self, read: Tensor, heads: Tensor) -> Tensor:
        """Return the two words' logits."""
        return read.float()


class LabelHead:
    """A trained linear map from the hidden state to two labels, for encoders that predict no words."""

    def __init__(self, outline: ModelOutline, words: Sequence[str]) -> None:
        self.words: list[int] | None = None
        self._hidden = outline.config.get_text_config().hidden_size

    def new_head(self) -> Tensor:
        """Return zero weights, shape (2, hidden + 1); the last column is the bias."""
        return torch.zeros(2, self._hidden + 1)

    def scores(self, read: Tensor, heads: Tensor) -> Tensor:
        """Return each row's own linear map of its hidden state."""
        # No matrix product: autocast would do it in bfloat16, too coarse for scores that are close.
        return (read.float()[:, None] * heads[:, :, :-1]).sum(dim=-1) + heads[:, :, -1]


READOUTS: dict[str, Callable[[ModelOutline, Sequence[str]], Readout]] = {
    "masked-lm": Verbaliser,
    "causal-lm": Verbaliser,
    "encoder": LabelHead,
}
"""The readout of each kind of model."""


def verbaliser_tokens(outline: ModelOutline, words: Sequence[str]) -> list[int]:
    """Return the token of each word as it is after a space.

    Parameters
    ----------
    outline : ModelOutline
    words : sequence of str

    Raises
    ------
    InputError
        Names every word that is not one token; or if they are one and the same.
    """
    tokens, problems = [], []
    for word in words:
        token = word_token(outline, word)
        if token is not None:
            tokens.append(token)
        else:
            count = len(outline.tokenizer.encode(f" {word}", add_special_tokens=False))
            problems.append(
                f"tuning.verbaliser {word!r}: {f'{count} tokens' if count > 1 else 'unknown'} in {outline.name}; "
                "choose a word of one token"
            )
    if not problems and len(set(tokens)) < len(tokens):
        problems.append(f"tuning.verbaliser {list(words)}: the same token in {outline.name}; choose two words")
    if problems:
        raise InputError(problems)
    return tokens


def word_token(outline: ModelOutline, word: str, before: str = "a ") -> int | None:
    """Return the token that a word is after a text; None if it is several, or unknown.

    Parameters
    ----------
    outline : ModelOutline
    word : str
        Without its space it may be a token of its own, and another word.
    before : str
        With a space at the end if one is before the word.
    """
    # Where a space is a part of what follows, it is no token of the text before.
    known, both = (
        outline.tokenizer.encode(text, add_special_tokens=False) for text in (before.rstrip(" "), before + word)
    )
    added = both[len(known) :]
    is_single = both[: len(known)] == known and len(added) == 1 and added[0] != outline.tokenizer.unk_token_id
    return int(added[0]) if is_single else None
