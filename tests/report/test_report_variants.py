import csv
import re
from html import escape

import numpy as np
import pytest
from report_pages import ATTRIBUTES, CONCEPTS, HUMAN_FIGURES, LEAST, UNTUNED, USUAL_FIGURES, files, reported
from synthetic_run import analyze_run, make_run, read_answers, write_answers

from emoscale.concepts.loading import Concepts
from emoscale.report.figures import FIGURES

pytestmark = pytest.mark.slow


def test_names_and_title_are_escaped(tmp_path):
    hostile = ["<script>alert(1)</script>", 'a"b & $x_{1}$', "NA"]
    folder = make_run(tmp_path, hostile, ["<b>bold", "None", "5"], ks=(20, 40), choice=True)
    done, page = reported(folder, title="<script>title</script>", facts={"<i>fact": "<u>text"})
    assert set(done["figures"]) == set(FIGURES) - {"a3_drop_by_attribute", "f1_faithfulness"}
    for name in ("a1_needed", "d1_drop_by_size", "d3_specificity"):
        assert f">{escape('<b>bold')}</text>" in files(folder)[f"{name}.svg"].decode()
    tags = [tag for tag, _ in page.tags]
    assert not {"b>bold", "u"} & set(tags)
    assert tags.count("script") == 1  # the page's own
    for text in ("<script>title</script>", hostile[0], "<b>bold", "None", "<i>fact", "<u>text"):
        assert text in page.text
    assert "nan" not in page.text
    figure = files(folder)["b1_accuracy_by_concept.svg"].decode()
    for name in hostile:
        assert f">{escape(name, quote=False)}</text>" in figure


def test_names_that_a_spreadsheet_takes_for_formulas_stay_as_they_are(tmp_path):
    concepts, attributes = ["=1+1", "+x", "@y"], ["-a", "'=b", "5"]
    folder = make_run(tmp_path, concepts, attributes, replicates=1, draws=1, **LEAST)
    _, page = reported(folder)
    assert folder.table("drop_by_concept")["concept"].drop_duplicates().tolist() == concepts
    assert folder.table("importance")["attribute"].tolist() == attributes
    for file in folder.tables.glob("*.csv"):
        with file.open(newline="", encoding="utf-8") as lines:
            for cell in {cell for row in csv.reader(lines) for cell in row}:
                assert not cell.startswith(("=", "+", "@", "-a")), (file.name, cell)
    figure = files(folder)["b1_accuracy_by_concept.svg"].decode()
    for name in concepts:
        assert f">{name}</text>" in figure
    for name in ("-a", "'=b"):
        assert name in page.text
    assert "'-a" not in page.text


@pytest.mark.parametrize("human", [True, False])
def test_the_least_run(tmp_path, human):
    folder = make_run(tmp_path, CONCEPTS[:3], ATTRIBUTES[:3], replicates=1, draws=1, human=human, **LEAST)
    done, page = reported(folder)
    assert done["k"] == 7
    assert HUMAN_FIGURES.isdisjoint(done["figures"]) != human
    assert "1 random mask of each size" in text_of(page)
    assert "nan" not in page.text


def test_two_attributes_cannot_be_correlated(tmp_path):
    done, page = reported(make_run(tmp_path, CONCEPTS[:3], ATTRIBUTES[:2], ks=(7,)))
    assert "e3_correlation_by_size" not in done["figures"]
    assert "nan" not in page.text


def test_one_attribute(tmp_path):
    folder = make_run(tmp_path, CONCEPTS[:3], ATTRIBUTES[:1], ks=(7,))
    done, _ = reported(folder)
    assert "c3_overlap" not in done["figures"]
    assert "a1_needed" in done["figures"]


def test_masks_that_change_nothing(tmp_path):
    folder = make_run(tmp_path, CONCEPTS, ATTRIBUTES, ks=(7,))
    write_answers(folder, read_answers(folder).assign(correct=300))
    rng = np.random.default_rng(0)
    analyze_run(folder, Concepts(CONCEPTS, ATTRIBUTES, rng.random((5, 4)), rng.random(10)), truth=None)
    _, page = reported(folder, as_published=True)
    assert "nan" not in page.text
    assert "the drop in accuracy without the 7 most selective neurons is .000" in text_of(page)


def test_no_neuron_is_significant(tmp_path):
    folder = make_run(tmp_path, CONCEPTS, ATTRIBUTES)
    rng = np.random.default_rng(0)
    analyze_run(folder, Concepts(CONCEPTS, ATTRIBUTES, rng.random((5, 4)), None), alpha=1e-300)
    done, page = reported(folder)
    assert "c1_selectivity" in done["figures"]
    assert "c2_counts_by_layer" not in done["figures"]
    assert re.search(r"\b0 of [\d,]+ tests pass", text_of(page))


def test_one_matched_control(tmp_path):
    folder = make_run(tmp_path, CONCEPTS, ATTRIBUTES, ks=(20, 40), controls=("random-by-activation",))
    _, page = reported(folder)
    text = text_of(page)
    assert "as many random neurons that are as active" in text
    assert "3 activation-matched masks of each size for each attribute" in text
    assert "drawn at random among neurons about as active" in text
    assert "random masks" not in text
    figure = files(folder)["b1_accuracy_by_concept.svg"].decode()
    assert ">random neurons as active off</text>" in figure
    assert (
        ">Drop in accuracy: activation-matched − selective masks</text>"
        in files(folder)["d2_drop_by_concept.svg"].decode()
    )


