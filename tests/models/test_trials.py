"""What a model is, by its configuration and by a trial; and what tokenizers and models lack."""

import dataclasses
import shutil

import numpy as np
import other_families
import pandas as pd
import pytest
import tiny_models
import torch
import transformers as tf
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from emoscale.errors import InputError
from emoscale.extraction.inputs import TextRows
from emoscale.models.capture import capturing
from emoscale.models.forward import run_body
from emoscale.models.kinds import kind_and_loader
from emoscale.models.loading import LanguageModel, load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import encode_texts, outline_model
from emoscale.models.packing import pad_rows
from emoscale.models.prompted import PromptedModel
from emoscale.models.readouts import verbaliser_tokens, word_token
from emoscale.models.sites.registry import find_sites
from emoscale.models.trials import try_model
from emoscale.tasks.next_word import next_word
from emoscale.tasks.templates import cut_texts

KINDS = [
    (tf.BertConfig(), "BertForMaskedLM", "masked-lm"),
    (tf.BertConfig(), "BertLMHeadModel", "masked-lm"),
    (tf.BertConfig(is_decoder=True), "BertLMHeadModel", "causal-lm"),
    (tf.XLMConfig(), "XLMWithLMHeadModel", "masked-lm"),
    (tf.XLMConfig(causal=True), "XLMWithLMHeadModel", "causal-lm"),
    (tf.XLNetConfig(), "XLNetLMHeadModel", "encoder"),
    (tf.ElectraConfig(), "ElectraForPreTraining", "encoder"),
    (tf.FunnelConfig(), "FunnelForPreTraining", "encoder"),
    (tf.FNetConfig(), "FNetForPreTraining", "masked-lm"),
    (tf.GPT2Config(), "GPT2LMHeadModel", "causal-lm"),
    (tf.GPT2Config(), "GPT2ForSequenceClassification", "encoder"),
    (tf.LlamaConfig(), "InternLMForCausalLM", "causal-lm"),
    (tf.Gemma3Config(), "Gemma3ForConditionalGeneration", "causal-lm"),
    (tf.Mistral3Config(), "Mistral3ForConditionalGeneration", "causal-lm"),
    (tf.Qwen2_5_VLConfig(), "Qwen2_5_VLForConditionalGeneration", "causal-lm"),
    (tf.T5Config(), "T5ForConditionalGeneration", "encoder-decoder"),
    (tf.T5Config(), "T5EncoderModel", "encoder"),
    (tf.BartConfig(), "BartForConditionalGeneration", "encoder-decoder"),
]


@pytest.mark.parametrize(("config", "architecture", "kind"), KINDS, ids=[case[1] for case in KINDS])
def test_the_kind_is_that_of_the_class_for_the_family(config, architecture, kind):
    config.architectures = [architecture]
    found, loader = kind_and_loader(config)
    assert found == kind
    built = loader._model_mapping[type(config)]
    if kind == "causal-lm" and architecture != "InternLMForCausalLM":
        assert built.__name__ == architecture
    if kind == "encoder" and architecture != "T5EncoderModel":
        assert built == MODEL_MAPPING[type(config)]


def test_the_kind_of_a_models_own_code():
    config = tf.LlamaConfig(auto_map={"AutoModelForMaskedLM": "modeling.ReaderLM"}, architectures=["ReaderLM"])
    config.model_type = "reader"
    assert kind_and_loader(config)[0] == "masked-lm"


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("bert", "causal-lm", r"BertForMaskedLM looks ahead, so .* set architectures .* \['BertForMaskedLM'\]"),
        ("gpt2", "masked-lm", r"GPT2LMHeadModel does not look ahead, so it fills no masks; set is_decoder"),
    ],
)
def test_a_model_that_looks_another_way_than_its_kind_is_refused(tiny_model, name, kind, message):
    model = tiny_model(name)
    with pytest.raises(InputError, match=message) as caught:
        try_model(LanguageModel(dataclasses.replace(model.outline, kind=kind), model.module))
    assert len(str(caught.value).splitlines()) == 1


