"""`emoscale init` looks at a user's files and writes a config that the other commands take."""

from pathlib import Path

import pandas as pd
import pytest
import yaml
from tiny_run import CONCEPTS

from emoscale.commands.text_columns import TextColumns, find_columns
from emoscale.config import load_settings
from emoscale.config.examples import example, example_names
from emoscale.errors import InputError


@pytest.fixture
def init(cli, world, monkeypatch):
    """Write a config in a folder of its own, for files in another one."""
    place = world.folder / "studies"
    place.mkdir()
    monkeypatch.chdir(place)

    def call(model, *arguments, texts=world.texts, ratings=world.attributes):
        return cli("init", "--ratings", ratings, "--texts", texts, "--model", model, *arguments)

    return call


@pytest.mark.parametrize(
    ("model", "task", "rows"),
    [
        ("gpt2", "multiple-choice", "templates"),
        ("bert", "yes-no", "templates"),
        ("bert-encoder", "soft-prompt", "prompts"),
    ],
)
def test_a_config_for_each_kind_of_model(init, world, tiny_folder, model, task, rows):
    answer = init(tiny_folder(model))
    assert (answer.code, answer.err) == (0, "")
    assert "texts: column 'text'; labels in 'label'; splits in 'split'" in answer.out
    assert "concepts with ratings and texts: 4 (joy, anger, fear, sad), 10 texts each" in answer.out
    file = Path("study.yaml")
    first, second, *_ = file.read_text().splitlines()
    assert first == "# emoscale run study.yaml"
    assert Path(second.removeprefix("# yaml-language-server: $schema=")).is_file()
    assert yaml.safe_load(file.read_text())["concepts"]["attributes"] == "../attributes.csv"
    settings = load_settings(file)
    assert (settings.ablation.task, settings.extraction.rows) == (task, rows)
    assert (settings.stimuli.path, settings.stimuli.split_column) == (str(world.texts), "split")
    assert settings.model.name == str(tiny_folder(model))


@pytest.mark.slow
def test_the_config_runs(init, cli, tiny_folder, monkeypatch):
    assert init(tiny_folder("gpt2"), "--out", "mine.yaml").code == 0
    answer = cli("check", "mine.yaml")
    assert (answer.code, answer.err) == (0, "")
    quick = ["masks.permutations=2", "masks.draws=2", "attribution.permutations=9", "attribution.check_neurons=4"]
    quick += ["attribution.check_groups=[]", "attribution.exact_neurons=0"]
    answer = cli("run", "mine.yaml", *(part for one in quick for part in ("--set", one)))
    assert (answer.code, answer.err) == (0, "")
    assert Path("runs/mine/report.html").is_file()
    assert "4 concepts have too few orders" in Path("runs/mine/report.html").read_text()
    assert "warning: 4 concepts have too few orders" in answer.out
    # What it keeps can be continued from anywhere.
    run = Path("runs/mine").absolute()
    monkeypatch.chdir("/")
    answer = cli("run", run / "config.yaml", "--out", run)
    assert answer == (0, f"{run}: all stages are done; report: {run / 'report.html'}\n", "")


def test_concepts_without_texts_are_left_out(init, world, tiny_folder):
    with world.attributes.open("a") as file:
        file.write("awe,0.3,0.4,0.5\n")
    with world.texts.open("a") as file:
        file.write("she felt home,bored,train\n")
    assert init(tiny_folder("gpt2")).code == 0
    settings = load_settings(Path("study.yaml"))
    assert settings.concepts.names == list(CONCEPTS)
    text = Path("study.yaml").read_text()
    assert "# Without awe: " in text
    assert "# Labels without ratings are ignored: bored" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "init: --ratings, --texts, --model missing; give all three, or --example NAME"),
        (["--model", "gpt2"], "init: --ratings, --texts missing; give all three, or --example NAME"),
        (["--example", "demo", "--model", "gpt2"], "--example: is complete already; leave out"),
        (["--example", "dem"], "--example 'dem': no such example (nearest: 'demo'); use one of "),
    ],
)
def test_arguments_that_make_no_sense(cli, world, monkeypatch, arguments, said):
    monkeypatch.chdir(world.folder)
    before = set(world.folder.iterdir())
    answer = cli("init", *arguments)
    assert answer.code == 2
    assert answer.problems[0].startswith(said)
    assert set(world.folder.iterdir()) == before


