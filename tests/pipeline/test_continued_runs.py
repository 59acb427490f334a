"""A run that is continued or begun again: a changed model, bad settings and damaged folders are noticed."""

import json
import shutil

import pytest
from rich.console import Console
from tiny_run import RESULTS, STAGES, contents, states

from emoscale.config import load_settings
from emoscale.errors import InputError
from emoscale.pipeline import runner
from emoscale.pipeline.runner import Request
from emoscale.run.folder import RunFolder
from emoscale.system import files

pytestmark = pytest.mark.slow


def test_changed_weights_are_noticed(refused_there, cli, world, tiny_folder):
    model = shutil.copytree(tiny_folder("bert-encoder"), world.folder / "model")
    world.write(model={"name": str(model)})
    assert cli("tune", world.config, "--out", world.out).code == 0
    file = model / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    told = refused_there(world.config, world.out)
    assert told.startswith(f"{world.out}: was made with another model of that name (the model's weights: ")
    assert told.endswith("or start again with emoscale run --fresh")


def test_a_changed_tokenizer_is_noticed(refused_there, cli, world, tiny_folder):
    model = shutil.copytree(tiny_folder("bert-encoder"), world.folder / "model")
    world.write(model={"name": str(model)})
    assert cli("tune", world.config, "--out", world.out).code == 0
    file = model / "tokenizer.json"
    file.write_text(file.read_text().replace('"lowercase": true', '"lowercase": false'))
    told = refused_there(world.config, world.out)
    assert told.startswith(f"{world.out}: was made with another model of that name (the model's tokenizer: ")
    assert told.endswith("or start again with emoscale run --fresh")


@pytest.mark.parametrize(
    ("change", "before", "next_stage"),
    [
        ({"hidden_act": "relu"}, "tune", "extract"),
        ({"layer_norm_eps": 0.1}, "tune", "extract"),
        ({"hidden_act": "relu"}, "mask", "ablate"),
    ],
)
def test_a_changed_configuration_is_noticed(refused_there, cli, world, tiny_folder, change, before, next_stage):
    model = shutil.copytree(tiny_folder("bert-encoder"), world.folder / "model")
    world.write(model={"name": str(model)})
    for stage in STAGES[: STAGES.index(before) + 1]:
        assert cli(stage, world.config, "--out", world.out).code == 0
    file = model / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    told = refused_there(world.config, world.out, command=next_stage)
    assert told.startswith(f"{world.out}: was made with another model of that name (the model's config: ")
    assert told.endswith("or start again with emoscale run --fresh")


def test_fresh_with_the_same_settings_gives_the_same(cli, copied_world, finished):
    (copied_world.out / "notes.txt").write_text("mine")
    assert cli("run", finished.config, "--out", copied_world.out, "--fresh").code == 0
    assert contents(copied_world.out, *RESULTS) == contents(finished.out, *RESULTS)
    assert (copied_world.out / "notes.txt").read_text() == "mine"


def test_bad_settings_and_fresh_keep_the_old_run(refused_there, tuned):
    tuned.write(masks={"k": [0]})
    assert "masks.k = 0: not positive" in refused_there(tuned.config, tuned.out, "--fresh")
    assert states(tuned.out) == {"tune": "done"}


def test_a_folder_that_cannot_be_cleared_does_not_count_as_done(monkeypatch, copied_world):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(files.shutil, "rmtree", refuse)
        with pytest.raises(InputError, match=r"cannot be written \(Permission denied\); choose another --out"):
            runner.run(
                load_settings(copied_world.config),
                RunFolder(copied_world.out),
                Console(quiet=True),
                Request(fresh=True),
            )
    assert states(copied_world.out) == {}


@pytest.mark.parametrize("content", ["{", "[]", '{"emoscale": "0.1.0"}', '{"emoscale": "0.1.0", "stages": []}'])
@pytest.mark.parametrize("options", [[], ["--fresh"]])
def test_manifest_that_cannot_be_read(refused_there, tuned, content, options):
    (tuned.out / "manifest.json").write_text(content)
    told = refused_there(tuned.config, tuned.out, *options)
    assert told.startswith(f"{tuned.out / 'manifest.json'}: ")
    assert "give another --out" in told


def test_a_hidden_file_does_not_make_a_folder_foreign(cli, world):
    world.out.mkdir()
    (world.out / ".gitkeep").touch()
    assert cli("tune", world.config, "--out", world.out).code == 0


def test_the_config_in_the_folder_continues_the_run(cli, tuned):
    answer = cli("extract", tuned.out / "config.yaml", "--out", tuned.out)
    assert (answer.code, answer.err) == (0, "")
    assert states(tuned.out) == {"tune": "done", "extract": "done"}


def test_manifest_keeps_when_the_run_was_begun(cli, tuned):
    file = tuned.out / "manifest.json"
    manifest = json.loads(file.read_text())
    file.write_text(json.dumps(manifest | {"created": "long ago"}))
    assert cli("extract", tuned.config, "--out", tuned.out).code == 0
    assert json.loads(file.read_text())["created"] == "long ago"
    assert cli("run", tuned.config, "--out", tuned.out, "--fresh").code == 0
    assert json.loads(file.read_text())["created"] != "long ago"
