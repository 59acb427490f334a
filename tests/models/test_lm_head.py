"""A head that is given only what is read gives the full logits of it."""

import copy

import pytest
import tiny_families
import torch
from tiny_families import hooks_of, run, token_ids
from torch import nn
from torch.nn.utils import parametrize
from transformers import DebertaV2Config, DebertaV2ForMaskedLM

from emoscale.models.lm_head import reading

WORDS = [7, 30, 7, 0, 39]
ROWS, TOKENS = 3, 6


def read_at(*positions):
    return lambda values: values[torch.arange(len(values)), torch.tensor(positions)]


def read_several(values):
    """In another order in every row, and one twice."""
    return values[torch.arange(ROWS)[:, None], torch.tensor([[5, 0, 3, 3], [1, 2, 0, 5], [4, 3, 2, 1]])]


@pytest.fixture(scope="module")
def model():
    made = {}
    return lambda family: made.setdefault(family, tiny_families.make(family))


@pytest.fixture
def llama():
    return tiny_families.make("llama")


@torch.no_grad()
def logits_of(model, read=None, **options):
    ids = token_ids(ROWS, TOKENS)
    if read is None:
        return run(model, ids).logits
    with reading(model, read, **options):
        return run(model, ids).logits


def is_as_made(model):
    return not hooks_of(model) and not any("forward" in module.__dict__ for module in model.modules())


@pytest.mark.parametrize("family", tiny_families.ALL)
def test_what_is_read_are_the_full_logits_there(model, family):
    model = model(family)
    full = logits_of(model)
    one, several = (logits_of(model, read) for read in (read_at(5, 0, 3), read_several))
    assert one.shape == (ROWS, 1, tiny_families.VOCABULARY)
    assert torch.allclose(one[:, 0], read_at(5, 0, 3)(full), atol=1e-5)
    assert torch.allclose(several, read_several(full), atol=1e-5)
    assert is_as_made(model)


@pytest.mark.parametrize("family", [family for family in tiny_families.ALL if family != "bart"])
def test_words_logits_are_columns_of_the_full_ones(model, family):
    """In the order of the words, which may repeat; no other is computed. No task asks BART, whose bias is of all."""
    model = model(family)
    full = logits_of(model)[:, :, WORDS]
    for read in (read_at(5, 0, 3), read_several):
        words = logits_of(model, read, words=WORDS)
        expected = read(full)
        assert words.shape[-1] == len(WORDS)
        assert torch.allclose(words, expected.reshape(ROWS, -1, len(WORDS)), atol=1e-5)
    assert is_as_made(model)
    assert torch.equal(logits_of(model)[:, :, WORDS], full)


@pytest.mark.parametrize("family", tiny_families.FAMILIES)
def test_embedded_tokens_may_be_given_instead(model, family):
    model, ids = model(family), token_ids(ROWS, TOKENS)
    with torch.no_grad():
        embedded = model.get_input_embeddings()(ids)
        full = model(inputs_embeds=embedded).logits
        with reading(model, read_at(5, 0, 3), words=WORDS):
            words = model(inputs_embeds=embedded).logits
    assert torch.allclose(words[:, 0], read_at(5, 0, 3)(full)[:, WORDS], atol=1e-5)


def test_several_passes_in_one_block(llama):
    full = logits_of(llama)
    with torch.no_grad(), reading(llama, read_at(5, 0, 3), words=WORDS):
        for rows in (slice(None), slice(0, 3)):
            logits = llama(input_ids=token_ids(ROWS, TOKENS)[rows]).logits
            assert torch.allclose(logits[:, 0], read_at(5, 0, 3)(full)[rows][:, WORDS], atol=1e-5)


def test_no_words_and_one_word(llama):
    assert logits_of(llama, read_at(5, 0, 3), words=[]).shape == (ROWS, 1, 0)
    one = logits_of(llama, read_at(5, 0, 3), words=[9])
    assert torch.allclose(one[:, 0, 0], read_at(5, 0, 3)(logits_of(llama))[:, 9], atol=1e-5)


def test_an_encoder_gives_its_hidden_states():
    bert = tiny_families.make("bert").bert
    with torch.no_grad():
        full = bert(input_ids=token_ids(ROWS, TOKENS)).last_hidden_state
        with reading(bert, read_at(5, 0, 3)):
            read = bert(input_ids=token_ids(ROWS, TOKENS)).last_hidden_state
    assert torch.equal(read[:, 0], read_at(5, 0, 3)(full))


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_the_head_is_restored_after_an_error(model, family):
    model = model(family)
    full = logits_of(model)

    def fail():
        with reading(model, read_at(5, 0, 3), words=WORDS):
            assert not is_as_made(model)
            run(model, token_ids(2, TOKENS))

    with pytest.raises(IndexError):  # three positions, two rows
        fail()
    assert is_as_made(model)
    assert torch.equal(logits_of(model), full)


class Scaled(nn.Linear):
    def forward(self, values):
        return 2 * super().forward(values)


class Twice(nn.Module):
    def forward(self, weight):
        return 2 * weight


def subclass(head):
    head.__class__ = Scaled


def parametrized(head):
    parametrize.register_parametrization(head, "weight", Twice())


def hooked(head):
    """One that needs every word."""
    head.register_forward_hook(lambda _m, _args, logits: logits - logits.mean(dim=-1, keepdim=True))


def replaced(head):
    before = head.forward
    head.forward = lambda values: before(values).roll(1, -1)


def moved(head):
    """As Accelerate marks what it moves to a device for the pass."""
    head._hf_hook = object()


@pytest.mark.parametrize("change", [subclass, parametrized, hooked, replaced, moved])
def test_a_head_that_is_no_plain_map_computes_all_words(llama, change):
    plain = logits_of(llama)
    change(llama.lm_head)
    full = logits_of(llama)
    forward = llama.lm_head.__dict__.get("forward")
    words = logits_of(llama, read_at(5, 0, 3), words=WORDS)
    assert words.shape == (ROWS, 1, tiny_families.VOCABULARY)
    assert torch.allclose(words[:, 0], read_at(5, 0, 3)(full), atol=1e-5)
    assert llama.lm_head.__dict__.get("forward") is forward
    assert (change is moved) == torch.equal(full, plain)


def test_a_head_that_comes_before_the_map_to_words_is_left_alone():
    """What DeBERTa's newer head gives for its output embeddings maps hidden to hidden."""
    for hidden in (16, 64):
        options = tiny_families.FAMILIES["deberta"][2] | {"legacy": False, "hidden_size": hidden}
        model = tiny_families.tiny_models.randomise(DebertaV2ForMaskedLM(DebertaV2Config(**options)))
        words = logits_of(model, read_at(5, 0, 3), words=WORDS)
        assert torch.allclose(words[:, 0], read_at(5, 0, 3)(logits_of(model)), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision(model, dtype):
    llama = copy.deepcopy(model("llama")).to(dtype)
    full = read_at(5, 0, 3)(logits_of(llama))[:, WORDS].float()
    words = logits_of(llama, read_at(5, 0, 3), words=WORDS)
    assert words.dtype == dtype
    assert (words[:, 0].float() - full).abs().max() < 0.02 * full.abs().max()