def test_a_model_that_cannot_be_run_is_refused_in_one_line(tiny_model):
    class Broken(tf.GPT2LMHeadModel):
        def forward(self, input_ids, attention_mask=None, past=None):
            raise AttributeError("'DynamicCache' object has no attribute 'seen_tokens'\nmore")

    model = tiny_model("gpt2")
    with pytest.raises(
        InputError, match=r"Broken cannot be run on a row of tokens .*seen_tokens.* set another"
    ) as error:
        try_model(LanguageModel(model.outline, Broken(model.module.config)))
    assert len(str(error.value).splitlines()) == 1


def test_a_model_that_cannot_be_run_in_half_precision_says_so(tmp_path):
    other_families.save(other_families.ALL["fnet"][0], tmp_path)
    with pytest.raises(InputError, match=r"FNetForMaskedLM cannot be run .*; set model\.dtype to float32, or another"):
        load_model(outline_model(ModelOptions(str(tmp_path))), dtype="bfloat16")


@pytest.mark.parametrize("name", tiny_models.MAKERS)
def test_models_that_pad_and_look_as_they_should_are_left_alone(tiny_model, tiny_outline, name):
    tried, before = tiny_model(name).outline, tiny_outline(name)
    assert not tried.padding_leaks
    assert (tried.sites, tried.notes) == (before.sites, before.notes)


def test_the_parts_of_xlms_blocks_are_not_blocks():
    model = other_families.ALL["xlm"][0]()
    with pytest.raises(InputError, match="no output of a block found"):
        find_sites(model, "residual")


def test_the_blocks_between_images_and_texts_are_not_read():
    vision = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 1}
    between = {"hidden_size": 16, "resampler_n_heads": 1, "resampler_head_dim": 4, "num_key_value_heads": 1}
    text = tf.MistralConfig(**other_families._FEW_KEYS)
    config = tf.Idefics2Config(text_config=text, vision_config=vision, perceiver_config=between)
    with torch.device("meta"):
        model = tf.Idefics2ForConditionalGeneration(config)
    assert [site.path for site in find_sites(model)] == [
        f"model.text_model.layers.{layer}.mlp.down_proj" for layer in range(other_families.LAYERS)
    ]


@pytest.fixture
def llama_with_pad(tiny_folder, tmp_path):
    """A token for padding was added to the tokenizer, not to the model."""
    folder = shutil.copytree(tiny_folder("llama"), tmp_path / "llama")
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    return outline_model(ModelOptions(str(folder)))


@torch.no_grad()
def test_a_padding_token_without_an_embedding(llama_with_pad):
    assert llama_with_pad.tokenizer.pad_token_id == llama_with_pad.config.vocab_size
    assert llama_with_pad.pad_id == 0
    model = load_model(llama_with_pad)
    ids, attention = pad_rows([[5, 6, 7], [8]], model.outline.pad_id)
    with capturing(model.module, model.outline.sites) as captured:
        captured.expect(2, 3, lambda values: values[1, :1])
        run_body(model, ids, attention)
        both = captured.take()
        captured.expect(1, 1, lambda values: values[0])
        run_body(model, torch.tensor([[8]]), torch.ones(1, 1, dtype=torch.int64))
        torch.testing.assert_close(both, captured.take(), rtol=0, atol=1e-5)


def test_no_limit_to_positions(tmp_path):
    make, _, site = other_families.ALL["xlnet"]
    other_families.save(make, tmp_path)
    outline = outline_model(ModelOptions(str(tmp_path), site=site))
    assert outline.config.max_position_embeddings == -1
    assert outline.positions is None


LONG = "she felt joy at home alone that moment"


def with_tokenizer(outline, **changes):
    tokenizer = tf.AutoTokenizer.from_pretrained(outline.folder, **changes)
    return dataclasses.replace(outline, tokenizer=tokenizer)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
