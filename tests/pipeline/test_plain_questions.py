"""Runs whose models are asked in plain words, without tuned prompts."""

import shutil

import pandas as pd
import pytest
from tiny_run import CONCEPTS, MASKS, contents, manifest, states

from emoscale.pipeline.stages import STAGES
from emoscale.run.folder import RunFolder
from emoscale.schema import SCORES
from emoscale.store import open_store
from emoscale.tasks.registry import TASKS
from emoscale.tasks.task import TaskKind

pytestmark = pytest.mark.slow

WITHOUT_TUNING = [stage for stage in STAGES if stage != "tune"]


@pytest.fixture
def plain(world, tiny_folder):
    """Give a world without prompts, with a causal model."""
    world.settings["model"]["name"] = str(tiny_folder("gpt2"))
    world.settings["extraction"]["rows"] = "templates"
    world.settings["ablation"]["task"] = "multiple-choice"
    world.write()
    return world


def test_which_concept_a_text_shows(cli, plain):
    templates = ["{text}\nshe felt", "{text}. my friend was full of"]
    plain.write(ablation={"templates": templates})
    answer = cli("run", plain.config, "--out", plain.out)
    assert (answer.code, answer.err) == (0, "")
    assert list(states(plain.out)) == WITHOUT_TUNING
    assert not (plain.out / "prompts").exists()
    assert manifest(plain.out)["stages"]["ablate"]["counts"]["items"] == 2 * 2 * len(CONCEPTS)
    scores = open_store(plain.out / "scores.zarr", SCORES)
    assert scores.sizes["item"] == 2 * 2 * len(CONCEPTS)
    assert (scores.sizes["mask"], scores.read("option").tolist()) == (MASKS, list(CONCEPTS))
    assert set(scores.read("replicate")) == {"0", "1"}
    choice = pd.read_csv(plain.out / "tables" / "choice.csv")
    assert choice["normalization"].unique().tolist() == ["none", "calibrated"]  # every name is one token
    right = scores.read("scores")[:, 0].argmax(axis=1) == scores.read("right")
    accuracy = choice[(choice["kind"] == "none") & (choice["normalization"] == "none")]["accuracy"]
    assert accuracy.tolist() == [right.mean()]
    confusion = pd.read_csv(plain.out / "tables" / "confusion.csv")
    assert set(confusion["answer"]) == set(CONCEPTS)
    report = (plain.out / "report.html").read_text(encoding="utf-8")
    assert "16, answered by one of 4 concepts" in report
    assert "vectors each" not in report


def test_which_concept_stage_by_stage(cli, plain):
    for stage in WITHOUT_TUNING[: WITHOUT_TUNING.index("ablate") + 1]:
        answer = cli(stage, plain.config, "--out", plain.out)
        assert (answer.code, answer.err) == (0, "")
    scores = contents(plain.out, "scores.zarr")
    whole = plain.folder / "whole"
    assert cli("run", plain.config, "--out", whole).code == 0
    assert contents(whole, "scores.zarr") == scores


def test_which_concept_in_a_chat(cli, plain, tiny_folder):
    folder = plain.folder / "chatting"
    shutil.copytree(tiny_folder("gpt2"), folder)
    (folder / "chat_template.jinja").write_text("{% for one in messages %}she: {{ one.content }}\n{% endfor %}he: ")
    asked = {"templates": ["{text} ?"], "chat": True, "answer": "she felt", "scoring": "first-token"}
    plain.write(model={"name": str(folder)}, ablation=asked)
    answer = cli("run", plain.config, "--out", plain.out)
    assert (answer.code, answer.err) == (0, "")
    report = (plain.out / "report.html").read_text(encoding="utf-8")
    assert "8, each a message of a chat, with an answer that begins “she felt”, answered by one of 4 concepts" in report
    plain.write(model={"name": str(tiny_folder("gpt2"))}, ablation=asked)
    assert cli("run", plain.config, "--out", plain.folder / "other").problems == [
        f"ablation.chat: {tiny_folder('gpt2')} has no chat template; set ablation.chat to false"
    ]


def test_a_task_of_ones_own(cli, plain, monkeypatch):
    """One entry: the settings accept it, its checks are made, it is answered, and the report describes it."""
    checked = []

    own = TaskKind(
        "own",
        "which concept a text shows",
        make=TASKS["multiple-choice"].make,
        check=lambda context: checked.append(context.outline.kind),
        facts=lambda context: {"Asked": f"of {len(context.concepts.names)} concepts"},
    )
    monkeypatch.setitem(TASKS, "own", own)
    plain.write(ablation={"task": "own"})
    answer = cli("run", plain.config, "--out", plain.out)
    assert (answer.code, answer.err) == (0, "")
    assert checked == ["causal-lm"]
    assert manifest(plain.out)["stages"]["ablate"]["counts"]["items"] == 2 * len(CONCEPTS)
    assert f"of {len(CONCEPTS)} concepts" in (plain.out / "report.html").read_text(encoding="utf-8")
    plain.write(ablation={"task": "own", "templates": ["{text} felt"]})
    (problem,) = cli("run", plain.config, "--out", plain.out).problems
    assert problem.startswith("ablation.templates: task 'own' does not use it")


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_two_words(cli, plain, tiny_folder, name):
    plain.write(model={"name": str(tiny_folder(name))}, ablation={"task": "yes-no", "words": ["negative", "positive"]})
    answer = cli("run", plain.config, "--out", plain.out)
    assert (answer.code, answer.err) == (0, "")
    assert list(states(plain.out)) == WITHOUT_TUNING
    scores = open_store(plain.out / "scores.zarr", SCORES)
    assert set(scores.read("replicate")) == {"1", "3"}
    assert (scores.sizes["item"], scores.sizes["option"]) == (2 * 4 * len(CONCEPTS), 2)
    assert not (plain.out / "tables" / "choice.csv").exists()


