"""Reports of runs whose truth is known: what they answer, and which blocks and numbers are there."""

import re

import pandas as pd
import pytest
from report_pages import ATTRIBUTES, CONCEPTS, HUMAN_FIGURES, UNTUNED, reported
from synthetic_answers import AT_CHANCE, NO_EFFECT, NO_PERMUTED_MASKS, NOISE_MAPS, PLANTED
from synthetic_run import make_run

from emoscale.run.verdicts import Answer, Question, Reason, read_verdicts
from emoscale.schema import ALL_ATTRIBUTES

pytestmark = pytest.mark.slow

LOSS_FIGURES = {"a1_needed", "d1_drop_by_size", "d2_drop_by_concept", "d3_specificity"}
TRUTHS = {
    "planted": PLANTED,
    "chance": AT_CHANCE,
    "noise": NOISE_MAPS,
    "no effect": NO_EFFECT,
    "no permuted masks": NO_PERMUTED_MASKS,
}
SEED = 3


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """Return a function from the name of a truth to the run's verdicts, its report and the page; each is made once."""
    made = {}

    def make(name):
        if name not in made:
            path = tmp_path_factory.mktemp(name.replace(" ", "-"))
            controls = ("random",) if name == "no permuted masks" else ("permuted", "random")
            folder = make_run(
                path, CONCEPTS, ATTRIBUTES, controls=controls, truth=TRUTHS[name], choice=True, tuned=False, seed=SEED
            )
            done, page = reported(folder, **UNTUNED)
            made[name] = read_verdicts(folder), set(done["figures"]), page, folder
        return made[name]

    return make


def answers(verdicts):
    return {question.value: (verdict.answer, verdict.reason) for question, verdict in verdicts.items()}


def between(page, start, end):
    return page.source[page.source.index(f'id="{start}"') : page.source.index(f'id="{end}"')]


def words(source):
    return re.sub(r"<[^>]*>", " ", source.split(">", 1)[1])


def shown_answers(page):
    return re.findall(r'<span class="(yes|no|unknown)">', page.source)


def test_planted_effect(golden):
    verdicts, figures, page, _folder = golden("planted")
    assert answers(verdicts) == {
        "task": (Answer.YES, Reason.ABOVE_CHANCE),
        "followers": (Answer.YES, Reason.MORE_THAN_PERMUTED),
        "need": (Answer.YES, Reason.NEEDED),
        "people": (Answer.YES, Reason.AS_PEOPLE),
    }
    assert shown_answers(page) == ["yes", "yes", "yes"]
    assert figures >= HUMAN_FIGURES | LOSS_FIGURES | {"a2_followers"}
    need = verdicts[Question.NEED]
    head = page.source.split('<dl class="answers">')[1].split("</dl>")[0]
    assert f"{need.value:.2f}".removeprefix("0") in head
    assert "r = .60 [.35, .85]" in " ".join(head.split())
    assert "r = .60" in words(between(page, "people", "neurons"))
    assert not [attrs for _, attrs in page.tags if "left-out" in attrs.get("class", "").split()][
        1:
    ]  # the figures' line
    assert "nan" not in page.text


def test_halves_of_the_replicates_are_compared(golden):
    *_, folder = golden("planted")
    row = {"k": 60, "shared": 0.4, "shared_by_chance": 0.2, "answer_1": "yes", "answer_2": "yes"}
    numbers = {"drop_1": 0.123, "ci_low_1": 0.1, "ci_high_1": 0.2, "drop_2": 0.234, "ci_low_2": 0.1, "ci_high_2": 0.3}
    names = [*ATTRIBUTES[:2], ALL_ATTRIBUTES]
    table = pd.DataFrame([{"attribute": name, **row, **numbers} for name in names])
    table.loc[1, "answer_2"] = "unknown"
    folder.write_table("held_out", table.assign(k=folder.table("verdicts")["k"].max()))
    try:
        _, page = reported(folder, **UNTUNED)
    finally:
        (folder.tables / "held_out.csv").unlink()
    losses = between(page, "losses", "people")
    assert ".123 [.100, .200]" in losses
    assert ".234 [.100, .300]" in losses
    assert f"Needed by both halves: {ATTRIBUTES[0]}." in losses


