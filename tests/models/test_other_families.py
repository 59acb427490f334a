"""Models that are not what their name says, and usual ones: extraction and ablation give what one row alone gives."""

import copy
import dataclasses

import numpy as np
import other_families as families
import pandas as pd
import pytest
import tiny_models
import torch
from torch import nn
from torch.nn import functional

from emoscale.ablation.edits import RowEdit
from emoscale.ablation.forward_options import ForwardOptions
from emoscale.ablation.masked_forward import scored
from emoscale.errors import InputError
from emoscale.extraction.extract import extract
from emoscale.extraction.inputs import TextRows
from emoscale.extraction.options import ExtractionOptions
from emoscale.extraction.work import Job
from emoscale.models.loading import load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import encode_texts, outline_model
from emoscale.models.packing import pad_rows
from emoscale.models.prompted import PromptedModel
from emoscale.models.trials import PADDING_NOTE
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS
from emoscale.stimuli.prompt_texts import PromptTexts, Sample
from emoscale.store import open_store
from emoscale.system.progress import Silent
from emoscale.system.ranks import one_process
from emoscale.tasks.soft_prompt import SoftPromptTask
from emoscale.tasks.wording import Asked
from emoscale.tasks.yes_no import YesNoItems, YesNoTask
from emoscale.tuning.options import TuningOptions
from emoscale.tuning.training import GroupTrainer

pytestmark = pytest.mark.slow

TEXTS = [*tiny_models.TEXTS, "a dog", "news", "my friend won a game at home that moment", "she felt sad", "fear , joy"]
LEAKING, PADDED = ("fnet", "convbert", "mobilebert"), ("longformer", "longformer-attention")
WORDS = ["negative", "positive"]
CLOSE = {"rtol": 0, "atol": 2e-5}


@pytest.fixture(scope="module", params=families.ALL)
def case(request, tmp_path_factory):
    """A model as it is loaded, and the one that was saved."""
    make, kind, site = families.ALL[request.param]
    folder = tmp_path_factory.mktemp("models") / request.param
    plain = families.save(make, folder)
    return request.param, load_model(outline_model(ModelOptions(str(folder), site=site))), plain, kind


def rows_of(model):
    return model.outline.tokenizer(TEXTS)["input_ids"]


def run_plainly(plain, row):
    return plain(input_ids=torch.tensor([row]), attention_mask=torch.ones(1, len(row), dtype=torch.int64))


def path_in(plain, site):
    """The loaded class may keep the saved one's body under another name."""
    return next(path for path, _ in plain.named_modules() if path == site.path or path.endswith(f".{site.path}"))


@torch.no_grad()
def activations_plainly(plain, sites, row):
    """Values (tokens, neurons) of one row alone, by hooks of our own."""
    seen, hooks = {}, []

    def see(site):
        def hook(module, args, kwargs):
            seen[site.path] = _experts(module, site, *args, **kwargs) if site.experts else _plain(args[0], len(row))

        return hook

    for site in sites:
        module = plain.get_submodule(path_in(plain, site))
        hooks.append(module.register_forward_pre_hook(see(site), with_kwargs=True))
    run_plainly(plain, row)
    for hook in hooks:
        hook.remove()
    return torch.cat([seen[site.path] for site in sites], dim=1)


def _plain(values, tokens):
    return values.reshape(-1, values.shape[-1])[:tokens]  # a single row: whatever its order, its tokens come first