def test_prompts_are_tuned_for_the_extraction_alone(cli, plain):
    plain.write(extraction={"rows": "prompts"})
    assert cli("ablate", plain.config, "--out", plain.out).problems == [
        f"{plain.out}: ablate needs mask; run emoscale mask first, or emoscale run"
    ]
    assert cli("extract", plain.config, "--out", plain.out).problems == [
        f"{plain.out}: extract needs tune; run emoscale tune first, or emoscale run"
    ]
    assert cli("tune", plain.config, "--out", plain.out).code == 0


def test_what_cannot_be_asked_is_reported_before_anything_runs(cli, plain, tiny_folder):
    def problems(**sections):
        plain.write(**sections)
        answer = cli("run", plain.config, "--out", plain.out)
        assert answer.code == 2
        assert not plain.out.exists()
        return answer.problems

    assert problems(ablation={"templates": ["she felt"]}, masks={"k": [1000]}) == [
        "ablation.templates 'she felt': has no field; it must have {text}, each once",
        "masks.k = 1000: the model has 48 neurons; give that many or fewer",
    ]
    assert problems(ablation={"task": "yes-no", "words": ["negative", "surprise"]}) == [
        "ablation.words 'surprise': 9 tokens in " + str(tiny_folder("gpt2")) + "; choose a word of one token"
    ]
    assert problems(ablation={"task": "yes-no", "words": ["negative", " "]}) == [
        "ablation.words ['negative', ' ']: one is empty; give two words"
    ]
    (problem,) = problems(model={"name": str(tiny_folder("bert"))})
    assert "does not continue a text (masked-lm)" in problem
    (problem,) = problems(model={"name": str(tiny_folder("bert-encoder"))}, ablation={"task": "yes-no"})
    assert "predicts no words (encoder)" in problem
    (problem,) = problems(ablation={"templates": ["{text}" + " loud" * 70]})
    assert "64 positions" in problem


def test_two_precisions_stand_in_the_report(cli, plain):
    plain.write(
        ablation={"precision": "two-level", "exact_share": 0.5, "templates": ["{text}\nshe felt", "{text}. he"]}
    )
    answer = cli("run", plain.config, "--out", plain.out)
    assert answer.code == 0
    scores = open_store(plain.out / "scores.zarr", SCORES)
    assert scores.sizes["exact_item"] == scores.sizes["item"]
    assert manifest(plain.out)["stages"]["ablate"]["counts"]["exact_share"] == 0.5
    report = " ".join((plain.out / "report.html").read_text(encoding="utf-8").split())
    assert "outcomes corrected by 16 of 16 items" in report  # two texts of each concept are the fewest


def test_two_precisions_of_bfloat16_are_refused_before_anything_is_done(cli, plain):
    plain.write(ablation={"precision": "two-level"}, model={"dtype": "bfloat16"})
    answer = cli("check", plain.config)
    assert answer.code != 0
    assert "the weights are bfloat16, so there is nothing more exact" in " ".join(answer.err.split())


def test_comparisons_that_end_early_stand_in_the_report(cli, plain):
    texts = pd.read_csv(plain.texts)
    texts.loc[texts.groupby("label").cumcount() >= 4, "split"] = "dev"
    texts.to_csv(plain.texts, index=False)
    # Whatever the drops are, the smallest effect of interest is larger.
    plain.write(
        stimuli={"dev_texts": 4},
        masks={"controls": ["permuted"], "permutations": 3},
        ablation={"stop_when": "decided"},
        analysis={"smallest_effect": 1e6},
    )
    answer = cli("run", plain.config, "--out", plain.out)
    assert answer.code == 0, answer.err
    counts = manifest(plain.out)["stages"]["ablate"]["counts"]
    assert counts["rows"] < counts["items"] * counts["masks"]
    needed = RunFolder(plain.out).table("needed")
    assert set(needed["items"]) == {counts["items"] // 2}
    saved = 1 - counts["rows"] / (counts["items"] * counts["masks"])
    report = " ".join((plain.out / "report.html").read_text(encoding="utf-8").split())
    assert f"{saved:.0%} of all texts and masks were not asked" in report


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masks": {"controls": ["random"]}}, "list permuted in masks.controls"),
        ({"masks": {"controls": ["permuted"], "permutations": 2}}, "set masks.permutations to 3 or more"),
        ({"masks": {"controls": ["permuted"]}, "ablation": {"precision": "two-level"}}, "not together with"),
    ],
)
def test_comparisons_that_cannot_end_early_are_refused(cli, plain, changes, message):
    ablation = {"stop_when": "decided"} | changes.get("ablation", {})
    plain.write(**{**changes, "ablation": ablation})
    answer = cli("check", plain.config)
    assert answer.code != 0
    assert message in " ".join(answer.err.split())
