"""A finished run is varied: what a change affects is done again, and nothing else."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from rich.console import Console
from tiny_run import RESULTS, STAGES, contents, manifest, states, times

from emoscale.config import load_settings
from emoscale.errors import InputError
from emoscale.pipeline import runner
from emoscale.pipeline.runner import Request
from emoscale.run.folder import RunFolder
from emoscale.system import files

pytestmark = pytest.mark.slow


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


@pytest.fixture
def copied(world, finished):
    """Give a finished run in a folder of its own."""
    shutil.copytree(finished.out, world.out)
    return world


def done_stages(out):
    """Names of the stages that a command printed a line of."""
    return [line.split()[0] for line in out.splitlines() if line.split()[0] in STAGES]


AFTER = {stage: list(STAGES[STAGES.index(stage) :]) for stage in STAGES}
AFTER["select"].remove("attribute-effects")


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ("tuning.learning_rate=0.04", AFTER["tune"]),
        ("selectivity.alpha=0.5", AFTER["analyze"]),
        ("analysis.outcome=accuracy", AFTER["analyze"]),
        ("analysis.normalization=none", AFTER["analyze"]),
        ("selectivity.permutations=7", AFTER["select"]),
        ("masks.k=[6]", ["relate", *AFTER["mask"]]),
        ("masks.draws=1", AFTER["mask"]),
        ("masks.controls=[permuted,lowest]", AFTER["mask"]),
        ("masks.controls=[random-by-layer]", AFTER["mask"]),
        ("ablation.edit=mean", ["attribute-effects", "relate", "measure-faithfulness", *AFTER["ablate"]]),
        ("attribution.permutations=5", ["relate", *AFTER["analyze"]]),
        ("faithfulness.shares=[0.2]", ["measure-faithfulness", *AFTER["analyze"]]),
        ("title=Other", AFTER["report"]),
        ("machine.threads=2", []),
        ("selectivity.block_neurons=40", []),
    ],
)
def test_a_change_redoes_what_depends_on_it(cli, copied, change, stages):
    before = contents(copied.out)
    answer = cli("run", copied.config, "--out", copied.out, "--set", change)
    assert (answer.code, answer.err) == (0, "")
    assert done_stages(answer.out) == stages
    first, key = answer.out.splitlines()[0], change.partition("=")[0]
    assert (key in first and "→" in first) == bool(stages)
    assert states(copied.out) == dict.fromkeys(STAGES, "done")
    assert not (copied.out / ".replacement").exists()
    kept = [RESULTS[STAGES.index(stage)] for stage in ("tune", "extract") if stage not in stages]
    for name in kept:
        ours = contents(copied.out, name)
        assert ours == {path: digest for path, digest in before.items() if path in ours}
    again = cli("run", copied.config, "--out", copied.out, "--set", change)
    assert "all stages are done" in again.out


def test_without_rankings_faithfulness_is_not_measured(cli, refused, copied):
    none = ("--set", "faithfulness.rankings=[]")
    said = refused(copied.config, copied.out, *none, command="measure-faithfulness")
    assert said == "faithfulness.rankings: names none; list some of effect, tau, both, random"
    answer = cli("run", copied.config, "--out", copied.out, *none)
    assert (answer.code, answer.err) == (0, "")
    assert done_stages(answer.out) == AFTER["analyze"]
    assert "measure-faithfulness" not in states(copied.out)
    assert not (copied.out / "faithfulness.zarr").exists()
    assert not (copied.out / "tables" / "faithfulness.csv").exists()


def test_a_varied_run_is_the_same_as_one_made_so(cli, copied, world):
    change = ("--set", "masks.k=[6]", "--set", "selectivity.permutations=9")
    assert cli("run", copied.config, "--out", copied.out, *change).code == 0
    other = world.folder / "other"
    assert cli("run", copied.config, "--out", other, *change).code == 0
    assert contents(copied.out, *RESULTS) == contents(other, *RESULTS)


@pytest.mark.parametrize(
    ("name", "old", "new", "stages"),
    [
        ("attributes", "fear,1.0,0.2", "fear,0.8,0.2", AFTER["select"]),
        ("dissimilarity", "fear,sad,3.5", "fear,sad,3.6", AFTER["analyze"]),
        ("attributes", "joy,0.7", "joy,0.70", []),
    ],
)
def test_one_number_of_people(cli, copied, finished, name, old, new, stages):
    # The copied run was made with the files of another folder: what they hold counts, not where they are.
    file = getattr(copied, name)
    file.write_text(file.read_text().replace(old, new))
    answer = cli("run", copied.config, "--out", copied.out)
    assert (answer.code, answer.err) == (0, "")
    assert done_stages(answer.out) == stages
    if stages:
        assert answer.out.splitlines()[0].startswith(f"concepts.{name} has changed; ")


def test_changed_texts_redo_everything_that_read_them(cli, copied):
    copied.texts.write_text(copied.texts.read_text().replace("train", "dev", 1))
    answer = cli("run", copied.config, "--out", copied.out)
    assert done_stages(answer.out) == list(STAGES)
    assert answer.out.startswith("stimuli.path has changed; ")


def test_a_changed_file_in_a_folder_of_texts_is_noticed(world):
    from emoscale.pipeline.dependencies import dependency_values

    folder = world.folder / "goemotions"
    folder.mkdir()
    (folder / "train.tsv").write_text("a")
    (folder / "cache").mkdir()
    settings = load_settings(world.write(stimuli={"source": "goemotions", "path": str(folder)}))
    before = dependency_values(settings)
    (folder / "train.tsv").write_text("b")
    after = dependency_values(settings)
    assert [key for key in before if before[key] != after[key]] == ["stimuli.path"]


def test_a_stage_by_itself_undoes_those_after_it(cli, copied):
    answer = cli("mask", copied.config, "--out", copied.out, "--set", "masks.k=[6]")
    assert done_stages(answer.out) == ["mask"]
    before = [stage for stage in STAGES[: STAGES.index("ablate")] if stage != "relate"]  # which has the masks' sizes
    assert states(copied.out) == dict.fromkeys(before, "done")
    assert not (copied.out / "scores.zarr").exists()
    assert not (copied.out / "report.html").exists()


def test_a_stage_after_an_outdated_one_is_refused(refused, copied):
    said = refused(copied.config, copied.out, "--set", "masks.k=[6]", command="ablate")
    assert "mask was done with other settings (masks.k: [5, 0.25] → [6])" in said
    assert "run emoscale mask first" in said


def test_bad_settings_keep_the_old_results(refused, copied):
    assert "masks.k = 0: not positive" in refused(copied.config, copied.out, "--set", "masks.k=[0]")
    assert states(copied.out) == dict.fromkeys(STAGES, "done")


KILLED = """
import os, signal, sys
from emoscale.cli import main
from emoscale.pipeline import stages
import tiny_run
tiny_run.draw_few_figures(setattr)
module, name, call = {module!r}, {name!r}, {call}
import importlib
owner = importlib.import_module(module)
real, calls = getattr(owner, name), []
def deadly(*given, **more):
    calls.append(1)
    if len(calls) == call:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*given, **more)
