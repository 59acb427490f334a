"""The workflow tests what the package promises, with commands and options that exist."""

import re
import shlex
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import typer.main
import yaml

from emoscale.cli import app
from emoscale.config import load_settings
from emoscale.config.examples import example

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LINES = [
    line for job in WORKFLOW["jobs"].values() for step in job["steps"] for line in step.get("run", "").splitlines()
]
CALLS = [shlex.split(line.partition("emoscale ")[2]) for line in LINES if "bin/emoscale " in line]


def test_four_pythons_on_three_systems():
    matrix = WORKFLOW["jobs"]["quick"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert [name.split("-")[0] for name in matrix["os"]] == ["ubuntu", "macos", "windows"]
    assert PROJECT["requires-python"] == f">={matrix['python'][0]}"


def test_extras_exist():
    named = {extra for line in LINES for extras in re.findall(r"\[([\w,]+)\]\"", line) for extra in extras.split(",")}
    assert {"dev", "minilm"} <= named <= set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("words", CALLS, ids=" ".join)
def test_commands_exist(words):
    group = typer.main.get_command(app)
    if words[0] not in group.commands:
        assert words == ["--version"]
        return
    known = {name for parameter in group.commands[words[0]].params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    if words[0] == "run":
        changes = [value for option, value in pairwise(words) if option == "--set"]
        assert load_settings(example(words[words.index("--example") + 1]), changes)
