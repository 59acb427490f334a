"""A task of one's own is a class of some lines."""

import numpy as np
import pandas as pd
import pytest
import tiny_models
import torch
from plain_models import engine_scores, log_probabilities, some_masks, zeroed

from emoscale.ablation.edits import RowEdit
from emoscale.ablation.forward_options import ForwardOptions
from emoscale.ablation.masked_forward import score
from emoscale.tasks.reading import RowReader
from emoscale.tasks.task import Task


class Surprise:
    """Whether a text's last word is the more likely one of two."""

    options = ("as it is", "otherwise")

    def __init__(self, model, pairs):
        tokenizer = model.outline.tokenizer
        self._reader = RowReader(model)
        self._rows = [tokenizer(text)["input_ids"] for text, *_ in pairs]
        self._ends = torch.tensor([[tokenizer(f" {end}")["input_ids"][-1] for end in ends] for _, *ends in pairs])
        self.items = pd.DataFrame({"concept": "any", "replicate": "0", "label": 0}, index=range(len(pairs)))
        self.items["tokens"] = [len(row) for row in self._rows]
        self.items["text"] = -1
        self.rows, self.option_ids = self._rows, [[], []]

    def scores(self, items):
        ids, attention = self._reader.pad([self._rows[item] for item in items])
        last = attention.sum(dim=1, keepdim=True) - 1
        return self._reader.logits(ids, attention, last)[:, 0].float().gather(1, self._ends[items])


PAIRS = [("She won the", "game", "dog"), ("my friend was", "happy", "home"), ("He lost a", "dog", "voice")]


@pytest.mark.parametrize("name", tiny_models.CAUSAL)
def test_it_is_answered_under_masks(tiny_model, name):
    model = tiny_model(name)
    task: Task = Surprise(model, PAIRS)
    off = some_masks(model, 5)
    tokenizer = model.outline.tokenizer
    expected = torch.zeros(len(PAIRS), len(off), 2)
    for m, mask in enumerate(off):
        module = zeroed(model, mask)
        for q, (text, *ends) in enumerate(PAIRS):
            logs = log_probabilities(module, tokenizer(text)["input_ids"])[-1]
            expected[q, m] = torch.stack([logs[tokenizer(f" {end}")["input_ids"][-1]] for end in ends])
    lead = expected[..., 0] - expected[..., 1]
    found = engine_scores(model, task, off, 20)
    assert torch.allclose(found[..., 0] - found[..., 1], lead, atol=1e-4)
    numbers = np.arange(len(off))
    forward = ForwardOptions(RowEdit(), "exact")
    scores = score(model, task, np.arange(len(PAIRS)), off, numbers, forward, lambda _: None)
    assert np.allclose(scores, found, atol=1e-4)
