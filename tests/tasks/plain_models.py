"""Models with zeroed columns and one row at a time: what a task's scores must be."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from emoscale.ablation.edits import RowEdit
from emoscale.ablation.forward_options import ForwardOptions
from emoscale.ablation.masked_forward import scored


def some_masks(model, count=3, seed=0):
    """Bool (masks, neurons), the first of no neuron."""
    off = np.random.default_rng(seed).random((count, model.outline.neurons)) < 0.3
    off[0] = False
    return off


def zeroed(model, off):
    """A copy of the model's module without the effect of some neurons."""
    module = copy.deepcopy(model.module)
    start = 0
    for site in model.outline.sites:
        linear = module.get_submodule(site.path)
        weight = linear.weight if isinstance(linear, nn.Linear) else linear.weight.T
        with torch.no_grad():
            weight[:, torch.from_numpy(off[start : start + site.width])] = 0
        start += site.width
    return module


@torch.no_grad()
def log_probabilities(module, ids):
    """Log probabilities (tokens, vocabulary) of what follows each token of one row."""
    return module(torch.tensor([ids])).logits[0].float().log_softmax(dim=-1)


def engine_scores(model, task, off, tokens_per_pass):
    """Scores (questions, masks, options) as the ablation engine asks for them."""
    count = len(task.items)
    result = torch.full((count, len(off), len(task.options)), torch.nan)
    way = ForwardOptions(RowEdit(), "exact", tokens_per_pass)
    for one in scored(model, task, np.arange(count), off, np.arange(len(off)), way):
        result[one.item, one.mask] = one.scores
    return result
