"""Models that transformers cannot read, and what is said of them."""

import json
import shutil
import sys

import pytest
import transformers

from emoscale.errors import InputError
from emoscale.models.loading import load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import outline_model


@pytest.fixture
def folder(tiny_folder, tmp_path):
    """Give a copy of a tiny Llama's folder that a test may spoil."""
    return shutil.copytree(tiny_folder("llama"), tmp_path / "model")


@pytest.fixture
def with_code(folder, monkeypatch, tmp_path):
    """Put Python code into the folder that transformers is to build the model with."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(code):
        (folder / "other.py").write_text(code)
        file = folder / "config.json"
        own = {"auto_map": {"AutoModelForCausalLM": "other.Other"}}
        file.write_text(json.dumps(json.loads(file.read_text()) | own))

    return write


def load(folder, **options):
    return load_model(outline_model(ModelOptions(str(folder), **options)))


def refusal(folder, **options):
    with pytest.raises(InputError) as caught:
        load(folder, **options)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"model.name {str(folder)!r}: ")
    return line


BODY = "from transformers import LlamaForCausalLM\nclass Other(LlamaForCausalLM):\n"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("from transformers.gone import Thing\nclass Other: pass", "No module named 'transformers.gone'"),
        ("import transformers\nclass Other(transformers.modeling_utils.Gone): pass", "has no attribute 'Gone'"),
        ("class Other(:", "invalid syntax"),
        (BODY + "    def __init__(self, config):\n        raise TypeError('old')", "TypeError: old"),
        (BODY + "    def __init__(self, config):\n        raise SystemExit(3)", "SystemExit: 3"),
        (BODY + "    def __init__(self, config):\n        assert False", "AssertionError"),
        (BODY + "    def tie_weights(self):\n        pass", "tie_weights() got an unexpected keyword argument"),
    ],
)
def test_code_for_another_version(folder, with_code, code, reason):
    with_code(code)
    line = refusal(folder, trust_remote_code=True)
    assert reason in line
    assert f"its Python code may be for another version of transformers than {transformers.__version__}" in line
    assert line.endswith("install that one, or set another model")


def test_code_that_fails_while_it_loads(folder, with_code):
    with_code(BODY + "    def _init_weights(self, module):\n        raise IndexError('old')")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(b"")
    assert "for another version of transformers" in refusal(folder, trust_remote_code=True)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer.json", "[]"),
        ("tokenizer.json", '{"version": "1.0", "model": {"type": "Gone"}}'),
        ("tokenizer.json", "\x00"),
        ("tokenizer_config.json", "[1]"),
        ("tokenizer_config.json", '{"tokenizer_class": 3}'),
    ],
)
def test_a_tokenizer_that_cannot_be_read(folder, file, content):
    (folder / file).write_text(content)
    line = refusal(folder)
    assert f"transformers cannot read the tokenizer in {folder} (" in line
    assert line.endswith("set another model")


def test_a_tokenizer_of_its_own_code(folder):
    (folder / "tok.py").write_text("class Own: pass\n")
    (folder / "tokenizer.json").unlink()
    own = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["tok.Own", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(own))
    line = refusal(folder)
    assert line.endswith("set model.trust_remote_code to true if you trust its Python code, or set another model")
    assert "the tokenizer in" in refusal(folder, trust_remote_code=True)


@pytest.mark.parametrize("content", [b"", b"\x00" * 7, b"\xff" * 100])
def test_weights_that_cannot_be_read(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    assert refusal(folder).endswith("; fetch them again")


def test_the_model_s_code_is_not_to_blame_for_other_models(folder):
    (folder / "other.py").write_text("pass")
    (folder / "model.safetensors").write_bytes(b"")
    assert refusal(folder).endswith("; fetch them again")


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (MemoryError(), "set model.dtype to bfloat16, machine.split_model to layers, or another model"),
        (ModuleNotFoundError("No module named 'kernels'"), "install what is missing"),
    ],
)
def test_what_is_said_of_other_errors(folder, monkeypatch, error, fix):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(
        "emoscale.models.loading.loader_of", lambda config: type("Loader", (), {"from_pretrained": fail})
    )
    assert refusal(folder).endswith(f"); {fix}")
