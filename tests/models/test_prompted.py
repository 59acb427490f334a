"""Prompts in front of texts: layout, padding, reading, label scores."""

import copy
import dataclasses
import shutil

import pytest
import tiny_models
import torch
from transformers import ElectraConfig, ElectraModel, OPTConfig, OPTForCausalLM

from emoscale.errors import InputError
from emoscale.models.loading import load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import encode_texts, outline_model
from emoscale.models.prompted import PromptedModel, make_layout
from emoscale.models.readouts import LabelHead, verbaliser_tokens
from emoscale.system.ranks import precision

LENGTH = 3
VERBALISER = ["negative", "positive"]
MASK_FIRST = [(name, "mask-first") for name in ("bert", "roberta", "bert-encoder")]
LAYOUTS = [*MASK_FIRST, *((name, "prefix") for name in tiny_models.MAKERS)]


@pytest.fixture
def prompted(tiny_model):
    return lambda name, layout: PromptedModel(tiny_model(name), layout, LENGTH, VERBALISER)


def texts_of(model, texts=("", *tiny_models.TEXTS)):
    return encode_texts(model.model.outline, texts, 20)


def prompts_for(rows, hidden=tiny_models.HIDDEN, seed=0):
    return torch.randn(rows, LENGTH, hidden, generator=torch.Generator().manual_seed(seed))


def sequence(model, ids):
    """Token ids with -1 where the prompt goes, and the position that is read (None: the mean)."""
    tokenizer, kind = model.model.outline.tokenizer, model.model.outline.kind
    hole = [-1] * LENGTH
    if model.layout.positions_from_zero:
        return [tokenizer.mask_token_id, *hole, tokenizer.cls_token_id, *ids, tokenizer.sep_token_id], 0
    if kind == "causal-lm":
        return [tokenizer.bos_token_id, *hole, *ids], -1
    return [tokenizer.cls_token_id, *hole, *ids, tokenizer.sep_token_id], None if kind == "encoder" else 0


@torch.no_grad()
def by_hand(model, ids, prompt):
    """One row alone, the complete model, every position; then read."""
    tokens, position = sequence(model, ids)
    module = model.model.module
    embed = module.get_input_embeddings()
    rest = iter(prompt)
    vectors = torch.stack([next(rest) if token < 0 else embed.weight[token] for token in tokens])[None]
    options = {"position_ids": torch.arange(len(tokens))[None]} if model.layout.positions_from_zero else {}
    output = module(inputs_embeds=vectors, **options)
    values = (output.last_hidden_state if model.model.outline.kind == "encoder" else output.logits)[0]
    return values.mean(dim=0) if position is None else values[position]


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_each_row_of_a_mixed_padded_batch_is_as_alone(prompted, name, layout):
    model = prompted(name, layout)
    texts = texts_of(model)
    prompts = prompts_for(len(texts))
    with torch.no_grad():
        rows = model.forward(model.batch(texts), prompts)
    assert len({len(text) for text in texts}) > 2
    for row, (text, prompt) in enumerate(zip(texts, prompts, strict=True)):
        assert torch.allclose(rows[row], by_hand(model, text, prompt), atol=1e-5), row
    assert (rows[0] - rows[1]).abs().max() > 1e-2


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_tokens_of_a_batch(prompted, name, layout):
    model = prompted(name, layout)
    texts = texts_of(model)
    batch = model.batch(texts)
    assert len(batch) == len(texts)
    assert batch.ids.dtype == torch.int64
    for ids, attention, text in zip(batch.ids.tolist(), batch.attention.tolist(), texts, strict=True):
        expected, _ = sequence(model, text)
        assert len(expected) == model.row_tokens(text) == sum(attention)
        assert attention == [1] * len(expected) + [0] * (len(ids) - len(expected))
        assert [-1 if token == -1 else real for token, real in zip(expected, ids, strict=False)] == expected
    assert batch.ids.shape[1] == max(map(model.row_tokens, texts))


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_a_bare_row_ends_before_the_text(prompted, name, layout):
    model = prompted(name, layout)
    bare, empty = model.bare_batch(2), model.batch([[]])
    closing = len(model.layout.closing)
    assert bare.ids.tolist() == 2 * [empty.ids[0].tolist()[: empty.ids.shape[1] - closing]]
    assert bare.attention.all()
    assert bare.read == empty.read


