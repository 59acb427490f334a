"""Labels in other forms, and files of texts that are asked about alone."""

import logging

import pandas as pd
import pytest
from tiny_run import CONCEPTS, states

from emoscale.config import load_settings
from emoscale.pipeline.context import Context
from emoscale.stimuli.texts import load_texts
from emoscale.system.ranks import one_process
from emoscale.tasks.multiple_choice import draw_single

FORMS = {"joy": ["Joy", "j\u200boy", "JOY"], "fear": ["fear\u00a0", "Fear"], "sad": ["sad"], "anger": ["ANGER"]}


def rewrite(world, **columns):
    """Change some columns of the texts, and return the table as it was."""
    table = pd.read_csv(world.texts)
    table.assign(**{name: change(table) for name, change in columns.items()}).to_csv(world.texts, index=False)
    return table


def in_other_forms(table):
    return [FORMS[label][row % len(FORMS[label])] for row, label in enumerate(table["label"])]


@pytest.fixture
def context(world):
    return lambda *overrides: Context(load_settings(world.config, list(overrides)), one_process())


def test_labels_in_other_forms_are_the_concepts(world, context, caplog):
    table = rewrite(world, label=in_other_forms)
    with caplog.at_level(logging.WARNING):
        made = context("extraction.rows=texts")
        assert [label for (label,) in made.texts["labels"]] == table["label"].tolist()
        for prompt in made.prompt_texts:
            for sample in (prompt.train, prompt.validation, prompt.dev):
                own = table["label"].iloc[sample.rows] == prompt.concept
                assert sample.labels.tolist() == own.astype(int).tolist()
        streamed = pd.concat(made.text_pieces)
    assert [label for (label,) in streamed["labels"]] == table["label"][table["split"] == "train"].tolist()
    assert [len(rows) for rows in draw_single(made.texts, CONCEPTS, None, 0)] == [2] * 4
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"{world.texts}: labels are read as names written otherwise: ")
    assert "'ANGER' as 'anger' (capitals)" in said
    assert "(capitals and invisible characters)" not in said.partition("'JOY'")[2]
    assert "\n" not in said


def test_a_label_that_is_nearly_a_concept_is_named(cli, world):
    rewrite(world, label=lambda table: table["label"].replace("joy", "j-oy"))
    answer = cli("check", world.config)
    assert answer.code == 2
    assert "concept 'joy'" in answer.err
    assert "(nearest: 'j-oy', which differs in spaces, hyphens or underscores)" in " ".join(answer.err.split())


def test_texts_of_both_splits_are_not_trained_on(world, context):
    table = rewrite(world, text=lambda table: table["text"].where(table.index % 10 != 3, " " + table["text"].shift(-5)))
    both = set(table["text"][table["split"] == "dev"]) & {
        " ".join(text.split()) for text in load_texts(context().settings.stimuli).query("split == 'train'")["text"]
    }
    assert both
    for settings, trained in (((), False), (("tuning.keep_repeated=true",), True)):
        made = context("tuning.validation=0", *settings)
        rows = {row for prompt in made.prompt_texts for row in prompt.train.rows}
        assert bool(both & {" ".join(made.texts["text"][row].split()) for row in rows}) == trained


@pytest.mark.slow
@pytest.mark.parametrize(("name", "task"), [("gpt2", "multiple-choice"), ("bert", "yes-no")])
def test_a_study_that_trains_nothing_needs_no_train_texts(cli, world, tiny_folder, name, task):
    rewrite(world, split=lambda table: "test")
    world.settings["model"]["name"] = str(tiny_folder(name))
    world.write(extraction={"rows": "templates"}, ablation={"task": task, "words": ["news", "home"]})
    if task == "multiple-choice":
        world.write(extraction={"rows": "templates"}, ablation={"task": task})
    answer = cli("check", world.config)
    assert (answer.code, "no train texts" in answer.err) == (0, False)
    answer = cli("run", world.config, "--out", world.out)
    assert answer.code == 0, answer.err
    assert set(states(world.out).values()) == {"done"}
    assert "0 to learn from, 40 held out" in (world.out / "report.html").read_text(encoding="utf-8")


def test_what_trains_needs_train_texts(cli, world):
    rewrite(world, split=lambda table: "test")
    answer = cli("check", world.config)
    assert answer.code == 2
    assert "no train texts" in answer.err
