import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from emoscale.errors import InputError
from emoscale.models.identity import identify, weights_files, weights_sha256
from emoscale.models.loading import load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import outline_model

INDEX = "model.safetensors.index.json"


@pytest.fixture
def copy_of(tiny_folder, tmp_path):
    """Give a copy of a tiny model's folder that a test may spoil."""
    return lambda name: shutil.copytree(tiny_folder(name), tmp_path / name)


def change_config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def identity_of(folder, **options):
    return identify(outline_model(ModelOptions(str(folder), **options)))


def divide(folder, names=("one.safetensors", "two.safetensors")):
    """Divide a model's weights into two files and an index."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    keys = sorted(weights)
    parts = dict(zip(names, (keys[:5], keys[5:]), strict=True))
    for name, part in parts.items():
        save_file({key: weights[key] for key in part}, folder / name, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {key: name for name, part in parts.items() for key in part}}
    (folder / INDEX).write_text(json.dumps(index))
    return folder


def test_one_file_has_its_own_hash(tiny_folder):
    folder = tiny_folder("bert")
    content = (folder / "model.safetensors").read_bytes()
    assert weights_sha256(folder) == hashlib.sha256(content).hexdigest()


def test_several_files_have_one_hash_of_their_names_and_hashes(copy_of):
    folder = divide(copy_of("llama"))
    files = [folder / "one.safetensors", folder / "two.safetensors"]
    assert weights_files(folder) == files
    lines = "".join(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n" for file in files)
    assert weights_sha256(folder) == hashlib.sha256(lines.encode()).hexdigest()


@pytest.mark.parametrize("file", ["one.safetensors", "two.safetensors", INDEX, "config.json", "tokenizer.json"])
def test_every_file_that_is_read_counts(copy_of, file):
    folder = divide(copy_of("llama"))
    before = identity_of(folder)
    path = folder / file
    if path.suffix == ".json":
        path.write_text(path.read_text() + " ")
    else:
        save_file({name: value + 1 for name, value in load_file(path).items()}, path, {"format": "pt"})
    part = {"config.json": "config", INDEX: "config", "tokenizer.json": "tokenizer"}.get(file, "weights")
    assert [key for key, value in identity_of(folder).items() if value != before[key]] == [f"{part}_sha256"]


def test_files_that_are_not_read_do_not_count(copy_of):
    folder = copy_of("llama")
    before = identity_of(folder)
    save_file({"other": torch.ones(2)}, folder / "consolidated.safetensors")
    (folder / "README.md").write_text("about it")
    (folder / "code.py").write_text("pass")
    assert identity_of(folder) == before


def test_python_code_counts_where_it_may_run(copy_of):
    folder = copy_of("llama")
    before = identity_of(folder, trust_remote_code=True)
    (folder / "code.py").write_text("pass")
    assert identity_of(folder, trust_remote_code=True)["config_sha256"] != before["config_sha256"]


def test_a_file_of_weights_that_the_configuration_names(copy_of):
    folder = copy_of("llama")
    before = identity_of(folder)
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    change_config(folder, transformers_weights="other.safetensors")
    assert identity_of(folder)["weights_sha256"] == before["weights_sha256"]
    load_model(outline_model(ModelOptions(str(folder))))


def refusal(folder):
    with pytest.raises(InputError) as caught:
        weights_sha256(folder)
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize("name", ["../two.safetensors", "{outside}/two.safetensors", "sub/../../two.safetensors"])
def test_an_index_that_names_a_file_outside(copy_of, name):
    folder = copy_of("llama")
    name = name.format(outside=folder.parent)
    (folder / "sub").mkdir()
    divide(folder, ("one.safetensors", name))
    assert f"{INDEX}: names {name}, which is outside the folder" in refusal(folder)


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_link_that_leads_outside(copy_of, tmp_path, is_folder):
    folder = copy_of("llama")
    outside = tmp_path / "outside"
    outside.mkdir()
    if is_folder:
        (folder / "sub").symlink_to(outside)
        divide(folder, ("one.safetensors", "sub/two.safetensors"))
    else:
        divide(folder)
        (folder / "two.safetensors").rename(outside / "two.safetensors")
        (folder / "two.safetensors").symlink_to(outside / "two.safetensors")
    assert "which is outside the folder" in refusal(folder)


def test_the_hub_s_cache_consists_of_links(copy_of, tmp_path):
    folder = divide(copy_of("llama"))
    snapshot, blobs = tmp_path / "repo" / "snapshots" / "abc", tmp_path / "repo" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    expected = identity_of(folder)
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    assert identity_of(snapshot) == expected


def test_a_file_that_the_index_names_is_missing(copy_of):
    folder = divide(copy_of("llama"))
    (folder / "two.safetensors").unlink()
    assert f"{INDEX}: names two.safetensors, which is missing; fetch it again" in refusal(folder)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_cannot_be_read(copy_of, content):
    folder = divide(copy_of("llama"))
    (folder / INDEX).write_text(content)
    assert INDEX in refusal(folder)
