"""Concepts named in carrier sentences, read at the concept's last token."""

import dataclasses
import types

import numpy as np
import pandas as pd
import pytest
import tiny_models
import torch

from emoscale.errors import InputError
from emoscale.extraction.extract import extract
from emoscale.extraction.rows import TemplateRows
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS
from emoscale.stimuli.templates import render_templates
from emoscale.store import open_store
from emoscale.system.progress import Silent
from emoscale.system.ranks import one_process

TEMPLATES = ["she felt {concept} at home.", "{concept} was loud", "a friend lost {concept}"]
CONCEPTS = ["joy", "surprise", "a sad surprise"]


def run(path, rows, batch_rows=4):
    extract(
        RunFolder(path),
        rows,
        block_rows=5,
        batch_rows=batch_rows,
        chunk_neurons=16,
        dtype="float32",
        origin={},
        ranks=one_process(),
        progress=Silent(),
    )
    return open_store(RunFolder(path).activations, ACTIVATIONS)


def last_token(tokenizer, text, end):
    """Tokens of the sentence up to the concept's end, opening token included; every cut is between words."""
    opening = len(tokenizer("a")["input_ids"]) - len(tokenizer("a", add_special_tokens=False)["input_ids"])
    opening = min(opening, 1)
    return opening + len(tokenizer(text[:end], add_special_tokens=False)["input_ids"]) - 1


@torch.no_grad()
def directly(model, text, position):
    seen = []
    maps = [model.module.get_submodule(site.path) for site in model.outline.sites]
    handles = [m.register_forward_pre_hook(lambda _m, args: seen.append(args[0])) for m in maps]
    ids = torch.tensor([model.outline.tokenizer(text)["input_ids"]])
    model.module(input_ids=ids)
    for handle in handles:
        handle.remove()
    return torch.cat([values.reshape(ids.shape[1], -1)[position] for values in seen]).numpy()


@pytest.mark.parametrize("name", tiny_models.MAKERS)
def test_rows_equal_a_plain_forward_on_the_sentence(tmp_path, tiny_model, name):
    model = tiny_model(name)
    sentences = render_templates(TEMPLATES, CONCEPTS)
    tokenizer = model.outline.tokenizer
    positions = [
        last_token(tokenizer, text, end) for text, end in zip(sentences["text"], sentences["end"], strict=True)
    ]
    store = run(tmp_path / "mixed", TemplateRows(model, sentences))
    assert store.read("position").tolist() == positions
    assert store.read("concept").tolist() == sentences["concept"].tolist()
    assert store.read("replicate").tolist() == len(CONCEPTS) * TEMPLATES
    expected = np.stack([directly(model, text, p) for text, p in zip(sentences["text"], positions, strict=True)])
    assert np.allclose(store.read("activations"), expected, atol=1e-5)
    alone = run(tmp_path / "alone", TemplateRows(model, sentences), batch_rows=1)
    assert np.allclose(alone.read("activations"), expected, atol=1e-5)


def test_positions_of_concepts_of_several_tokens(tiny_model):
    """[CLS] she felt sur ##pri ##se at home . [SEP]"""
    rows = TemplateRows(tiny_model("bert"), render_templates(TEMPLATES[:2], ["joy", "surprise"]))
    assert [stop - 1 for _, stop in next(rows.inputs()).read] == [3, 1, 5, 3]


def test_the_mean_over_the_concepts_tokens(tmp_path, tiny_model):
    """She felt sur ##pri ##se at home: tokens 3, 4 and 5; the concept of one token is that token."""
    model, sentences = tiny_model("bert"), render_templates(TEMPLATES[:1], ["joy", "surprise"])
    assert next(TemplateRows(model, sentences, "concept-mean").inputs()).read == [(3, 4), (3, 6)]
    store = run(tmp_path, TemplateRows(model, sentences, "concept-mean"))
    assert store.read("position").tolist() == [3, -1]
    assert store.read("token_id")[1] == -1
    for row, tokens in enumerate([[3], [3, 4, 5]]):
        expected = np.mean([directly(model, sentences["text"][row], token) for token in tokens], axis=0)
        assert np.allclose(store.read("activations")[row], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["roberta", "gpt2", "llama"])
def test_a_last_letter_of_several_tokens(tiny_model, name):
    """é is two tokens here: the last one belongs to the concept, too."""
    tokenizer = tiny_model(name).outline.tokenizer
    sentences = render_templates(["she felt {concept} at home"], ["blasé"])
    rows = TemplateRows(tiny_model(name), sentences)
    [(first, stop)] = next(rows.inputs()).read
    assert first == stop - 1
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(sentences["text"][0])["input_ids"])
    assert tokens[stop - 2 : stop + 1] == ["Ã", "©", "Ġat"]


def test_a_concept_without_a_token_is_refused(tiny_model):
    with pytest.raises(InputError, match="no token for the concept"):
        next(
            TemplateRows(
                tiny_model("bert"), render_templates(["she felt {concept} at home"], ["joy", "\u200b"])
            ).inputs()
        )


def test_a_slow_tokenizer_is_refused(tiny_model):
    model = tiny_model("bert")
    slow = dataclasses.replace(model.outline, tokenizer=types.SimpleNamespace(is_fast=False))
    with pytest.raises(InputError, match="needs a fast tokenizer"):
        TemplateRows(dataclasses.replace(model, outline=slow), pd.DataFrame())
