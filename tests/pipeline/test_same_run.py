"""A folder holds one run: another is told apart, and never mixed in."""

import json
import shutil

import pytest
from rich.console import Console
from tiny_run import RESULTS, STAGES, contents, states, times

from emoscale.config import load_settings
from emoscale.errors import InputError
from emoscale.pipeline import runner
from emoscale.run.compatibility import hash_inputs
from emoscale.run.folder import RunFolder


@pytest.fixture
def refused(cli):
    """Run a config into a folder that holds a run; return the one problem when nothing has changed there."""

    def call(config, out, *options, command="run"):
        before = times(out)
        answer = cli(command, config, "--out", out, *options)
        assert (answer.code, answer.out) == (2, "")
        assert times(out) == before
        (problem,) = answer.problems
        return problem

    return call


@pytest.fixture
def tuned(cli, world):
    """Give a run whose first stage is done, in a folder of its own."""
    assert cli("tune", world.config, "--out", world.out).code == 0
    return world


MEND = "choose another --out, or start anew with emoscale run --fresh"


@pytest.mark.parametrize("command", ["run", "tune", "report"])
def test_other_settings_are_named(refused, finished, command):
    told = refused(finished.config, finished.out, "--set", "tuning.epochs=5", "--set", "masks.k=[6]", command=command)
    assert told == (
        f"{finished.out}: holds a run with other settings (masks.k: [5, 0.25] there, [6] here; "
        f"tuning.epochs: 2 there, 5 here); {MEND}"
    )


def test_title_and_machine_may_change(cli, finished):
    before = times(finished.out)
    answer = cli("run", finished.config, "--out", finished.out, "--set", "title=Other", "--set", "machine.threads=2")
    assert (answer.code, answer.err) == (0, "")
    assert "all stages are done" in answer.out
    assert times(finished.out) == before


@pytest.mark.parametrize("name", ["texts", "attributes", "dissimilarity"])
def test_changed_input_is_noticed(refused, tuned, name):
    file = getattr(tuned, name)
    file.write_text(file.read_text().replace("7", "6") + "\n\n")
    assert refused(tuned.config, tuned.out) == (
        f"{tuned.out}: holds a run with other settings ({file} has changed); {MEND}"
    )


def test_changed_file_in_a_folder_of_texts_is_noticed(world):
    folder = world.folder / "goemotions"
    folder.mkdir()
    (folder / "train.tsv").write_text("a")
    (folder / "cache").mkdir()
    settings = load_settings(world.write(stimuli={"source": "goemotions", "path": str(folder)}))
    before = hash_inputs(runner.named_files(settings))
    assert str(folder / "train.tsv") in before
    (folder / "train.tsv").write_text("b")
    after = hash_inputs(runner.named_files(settings))
    assert {name for name in before if before[name] != after[name]} == {str(folder / "train.tsv")}


def test_changed_weights_are_noticed(refused, cli, world, tiny_folder):
    model = shutil.copytree(tiny_folder("bert-encoder"), world.folder / "model")
    world.write(model={"name": str(model)})
    assert cli("tune", world.config, "--out", world.out).code == 0
    file = model / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    told = refused(world.config, world.out)
    assert told.startswith(f"{world.out}: holds a run with other settings (the model's weights: ")
    assert told.endswith(f"… here); {MEND}")


def test_a_changed_tokenizer_is_noticed(refused, cli, world, tiny_folder):
    model = shutil.copytree(tiny_folder("bert-encoder"), world.folder / "model")
    world.write(model={"name": str(model)})
    assert cli("tune", world.config, "--out", world.out).code == 0
    file = model / "tokenizer.json"
    file.write_text(file.read_text().replace('"lowercase": true', '"lowercase": false'))
    told = refused(world.config, world.out)
    assert told.startswith(f"{world.out}: holds a run with other settings (the model's tokenizer: ")
    assert told.endswith(f"… here); {MEND}")


def test_fresh_starts_anew_with_other_settings(cli, world, finished):
    shutil.copytree(finished.out, world.out)
    (world.out / "notes.txt").write_text("mine")
    arguments = ("run", finished.config, "--out", world.out, "--set", "tuning.prompts_per_group=8")
    assert cli(*arguments).code == 2
    answer = cli(*arguments, "--fresh")
    assert (answer.code, answer.err) == (0, "")
    assert states(world.out) == dict.fromkeys(STAGES, "done")
    assert [file.name for file in (world.out / "prompts").iterdir()] == ["group-0000.safetensors"]
    assert (world.out / "notes.txt").read_text() == "mine"
    # How prompts are grouped makes no difference to them, but for rounding in the shared passes.
    assert contents(world.out, "masks.zarr").keys() == contents(finished.out, "masks.zarr").keys()
    assert cli(*arguments).out.endswith(f"all stages are done; report: {world.out / 'report.html'}\n")


def test_fresh_with_the_same_settings_gives_the_same(cli, world, finished):
    shutil.copytree(finished.out, world.out)
    assert cli("run", finished.config, "--out", world.out, "--fresh").code == 0
    assert contents(world.out, *RESULTS) == contents(finished.out, *RESULTS)


def test_a_stage_that_is_refused_keeps_what_it_would_do_anew(refused, tuned):
    tuned.write(masks={"k": [0]})
    assert "masks.k: [5, 0.25] there, [0] here" in refused(tuned.config, tuned.out, "--fresh", command="tune")


def test_bad_settings_keep_the_old_run(refused, tuned):
    tuned.write(masks={"k": [0]})
    assert refused(tuned.config, tuned.out, "--fresh") == "masks.k = 0: not positive; give 1 or more"
    assert states(tuned.out) == {"tune": "done"}


def test_a_folder_that_cannot_be_cleared_does_not_count_as_done(monkeypatch, world, finished):
    shutil.copytree(finished.out, world.out)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(runner.shutil, "rmtree", refuse)
        with pytest.raises(InputError, match=r"cannot be written \(Permission denied\); choose another --out"):
            runner.run(load_settings(finished.config), RunFolder(world.out), Console(quiet=True), fresh=True)
    assert states(world.out) == {}


@pytest.mark.parametrize("content", [None, "", "- a\n", "a: [", "\udce9"])
def test_recorded_settings_that_cannot_be_read(refused, cli, tuned, content):
    config = tuned.out / "config.yaml"
    config.unlink()
    if content is not None:
        config.write_bytes(content.encode(errors="surrogateescape"))
    assert refused(tuned.config, tuned.out) == (
        f"{config}: does not hold the run's settings any more; put it back, choose another --out, or start anew with "
        "emoscale run --fresh"
    )
    assert cli("run", tuned.config, "--out", tuned.out, "--fresh").code == 0


@pytest.mark.parametrize("content", ["{", "[]", '{"emoscale": "0.1.0"}', '{"emoscale": "0.1.0", "stages": []}'])
@pytest.mark.parametrize("options", [[], ["--fresh"]])
def test_manifest_that_cannot_be_read(refused, tuned, content, options):
    (tuned.out / "manifest.json").write_text(content)
    told = refused(tuned.config, tuned.out, *options)
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