@pytest.mark.parametrize(("name", "layout"), MASK_FIRST)
def test_the_published_layout(prompted, name, layout):
    """`<mask>`, prompt, `<s>`, text, `</s>`; positions 0, 1, 2, ..."""
    model = prompted(name, layout)
    module, tokenizer = model.model.module, model.model.outline.tokenizer
    seen = []
    positions = next(m for n, m in module.named_modules() if n.endswith("position_embeddings"))
    handle = positions.register_forward_hook(lambda _m, args, _out: seen.append(args[0]))
    text = texts_of(model)[1]
    with torch.no_grad():
        model.forward(model.batch([text, []]), prompts_for(2))
    handle.remove()
    assert seen[0].expand(2, -1)[0].tolist() == list(range(model.row_tokens(text)))
    words = tokenizer.convert_ids_to_tokens(model.batch([text]).ids[0].tolist())
    start, end = ("[CLS]", "[SEP]") if name.startswith("bert") else ("<s>", "</s>")
    assert words[0] == tokenizer.mask_token
    assert words[1 + LENGTH] == start
    assert words[-1] == end


def test_roberta_keeps_its_own_positions_otherwise(prompted):
    """The layout numbers from 0: with the model's own numbers the logits differ."""
    model = prompted("roberta", "mask-first")
    text, prompt = texts_of(model)[1], prompts_for(1)
    with torch.no_grad():
        from_zero = model.forward(model.batch([text]), prompt)
        model.layout = dataclasses.replace(model.layout, positions_from_zero=False)
        own = model.forward(model.batch([text]), prompt)
    assert (from_zero - own).abs().max() > 1e-2


@pytest.mark.parametrize("name", tiny_models.CAUSAL)
def test_a_layout_that_needs_a_mask(tiny_outline, name):
    with pytest.raises(InputError, match=r"tuning\.layout 'mask-first'.*'prefix'"):
        make_layout("mask-first", tiny_outline(name))


def test_a_masked_model_without_a_mask_token(tiny_outline):
    outline = tiny_outline("bert")
    tokenizer = copy.deepcopy(outline.tokenizer)
    tokenizer.mask_token = None
    with pytest.raises(InputError, match="has no mask to read"):
        make_layout("mask-first", dataclasses.replace(outline, tokenizer=tokenizer))


def test_a_causal_model_without_an_opening_token(tiny_model):
    model = tiny_model("llama")
    tokenizer = copy.deepcopy(model.outline.tokenizer)
    tokenizer.bos_token = None
    model = dataclasses.replace(model, outline=dataclasses.replace(model.outline, tokenizer=tokenizer))
    model = PromptedModel(model, "prefix", LENGTH, VERBALISER)
    assert model.batch([[5, 6]]).ids.shape == (1, LENGTH + 2)
    assert model.bare_batch(1).ids.shape == (1, LENGTH)


def test_prompts_start_from_the_mask_or_the_mean_word(prompted):
    for name in tiny_models.MAKERS:
        model = prompted(name, "prefix")
        weights = model.model.module.get_input_embeddings().weight
        mask = model.model.outline.tokenizer.mask_token_id
        expected = weights.mean(dim=0) if name in tiny_models.CAUSAL else weights[mask]
        assert torch.equal(model.initial_prompt(), expected.expand(LENGTH, -1))
        assert not model.initial_prompt().requires_grad


def test_what_is_read(prompted):
    texts = [[5, 6, 7], [5]]
    values = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0))
    causal = prompted("llama", "prefix")
    batch = causal.batch(texts)
    last = causal.row_tokens(texts[1]) - 1
    read = batch.read_values(values[:, : batch.ids.shape[1]])
    assert torch.equal(read, torch.stack([values[0, batch.ids.shape[1] - 1], values[1, last]]))
    encoder = prompted("bert-encoder", "prefix")
    batch = encoder.batch(texts)
    lengths = [encoder.row_tokens(text) for text in texts]
    read = batch.read_values(values[:, : batch.ids.shape[1]])
    means = [row[:length].mean(dim=0) for row, length in zip(values, lengths, strict=True)]
    assert torch.allclose(read, torch.stack(means), atol=1e-6)
    masked = prompted("bert", "prefix")
    assert torch.equal(masked.batch(texts).read_values(values), values[:, 0])


def test_scores_of_a_verbaliser_are_two_words_logits(prompted, tiny_outline):
    for name in (*tiny_models.MASKED, *tiny_models.CAUSAL):
        model = prompted(name, "prefix")
        tokenizer = tiny_outline(name).tokenizer
        space = "" if name == "bert" else "Ġ"
        words = [tokenizer.convert_tokens_to_ids(space + word) for word in VERBALISER]
        texts = texts_of(model)
        batch, prompts = model.batch(texts), prompts_for(len(texts))
        assert model.readout.new_head().numel() == 0
        with torch.no_grad():
            scores = model.scores(batch, prompts, torch.empty(len(texts), 0))
            logits = model.forward(batch, prompts)
        assert torch.allclose(scores, logits[:, words], atol=1e-6)
        assert scores.dtype == torch.float32


