"""Which of some words comes next in a single text: after its end, or at its mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoscale.errors import InputError
from emoscale.models.loading import LanguageModel
from emoscale.models.outline import ModelOutline
from emoscale.models.readouts import word_token
from emoscale.tasks.multiple_choice import MultipleChoiceTask, ask
from emoscale.tasks.reading import RowReader
from emoscale.tasks.task import Task
from emoscale.tasks.templates import check_lengths, tokenise
from emoscale.tasks.wording import Wording, put

_MASK = "{mask}"


def next_word(
    outline: ModelOutline, text: str, words: Sequence[str]
) -> tuple[Callable[[LanguageModel], Task], list[str]]:
    """Make a task of a single item, whose scores are log probabilities.

    Parameters
    ----------
    outline : ModelOutline
        Of a causal model, which continues the text; or a masked one.
    text : str
        For masked models with ``{mask}``.
    words : sequence of str

    Returns
    -------
    make : callable
        Takes the model and gives the task; its options are the words.
    skipped : list of str
        Words of several tokens, where a mask takes a single one.

    Raises
    ------
    InputError
        If the model predicts no words, or the text has not one mask where there must be one, is empty or too long.
    """
    item = pd.DataFrame({"concept": [""], "replicate": [""], "label": [0], "text": [-1]})
    if outline.kind == "causal-lm":
        if not text.strip():
            raise InputError(f"text {text!r}: is empty; give a text to be continued")
        asked = ask(outline, put(outline, [text.rstrip()], Wording()), words, item)
        return lambda model: MultipleChoiceTask(model, asked), []
    if outline.kind != "masked-lm":
        raise InputError(f"{outline.name}: predicts no words ({outline.kind}); give a causal or masked language model")
    if text.count(_MASK) != 1:
        raise InputError(f"text {text!r}: must have {_MASK} once, where {outline.name} predicts the word")
    (row,) = tokenise(outline, [text.replace(_MASK, outline.tokenizer.mask_token)], closed=True)
    masks = [place for place, token in enumerate(row) if token == outline.tokenizer.mask_token_id]
    if len(masks) != 1:
        raise InputError(f"text {text!r}: has another mask besides {_MASK}; remove it")
    check_lengths(outline, len(row))
    before = text[: text.index(_MASK)]
    tokens = {word: token for word in words if (token := word_token(outline, word, before)) is not None}
    if not tokens:
        raise InputError(f"{outline.name}: none of the words is a single token; give another model")
    item = item.assign(tokens=len(row))
    return lambda model: AtMask(model, item, row, masks[0], tokens), [word for word in words if word not in tokens]


class AtMask:
    """Which word a mask hides.

    Parameters
    ----------
    model : LanguageModel
        A masked one.
    item : DataFrame
        One row, see `Task`.
    row : sequence of int
        Tokens of the text.
    read : int
        Where its mask is.
    words : mapping of str to int
        The token of each word.
    """

    def __init__(
        self, model: LanguageModel, item: pd.DataFrame, row: Sequence[int], read: int, words: Mapping[str, int]
    ) -> None:
        self._reader = RowReader(model)
        self._row, self._read, self._tokens = list(row), read, list(words.values())
        self.items = item
        self.options: Sequence[str] = list(words)
        self.rows = [self._row]
        self.option_ids = [[token] for token in self._tokens]

    def scores(self, items: NDArray[np.int64]) -> Tensor:
        """Score every word by its log probability among all tokens."""
        ids, attention = self._reader.pad([self._row] * len(items))
        read = torch.full((len(items), 1), self._read, device=ids.device)
        logits = self._reader.logits(ids, attention, read)[:, 0].float()
        return logits.log_softmax(dim=-1)[:, self._tokens]
