from __future__ import annotations

import shutil
import signal
import sys
from typing import NamedTuple

import pytest
from rich.console import Console
from tiny_run import World, contents, draw_few_figures, times

from emoscale.cli import main
from emoscale.config import load_settings
from emoscale.pipeline import runner
from emoscale.run.folder import RunFolder


class Answer(NamedTuple):
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def problems(self):
        """The lines on stderr, each without the program's name, which it must begin with."""
        lines = self.err.splitlines()
        assert all(line.startswith("emoscale: ") for line in lines), self.err
        return [line.removeprefix("emoscale: ") for line in lines]


@pytest.fixture
def cli(monkeypatch, capfd):
    """Call the command line in this process."""

    def call(*arguments):
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["emoscale", *map(str, arguments)])
        usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            main()
        except SystemExit as end:
            return Answer(end.code, *capfd.readouterr())
        finally:
            for number, handler in usual.items():
                signal.signal(number, handler)
        raise AssertionError("main must end the process")

    return call


@pytest.fixture(autouse=True)
def _few_figures(monkeypatch):
    draw_few_figures(monkeypatch.setattr)


@pytest.fixture
def world(tmp_path, tiny_folder):
    """Give texts, tables and a config of one's own."""
    return World(tmp_path, tiny_folder("bert-encoder"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory, tiny_folder):
    """Give the world of a run that nothing disturbed; tests only read it."""
    world = World(tmp_path_factory.mktemp("finished"), tiny_folder("bert-encoder"))
    with pytest.MonkeyPatch.context() as patch:
        draw_few_figures(patch.setattr)
        assert runner.run(load_settings(world.config), RunFolder(world.out), Console(quiet=True))
    return world


@pytest.fixture
def refused(cli, world):
    """Run the world's config with other values; return the problems once it is sure that nothing was written."""

    def call(*arguments, **sections):
        world.write(**sections)
        before = contents(world.folder)
        answer = cli(*(arguments or ("run", world.config, "--out", world.out)))
        assert answer.code == 2
        assert answer.out == ""
        assert contents(world.folder) == before
        assert not world.out.exists()
        return answer.problems

    return call


@pytest.fixture
def refused_there(cli):
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
def copied_world(world, finished):
    """Give a finished run in a folder of its own."""
    shutil.copytree(finished.out, world.out)
    return world