@pytest.mark.parametrize("precision_name", ["exact", "bfloat16"])
def test_scores_of_label_heads_by_row(prompted, precision_name):
    """In float32 whatever the model's precision: near scores must not become equal."""
    model = prompted("bert-encoder", "prefix")
    assert model.readout.new_head().shape == (2, tiny_models.HIDDEN + 1)
    assert not model.readout.new_head().any()
    texts = texts_of(model)
    batch, prompts = model.batch(texts), prompts_for(len(texts))
    heads = torch.randn(len(texts), 2, tiny_models.HIDDEN + 1, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), precision(precision_name, model.model.device):
        scores = model.scores(batch, prompts, heads)
        hidden = model.forward(batch, prompts)
    assert scores.dtype == torch.float32
    for row, (head, state) in enumerate(zip(heads, hidden, strict=True)):
        for label in (0, 1):
            expected = sum(float(w) * float(h) for w, h in zip(head[label, :-1], state, strict=True))
            assert scores[row, label].item() == pytest.approx(expected + head[label, -1].item(), abs=1e-5)


def test_verbaliser_words_of_several_tokens_are_refused(tiny_outline, tiny_model):
    for name in ("roberta", "llama"):
        with pytest.raises(InputError) as caught:
            verbaliser_tokens(tiny_outline(name), ["surprise", "positive", "remorseful"])
        assert len(caught.value.problems) == 2
        assert "tuning.verbaliser 'surprise'" in caught.value.problems[0]
        assert "one token" in caught.value.problems[1]
    with pytest.raises(InputError, match="remorseful"):
        PromptedModel(tiny_model("bert"), "prefix", LENGTH, ["negative", "remorseful"])


def test_words_that_are_the_same_token_are_refused(tiny_outline):
    with pytest.raises(InputError, match="the same token"):
        verbaliser_tokens(tiny_outline("bert"), ["Positive", "positive"])


def test_an_unknown_verbaliser_word_is_refused(tiny_outline):
    with pytest.raises(InputError, match="'zzz': unknown in"):
        verbaliser_tokens(tiny_outline("bert"), ["negative", "zzz"])


def test_an_encoder_needs_no_verbaliser(tiny_model):
    model = PromptedModel(tiny_model("bert-encoder"), "prefix", LENGTH, ["of several tokens", "surprise"])
    assert isinstance(model.readout, LabelHead)
    assert model.readout.words is None


@pytest.fixture
def save(tiny_folder, tmp_path):
    """Save another family's model beside a tiny tokenizer; return it loaded."""

    def save(tokenizer_of, model):
        folder = tmp_path / "other"
        shutil.copytree(tiny_folder(tokenizer_of), folder)
        tiny_models.randomise(model).save_pretrained(folder)
        return load_model(outline_model(ModelOptions(str(folder))))

    return save


SIZE = {"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64}


def test_embeddings_narrower_than_the_hidden_states(save):
    config = ElectraConfig(vocab_size=60, embedding_size=8, hidden_size=16, intermediate_size=24, **SIZE)
    model = PromptedModel(save("bert", ElectraModel(config)), "prefix", LENGTH, VERBALISER)
    texts = texts_of(model)
    prompts, heads = prompts_for(len(texts), 8), model.readout.new_head().expand(len(texts), -1, -1)
    assert isinstance(model.readout, LabelHead)
    assert model.initial_prompt().shape == (LENGTH, 8)
    assert model.scores(model.batch(texts), prompts, heads).shape == (len(texts), 2)
    with torch.no_grad():
        hidden = model.forward(model.batch(texts), prompts)
    assert torch.allclose(hidden[2], by_hand(model, texts[2], prompts[2]), atol=1e-5)


def test_a_head_that_works_on_an_inner_decoder(save):
    """OPT's head takes the states past its base model."""
    config = OPTConfig(
        vocab_size=600, hidden_size=16, word_embed_proj_dim=16, ffn_dim=24, bos_token_id=0, eos_token_id=0, **SIZE
    )
    model = PromptedModel(save("gpt2", OPTForCausalLM(config)), "prefix", LENGTH, VERBALISER)
    texts = texts_of(model)
    prompts = prompts_for(len(texts))
    with torch.no_grad():
        logits = model.forward(model.batch(texts), prompts)
    for row, (text, prompt) in enumerate(zip(texts, prompts, strict=True)):
        assert torch.allclose(logits[row], by_hand(model, text, prompt), atol=1e-5)
