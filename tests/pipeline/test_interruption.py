"""A run that was killed at the worst moments ends as one that was not: byte for byte."""

import itertools
import multiprocessing
import os
import pkgutil
import shutil
import signal
import sys

import pytest
from tiny_run import RESULTS, STAGES, contents, draw_few_figures, states, times

from emoscale.cli import main
from emoscale.run.folder import RunFolder
from emoscale.store import CommitLog

pytestmark = pytest.mark.slow

# Children come from a server that has the libraries imported and no threads yet, so that a run starts at once.
_CHILDREN = multiprocessing.get_context("forkserver")
_CHILDREN.set_forkserver_preload(
    ["emoscale.pipeline.context", "emoscale.pipeline.stages", "transformers.models.bert.modeling_bert"]
)


def run_until(arguments, function, call, moment, sent, stderr):
    """Run a command, in a child, and send itself a signal just before or after the n-th call of a function."""
    module, _, path = function.partition(":")
    *inner, name = path.split(".")
    owner = pkgutil.resolve_name(f"{module}:{'.'.join(inner)}")
    usual, calls = getattr(owner, name), itertools.count(1)

    def deadly(*args, **kwargs):
        is_last = next(calls) == call
        if is_last and moment == "before":
            os.kill(os.getpid(), sent)
        result = usual(*args, **kwargs)
        if is_last and moment == "after":
            os.kill(os.getpid(), sent)
        return result

    setattr(owner, name, deadly)
    draw_few_figures(setattr)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stderr = stderr.open("w", encoding="utf-8")
    sys.argv = ["emoscale", *map(str, arguments)]
    main()


@pytest.fixture
def interrupted(world, finished):
    """Run the finished world's config into a folder of its own until a signal comes; return exit code and stderr."""

    def call(function, call, moment, sent=signal.SIGKILL, fresh=()):
        stderr = world.folder / "stderr.txt"
        arguments = ("run", finished.config, "--out", world.out, *fresh)
        child = _CHILDREN.Process(target=run_until, args=(arguments, function, call, moment, sent, stderr))
        child.start()
        child.join(timeout=120)
        assert child.exitcode is not None, "the child hangs"
        return child.exitcode, stderr.read_text(encoding="utf-8")

    return call


@pytest.fixture
def continued(cli, world, finished):
    """Run again, undisturbed, and check that it makes no difference."""

    def call():
        answer = cli("run", finished.config, "--out", world.out)
        assert (answer.code, answer.err) == (0, "")
        assert states(world.out) == dict.fromkeys(STAGES, "done")
        ours, theirs = contents(world.out, *RESULTS), contents(finished.out, *RESULTS)
        assert ours.keys() == theirs.keys()
        assert [name for name in theirs if ours[name] != theirs[name]] == []

    return call


SAVE_PROMPTS = "emoscale.models.prompt_files:TunedPrompts.save"
COMMIT = "emoscale.store:CommitLog.add"
COMPLETE = "emoscale.store:Store.mark_complete"
EXTRACTED, ATTRIBUTED = 3, 19
RELATED = ATTRIBUTED + 2
MEASURED = RELATED + 6
"""Commits of a run when these stages are done: blocks; then items without a mask, shards, and units of ablation; chunks
of permutations; units of ablation."""


@pytest.mark.parametrize(
    ("stage", "function", "call", "moment"),
    [
        (None, "emoscale.system.files:os.replace", 1, "after"),  # there is a manifest and no config
        ("tune", SAVE_PROMPTS, 2, "before"),
        ("tune", SAVE_PROMPTS, 2, "after"),
        ("tune", "emoscale.run.manifest:record", 2, "before"),  # done, and not yet recorded
        ("extract", COMMIT, 2, "before"),  # a block is written and not committed
        ("extract", COMPLETE, 1, "after"),  # the log of commits is still there
        ("select", "emoscale.store:Store.write", 5, "after"),  # three blocks of activations, then tau and p
        ("attribute-effects", COMMIT, EXTRACTED + 3, "before"),  # effects are written and not committed
        ("attribute-effects", COMMIT, EXTRACTED + 10, "after"),  # in the ablation that they are compared with
        ("attribute-effects", "emoscale.attribution.check:create_store", 1, "after"),  # without values
        ("relate", COMMIT, ATTRIBUTED + 2, "before"),
        ("measure-faithfulness", COMMIT, RELATED + 3, "after"),
        ("measure-faithfulness", "emoscale.attribution.measure_faithfulness:create_store", 1, "after"),  # no values
        ("ablate", "emoscale.ablation.ablate:create_store", 5, "after"),  # without the token ids
        ("ablate", COMMIT, MEASURED + 5, "before"),
        ("ablate", COMMIT, MEASURED + 5, "after"),
        ("analyze", "emoscale.run.folder:RunFolder.write_table", 4, "before"),
        ("report", "emoscale.report.figures:save", 1, "after"),
    ],
)
def test_killed_and_continued(interrupted, continued, world, stage, function, call, moment):
    assert interrupted(function, call, moment) == (-signal.SIGKILL, "")
    if stage:
        assert states(world.out) == dict.fromkeys(STAGES[: STAGES.index(stage)], "done") | {stage: "running"}
    finished_work = {name: time for name, time in times(world.out).items() if name.startswith("prompts/")}
    continued()
    assert finished_work.items() <= times(world.out).items()
    assert not list(world.out.glob("*.commits"))
    assert not (world.out / "attribution").exists()
    assert not (world.out / "faithfulness").exists()


def test_committed_blocks_are_not_computed_again(interrupted, continued, world):
    def blocks():
        written = times(world.out / "activations.zarr" / "activations" / "c")
        return [{name: time for name, time in written.items() if name.startswith(f"{row}/")} for row in range(3)]

    interrupted(COMMIT, 2, "after")
    folder = RunFolder(world.out)
    committed = CommitLog(folder.commits(folder.activations) / "tp-0").done()
    assert len(committed) >= 2
    before = blocks()
    continued()
    after = blocks()
    assert list(map(len, after)) == [1, 1, 1]
    assert [after[block] for block in committed] == [before[block] for block in committed]


def test_killed_twice(interrupted, continued):
    assert interrupted(COMMIT, 1, "after")[0] == -signal.SIGKILL
    assert interrupted(COMMIT, 1, "before")[0] == -signal.SIGKILL  # of what is left, the second block
    continued()


@pytest.mark.parametrize(
    ("sent", "code", "function", "said"),
    [
        (
            signal.SIGINT,
            130,
            COMPLETE,
            "emoscale: interrupted; rerun the same command to resume\n",
        ),
        (signal.SIGTERM, 143, COMMIT, "emoscale: stopped by SIGTERM; rerun the same command to resume\n"),
    ],
)
def test_told_to_end_and_continued(interrupted, continued, sent, code, function, said):
    assert interrupted(function, 2, "before", sent) == (code, said)
    continued()


def test_killed_while_it_clears_an_old_run_away(interrupted, continued, world, finished):
    shutil.copytree(finished.out, world.out)
    code, _ = interrupted("shutil:rmtree", 1, "after", fresh=["--fresh"])
    assert code == -signal.SIGKILL
    assert not (world.out / "prompts").exists()
    assert states(world.out) == {}
    continued()