setattr(owner, name, deadly)
sys.argv = {arguments!r}
main()
"""


def killed(arguments, module, name, call):
    """Run the command line and kill it at a call of a function."""
    code = KILLED.format(module=module, name=name, call=call, arguments=["emoscale", *map(str, arguments)])
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True)
    return done.returncode == -signal.SIGKILL


VARIED = ("--set", "masks.k=[6]", "--set", "masks.draws=1")


@pytest.mark.parametrize(
    ("module", "name", "call", "is_replaced"),
    [
        ("emoscale.pipeline.runner", "link", 2, False),
        ("emoscale.pipeline.runner", "do_stage", 2, False),
        ("emoscale.pipeline.runner", "do_stage", 4, False),
        ("emoscale.run.replacement", "remove", 1, True),
        ("emoscale.run.replacement", "remove", 3, True),
        ("emoscale.run.replacement", "write_config", 1, True),
    ],
)
def test_killed_while_varied(cli, copied, world, module, name, call, is_replaced):
    before = contents(copied.out, *RESULTS)
    arguments = ("run", copied.config, "--out", copied.out, *VARIED)
    assert killed(arguments, module, name, call)
    if not is_replaced:  # the old results stay until the new ones are finished
        assert contents(copied.out, *RESULTS) == before
        assert states(copied.out) == dict.fromkeys(STAGES, "done")
    assert cli(*arguments).code == 0
    other = world.folder / "other"
    assert cli("run", copied.config, "--out", other, *VARIED).code == 0
    assert contents(copied.out, *RESULTS) == contents(other, *RESULTS)
    assert not (copied.out / ".replacement").exists()
    assert "all stages are done" in cli(*arguments).out


def test_an_abandoned_variation_leaves_nothing(cli, copied):
    before = contents(copied.out, *RESULTS)
    assert killed(("run", copied.config, "--out", copied.out, *VARIED), "emoscale.pipeline.runner", "do_stage", 2)
    answer = cli("run", copied.config, "--out", copied.out)
    assert (answer.code, done_stages(answer.out)) == (0, [])
    assert not (copied.out / ".replacement").exists()
    assert contents(copied.out, *RESULTS) == before


def test_from_another_run(cli, world, finished, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    answer = cli("run", finished.config, "--out", world.out, "--from", finished.out, "--set", "masks.k=[6]")
    assert (answer.code, answer.err) == (0, "")
    assert f"reused from {finished.out}: tune, extract, select" in answer.out
    assert done_stages(answer.out) == ["relate", *AFTER["mask"]]
    ours, theirs = (path / "activations.zarr" / "zarr.json" for path in (world.out, finished.out))
    assert os.path.samefile(ours, theirs)
    assert manifest(world.out)["stages"]["extract"]["from"] == str(finished.out)
    assert f"from {finished.out}" in " ".join(cli("inspect", world.out).out.split())
    other = world.folder / "other"
    assert cli("run", finished.config, "--out", other, "--set", "masks.k=[6]").code == 0
    assert contents(world.out, *RESULTS) == contents(other, *RESULTS)


def test_from_a_run_that_has_everything(cli, world, finished):
    answer = cli("run", finished.config, "--out", world.out, "--from", finished.out)
    assert (answer.code, done_stages(answer.out)) == (0, [])
    assert contents(world.out, *RESULTS) == contents(finished.out, *RESULTS)
    assert states(world.out) == dict.fromkeys(STAGES, "done")


def test_from_a_run_of_another_model(cli, world, finished, tiny_folder):
    model = shutil.copytree(tiny_folder("bert-encoder"), world.folder / "model")
    world.write(model={"name": str(model)})
    answer = cli("run", world.config, "--out", world.out, "--from", finished.out)
    assert done_stages(answer.out) == list(STAGES)


def test_from_what_is_not_a_run(cli, world):
    answer = cli("run", world.config, "--out", world.out, "--from", world.folder)
    assert answer.code == 2
    assert "not a run folder" in answer.problems[0]
    assert not world.out.exists()


@pytest.mark.parametrize(("name", "call"), [("link", 1), ("link", 4), ("do_stage", 1), ("do_stage", 3)])
def test_from_with_kills(cli, world, finished, name, call):
    arguments = ("run", finished.config, "--out", world.out, "--from", finished.out, *VARIED)
    source = contents(finished.out)
    assert killed(arguments, "emoscale.pipeline.runner", name, call)
    assert cli(*arguments).code == 0
    other = world.folder / "other"
    assert cli("run", finished.config, "--out", other, *VARIED).code == 0
    assert contents(world.out, *RESULTS) == contents(other, *RESULTS)
    assert contents(finished.out) == source


def test_a_folder_on_another_file_system_is_linked_to(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(18, "Invalid cross-device link")

    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("x")
    monkeypatch.setattr(files.os, "link", refuse)
    files.link(source, tmp_path / "target")
    assert (tmp_path / "target").is_symlink()
    assert (tmp_path / "target" / "a").read_text() == "x"
    files.remove(tmp_path / "target")
    assert (source / "a").exists()


def test_changed_weights_are_noticed(refused, cli, world, tiny_folder):
    model = shutil.copytree(tiny_folder("bert-encoder"), world.folder / "model")
    world.write(model={"name": str(model)})
    assert cli("tune", world.config, "--out", world.out).code == 0
    file = model / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    told = refused(world.config, world.out)
    assert told.startswith(f"{world.out}: was made with another model of that name (the model's weights: ")
    assert told.endswith("or start again with emoscale run --fresh")


def test_a_changed_tokenizer_is_noticed(refused, cli, world, tiny_folder):
    model = shutil.copytree(tiny_folder("bert-encoder"), world.folder / "model")
    world.write(model={"name": str(model)})
    assert cli("tune", world.config, "--out", world.out).code == 0
    file = model / "tokenizer.json"
    file.write_text(file.read_text().replace('"lowercase": true', '"lowercase": false'))
    told = refused(world.config, world.out)
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
def test_a_changed_configuration_is_noticed(refused, cli, world, tiny_folder, change, before, next_stage):
    model = shutil.copytree(tiny_folder("bert-encoder"), world.folder / "model")
    world.write(model={"name": str(model)})
    for stage in STAGES[: STAGES.index(before) + 1]:
        assert cli(stage, world.config, "--out", world.out).code == 0
    file = model / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    told = refused(world.config, world.out, command=next_stage)
    assert told.startswith(f"{world.out}: was made with another model of that name (the model's config: ")
    assert told.endswith("or start again with emoscale run --fresh")


def test_fresh_with_the_same_settings_gives_the_same(cli, copied, finished):
    (copied.out / "notes.txt").write_text("mine")
    assert cli("run", finished.config, "--out", copied.out, "--fresh").code == 0
    assert contents(copied.out, *RESULTS) == contents(finished.out, *RESULTS)
    assert (copied.out / "notes.txt").read_text() == "mine"


def test_bad_settings_and_fresh_keep_the_old_run(refused, tuned):
    tuned.write(masks={"k": [0]})
    assert "masks.k = 0: not positive" in refused(tuned.config, tuned.out, "--fresh")
    assert states(tuned.out) == {"tune": "done"}


def test_a_folder_that_cannot_be_cleared_does_not_count_as_done(monkeypatch, copied):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(files.shutil, "rmtree", refuse)
        with pytest.raises(InputError, match=r"cannot be written \(Permission denied\); choose another --out"):
            runner.run(load_settings(copied.config), RunFolder(copied.out), Console(quiet=True), Request(fresh=True))
    assert states(copied.out) == {}


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
