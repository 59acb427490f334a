"""Words at a text's mask, or after its end."""

import numpy as np
import pytest
import tiny_models
import torch
from plain_models import engine_scores, log_probabilities, some_masks, zeroed

from emoscale.errors import InputError
from emoscale.tasks.next_word import next_word

WORDS = ["joy", "surprise", "anger", "remorseful"]


@pytest.mark.parametrize("name", tiny_models.MASKED)
def test_a_mask_takes_words_of_one_token(tiny_model, name):
    model = tiny_model(name)
    make, skipped = next_word(model.outline, "she felt {mask} at home", WORDS)
    assert skipped == ["surprise", "remorseful"]
    task = make(model)
    assert list(task.options) == ["joy", "anger"]
    off, tokenizer = some_masks(model), model.outline.tokenizer
    found = engine_scores(model, task, off, 100)
    ids = tokenizer(f"she felt {tokenizer.mask_token} at home")["input_ids"]
    at = ids.index(tokenizer.mask_token_id)
    assert task.rows == [ids]
    assert task.items["text"].tolist() == [-1]
    tokens = [tokenizer(f"felt {word}", add_special_tokens=False)["input_ids"][-1] for word in task.options]
    for m, mask in enumerate(off):
        expected = log_probabilities(zeroed(model, mask), ids)[at, tokens]
        assert torch.allclose(found[0, m], expected, atol=1e-4)


@pytest.mark.parametrize("name", tiny_models.CAUSAL)
def test_a_causal_model_continues_with_any_word(tiny_model, name):
    model = tiny_model(name)
    make, skipped = next_word(model.outline, "she felt ", WORDS)
    assert skipped == []
    task = make(model)
    assert list(task.options) == WORDS
    ids = model.outline.tokenizer("she felt joy")["input_ids"]
    expected = log_probabilities(model.module, ids[:-1])[-1, ids[-1]]
    assert float(task.scores(np.array([0]))[0, 0]) == pytest.approx(float(expected), abs=1e-4)


def test_no_word_of_one_token(tiny_outline):
    with pytest.raises(InputError, match="none of the words is a single token"):
        next_word(tiny_outline("bert"), "{mask}", ["surprise"])
