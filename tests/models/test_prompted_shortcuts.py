"""Scores of a prompted model are computed where they are read, if that leaves them alone."""

from dataclasses import replace

import pytest
import tiny_models
import torch
from tiny_families import hooks_of

from emoscale.models.loading import load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import outline_model
from emoscale.models.prompted import PromptedModel
from emoscale.models.shortcuts import narrowable
from emoscale.tasks.reading import RowReader

LENGTH = 3
VERBALISER = ["negative", "positive"]
TEXTS = [[5, 6, 7, 8, 9], [7], [], [9, 5]]
LAYOUTS = [("bert", "mask-first"), ("roberta", "mask-first"), ("bert-encoder", "mask-first"), ("bert", "prefix"),
           ("roberta", "prefix"), ("gpt2", "prefix"), ("llama", "prefix")]  # fmt: skip
LAST_BLOCKS = {"bert": "bert.encoder.layer.1", "gpt2": "transformer.h.1", "llama": "model.layers.1"}


@pytest.fixture
def prompted(tiny_model):
    return lambda name, layout="prefix": PromptedModel(tiny_model(name), layout, LENGTH, VERBALISER)


def inputs_of(model):
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randn(len(TEXTS), LENGTH, tiny_models.HIDDEN, generator=generator)
    heads = torch.randn(len(TEXTS), *model.readout.new_head().shape, generator=generator)
    return model.batch(TEXTS), prompts, heads


@pytest.fixture
def meddled():
    """Set a hook on a module's output, for the test."""
    handles = []

    def meddle(module, change):
        def hook(_module, _args, out):
            return (change(out[0]), *out[1:]) if isinstance(out, tuple) else change(out)

        handles.append(module.register_forward_hook(hook))

    yield meddle
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
@torch.no_grad()
def test_narrowed_scores_are_the_whole_models(prompted, name, layout):
    model = prompted(name, layout)
    batch, prompts, heads = inputs_of(model)
    assert model.narrowed == narrowable(model.model.module, model.model.outline.sites) != ()
    whole = model.readout.scores(model.forward(batch, prompts, model.readout.words), heads)
    assert torch.allclose(model.scores(batch, prompts, heads), whole, atol=1e-5)
    assert not hooks_of(model.model.module)


def test_a_mean_over_the_row_needs_all_of_it(prompted):
    assert prompted("bert-encoder").narrowed == ()


def test_a_part_of_a_model_is_not_narrowed(prompted):
    part = replace(prompted("llama").model, tp_size=2)
    assert PromptedModel(part, "prefix", LENGTH, VERBALISER).narrowed == RowReader(part).narrowed == ()


def mixed(values):
    return values + values.mean(dim=1, keepdim=True)


def shifted(values):
    return values.roll(1, 1)


@pytest.mark.parametrize("change", [mixed, shifted])
@pytest.mark.parametrize("name", LAST_BLOCKS)
@torch.no_grad()
def test_where_positions_mix_after_the_maps_nothing_is_narrowed(prompted, meddled, name, change):
    model, reader = prompted(name), RowReader(prompted(name).model)
    module = model.model.module
    meddled(module.get_submodule(LAST_BLOCKS[name]), change)
    names = narrowable(module, model.model.outline.sites)
    batch, prompts, heads = inputs_of(model)
    whole, narrow = (model.forward(batch, prompts, model.readout.words, some) for some in ((), names))
    assert (whole - narrow).abs().max() > 1e-2  # it would change scores
    assert model.narrowed == reader.narrowed == ()
    assert torch.equal(model.scores(batch, prompts, heads), whole)


@pytest.mark.parametrize("name", LAST_BLOCKS)
def test_what_is_done_token_by_token_may_be_narrowed(prompted, meddled, name):
    model, reader = prompted(name), RowReader(prompted(name).model)
    meddled(model.model.module.get_submodule(LAST_BLOCKS[name]), lambda values: 2 * values + 1)
    names = narrowable(model.model.module, model.model.outline.sites)
    assert model.narrowed == reader.narrowed == names


@pytest.mark.parametrize("name", LAST_BLOCKS)
def test_a_model_in_half_precision_is_narrowed_too(tiny_folder, name):
    model = load_model(outline_model(ModelOptions(str(tiny_folder(name)))))
    model.module.to(torch.bfloat16)
    assert PromptedModel(model, "prefix", LENGTH, VERBALISER).narrowed != ()
    assert RowReader(model).narrowed != ()


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
@torch.no_grad()
def test_words_are_columns_of_all_logits(prompted, name, layout):
    model = prompted(name, layout)
    if model.readout.words is None:
        pytest.skip("predicts no words")
    batch, prompts, _ = inputs_of(model)
    words = [9, 3, 9, *model.readout.words]
    logits = model.forward(batch, prompts)
    assert torch.allclose(model.forward(batch, prompts, words), logits[:, words], atol=1e-5)
    model.model.module.get_output_embeddings()._hf_hook = object()  # one that computes all
    try:
        assert torch.allclose(model.forward(batch, prompts, words), logits[:, words], atol=1e-5)
    finally:
        del model.model.module.get_output_embeddings()._hf_hook


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
@torch.no_grad()
def test_rows_of_a_batch_may_be_taken_in_any_order_and_again(prompted, name, layout):
    model = prompted(name, layout)
    batch, prompts, heads = inputs_of(model)
    rows = torch.tensor([2, 0, 0, 3])
    taken = batch.take(rows)
    assert len(taken) == 4
    assert taken.read == batch.read
    assert torch.equal(taken.ids, batch.ids[rows])
    assert torch.equal(taken.attention, batch.attention[rows])
    expected = model.scores(batch, prompts, heads)[rows]
    assert torch.allclose(model.scores(taken, prompts[rows], heads[rows]), expected, atol=1e-5)
    assert len(batch.take(torch.tensor([], dtype=torch.int64))) == 0
