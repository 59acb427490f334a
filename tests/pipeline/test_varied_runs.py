"""A finished run is varied: what a change affects is done again, and nothing else."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
from tiny_run import RESULTS, STAGES, contents, manifest, states

from emoscale.config import load_settings
from emoscale.system import files

pytestmark = pytest.mark.slow


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
def test_a_change_redoes_what_depends_on_it(cli, copied_world, change, stages):
    before = contents(copied_world.out)
    answer = cli("run", copied_world.config, "--out", copied_world.out, "--set", change)
    assert (answer.code, answer.err) == (0, "")
    assert done_stages(answer.out) == stages
    first, key = answer.out.splitlines()[0], change.partition("=")[0]
    assert (key in first and "→" in first) == bool(stages)
    assert states(copied_world.out) == dict.fromkeys(STAGES, "done")
    assert not (copied_world.out / ".replacement").exists()
    kept = [RESULTS[STAGES.index(stage)] for stage in ("tune", "extract") if stage not in stages]
    for name in kept:
        ours = contents(copied_world.out, name)
        assert ours == {path: digest for path, digest in before.items() if path in ours}
    again = cli("run", copied_world.config, "--out", copied_world.out, "--set", change)
    assert "all stages are done" in again.out


def test_without_rankings_faithfulness_is_not_measured(cli, refused_there, copied_world):
    none = ("--set", "faithfulness.rankings=[]")
    said = refused_there(copied_world.config, copied_world.out, *none, command="measure-faithfulness")
    assert said == "faithfulness.rankings: names none; list some of effect, tau, both, random"
    answer = cli("run", copied_world.config, "--out", copied_world.out, *none)
    assert (answer.code, answer.err) == (0, "")
    assert done_stages(answer.out) == AFTER["analyze"]
    assert "measure-faithfulness" not in states(copied_world.out)
    assert not (copied_world.out / "faithfulness.zarr").exists()
    assert not (copied_world.out / "tables" / "faithfulness.csv").exists()


def test_a_varied_run_is_the_same_as_one_made_so(cli, copied_world, world):
    change = ("--set", "masks.k=[6]", "--set", "selectivity.permutations=9")
    assert cli("run", copied_world.config, "--out", copied_world.out, *change).code == 0
    other = world.folder / "other"
    assert cli("run", copied_world.config, "--out", other, *change).code == 0
    assert contents(copied_world.out, *RESULTS) == contents(other, *RESULTS)


@pytest.mark.parametrize(
    ("name", "old", "new", "stages"),
    [
        ("attributes", "fear,1.0,0.2", "fear,0.8,0.2", AFTER["select"]),
        ("dissimilarity", "fear,sad,3.5", "fear,sad,3.6", AFTER["analyze"]),
        ("attributes", "joy,0.7", "joy,0.70", []),
    ],
)
def test_one_number_of_people(cli, copied_world, finished, name, old, new, stages):
    # The copied_world run was made with the files of another folder: what they hold counts, not where they are.
    file = getattr(copied_world, name)
    file.write_text(file.read_text().replace(old, new))
    answer = cli("run", copied_world.config, "--out", copied_world.out)
    assert (answer.code, answer.err) == (0, "")
    assert done_stages(answer.out) == stages
    if stages:
        assert answer.out.splitlines()[0].startswith(f"concepts.{name} has changed; ")


def test_changed_texts_redo_everything_that_read_them(cli, copied_world):
    copied_world.texts.write_text(copied_world.texts.read_text().replace("train", "dev", 1))
    answer = cli("run", copied_world.config, "--out", copied_world.out)
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


def test_a_stage_by_itself_undoes_those_after_it(cli, copied_world):
    answer = cli("mask", copied_world.config, "--out", copied_world.out, "--set", "masks.k=[6]")
    assert done_stages(answer.out) == ["mask"]
    before = [stage for stage in STAGES[: STAGES.index("ablate")] if stage != "relate"]  # which has the masks' sizes
    assert states(copied_world.out) == dict.fromkeys(before, "done")
    assert not (copied_world.out / "scores.zarr").exists()
    assert not (copied_world.out / "report.html").exists()


def test_a_stage_after_an_outdated_one_is_refused(refused_there, copied_world):
    said = refused_there(copied_world.config, copied_world.out, "--set", "masks.k=[6]", command="ablate")
    assert "mask was done with other settings (masks.k: [5, 0.25] → [6])" in said
    assert "run emoscale mask first" in said


def test_bad_settings_keep_the_old_results(refused_there, copied_world):
    assert "masks.k = 0: not positive" in refused_there(copied_world.config, copied_world.out, "--set", "masks.k=[0]")
    assert states(copied_world.out) == dict.fromkeys(STAGES, "done")


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
def test_killed_while_varied(cli, copied_world, world, module, name, call, is_replaced):
    before = contents(copied_world.out, *RESULTS)
    arguments = ("run", copied_world.config, "--out", copied_world.out, *VARIED)
    assert killed(arguments, module, name, call)
    if not is_replaced:  # the old results stay until the new ones are finished
        assert contents(copied_world.out, *RESULTS) == before
        assert states(copied_world.out) == dict.fromkeys(STAGES, "done")
    assert cli(*arguments).code == 0
    other = world.folder / "other"
    assert cli("run", copied_world.config, "--out", other, *VARIED).code == 0
    assert contents(copied_world.out, *RESULTS) == contents(other, *RESULTS)
    assert not (copied_world.out / ".replacement").exists()
    assert "all stages are done" in cli(*arguments).out


def test_an_abandoned_variation_leaves_nothing(cli, copied_world):
    before = contents(copied_world.out, *RESULTS)
    assert killed(
        ("run", copied_world.config, "--out", copied_world.out, *VARIED), "emoscale.pipeline.runner", "do_stage", 2
    )
    answer = cli("run", copied_world.config, "--out", copied_world.out)
    assert (answer.code, done_stages(answer.out)) == (0, [])
    assert not (copied_world.out / ".replacement").exists()
    assert contents(copied_world.out, *RESULTS) == before


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
