"""Texts, one row each."""

import numpy as np
import pandas as pd
import pytest
import tiny_models
import torch

from emoscale.distributed import one_process
from emoscale.extraction import TextRows, extract
from emoscale.progress import Silent
from emoscale.run_folder import RunFolder
from emoscale.schema import ACTIVATIONS
from emoscale.store import open_store

TEXTS = pd.DataFrame(
    {
        "text": ["a friend lost joy", "was", "she felt a sad surprise at home and was loud", "joy joy", "a sad friend"],
        "labels": [("grief",), (), ("sadness", "surprise"), ("joy",), ("sadness",)],
    }
)


def run(path, rows, batch_rows=2, block_rows=3):
    options = {"chunk_neurons": 16, "dtype": "float32", "origin": {}, "ranks": one_process(), "progress": Silent()}
    extract(RunFolder(path), rows, block_rows=block_rows, batch_rows=batch_rows, **options)
    return open_store(RunFolder(path).activations, ACTIVATIONS)


@torch.no_grad()
def directly(model, text, max_tokens):
    """(tokens, neurons) of the text alone."""
    seen = []
    maps = [model.module.get_submodule(site.module) for site in model.outline.sites]
    handles = [m.register_forward_pre_hook(lambda _m, args: seen.append(args[0])) for m in maps]
    ids = torch.tensor([model.outline.tokenizer(text, truncation=True, max_length=max_tokens)["input_ids"]])
    model.module(input_ids=ids)
    for handle in handles:
        handle.remove()
    return torch.cat([values.reshape(ids.shape[1], -1) for values in seen], dim=1).numpy()


@pytest.mark.parametrize("read", ["mean", "first", "last"])
@pytest.mark.parametrize("name", tiny_models.MAKERS)
def test_rows_equal_a_plain_forward_on_the_text_alone(tmp_path, tiny_model, name, read):
    model = tiny_model(name)
    store = run(tmp_path, TextRows(model, TEXTS, read, 6))
    position = store.read("position")
    for row, text in enumerate(TEXTS["text"]):
        alone = directly(model, text, 6)
        expected = {"mean": alone.mean(axis=0), "first": alone[0], "last": alone[-1]}[read]
        np.testing.assert_allclose(store.read("activations")[row], expected, rtol=0, atol=2e-6)
        assert position[row] == {"mean": -1, "first": 0, "last": len(alone) - 1}[read]


def test_a_text_counts_for_its_only_label(tmp_path, tiny_model):
    store = run(tmp_path, TextRows(tiny_model(next(iter(tiny_models.MAKERS))), TEXTS, "mean", 64))
    assert store.read("concept").tolist() == ["grief", "", "sadness|surprise", "joy", "sadness"]
    assert set(store.read("replicate")) == {""}


class Watched(TextRows):
    def forward(self, rows, captured):
        self.batches = [*getattr(self, "batches", []), rows.tolist()]
        super().forward(rows, captured)


def test_rows_of_like_length_share_a_batch_within_their_block(tmp_path, tiny_model):
    rows = Watched(tiny_model(next(iter(tiny_models.MAKERS))), TEXTS, "mean", 64)
    run(tmp_path, rows, batch_rows=2, block_rows=4)
    lengths = rows.lengths()
    first_block = [row for batch in rows.batches[:2] for row in batch]
    assert first_block == sorted(range(4), key=lambda row: lengths[row])
    assert rows.batches[2:] == [[4]]


def test_batches_and_blocks_change_no_more_than_rounding(tmp_path, tiny_model):
    model = tiny_model(next(iter(tiny_models.MAKERS)))
    one = run(tmp_path / "one", TextRows(model, TEXTS, "mean", 64), batch_rows=1, block_rows=1)
    all_ = run(tmp_path / "all", TextRows(model, TEXTS, "mean", 64), batch_rows=64, block_rows=64)
    np.testing.assert_allclose(one.read("activations"), all_.read("activations"), rtol=0, atol=2e-6)