@pytest.mark.parametrize("name", ["chance", "noise"])
def test_where_the_answers_mean_nothing_nothing_signed_is_said_of_people(golden, name):
    verdicts, figures, page, _ = golden(name)
    expected = {
        "chance": ((Answer.NO, Reason.AT_CHANCE), (Answer.YES, Reason.MORE_THAN_PERMUTED), Reason.TASK_NOT_SHOWN),
        "noise": (
            (Answer.YES, Reason.ABOVE_CHANCE),
            (Answer.UNKNOWN, Reason.MAP_DOES_NOT_REPEAT),
            Reason.FOLLOWERS_NOT_SHOWN,
        ),
    }[name]
    unknown = (Answer.UNKNOWN, expected[2])
    assert answers(verdicts) == {"task": expected[0], "followers": expected[1], "need": unknown, "people": unknown}
    assert shown_answers(page) == [expected[0][0].value, expected[1][0].value, "unknown"]
    assert HUMAN_FIGURES.isdisjoint(figures)
    assert LOSS_FIGURES.isdisjoint(figures)
    for start, end in (("losses", "people"), ("people", "neurons")):
        assert "left-out" in between(page, start, end)
        assert "<table" not in between(page, start, end)
    assert not re.search(r"\d", words(between(page, "people", "neurons")).split("Figures left out")[0])
    third = page.source.split("<dd>")[3].split("</dd>")[0]
    assert not re.search(r"\d", third)
    assert "importance" not in page.text.split("Where the files are")[0].lower()
    assert "nan" not in page.text


def test_at_chance_single_concepts_and_neurons_are_not_described(golden):
    _, figures, page, folder = golden("chance")
    assert "b2_confusion" not in figures
    assert "hardest" not in page.text
    folder.write_table("effects_by_layer", folder.table("significant").assign(share=0.1))
    _, again = reported(folder, **UNTUNED)
    (folder.tables / "effects_by_layer.csv").unlink()
    assert "left-out" in between(again, "effects", "neurons")
    assert not re.search(r"\d", words(between(again, "effects", "neurons")).split("Figures left out")[0])


def test_shown_not_to_be_needed(golden):
    verdicts, figures, page, _ = golden("no effect")
    assert answers(verdicts)["need"] == (Answer.NO, Reason.EQUIVALENT)
    assert shown_answers(page) == ["yes", "yes", "no"]
    assert figures >= LOSS_FIGURES


def test_without_permuted_masks_it_cannot_be_told(golden):
    verdicts, figures, page, _ = golden("no permuted masks")
    assert answers(verdicts)["need"] == (Answer.UNKNOWN, Reason.NO_PERMUTED_MASKS)
    assert shown_answers(page) == ["yes", "yes", "unknown"]
    assert "a1_needed" in figures  # by estimates
    assert "e3_correlation_by_size" not in figures
    assert "nan" not in page.text


def test_figures_are_numbered_in_their_order_and_name_their_numbers(golden):
    _, figures, page, folder = golden("planted")
    numbers = [int(number) for number in re.findall(r"<b>Figure (\d+)\.", page.source)]
    assert numbers == list(range(1, len(figures) + 1))
    sources = re.findall(r"Numbers: <code>(.*?)</code>", page.source)
    assert len(sources) == len(figures)
    assert all((folder.path / source).exists() for source in sources)
    titles = re.findall(r"<b>Figure \d+\. (.*?)</b>", page.source)
    assert all(title.endswith("?") for title in titles)


def test_figures_that_show_nothing_are_named_in_one_line(golden):
    for name, title in (("chance", "Does the model need what people need?"), ("planted", "carry alone?")):
        (line,) = re.findall(r'class="note left-out">(.*?)</p>', golden(name)[2].source, re.DOTALL)
        assert title in line