def _experts(module, site, states, index, _weights):
    values = torch.full((len(states), site.experts, site.width // site.experts), torch.nan)
    for token in range(len(states)):
        for expert in index[token].tolist():
            gate, up = functional.linear(states[token], module.gate_up_proj[expert]).chunk(2)
            values[token, expert] = module.act_fn(gate) * up
    return values.flatten(1)


@torch.no_grad()
def without(plain, sites, off):
    """A copy of the saved model without the effect of some neurons."""
    plain, start = copy.deepcopy(plain), 0
    for site in sites:
        module = plain.get_submodule(path_in(plain, site))
        own = torch.from_numpy(off[start : start + site.width])
        start += site.width
        if site.experts:
            module.down_proj.transpose(1, 2)[own.unflatten(0, (site.experts, -1))] = 0
        else:
            (module.weight if isinstance(module, nn.Linear) else module.weight.T)[:, own] = 0
    return plain


class HiddenTask:
    """Scores of an encoder's row: two of the units of its last token's last state."""

    options, option_ids = ("other", "concept"), ([], [])

    def __init__(self, model, rows, items):
        self.model, self.rows, self.items = model, rows, items

    def scores(self, items):
        ids, attention = pad_rows([self.rows[item] for item in items], self.model.outline.pad_id)
        states = self.model.module(input_ids=ids, attention_mask=attention).last_hidden_state
        return states[torch.arange(len(items)), attention.sum(dim=1) - 1, :2]


def task_of(model, rows):
    lengths = np.array([len(row) for row in rows])
    items = pd.DataFrame({"concept": "joy", "replicate": "1", "label": 0, "tokens": lengths})
    if model.outline.kind == "encoder":
        return HiddenTask(model, rows, items)
    return YesNoTask(model, YesNoItems(items, Asked([], " ", list, rows), np.arange(len(rows)), lengths - 1), [5, 6])


def scores_plainly(plain, model, row):
    with torch.no_grad():
        output = run_plainly(plain, row)
    if model.outline.kind != "encoder":
        return output.logits[0, -1, [5, 6]]
    states = output if "last_hidden_state" in output else plain.base_model(torch.tensor([row]))
    return states.last_hidden_state[0, -1, :2]


def test_a_model_is_what_it_does(case):
    name, model, _, kind = case
    assert model.outline.kind == kind
    assert model.outline.padding_leaks == (name in LEAKING)
    assert (PADDING_NOTE in model.outline.notes) == (name in LEAKING)
    assert any("ffn.0.output.dense" in note for note in model.outline.notes) == (name == "mobilebert")
    assert {site.order for site in model.outline.sites} == {
        "padded" if name in PADDED else "tokens" if name == "xlnet" else "rows"
    }


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
@pytest.mark.parametrize(("pooling", "block_rows", "batch_rows"), [("all", 10, 8), ("last", 1024, 8), ("mean", 3, 2)])
def test_the_store_holds_what_a_text_gives_alone(case, tmp_path, pooling, block_rows, batch_rows):
    _, model, plain, _ = case
    texts = pd.DataFrame({"text": TEXTS, "labels": [("joy",)] * len(TEXTS)})
    options = ExtractionOptions(block_rows=block_rows, batch_rows=batch_rows, chunk_neurons=64)
    rows = TextRows(model, [texts], pooling, 20)
    extract(
        RunFolder(tmp_path), rows, options, job=Job(origin={}, concepts=(), writers=1), ranks=one_process(),
        progress=Silent()
    )  # fmt: skip
    stored = open_store(RunFolder(tmp_path).activations, ACTIVATIONS).read("activations")
    alone = [activations_plainly(plain, model.outline.sites, row).numpy() for row in rows_of(model)]
    read = {"all": np.concatenate, "last": lambda rows: np.stack([row[-1] for row in rows])}
    read["mean"] = lambda rows: np.stack([np.nanmean(row, axis=0) for row in rows])
    np.testing.assert_allclose(stored, read[pooling](alone), **CLOSE)


@pytest.mark.parametrize("tokens_per_pass", [1, 60, 10_000])
def test_masked_scores_are_those_of_zeroed_weights(case, tokens_per_pass):
    _, model, plain, _ = case
    rows = rows_of(model)
    off = np.random.default_rng(0).random((3, model.outline.neurons)) < 0.3
    off[0] = False
    found = torch.full((len(rows), len(off), 2), torch.nan)
    forward = ForwardOptions(RowEdit(), "exact", tokens_per_pass)
    for one in scored(model, task_of(model, rows), np.arange(len(rows)), off, np.arange(len(off)), forward):
        found[one.item, one.mask] = one.scores
    expected = torch.stack(
        [
            torch.stack([scores_plainly(edited, model, row) for row in rows])
            for edited in (without(plain, model.outline.sites, own) for own in off)
        ],
        dim=1,
    )
    assert (expected[:, 1:] - expected[:, :1]).abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [*LEAKING, "longformer", "xlnet", "t5-encoder"])
def test_prompts_are_tuned_and_asked_as_one_row_at_a_time(tmp_path, name):
    make, _, site = families.ALL[name]
    families.save(make, tmp_path)
    model = PromptedModel(load_model(outline_model(ModelOptions(str(tmp_path), site=site))), "prefix", 2, WORDS)
    tokens = encode_texts(model.model.outline, TEXTS, 20)
    sample = Sample(np.arange(len(TEXTS)), np.arange(len(TEXTS)) % 2)
    prompts = [PromptTexts("joy", 1, sample, sample)]
    off = np.random.default_rng(0).random((2, model.model.outline.neurons)) < 0.3

    def scores(tokens_per_pass):
        options = TuningOptions(prompt_length=2, epochs=2, batch_size=8, learning_rate=0.1, precision="exact")
        options = dataclasses.replace(options, tokens_per_pass=tokens_per_pass)
        tuned = GroupTrainer(model, tokens, prompts, options).train(Silent())
        found = torch.full((len(TEXTS), 2, 2), torch.nan)
        task, forward = (
            SoftPromptTask(model, tokens, prompts, tuned),
            ForwardOptions(RowEdit(), "exact", tokens_per_pass),
        )
        for one in scored(model.model, task, np.arange(len(TEXTS)), off, np.arange(2), forward):
            found[one.item, one.mask] = one.scores
        return tuned.vectors, found

    for alone, together in zip(scores(1), scores(10_000), strict=True):
        torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "site", ["funnel.encoder.blocks.{layer}.0.ffn.linear_2", "funnel.decoder.layers.{layer}.ffn.linear_2"]
)
def test_a_model_that_shortens_rows_is_refused_where_it_does(tmp_path, site):
    families.save(families.FUNNEL, tmp_path)
    outline = outline_model(ModelOptions(str(tmp_path), site=site))
    if "decoder" in site:
        assert {site.order for site in load_model(outline).outline.sites} == {"rows"}
        return
    with pytest.raises(InputError, match=r"linear_2 has 1 x 2 values .* 1 x 3 .* set another model\.site"):
        load_model(outline)
