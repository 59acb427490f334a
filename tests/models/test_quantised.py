"""Checkpoints of quantised weights; those of a method are tested where its library is installed."""

import importlib
import importlib.util
import json
import shutil

import pytest
import tiny_models
import torch
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

from emoscale.errors import InputError
from emoscale.models.forward import run_body
from emoscale.models.loading import check_split, load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import outline_model
from emoscale.models.sites.linear_inputs import map_shape

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

WIDTH, LAYERS = 128, 2
IDS = torch.arange(5, 15)[None]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Give the folder of a Llama whose maps are wide enough for packing."""
    folder, tokenizer = tmp_path_factory.mktemp("base"), tiny_models.bpe_tokenizer("llama")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=1,
    )
    tiny_models.randomise(LlamaForCausalLM(config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def with_bitsandbytes(base, folder, **options):
    settings = BitsAndBytesConfig(**options)
    AutoModelForCausalLM.from_pretrained(base, quantization_config=settings, dtype=torch.float32).save_pretrained(
        folder
    )


def with_compressed_tensors(base, folder):
    quantization = importlib.import_module("compressed_tensors.quantization")
    compressors = importlib.import_module("compressed_tensors.compressors")
    model = AutoModelForCausalLM.from_pretrained(base)
    weights = quantization.QuantizationArgs(num_bits=8, type="int", strategy="channel", symmetric=True)
    scheme = quantization.QuantizationScheme(targets=["Linear"], weights=weights)
    settings = quantization.QuantizationConfig(config_groups={"all": scheme}, ignore=["lm_head"])
    quantization.apply_quantization_config(model, settings)
    for module in model.modules():
        if hasattr(module, "weight_scale"):
            scale = module.weight.detach().abs().amax(1, keepdim=True) / 127
            module.weight_scale.data = scale.reshape(module.weight_scale.shape)
    compressor = compressors.ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(folder)
    compressor.update_config(str(folder))


METHODS = {
    "4 bits": ("bitsandbytes", lambda *folders: with_bitsandbytes(*folders, load_in_4bit=True)),
    "8 bits": ("bitsandbytes", lambda *folders: with_bitsandbytes(*folders, load_in_8bit=True)),
    "compressed": ("compressed_tensors", with_compressed_tensors),
}


@pytest.fixture(params=METHODS)
def quantised(request, base, tmp_path):
    library, make = METHODS[request.param]
    pytest.importorskip(library)
    folder = shutil.copytree(base, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    make(base, folder)
    assert "quantization_config" in json.loads((folder / "config.json").read_text())
    return folder


def inputs_of_maps(module):
    """The inputs of every block's second map, taken by plain hooks."""
    seen = []
    hooks = [
        block.mlp.down_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
        for block in module.model.layers
    ]
    with torch.no_grad():
        module(input_ids=IDS)
    for hook in hooks:
        hook.remove()
    return torch.stack(seen)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_neurons_are_what_plain_hooks_see(quantised, base, dtype):
    outline = outline_model(ModelOptions(str(quantised)))
    assert outline.neurons == LAYERS * WIDTH
    model = load_model(outline, dtype=dtype)
    seen = []
    detach = [site.attach(model.module, lambda value: seen.append(value.clone()) or value) for site in outline.sites]
    with torch.no_grad():
        run_body(model, IDS, torch.ones_like(IDS))
    for remove in detach:
        remove()
    values = torch.stack(seen)
    assert torch.equal(values, inputs_of_maps(model.module))
    if dtype == "float32":
        assert torch.allclose(values, inputs_of_maps(AutoModelForCausalLM.from_pretrained(quantised)), atol=1e-4)
    exact = inputs_of_maps(AutoModelForCausalLM.from_pretrained(base))
    assert not torch.allclose(values.float(), exact, atol=1e-3)
    assert torch.corrcoef(torch.stack([values.float().flatten(), exact.flatten()]))[0, 1] > 0.8


@pytest.mark.parametrize(
    ("method", "packages"),
    [
        ("bitsandbytes", "bitsandbytes"),
        (None, "bitsandbytes"),
        ("gptq", "gptqmodel optimum"),
        ("awq", "gptqmodel"),
        ("compressed-tensors", "compressed-tensors"),
    ],
)
def test_a_missing_library_is_named(tiny_folder, tmp_path, monkeypatch, method, packages):
    libraries = {package.replace("-", "_") for package in packages.split()}
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *at: None if name in libraries else find(name, *at))
    folder = said(tiny_folder, tmp_path, {"load_in_4bit": True} | ({"quant_method": method} if method else {}))
    outline = outline_model(ModelOptions(str(folder)))
    with pytest.raises(InputError) as caught:
        load_model(outline)
    (line,) = str(caught.value).splitlines()
    expected = f"its weights are quantised with {method or 'bitsandbytes'}; pip install {packages}"
    assert line == f"model.name {str(folder)!r}: {expected}"


@pytest.mark.parametrize("method", ["torchao", "aqlm"])
def test_methods_that_only_transformers_knows(tiny_folder, tmp_path, method):
    outline = outline_model(ModelOptions(str(said(tiny_folder, tmp_path, {"quant_method": method}))))
    with pytest.raises(InputError, match=r"the weights in .* cannot be loaded") as caught:
        load_model(outline)
    assert len(str(caught.value).splitlines()) == 1


def said(tiny_folder, tmp_path, settings):
    """A folder whose configuration says that its weights are quantised."""
    folder = shutil.copytree(tiny_folder("llama"), tmp_path / "model")
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": settings}))
    return folder


def test_they_are_not_spread(tiny_folder, tmp_path):
    outline = outline_model(ModelOptions(str(said(tiny_folder, tmp_path, {"quant_method": "gptq"}))))
    with pytest.raises(InputError, match=r"'tensors': the weights of .* are quantised with gptq; set 'layers'"):
        check_split(outline, "tensors", 2)


def test_maps_of_packed_weights_are_maps():
    class PackedMap(nn.Module):
        def __init__(self):
            super().__init__()
            self.in_features, self.out_features = 6, 4
            self.register_buffer("qweight", torch.zeros(3, 2, dtype=torch.int32))

    assert map_shape(PackedMap()) == (6, 4)
    assert map_shape(nn.Module()) == (0, 0)