def test_files_that_do_not_belong_together(init, world, tiny_folder):
    others = world.folder / "others.csv"
    others.write_text("body,mood\nhello,HAPPY\nwell,LOW\n")
    answer = init(tiny_folder("gpt2"), texts=others)
    assert answer.code == 2
    assert answer.problems == [
        f"{others}: no column holds concepts of {world.attributes} ('joy', 'anger', 'fear', 'sad', ...); its columns "
        "are 'body', 'mood'; write the labels as the ratings name the concepts"
    ]
    few = world.folder / "few.csv"
    few.write_text("body,mood\nhello,joy\nwell,joy\noh,fear\nno,fear\n")
    (problem,) = init(tiny_folder("gpt2"), texts=few).problems
    assert "and 3 are needed; label more texts" in problem
    assert not Path("study.yaml").exists()


def test_nothing_is_overwritten(init, cli, tiny_folder):
    Path("study.yaml").write_text("mine")
    assert init(tiny_folder("gpt2")).problems == ["study.yaml: exists; give another --out, or remove it"]
    Path("demo.yaml").write_text("mine")
    assert cli("init", "--example", "demo").problems == ["demo.yaml: exists; give another --out, or remove it"]
    assert Path("demo.yaml").read_text() == Path("study.yaml").read_text() == "mine"


@pytest.mark.parametrize("name", example_names())
def test_examples_are_written(cli, world, monkeypatch, name):
    monkeypatch.chdir(world.folder)
    assert cli("init", "--example", name, "--out", "copy.yaml").code == 0
    lines = Path("copy.yaml").read_text().splitlines()
    assert "copy.yaml" in lines[0]
    assert "configs/" not in lines[0]
    assert Path(lines[1].removeprefix("# yaml-language-server: $schema=")).is_file()
    assert load_settings(Path("copy.yaml")) == load_settings(example(name), base=world.folder)


def test_an_example_in_place_of_a_config(cli, world, monkeypatch, tiny_folder):
    monkeypatch.chdir(world.folder)
    sets = [f"model.name={tiny_folder('gpt2')}", "model.sha256=null", "ablation.scoring=name"]
    sets += ["stimuli.max_tokens=8", "ablation.templates='{text}'"]
    answer = cli("check", "--example", "demo", *(part for one in sets for part in ("--set", one)))
    assert "concepts     27: " in answer.out
    for arguments in ([world.config, "--example", "demo"], []):
        assert cli("run", *arguments).problems == ["give a CONFIG, or --example NAME in its place (see --help)"]


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ({"text": ["a b", "c d"], "emotion": ["joy", "fear"]}, ("text", "emotion", None, None)),
        ({"id": ["1", "2"], "what she said": ["a b", "c d"], "y": ["joy", "x"]}, ("what she said", "y", None, None)),
        ({"text": ["a", "b"], "labels": ["joy, fear", "fear"]}, ("text", "labels", ",", None)),
        ({"text": ["a", "b"], "labels": ["joy|fear", "fear"]}, ("text", "labels", "|", None)),
        (
            {"source": ["long words here", "long words there"], "Text": ["a", "b"], "e": ["joy", "fear"]},
            ("Text", "e", None, None),
        ),
        ({"t": ["a", "b"], "set": ["train", "test"], "e": ["joy", "fear"]}, ("t", "e", None, "set")),
        ({"t": ["a", "b"], "set": ["train", "train"], "e": ["joy", "fear"]}, ("set", "e", None, None)),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_which_columns_hold_what(tmp_path, table, columns, suffix):
    file, frame = tmp_path / f"texts.{suffix}", pd.DataFrame(table)
    {
        "csv": lambda: frame.to_csv(file, index=False),
        "parquet": lambda: frame.to_parquet(file),
        "jsonl": lambda: frame.to_json(file, orient="records", lines=True),
    }[suffix]()
    assert find_columns(file, ["joy", "fear", "awe"], Path("r.csv")) == TextColumns(*columns)


def test_a_file_without_texts(tmp_path):
    file = tmp_path / "texts.csv"
    file.write_text("id,e\n1,joy\n2,fear\n")
    with pytest.raises(InputError, match=r"no column of texts beside 'e'; add one, e\.g\. called text"):
        find_columns(file, ["joy", "fear"], Path("r.csv"))
