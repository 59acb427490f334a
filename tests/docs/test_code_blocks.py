"""Every command, option, file and setting that README and docs name exists; nothing is run that takes long."""

import re
import shlex
import tomllib
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import typer.main
import yaml
from registries import registries_restored

from emoscale.cli import app
from emoscale.config import load_settings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]

BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
SHELL_CELL = re.compile(r"^```{code-cell}[^\n]*\n%%sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
BESIDES = {"bash", "git", "pip", "cd", "sbatch", "squeue", "accelerate", "torchrun", "source", "python", "tail"}
"""Programs of others, whose options are not ours to check."""
PLACEHOLDERS = {"CONFIG", "RUN", "NAME", "MODEL", "FILE", "RATINGS...", "COMMAND"}


def blocks(page, *languages):
    """Give the language and the text of every block in some languages, in the page's order."""
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        indent, language, text = match.groups()
        if language in languages:
            yield language, re.sub(f"^{indent}", "", text, flags=re.MULTILINE)


def commands(page):
    """Give every command of a page, as a list of words: lines of shell blocks, and what stands in backticks."""
    shell = [block for _, block in blocks(page, "sh", "bash", "console")]
    for block in [*shell, *SHELL_CELL.findall(page.read_text(encoding="utf-8"))]:
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line.removeprefix("$ "), comments=True):
                yield words
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for match in INLINE.finditer(prose):
        text = " ".join(match[1].split())
        if text.startswith(("emoscale ", "make ", "python -m ", "accelerate ", "torchrun ", "DASK_CONFIG=")):
            yield shlex.split(text)


@cache
def command_line():
    return typer.main.get_command(app)


def options_of(words):
    """Follow the words to a command; return it and the words after its name."""
    command = command_line()
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def check_emoscale(words, folder):
    if "|" in (words[0] if words else ""):  # `emoscale tune|extract|... CONFIG`
        for name in words[0].split("|"):
            check_emoscale([name, *words[1:]], folder)
        return
    if words[:1] == ["COMMAND"]:
        return
    command, rest = options_of(words)
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help", "-h"}
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"emoscale {' '.join(words)}: no option {word}"
        elif word.startswith("configs/"):
            assert (ROOT / word).is_file(), f"{word}: not in the repository"
    for option, value in pairwise(rest):
        if option == "--set":
            check_setting(value, folder)
    if rest and not PLACEHOLDERS & set(rest):
        # The parser of the command line itself, which stops before anything is called.
        command.make_context("emoscale", list(rest), resilient_parsing=True)


def check_setting(text, folder):
    file = folder / "plain.yaml"
    file.write_text("model: {name: a-model}\n", encoding="utf-8")
    assert load_settings(file, [text]).model.name


def check_command(words, folder):
    while words and re.fullmatch(r"[A-Z_]+=\S+", words[0]):
        _, _, value = words[0].partition("=")
        assert not value.startswith("configs/") or (ROOT / value).is_file(), words[0]
        words = words[1:]
    if "emoscale" in words and words[0] in {"accelerate", "torchrun"}:
        words = words[words.index("emoscale") :]
    if Path(words[0]).name == "emoscale":
        check_emoscale(words[1:], folder)
    elif words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(words[1:2]) <= set(targets), f"make has no {words[1]}"
    elif words[:2] == ["python", "-m"] and words[2].startswith("benchmarks."):
        check_benchmark(words[2], words[3:])
    else:
        assert words[0] in BESIDES, f"{words[0]}: neither ours nor known; correct the page or name it here"


def check_benchmark(module, words):
    # Importing would load libraries to compare with; an option stands in the source, or is a keyword of `arguments`.
    spec = find_spec(module)
    assert spec, f"{module}: no such module"
    folder = Path(spec.origin).parent
    source = "\n".join(file.read_text(encoding="utf-8") for file in (Path(spec.origin), folder / "common.py"))
    for word in words:
        if word.startswith("--"):
            option = word.partition("=")[0]
            parameter = option.removeprefix("--").replace("-", "_")
            known = f'"{option}"' in source or re.search(
                rf"\b{parameter}=|\b(options|arguments|given)\.{parameter}\b", source
            )
            assert known, f"python -m {module}: no option {word}"


def name_of(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands(page, tmp_path):
    for words in commands(page):
        check_command(words, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_and_settings(page, tmp_path, monkeypatch, tiny_folder):
    """With a model, texts, their concepts and ratings, as a reader would have them; in the page's order, since a
    config may name what was added to a registry before."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "my-model").symlink_to(tiny_folder("gpt2"))
    concepts = ["joy", "anger", "fear", "pride"] * 2
    ratings = pd.DataFrame({"valence": [0.9, 0.1, 0.2, 0.8]}, index=concepts[:4])
    spaces = {"__name__": "docs", "texts": [f"text {n}" for n in range(8)], "concepts": concepts, "ratings": ratings}
    with registries_restored():
        for language, block in blocks(page, "python", "yaml"):
            if language == "python":
                exec(compile(block, str(page), "exec"), spaces)
            else:
                check_sections(yaml.safe_load(block), tmp_path / "block.yaml")


def check_sections(given, file):
    file.write_text(yaml.safe_dump(merged(given)), encoding="utf-8")
    settings = load_settings(file)
    assert all(hasattr(settings, section) for section in given)


def merged(given):
    """Give a model a name where a block only says something else of it."""
    return {**given, "model": {"name": "a-model", **given.get("model", {})}}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links(page):
    """Files that a page links to are there."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target} is not there"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("emoscale runs configs/demo.yaml", "no command"),
        ("emoscale run configs/demo.yaml --cluster slurm", "no option"),
        ("emoscale run configs/none.yaml", "not in the repository"),
        ("make demonstration", "make has no"),
        ("python -m benchmarks.searchlight --nothing", "no option"),
        ("emoscal run", "neither ours"),
    ],
)
def test_mistakes_are_found(line, message, tmp_path):
    with pytest.raises(AssertionError, match=message):
        check_command(shlex.split(line), tmp_path)


PATH = re.compile(r"(?<![\w./-])(?:configs|benchmarks|tests|emoscale|kernels|docs)/[\w./-]*[\w-]")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_of_the_repository_that_a_page_names_are_there(page):
    named = PATH.findall(page.read_text(encoding="utf-8"))
    made = {name for name in named if name.startswith("docs/_build")}
    assert [name for name in named if name not in made and not (ROOT / name).exists()] == []


def test_every_extra_is_explained():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    text = (ROOT / "docs" / "howto" / "install.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    assert [extra for extra in extras if f"`{extra}`" not in table] == []
