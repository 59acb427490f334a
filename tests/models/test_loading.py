import json
import shutil
import sys

import pytest
import tiny_families
import tiny_models
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForMaskedLM,
    BartConfig,
    BartModel,
    BertModel,
    ElectraConfig,
    ElectraForPreTraining,
    MixtralConfig,
    MixtralForCausalLM,
    T5Config,
    T5Model,
)

from emoscale.config import make_settings
from emoscale.errors import InputError
from emoscale.models.identity import weights_sha256
from emoscale.models.loading import check_split, load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import encode_texts, outline_model
from emoscale.models.prompted import make_layout
from emoscale.pipeline.context import Context
from emoscale.system.ranks import one_process


@pytest.fixture
def copy_of(tiny_folder, tmp_path):
    """Give a copy of a tiny model's folder that a test may spoil."""
    return lambda name: shutil.copytree(tiny_folder(name), tmp_path / name)


def change_config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("name", "kind", "positions", "first"),
    [
        ("bert-encoder", "encoder", 64, 0),
        ("bert", "masked-lm", 64, 0),
        ("roberta", "masked-lm", 66, 2),
        ("gpt2", "causal-lm", 64, 0),
        ("llama", "causal-lm", 64, 0),
    ],
)
def test_outline(tiny_outline, tiny_folder, name, kind, positions, first):
    outline = tiny_outline(name)
    assert (outline.kind, outline.positions, outline.first_position) == (kind, positions, first)
    assert outline.neurons == tiny_models.LAYERS * tiny_models.WIDTH
    assert outline.folder == tiny_folder(name)
    assert not outline.trust_remote_code


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        ("BertForPreTraining", "masked-lm"),
        ("BertForSequenceClassification", "encoder"),
        (None, "encoder"),
    ],
)
def test_kind_by_architecture(copy_of, architecture, kind):
    folder = copy_of("bert")
    change_config(folder, architectures=architecture and [architecture])
    assert outline_model(ModelOptions(str(folder))).kind == kind


def test_the_first_position_is_where_the_model_starts_to_count(tiny_model):
    """The longest row the outline allows runs; one token more does not."""
    for name in tiny_models.MAKERS:
        model = tiny_model(name)
        longest = model.outline.positions - model.outline.first_position
        with torch.no_grad():
            model.module(input_ids=torch.full((1, longest), 7))
        if name != "llama":  # rotary positions have no end
            with pytest.raises((IndexError, RuntimeError)):
                model.module(input_ids=torch.full((1, longest + 1), 7))


@pytest.mark.parametrize("name", tiny_models.MAKERS)
def test_weights_are_those_of_the_file_frozen(tiny_model, tiny_folder, name):
    module = tiny_model(name).module
    saved = load_file(tiny_folder(name) / "model.safetensors")
    state = module.state_dict()
    assert saved.keys() <= state.keys()
    assert all(torch.equal(state[key], value) for key, value in saved.items())
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert tiny_model(name).device == torch.device("cpu")


def test_type_of_the_weights(tiny_outline):
    module = load_model(tiny_outline("gpt2"), dtype="bfloat16").module
    assert {parameter.dtype for parameter in module.parameters()} == {torch.bfloat16}


def test_texts_are_encoded_without_special_tokens_and_cut(tiny_outline):
    for name in tiny_models.MAKERS:
        outline = tiny_outline(name)
        ids = encode_texts(outline, ["she felt joy", "", "she felt joy at home alone"], 4)
        words = [outline.tokenizer.convert_ids_to_tokens(i) for i in ids]
        assert [len(w) for w in words] == [3 if name.startswith("bert") else len(words[0]), 0, 4]
        assert not {i for row in ids for i in row} & set(outline.tokenizer.all_special_ids)
        assert words[2] == outline.tokenizer.tokenize("she felt joy at home alone")[:4]


def test_blocks_without_units_are_noted_in_the_outline(copy_of):
    folder = copy_of("bert")
    assert outline_model(ModelOptions(str(folder))).notes == ()
    tiny_families.make("jamba").save_pretrained(folder)
    (note,) = outline_model(ModelOptions(str(folder), site="model.layers.{layer}.feed_forward.down_proj")).notes
    assert note.endswith("without: 1, 3")


def inputs_of(folder, **model):
    return Context(make_settings({"model": {"name": str(folder), **model}}), one_process())


def test_a_wrong_checksum_is_refused(tiny_folder):
    found = weights_sha256(tiny_folder("bert"))
    with pytest.raises(InputError, match=rf"model\.sha256.*{found}.*not {'0' * 64}"):
        _ = inputs_of(tiny_folder("bert"), sha256="0" * 64).identity
    assert inputs_of(tiny_folder("bert"), sha256=found.upper()).identity["weights_sha256"] == found
    assert inputs_of(tiny_folder("bert")).identity["weights_sha256"] == found


