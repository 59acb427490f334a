"""Texts: one row each, or one row a token."""

import numpy as np
import pandas as pd
import pytest
import tiny_models
import torch

from emoscale.errors import InputError
from emoscale.extraction.extract import extract
from emoscale.extraction.rows import TextRows
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS, INPUTS
from emoscale.store import open_store
from emoscale.system.progress import Silent
from emoscale.system.ranks import one_process

TEXTS = pd.DataFrame(
    {
        "text": ["a friend lost joy", "was", "she felt a sad surprise at home and was loud", "joy joy", "a sad friend"],
        "labels": [("grief",), (), ("sadness", "surprise"), ("joy",), ("sadness",)],
    }
)


def text_rows(model, read="mean", max_tokens=64, pieces=2):
    return TextRows(model, [TEXTS[:pieces], TEXTS[pieces:]], read, max_tokens)


def run(path, rows, batch_rows=2, block_rows=3, **changes):
    options = {"chunk_neurons": 16, "dtype": "float32", "origin": {}, "ranks": one_process(), "progress": Silent()}
    extract(RunFolder(path), rows, block_rows=block_rows, batch_rows=batch_rows, **options | changes)
    return open_store(RunFolder(path).activations, ACTIVATIONS)


def ids_of(model, max_tokens=64):
    return model.outline.tokenizer(TEXTS["text"].tolist(), truncation=True, max_length=max_tokens)["input_ids"]