def test_questions_without_tuned_prompts(tmp_path):
    folder = make_run(tmp_path, CONCEPTS, ATTRIBUTES, tuned=False)
    assert not folder.prompt_table.exists()
    done, page = reported(folder, **UNTUNED)
    assert done["figures"] == USUAL_FIGURES
    none = read_answers(folder).query("kind == 'none'")
    right = (none["correct"] / none["total"]).mean()
    text = text_of(page)
    assert f"Right in {right:.0%}" in text
    assert "where guessing gives .50" in text
    assert "the model was asked about each concept in plain words" in text
    assert "over sets of questions" in text
    for word in ("prompt", "held-out", "held out", "optimistic", "nan"):
        assert word not in page.text.lower()
    assert "held-out" not in files(folder)["b1_accuracy_by_concept.svg"].decode()


@pytest.mark.parametrize("count", [3, 5, 20])
def test_choices_among_all_concepts(tmp_path, count):
    concepts = [f"c{number}" for number in range(count)]
    folder = make_run(tmp_path, concepts, ATTRIBUTES, tuned=False, choice=True)
    done, page = reported(folder, **UNTUNED)
    assert done["figures"] == sorted({*FIGURES} - {"a3_drop_by_attribute", "f1_faithfulness"})
    answers = read_answers(folder).query("kind == 'none'")
    chosen = answers.groupby("concept", sort=False)["chosen"]
    cells = np.stack([np.stack(counts).mean(axis=0) / 400 for _, counts in chosen])
    right = np.diag(cells).mean()
    text = text_of(page)
    assert f"right answers, {right:.2f}".replace(" 0.", " .") in text
    assert f"guessing gives {1 / count:.2f}".replace(" 0.", " .") in text
    np.fill_diagonal(cells, 0)
    row, column = np.unravel_index(cells.argmax(), cells.shape)
    taken = re.search(rf"it took c{row} for c{column} \((\.\d\d)\)", text)
    assert float(taken[1]) == pytest.approx(cells.max(), abs=0.0051)
    first, third = (answers[name].to_numpy() / 400 for name in ("correct", "top3"))
    cells = re.findall(r"<td>(.*?)</td>", page.source[page.source.index("Comes first</th>") :].split("</table>")[0])
    assert cells[0] == "log probability"
    assert [float(cells[place]) for place in (1, 3)] == pytest.approx([first.mean(), third.mean()], abs=0.0051)
    svg = files(folder)["b2_confusion.svg"].decode()
    assert ">What the model answered</text>" in svg
    written = re.findall(r">\.\d\d</text>", svg)
    assert (len(written) >= count**2) == (count < 20)
    assert "nan" not in page.text


def test_choices_that_are_gone_leave_no_figure(tmp_path):
    folder = make_run(tmp_path, CONCEPTS, ATTRIBUTES, tuned=False, choice=True)
    reported(folder, **UNTUNED)
    write_answers(folder, read_answers(folder).drop(columns=["top3", "chosen"]))
    analyze_run(folder, Concepts(CONCEPTS, ATTRIBUTES, np.random.default_rng(0).random((5, 4)), None))
    assert not {"choice.csv", "confusion.csv"} & {file.name for file in folder.tables.iterdir()}
    done, page = reported(folder, **UNTUNED)
    assert "b2_confusion" not in done["figures"]
    assert "b2_confusion.svg" not in files(folder)
    assert "A concept’s name can be scored" not in page.text


def test_one_size_has_no_figure_by_size(tmp_path):
    done, page = reported(make_run(tmp_path, CONCEPTS, ATTRIBUTES, ks=(20,)))
    assert "d1_drop_by_size" not in done["figures"]
    assert "doubling" not in text_of(page)


def test_without_human_data_the_report_says_so_and_old_figures_go(tmp_path):
    folder = make_run(tmp_path, CONCEPTS, ATTRIBUTES)
    reported(folder)
    assert {name.partition(".")[0] for name in files(folder)} >= HUMAN_FIGURES
    analyze_run(folder, Concepts(CONCEPTS, ATTRIBUTES, np.random.default_rng(0).random((5, 4)), None))
    done, page = reported(folder)
    assert HUMAN_FIGURES.isdisjoint(done["figures"])
    assert HUMAN_FIGURES.isdisjoint(name.partition(".")[0] for name in files(folder))
    assert "no human data" in text_of(page)
    assert "How people judge these concepts was not given" in text_of(page)


def test_the_published_test_is_called_lenient(tmp_path):
    folder = make_run(tmp_path, CONCEPTS, ATTRIBUTES, permuted=False, halves=False, truth=None)
    done, page = reported(folder, as_published=True)
    text = text_of(page)
    assert "a3_drop_by_attribute" in done["figures"]
    assert "The tests below are the published ones" in text
    assert "By a lenient test" in text
    assert "p-values are too small" in text
    assert "By the published test" in text
    assert "corrected for all" not in text
    assert "how well τ repeats is not known" in text
    assert "e3_correlation_by_size" not in done["figures"]
    assert HUMAN_FIGURES - {"e3_correlation_by_size"} <= set(done["figures"])


def test_without_answers_the_report_says_how_to_get_them(tmp_path):
    done, page = reported(make_run(tmp_path, CONCEPTS, ATTRIBUTES, truth=None))
    assert "emoscale analyze" in text_of(page)
    assert HUMAN_FIGURES.isdisjoint(done["figures"])
    assert "published forest" not in done["figures"]


def text_of(page):
    return " ".join(page.text.split())
