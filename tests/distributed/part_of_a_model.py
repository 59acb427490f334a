"""What every process of a model spread over several does, and one that holds all of it: see test_split_model.py.

torchrun --nproc_per_node 2 part_of_a_model.py FOLDER CASE...
"""

import sys
from pathlib import Path

import numpy as np
import torch

import emoscale.ablation.ablate as ablation
from emoscale.ablation.ablate import ablate
from emoscale.ablation.options import AblationOptions
from emoscale.attribution.attribute_effects import attribute_effects
from emoscale.attribution.exact import ExactAblation
from emoscale.attribution.options import AttributionOptions
from emoscale.errors import InputError
from emoscale.extraction.work import Job
from emoscale.models.capture import capturing
from emoscale.models.forward import run_body
from emoscale.models.loading import load_model
from emoscale.models.masking import masking
from emoscale.models.options import ModelOptions
from emoscale.models.outline import outline_model
from emoscale.models.prompt_files import TunedPrompts
from emoscale.models.prompted import PromptedModel
from emoscale.run.folder import RunFolder
from emoscale.stimuli.prompt_texts import PromptTexts, Sample
from emoscale.system.progress import Silent
from emoscale.system.ranks import join, leave
from emoscale.tasks.soft_prompt import SoftPromptTask

LENGTH, TOKENS = 3, 20


def token_rows():
    ids = torch.randint(5, 200, (4, 6), generator=torch.Generator().manual_seed(0))
    attention = torch.ones_like(ids)
    attention[1, 2:] = 0
    return ids, attention


@torch.inference_mode()
def values(model):
    ids, attention = token_rows()
    with capturing(model.module, model.outline.sites, model.tp_rank, model.tp_size) as captured:
        for _ in range(2):
            captured.expect(*ids.shape, lambda v: v[:, 1])
            captured.run(lambda: run_body(model, ids, attention))
            taken = captured.take()
    return taken


def masks(neurons, count=5):
    return np.random.default_rng(0).random((count, neurons)) < np.linspace(0, 0.6, count)[:, None]


@torch.inference_mode()
def logits(model):
    ids = token_rows()[0][:1].expand(3, -1)
    off = torch.from_numpy(masks(model.outline.neurons))
    with masking(model.module, model.outline.sites, off, model.tp_rank, model.tp_size) as masked:
        masked.expect(torch.tensor([4, 0, 2]))
        return model.module(input_ids=ids).logits


def make_task(model):
    """Two prompts, whose texts are ids."""
    prompted = PromptedModel(model, "prefix", LENGTH, ["negative", "positive"])
    rng = np.random.default_rng(1)
    tokens = [rng.integers(5, 200, rng.integers(1, TOKENS)).tolist() for _ in range(30)]
    nothing = Sample(np.empty(0, np.int64), np.empty(0, np.int64))
    prompts = [
        PromptTexts(concept, 1, nothing, Sample(rng.permutation(30)[:size], rng.integers(0, 2, size)))
        for concept, size in [("joy", 30), ("fear", 12)]
    ]
    blank = torch.zeros(2, dtype=torch.float64)
    vectors = torch.randn(2, LENGTH, model.outline.config.hidden_size, generator=torch.Generator().manual_seed(2))
    tuned = TunedPrompts(vectors, torch.empty(2, 0), blank, blank, blank, blank.long(), blank.long())
    return SoftPromptTask(prompted, tokens, prompts, tuned)


ABLATION = AblationOptions(masks_per_unit=2, tokens_per_pass=150)


def correct_answers(folder, model, ranks):
    """Ablate them."""
    ablate(RunFolder(folder), model, make_task(model), ABLATION, ranks=ranks, progress=Silent())


def effects(folder, model, ranks):
    """Estimate the effects of every neuron, and compare some with ablation."""
    options = AttributionOptions(
        check_neurons=8,
        check_groups=[0.25],
        check_draws=2,
        check_items=20,
        tokens_per_pass=150,
        block_rows=8,
    )
    job = Job(origin={"model": "tiny"}, concepts=["joy", "fear"], writers=1)
    exact = ExactAblation(RunFolder(folder), model, ABLATION, job.origin, ranks)
    attribute_effects(RunFolder(folder), make_task(model), exact, options, job=job, progress=Silent())


def load(folder, site, split=None):
    return load_model(outline_model(ModelOptions(str(folder / "model"), site=site)), split=split)


def refuse(*_):
    raise AssertionError("two processes wrote one file")


def main(folder, cases):
    ranks = join("cpu", threads=1, split_model="tensors")
    if ranks.tp_rank:
        ablation._save = refuse
        # It sees all units done: were it to leave one out, the other process would wait for ever.
        ablation._unit_file = lambda *_: folder
    for case in cases:
        family, site = case.split("-")
        model = load(folder / family, site, "tensors")
        found = {"values": values(model), "logits": logits(model), "agreed": ranks.agree(ranks.tp_rank)}
        torch.save(found, folder / family / f"{site}-{ranks.tp_rank}.pt")
        correct_answers(folder / family / f"{site}-parts", model, ranks)
        effects(folder / family / f"{site}-parts", model, ranks)
    try:
        load(folder / "odd", "ffn", "tensors")
    except InputError as error:
        (folder / f"refused-{ranks.tp_rank}.txt").write_text(str(error))
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