@torch.no_grad()
def directly(model, ids):
    """(tokens, neurons) of the text alone."""
    seen = []
    maps = [model.module.get_submodule(site.path) for site in model.outline.sites]
    handles = [m.register_forward_pre_hook(lambda _m, args: seen.append(args[0])) for m in maps]
    model.module(input_ids=torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return torch.cat([values.reshape(len(ids), -1) for values in seen], dim=1).numpy()


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("read", ["mean", "first", "last"])
@pytest.mark.parametrize("name", tiny_models.MAKERS)
def test_rows_equal_a_plain_forward_on_the_text_alone(tmp_path, tiny_model, name, read, padding):
    model = tiny_model(name)
    store = run(tmp_path, text_rows(model, read, 6), padding=padding)
    position = store.read("position")
    for row, ids in enumerate(ids_of(model, 6)):
        alone = directly(model, ids)
        expected = {"mean": alone.mean(axis=0), "first": alone[0], "last": alone[-1]}[read]
        np.testing.assert_allclose(store.read("activations")[row], expected, rtol=0, atol=2e-6)
        assert position[row] == {"mean": -1 if len(alone) > 1 else 0, "first": 0, "last": len(alone) - 1}[read]


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("block_rows", [3, 7, 100])
@pytest.mark.parametrize("name", ["bert-encoder", "llama"])
def test_every_token_is_a_row(tmp_path, tiny_model, name, block_rows, padding):
    """Blocks end in the middle of texts."""
    model = tiny_model(name)
    store = run(tmp_path, text_rows(model, "all"), block_rows=block_rows, padding=padding)
    ids = ids_of(model)
    expected = np.concatenate([directly(model, own) for own in ids])
    np.testing.assert_allclose(store.read("activations"), expected, rtol=0, atol=2e-6)
    assert store.read("token_id").tolist() == [token for own in ids for token in own]
    assert store.read("position").tolist() == [position for own in ids for position in range(len(own))]
    assert store.read("item").tolist() == [item for item, own in enumerate(ids) for _ in own]
    assert store.read("concept")[-1] == "sadness"


def test_the_mask_token_is_read_where_it_stands(tmp_path, tiny_model):
    model = tiny_model("bert")
    texts = pd.DataFrame({"text": ["she felt [MASK] at home", "[MASK] was loud"], "labels": [(), ()]})
    store = run(tmp_path, TextRows(model, [texts], "mask"))
    assert store.read("position").tolist() == [3, 1]
    assert set(store.read("token_id")) == {model.outline.tokenizer.mask_token_id}
    for row, text in enumerate(texts["text"]):
        expected = directly(model, model.outline.tokenizer(text)["input_ids"])[store.read("position")[row]]
        np.testing.assert_allclose(store.read("activations")[row], expected, rtol=0, atol=2e-6)


def test_a_text_without_a_mask_cannot_be_read_there(tmp_path, tiny_model):
    with pytest.raises(InputError, match="there is no mask token in the rows"):
        run(tmp_path, text_rows(tiny_model("bert"), "mask"))
    assert not RunFolder(tmp_path).inputs.exists()
    assert list(tmp_path.iterdir()) == []


def test_exact_token_ids_are_kept(tmp_path, tiny_model):
    model = tiny_model("bert")
    run(tmp_path, text_rows(model, max_tokens=5, pieces=3))
    inputs = open_store(RunFolder(tmp_path).inputs, INPUTS)
    assert inputs.complete
    ids = ids_of(model, 5)
    assert inputs.read("token_ids").tolist() == [token for own in ids for token in own]
    assert inputs.read("length").tolist() == [len(own) for own in ids]
    assert inputs.read("first").tolist() == [0] * len(ids)
    assert inputs.read("stop").tolist() == [len(own) for own in ids]
    assert inputs.read("concept").tolist() == ["grief", "", "sadness|surprise", "joy", "sadness"]


def test_no_texts(tmp_path, tiny_model):
    with pytest.raises(InputError, match="there are no rows"):
        run(tmp_path, TextRows(tiny_model("bert"), [], "mean"))


def test_a_text_counts_for_its_only_label(tmp_path, tiny_model):
    store = run(tmp_path, text_rows(tiny_model("bert")))
    assert store.read("concept").tolist() == ["grief", "", "sadness|surprise", "joy", "sadness"]
    assert set(store.read("replicate")) == {""}


class Watched(TextRows):
    batches: list

    def run(self, numbers, ids, attention):
        self.batches.append(numbers.tolist())
        super().run(numbers, ids, attention)


def test_rows_of_like_length_share_a_batch_within_their_block(tmp_path, tiny_model):
    model = tiny_model("bert")
    rows = Watched(model, [TEXTS], "mean", 64)
    rows.batches = []
    run(tmp_path, rows, batch_rows=2, block_rows=4)
    lengths = [len(own) for own in ids_of(model)]
    *first_block, last = rows.batches
    assert [row for batch in first_block for row in batch] == sorted(range(4), key=lambda row: lengths[row])
    assert last == [4]


def test_batches_and_blocks_change_no_more_than_rounding(tmp_path, tiny_model):
    model = tiny_model("bert")
    one = run(tmp_path / "one", text_rows(model), batch_rows=1, block_rows=1)
    all_ = run(tmp_path / "all", text_rows(model), batch_rows=64, block_rows=64)
    np.testing.assert_allclose(one.read("activations"), all_.read("activations"), rtol=0, atol=2e-6)


@pytest.mark.parametrize("writers", [1, 2, 5])
def test_threads_and_pieces_change_nothing(tmp_path, tiny_model, writers):
    model = tiny_model("bert")
    one = run(tmp_path / "one", text_rows(model), block_rows=1)
    other = run(tmp_path / "other", text_rows(model, pieces=4), block_rows=1, writers=writers)
    assert one.read("activations").tobytes() == other.read("activations").tobytes()


def test_a_bfloat16_store(tmp_path, tiny_model):
    model = tiny_model("bert")
    full = run(tmp_path / "full", text_rows(model)).read("activations")
    store = run(tmp_path / "half", text_rows(model), dtype="bfloat16")
    assert store.dtype("activations") == "bfloat16"
    assert store.read("activations").tobytes() == torch.from_numpy(full).bfloat16().float().numpy().tobytes()
