"""A model in which it is known which neurons the answers depend on: their effects stand out."""

import numpy as np
import pytest
import small_study
import torch
from scipy.stats import rankdata
from small_study import NAMES, NEURONS, attribute
from tiny_models import LAYERS, WIDTH

from emoscale.models.loading import load_model
from emoscale.run.effects import mean_effects
from emoscale.run.folder import RunFolder

CAUSAL = 6
"""In each layer."""


@pytest.fixture(scope="module")
def built(tiny_outline):
    """A Llama and its causal neurons, which alone write the difference of two answers into the residual stream.

    All others write little, however active they are: half of them have ten times the activation of a causal one.
    """
    rng = np.random.default_rng(0)
    model = load_model(tiny_outline("llama"))
    task = small_study.make_task(model)
    first = [int(ids[0]) for ids in task.option_ids]
    causal = np.zeros((LAYERS, WIDTH), bool)
    with torch.no_grad():
        for layer, block in enumerate(model.module.model.layers):
            mlp, chosen = block.mlp, rng.permutation(WIDTH)
            causal[layer, chosen[:CAUSAL]] = True
            mlp.up_proj.weight[chosen[CAUSAL : WIDTH // 2]] *= 10
            mlp.down_proj.weight *= 0.02
            for neuron in chosen[:CAUSAL]:
                one, other = rng.choice(len(NAMES) - 1, 2, replace=False)
                difference = model.module.lm_head.weight[first[one]] - model.module.lm_head.weight[first[other]]
                mlp.down_proj.weight[:, neuron] = 2 * difference / difference.norm()
    return model, task, causal.ravel()


def auroc(values, positive):
    """Probability that a positive one has the larger value."""
    ranks, count = rankdata(values), positive.sum()
    return (ranks[positive].sum() - count * (count + 1) / 2) / (count * (~positive).sum())


def test_effects_tell_causal_neurons_from_others(tmp_path, built):
    model, task, causal = built
    attribute(tmp_path, model, task, check_neurons=NEURONS)
    effects = mean_effects(RunFolder(tmp_path))
    assert auroc(np.abs(effects.by_cell).mean(axis=0), causal) >= 0.95
    assert auroc(np.abs(effects.overall), causal) >= 0.95


def test_activation_does_not(built):
    model, task, causal = built
    seen = []
    hooks = [
        block.mlp.down_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0].abs().flatten(0, 1).mean(0)))
        for block in model.module.model.layers
    ]
    with torch.inference_mode():
        task.scores(np.arange(1))
    for hook in hooks:
        hook.remove()
    assert auroc(torch.cat(seen[:LAYERS]).numpy(), causal) < 0.5
