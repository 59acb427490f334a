import json
import shutil
import sys

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file

from emoscale.errors import InputError
from emoscale.models.identity import identify
from emoscale.models.loading import check_split, load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import outline_model

peft = pytest.importorskip("peft")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def save_adapter(base, folder, config):
    """Write an adapter of a tiny Llama with random weights, and return peft's own merged model."""
    module = load_model(outline_model(ModelOptions(str(base)))).module
    adapted = peft.get_peft_model(module, config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in sorted(adapted.named_parameters()):
            if adapted.base_model.prefix in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    adapted.save_pretrained(folder)
    return adapted.merge_and_unload()


def lora(**options):
    return peft.LoraConfig(r=2, lora_alpha=4, **{"target_modules": ["q_proj", "down_proj", "up_proj"]} | options)


@pytest.fixture
def base(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder("llama"), tmp_path / "base")


@pytest.fixture(params=["alone", "beside"])
def adapted(request, base, tmp_path):
    """Give the folder of an adapter, alone or beside the weights, and the merged model."""
    folder = tmp_path / "adapter" if request.param == "alone" else base
    merged = save_adapter(base, tmp_path / "made", lora())
    shutil.copytree(tmp_path / "made", folder, dirs_exist_ok=True)
    return folder, merged


IDS = torch.arange(5, 15)[None]


def logits(module):
    with torch.no_grad():
        return module(input_ids=IDS).logits


def outline_of(folder):
    return outline_model(ModelOptions(str(folder)))


def load(folder):
    return load_model(outline_of(folder))


def test_it_is_merged_into_the_weights(adapted, tiny_model):
    folder, merged = adapted
    outline = outline_of(folder)
    module = load_model(outline).module
    assert outline.neurons == tiny_models.LAYERS * tiny_models.WIDTH
    assert torch.equal(logits(module), logits(merged))
    assert (logits(module) - logits(tiny_model("llama").module)).abs().max() > 0.1
    assert type(module) is type(tiny_model("llama").module)
    assert all(type(module.get_submodule(site.path)) is torch.nn.Linear for site in outline.sites)
    assert module.state_dict().keys() == tiny_model("llama").module.state_dict().keys()
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert not module.training


def test_hooks_see_what_the_merged_model_computes(adapted):
    folder, merged = adapted
    outline = outline_of(folder)
    values = []
    for module in (load_model(outline).module, merged):
        seen = []
        detach = [site.attach(module, lambda value, seen=seen: seen.append(value) or value) for site in outline.sites]
        logits(module)
        for remove in detach:
            remove()
        values.append(torch.stack(seen))
    assert torch.equal(*values)


def test_its_files_are_part_of_the_identity(adapted, tiny_outline):
    folder, _ = adapted
    before = identify(outline_of(folder))
    assert {**before, "adapter_sha256": None} == {**identify(tiny_outline("llama")), "adapter_sha256": None}
    file = folder / "adapter_model.safetensors"
    save_file({name: value + 1 for name, value in load_file(file).items()}, file)
    changed = identify(outline_of(folder))
    assert [name for name in before if changed[name] != before[name]] == ["adapter_sha256"]
    change(folder, lora_alpha=8)
    assert identify(outline_of(folder))["adapter_sha256"] not in {before["adapter_sha256"], changed["adapter_sha256"]}


def test_it_may_come_with_a_tokenizer(base, tmp_path):
    save_adapter(base, tmp_path / "adapter", lora())
    tokenizer = tiny_models.bpe_tokenizer("llama")
    tokenizer.chat_template = "other"
    tokenizer.save_pretrained(tmp_path / "adapter")
    assert outline_of(tmp_path / "adapter").tokenizer.chat_template == "other"
    before = identify(outline_of(base))["tokenizer_sha256"]
    assert identify(outline_of(tmp_path / "adapter"))["tokenizer_sha256"] != before


def change(folder, **changes):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def refusal(folder, use=outline_of):
    with pytest.raises(InputError) as caught:
        use(folder)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"model.name {str(folder)!r}: ")
    return line


def test_without_peft_it_is_refused(adapted, monkeypatch):
    folder, _ = adapted
    monkeypatch.setitem(sys.modules, "peft", None)
    assert refusal(folder).endswith(
        f"{folder} is an adapter; pip install 'emoscale[peft]', or merge it into the weights"
    )


def test_pickled_adapters_are_refused(adapted):
    folder, _ = adapted
    torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    assert "without adapter_model.safetensors; convert it (pickled weights are not loaded)" in refusal(folder)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_configuration_that_cannot_be_read(adapted, content):
    folder, _ = adapted
    (folder / "adapter_config.json").write_text(content)
    assert "adapter_config.json" in refusal(folder)


@pytest.mark.parametrize(
    ("base", "reason"), [(None, "does not name its base model"), ("/no/such", "/no/such is not a folder")]
)
def test_its_base_model_is_missing(tiny_folder, tmp_path, base, reason):
    folder = tmp_path / "adapter"
    save_adapter(tiny_folder("llama"), folder, lora())
    change(folder, base_model_name_or_path=base)
    line = refusal(folder)
    assert reason in line
    assert line.endswith(f"correct base_model_name_or_path in {folder / 'adapter_config.json'}")


def test_an_adapter_of_an_adapter(base, tmp_path):
    save_adapter(base, tmp_path / "adapter", lora())
    shutil.copytree(tmp_path / "adapter", base, dirs_exist_ok=True)
    assert "has an adapter too; merge that one first" in refusal(tmp_path / "adapter")


def test_weights_that_do_not_fit(base, tmp_path):
    folder = tmp_path / "adapter"
    save_adapter(base, folder, lora())
    file = folder / "adapter_model.safetensors"
    weights = load_file(file)
    first, *_ = weights
    save_file({name: value for name, value in weights.items() if name != first}, file)
    assert "cannot be merged (1 of its weights do not fit the model" in refusal(folder, use=load)
    save_file(weights | {first.replace("layers.0", "layers.7"): weights[first].clone()}, file)
    assert "cannot be merged (1 of its weights do not fit the model" in refusal(folder, use=load)
    file.write_bytes(file.read_bytes()[:-10])
    assert "cannot be merged" in refusal(folder, use=load)


def test_another_model_s_adapter(base, tiny_folder, tmp_path):
    folder = tmp_path / "adapter"
    save_adapter(base, folder, lora())
    change(folder, base_model_name_or_path=str(tiny_folder("bert")))
    assert "cannot be merged" in refusal(folder, use=load)


def test_kinds_that_have_no_weights_to_merge(base, tmp_path):
    config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    peft.get_peft_model(load_model(outline_of(base)).module, config).save_pretrained(tmp_path / "adapter")
    assert "(PREFIX_TUNING has no weights to merge)" in refusal(tmp_path / "adapter", use=load)


def test_tied_layers_are_not_changed_together(base, tmp_path):
    config = base / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"tie_word_embeddings": True}))
    weights = load_file(base / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    save_adapter(base, tmp_path / "adapter", lora(target_modules=["lm_head"]))
    assert "cannot be merged" in refusal(tmp_path / "adapter", use=load)


def test_tensors_of_it_are_not_spread(adapted):
    folder, _ = adapted
    with pytest.raises(InputError, match=r"has an adapter; merge it into the weights, or set 'layers'"):
        check_split(outline_of(folder), "tensors", 2)