def test_pickled_weights_are_refused(copy_of):
    folder = copy_of("bert")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="pickled weights are not loaded"):
        weights_sha256(folder)
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model(outline_model(ModelOptions(str(folder))))


def test_a_weights_file_that_is_cut_short_is_refused(copy_of):
    folder = copy_of("bert")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(InputError, match="fetch"):
        weights_sha256(folder)
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model(outline_model(ModelOptions(str(folder))))


def test_weights_of_another_shape_are_refused(copy_of):
    folder = copy_of("bert")
    change_config(folder, intermediate_size=30)
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model(outline_model(ModelOptions(str(folder))))


def test_missing_weights_are_not_drawn_at_random(copy_of):
    folder = copy_of("bert")
    change_config(folder, num_hidden_layers=3)
    with pytest.raises(InputError, match=r"16 weights are not in .*first is bert\.encoder\.layer\.2"):
        load_model(outline_model(ModelOptions(str(folder))))


def test_a_language_model_without_its_head_is_refused(copy_of):
    folder = copy_of("bert-encoder")
    change_config(folder, architectures=["BertForMaskedLM"])
    with pytest.raises(InputError, match=r"first is cls\.predictions"):
        load_model(outline_model(ModelOptions(str(folder))))


def test_an_encoder_needs_no_pooler(copy_of):
    """Sentence encoders come without; a masked language model is an encoder with a head."""
    folder = copy_of("bert")
    change_config(folder, architectures=["BertModel"])
    module = load_model(outline_model(ModelOptions(str(folder)))).module
    reference = AutoModelForMaskedLM.from_pretrained(folder)
    assert isinstance(module, BertModel)
    assert torch.equal(module.encoder.layer[1].output.dense.weight, reference.bert.encoder.layer[1].output.dense.weight)


def test_a_discriminator_predicts_no_words(copy_of):
    """ELECTRA's pre-training head distinguishes replaced tokens from real ones."""
    folder = copy_of("bert")
    size = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = ElectraConfig(vocab_size=48, embedding_size=8, **size)
    ElectraForPreTraining(config).save_pretrained(folder)
    outline = outline_model(ModelOptions(str(folder)))
    assert outline.kind == "encoder"
    load_model(outline)


@pytest.mark.parametrize("trusted", [False, True])
def test_python_code_runs_only_where_the_user_trusts_it(copy_of, monkeypatch, tmp_path, trusted):
    """Also in families that transformers knows itself."""
    folder = copy_of("llama")
    marker = tmp_path / "it-ran"
    code = (
        "from pathlib import Path\nfrom transformers import LlamaForCausalLM\n"
        f"Path({str(marker)!r}).touch()\n\n\nclass Other(LlamaForCausalLM):\n    pass\n"
    )
    (folder / "other.py").write_text(code)
    change_config(folder, auto_map={"AutoModelForCausalLM": "other.Other"})
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    module = load_model(outline_model(ModelOptions(str(folder), trust_remote_code=trusted))).module
    assert marker.exists() == trusted
    assert type(module).__name__ == ("Other" if trusted else "LlamaForCausalLM")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("package:no_such_package/model", "no_such_package is not installed; pip install"),
        ("package:no_such.package/model", "is not installed"),
        ("package:", "is not installed"),
        ("package:emoscale/store", "no config.json"),
        ("/no/such/folder", "/no/such/folder"),
        ("some-user/some-model", "the Hub failed"),
    ],
)
def test_no_such_model(name, words):
    with pytest.raises(InputError) as caught:
        outline_model(ModelOptions(name))
    assert words in str(caught.value)
    assert repr(name) in str(caught.value)


def test_a_model_inside_an_installed_package(tiny_folder, tmp_path, monkeypatch):
    package = tmp_path / "some_package_with_weights"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copytree(tiny_folder("bert"), package / "model")
    monkeypatch.syspath_prepend(tmp_path)
    assert outline_model(ModelOptions("package:some_package_with_weights/model")).folder == package / "model"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not a valid JSON"),
        ('{"model_type": "no-such-family"}', "no-such-family"),
        ('{"model_type": "llama", "hidden_size": "wide"}', "expected int"),
        ('{"model_type": "llama", "hidden_size": 16, "num_attention_heads": 3}', "not a multiple"),
    ],
)
def test_a_config_that_cannot_be_read(copy_of, content, reason):
    folder = copy_of("llama")
    (folder / "config.json").write_text(content)
    with pytest.raises(InputError, match="transformers cannot read") as caught:
        outline_model(ModelOptions(str(folder)))
    assert reason in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", tiny_models.MAKERS)
def test_a_model_without_its_tokenizer_is_refused(copy_of, name):
    """Transformers makes an empty one for some families: every text would be unknown tokens."""
    folder = copy_of(name)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(InputError, match="tokenizer"):
        outline_model(ModelOptions(str(folder)))