@pytest.mark.parametrize(("side", "kept"), [("left", "home alone that moment"), ("right", "she felt joy at")])
@pytest.mark.parametrize("is_fast", [True, False])
def test_every_stage_cuts_the_same_end_of_a_text(tiny_model, monkeypatch, name, side, kept, is_fast):
    model = tiny_model(name)
    outline = with_tokenizer(model.outline, truncation_side=side)
    tokens = len(outline.tokenizer(f" {kept}" if side == "left" else kept, add_special_tokens=False)["input_ids"])
    around = outline.tokenizer.num_special_tokens_to_add()
    rows = TextRows(
        LanguageModel(outline, model.module),
        [pd.DataFrame({"text": [LONG], "labels": [("joy",)]})],
        "mean",
        tokens + around,
    )
    (batch,) = rows.inputs()
    assert outline.tokenizer.decode(batch.ids[0], skip_special_tokens=True).strip() == kept
    assert outline.tokenizer.decode(encode_texts(outline, [LONG], tokens)[0]).strip() == kept
    monkeypatch.setattr(type(outline.tokenizer), "is_fast", is_fast)
    texts = [LONG, f" {kept}", "", "she"]
    cut = cut_texts(outline, texts, tokens)
    assert [text.strip() for text in cut] == [kept, kept, "", "she"]
    assert all(own in text for own, text in zip(cut, texts, strict=True))


def test_a_word_that_is_one_token_only_without_its_space_is_another_word(tiny_outline):
    outline = tiny_outline("gpt2")
    alone = next(
        text
        for text in map(outline.tokenizer.decode, range(len(outline.tokenizer)))
        if text.isalpha() and text.isascii() and len(outline.tokenizer.encode(f" {text}")) > 1
    )
    assert len(outline.tokenizer.encode(alone)) == 1
    with pytest.raises(
        InputError, match=rf"tuning\.verbaliser '{alone}': \d+ tokens in .*; choose a word of one token"
    ):
        verbaliser_tokens(outline, [alone, "joy"])
    assert verbaliser_tokens(outline, ["joy"]) == outline.tokenizer.encode(" joy")
    assert word_token(outline, alone, "") == outline.tokenizer.encode(alone)[0]


def test_where_spaces_make_no_difference_a_word_is_its_token(tiny_outline):
    outline = tiny_outline("bert")
    assert verbaliser_tokens(outline, ["joy", "fear"]) == outline.tokenizer.convert_tokens_to_ids(["joy", "fear"])
    assert word_token(outline, "surprise") is None
    assert word_token(outline, "zzz") is None


def test_the_word_at_a_mask_has_a_space_where_the_text_has_one(tiny_model):
    model = tiny_model("roberta")
    for text, form in (("she felt {mask}", " joy"), ("{mask} was full", "joy")):
        ids = model.outline.tokenizer.encode(form, add_special_tokens=False)
        if len(ids) == 1:
            make, _ = next_word(model.outline, text, ["joy"])
            assert make(model)._tokens == ids
        else:
            with pytest.raises(InputError, match="none of the words is a single token"):
                next_word(model.outline, text, ["joy"])


def test_a_model_without_word_embeddings(tiny_model):
    class Without(tf.GPT2LMHeadModel):
        def get_input_embeddings(self):
            raise NotImplementedError

    model = tiny_model("gpt2")
    module = Without(model.module.config).eval()
    plain = LanguageModel(model.outline, module)
    assert plain.device == torch.device("cpu")
    assert not try_model(plain).padding_leaks
    with pytest.raises(
        InputError, match=r"Without takes no vectors in place of words, so prompts cannot be tuned; set"
    ):
        PromptedModel(plain, "prefix", 2, ["joy", "fear"])


def test_lengths_are_not_mixed_where_padding_leaks(tiny_model):
    from emoscale.models.packing import pack

    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 9, 50)
    for tokens in (1, 20, 1000):
        cut = pack(lengths, tokens, one_length=True)
        assert sorted(np.concatenate(cut)) == list(range(50))
        assert all(len(set(lengths[part])) == 1 and (len(part) == 1 or lengths[part].sum() <= tokens) for part in cut)
