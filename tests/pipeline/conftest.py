from __future__ import annotations

import signal
import sys
from typing import NamedTuple

import pytest
from rich.console import Console
from tiny_run import World, draw_few_figures

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