def test_encoder_decoder_models_have_neurons_and_no_prompt_task(copy_of):
    folder = copy_of("bert")
    config = T5Config(vocab_size=48, d_model=16, d_ff=24, d_kv=8, num_layers=1, num_heads=2, decoder_start_token_id=0)
    T5Model(config).save_pretrained(folder)
    outline = outline_model(ModelOptions(str(folder), site="decoder"))
    assert (outline.kind, outline.neurons, outline.positions) == ("encoder-decoder", 24, None)
    assert isinstance(load_model(outline).module, T5Model)
    for layout in ("prefix", "mask-first"):
        with pytest.raises(InputError, match=r"encoder-decoder models have no prompt task yet; give another model"):
            make_layout(layout, outline)


@pytest.mark.parametrize(
    ("name", "takes_positions", "has_tensor_plan"),
    [("bert", True, False), ("gpt2", True, False), ("llama", True, True)],
)
def test_what_can_be_asked_of_a_model(tiny_outline, name, takes_positions, has_tensor_plan):
    outline = tiny_outline(name)
    assert (outline.takes_positions, outline.has_tensor_plan) == (takes_positions, has_tensor_plan)


def test_a_model_that_numbers_tokens_itself(copy_of):
    folder = copy_of("bert")
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    BartModel(BartConfig(vocab_size=48, max_position_embeddings=32, **sizes, **heads)).save_pretrained(folder)
    assert not outline_model(ModelOptions(str(folder))).takes_positions


def llama(copy_of, **changes):
    """The outline of a Llama of 4 heads, 2 keys and 24 neurons a layer, or what is said otherwise."""
    folder = copy_of("llama")
    change_config(folder, **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4} | changes)
    return outline_model(ModelOptions(str(folder)))


@pytest.mark.parametrize(
    ("parts", "changes", "fitting"),
    [
        (3, {}, 2),
        (4, {}, 2),
        (2, {"num_key_value_heads": 1}, 1),
        (8, {"num_key_value_heads": 4, "intermediate_size": 28}, 4),
        (4, {"num_key_value_heads": 4, "intermediate_size": 26}, 2),
    ],
)
def test_tensors_are_spread_over_a_number_that_divides_them(copy_of, parts, changes, fitting):
    outline = llama(copy_of, **changes)
    with pytest.raises(InputError, match=rf"{parts} processes do not divide the heads and neurons .* start {fitting}$"):
        check_split(outline, "tensors", parts)
    check_split(outline, "tensors", fitting)
    check_split(outline, "layers", parts)
    check_split(outline, None, parts)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_tensors_of_a_model_without_a_plan_are_not_spread(tiny_outline, name):
    with pytest.raises(InputError, match=r"split_model 'tensors': .* no plan for its tensors; set it to 'layers'"):
        check_split(tiny_outline(name), "tensors", 2)
    check_split(tiny_outline(name), "tensors", 1)


def test_experts_are_not_spread(copy_of):
    folder = copy_of("llama")
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    MixtralForCausalLM(MixtralConfig(vocab_size=48, num_key_value_heads=2, **sizes)).save_pretrained(folder)
    for site in ("ffn", "attention"):
        with pytest.raises(InputError, match=r"'tensors': .* is a mixture of experts"):
            check_split(outline_model(ModelOptions(str(folder), site=site)), "tensors", 2)


def test_prompts_are_not_tuned_on_spread_tensors(copy_of):
    outline = llama(copy_of)
    with pytest.raises(InputError, match=r"cannot be tuned .* run emoscale tune with 'layers'"):
        check_split(outline, "tensors", 2, ["tune", "extract"])
    check_split(outline, "tensors", 2, ["extract", "ablate"])
    check_split(outline, "layers", 1, ["tune"])


@pytest.mark.parametrize("split", ["layers", "tensors"])
def test_one_process_on_a_cpu_has_the_whole_model(tiny_outline, tiny_model, split):
    split, whole = load_model(tiny_outline("llama"), split=split), tiny_model("llama")
    assert (split.tp_rank, split.tp_size, split.device) == (0, 1, torch.device("cpu"))
    state = split.module.state_dict()
    assert all(torch.equal(state[name], value) for name, value in whole.module.state_dict().items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_layers_go_to_the_gpus(tiny_outline, tiny_model):
    spread, whole = load_model(tiny_outline("llama"), device="cuda", split="layers"), tiny_model("llama")
    assert spread.device.type == "cuda"
    ids = torch.arange(5, 11)[None]
    with torch.inference_mode():
        logits = spread.module(input_ids=ids.to(spread.device)).logits
        assert torch.allclose(logits.cpu(), whole.module(input_ids=ids).logits, atol=1e-3)
