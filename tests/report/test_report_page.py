import re
import warnings
from html import escape
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from synthetic_run import make_run

from emoscale.analysis.analyze import analyze
from emoscale.errors import StageError
from emoscale.report.figures import FIGURES
from emoscale.report.limits import EDITS, limits_told
from emoscale.report.reading import read_findings, shown_size
from emoscale.report.write_report import write_report
from emoscale.run.folder import RunFolder
from emoscale.schema import SELECTIVITY
from emoscale.store import open_store
from emoscale.system.progress import Silent

CONCEPTS = ["joy", "fear", "anger", "grief", "pride"]
ATTRIBUTES = ["valence", "arousal", "control", "novelty"]
LEAST = {"ks": (7,), "layers": 1}
FACTS = {"Model": "a small one", "Texts": "few"}
USUAL_FIGURES = [name for name in FIGURES if name != "c0_confusion"]
"""Where the model did not choose among all concepts."""
HUMAN_FIGURES = {"b1_importance", "c3_drop_by_importance", "c4_correlation_by_size"}


class Page(HTMLParser):
    """Collects a page's text, tags and attributes."""

    def __init__(self, source):
        super().__init__()
        self.text, self.tags = "", []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def reported(folder, title="A title", facts=FACTS):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = write_report(folder, title, facts, progress=Silent())
    return told, Page(folder.report.read_text(encoding="utf-8"))


def files(folder):
    return {file.name: file.read_bytes() for file in folder.figures.iterdir()}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a whole run and its report; tests only read it."""
    folder = make_run(
        tmp_path_factory.mktemp("run"), CONCEPTS, ATTRIBUTES, ks=(20, 40, 80), controls=("random", "random-by-layer")
    )
    folder.write_manifest(
        {
            "versions": {"emoscale": "9.9", "numpy": "2"},
            "hardware": "two cores",
            "stages": {"tune": {"state": "done", "wall_s": 12.3}, "report": {"state": "running"}},
        }
    )
    told, page = reported(folder, facts={"Model": "a <small> one & more"})
    return folder, told, page


def test_every_figure_is_saved_and_shown(run):
    folder, told, page = run
    assert told["figures"] == USUAL_FIGURES
    assert set(files(folder)) == {f"{name}.{suffix}" for name in USUAL_FIGURES for suffix in ("png", "svg")}
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(images) == len(USUAL_FIGURES)
    assert all(attrs["src"].startswith("data:image/png;base64,") and len(attrs["alt"]) > 20 for attrs in images)


def test_sections_come_in_reading_order(run):
    order = [
        "In one paragraph",
        "What was asked",
        "On what",
        "How",
        "What was found",
        "a. Neurons that follow",
        "b. What matters to people",
        "c. What is lost",
        "What this does not show",
        "Where the files are",
        "How it was run",
        "How to cite",
    ]
    text = run[2].text
    places = [re.search(rf"^{re.escape(heading)}", text, re.MULTILINE).start() for heading in order]
    assert places == sorted(places)


def test_the_page_needs_nothing_from_outside(run):
    _, _, page = run
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    loads = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href", "srcset")]
    assert all(value.startswith("data:") for value in loads)
    source = run[0].report.read_text(encoding="utf-8")
    assert "url(" not in source
    assert "@import" not in source


def test_facts_and_manifest_are_told(run):
    text = run[2].text
    assert "a <small> one & more" in text
    assert "emoscale 9.9, numpy 2" in text
    assert "two cores" in text
    assert "tune 12 s" in text


def test_numbers_are_those_of_the_tables(run):
    folder, told, page = run
    overall = folder.table("drop_overall").query("control == 'random'").set_index("k").loc[told["k"]]
    drop, low, high = (f"{overall[name]:.3f}".removeprefix("0") for name in ("drop", "ci_low", "ci_high"))
    assert overall["drop"] > 0
    assert f"accuracy fell {drop} further" in page.text
    assert f"[{low}, {high}]" in page.text
    prompts = pd.read_parquet(folder.prompt_table)["accuracy"].mean()
    assert f"right in {prompts:.2f}".replace("0.", ".") in page.text
    assert f"right for {prompts:.0%} of the texts" in page.text


def test_limits_are_told(run):
    for limit in ("which is an approximation", "somewhat optimistic", "sets it to zero", "is a correlation"):
        assert limit in run[2].text


def test_made_again_the_files_and_the_settings_of_matplotlib_are_the_same(run):
    folder = run[0]
    figures, page, settings = files(folder), folder.report.read_bytes(), dict(mpl.rcParams)
    reported(folder, facts={"Model": "a <small> one & more"})
    assert files(folder) == figures
    assert folder.report.read_bytes() == page
    assert dict(mpl.rcParams) == settings


def test_svg_text_is_text_without_a_date(run):
    svg = files(run[0])["c2_drop_by_attribute.svg"].decode()
    assert ">valence</text>" in svg
    assert "<dc:date>" not in svg


def test_names_and_title_are_escaped(tmp_path):
    hostile = ["<script>alert(1)</script>", 'a"b & $x_{1}$', "NA"]
    folder = make_run(tmp_path, hostile, ["<b>bold", "None", "5"], ks=(20, 40), choice=True)
    told, page = reported(folder, "<script>title</script>", {"<i>fact": "<u>text"})
    assert set(told["figures"]) == set(FIGURES)
    for name in ("c6_drop_by_size", "c7_specificity"):
        assert f">{escape('<b>bold')}</text>" in files(folder)[f"{name}.svg"].decode()
    assert not {"script", "b>bold", "u"} & {tag for tag, _ in page.tags}
    for text in ("<script>title</script>", hostile[0], "<b>bold", "None", "<i>fact", "<u>text"):
        assert text in page.text
    assert "nan" not in page.text
    figure = files(folder)["c1_accuracy_by_concept.svg"].decode()
    for name in hostile:
        assert f">{escape(name, quote=False)}</text>" in figure


@pytest.mark.parametrize("human", [True, False])
def test_the_least_run(tmp_path, human):
    folder = make_run(tmp_path, CONCEPTS[:3], ATTRIBUTES[:3], replicates=1, draws=1, human=human, **LEAST)
    told, page = reported(folder)
    assert told["k"] == 7
    assert HUMAN_FIGURES.isdisjoint(told["figures"]) != human
    assert "1 random mask of each size" in page.text
    assert "–" in page.text
    assert "nan" not in page.text


def test_two_attributes_cannot_be_correlated(tmp_path):
    folder = make_run(tmp_path, CONCEPTS[:3], ATTRIBUTES[:2], ks=(7,))
    assert "could not be tested: 0 concepts" in reported(folder)[1].text


def test_one_attribute(tmp_path):
    folder = make_run(tmp_path, CONCEPTS[:3], ATTRIBUTES[:1], ks=(7,))
    told, _ = reported(folder)
    assert "a4_overlap" not in told["figures"]
    assert "c2_drop_by_attribute" in told["figures"]


def test_masks_that_change_nothing(tmp_path):
    folder = make_run(tmp_path, CONCEPTS, ATTRIBUTES, ks=(7,))
    table = pd.read_parquet(folder.ablation_table)
    table.assign(correct=300).to_parquet(folder.ablation_table)
    rng = np.random.default_rng(0)
    analyze(folder, rng.random((5, 4)), CONCEPTS, ATTRIBUTES, rng.random(10), progress=Silent())
    text = reported(folder)[1].text
    assert "differed by .00 in accuracy" in text.replace(".000", ".00")
    assert "could not be tested" in text


def test_no_neuron_is_significant(tmp_path):
    folder = make_run(tmp_path, CONCEPTS, ATTRIBUTES)
    rng = np.random.default_rng(0)
    analyze(folder, rng.random((5, 4)), CONCEPTS, ATTRIBUTES, None, alpha=1e-300, progress=Silent())
    told, page = reported(folder)
    assert "a1_selective_neurons" in told["figures"]
    assert "None of the model’s 300 neurons follows an attribute" in page.text
    assert "None of its neurons could be shown to follow any of the 4 attributes" in page.text
    assert "There is none." in page.text


def row_of(folder, name, k, control):
    return folder.table(name).query("k == @k and control == @control").iloc[0]


def test_the_figures_and_sentences_compare_with_the_first_control(run):
    folder, told, page = run
    k = told["k"]
    assert "most selective for an attribute hurt the model more than switching off as many random neurons:" in page.text
    mixed, dose = row_of(folder, "mixed_model", k, "random"), folder.table("dose_response").fillna({"attribute": ""})
    assert f"costs {mixed['slope']:.3f}".replace("0.", ".") in page.text
    dose = dose.query("control == 'random' and attribute == ''").iloc[0]
    assert f"made the drop {dose['slope']:.3f}".replace("0.", ".") in page.text
    specific = row_of(folder, "specificity_summary", k, "random")
    assert f"whose neurons are off with r = {specific['own']:.2f}".replace("-", "−").replace("0.", ".") in page.text


def test_every_control_and_size_has_its_row(run):
    folder, _, page = run
    source = (
        folder.report.read_text(encoding="utf-8").split("Against each kind of control</h3>")[1].split("</table>")[0]
    )
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr.*?</tr>", source, re.S)[1:]]
    overall = folder.table("drop_overall")
    assert len(rows) == len(overall) == 6
    labels = {"random": "random neurons", "random-by-layer": "random neurons of the same layers"}
    for cells, expected in zip(rows, overall.to_dict("records"), strict=True):
        mixed = row_of(folder, "mixed_model", expected["k"], expected["control"])
        assert cells[:2] == [labels[expected["control"]], f"{expected['k']} ({expected['k'] / 300:.1%})"]
        assert cells[2] == f"{expected['drop']:.3f}".replace("0.", ".").replace("-", "−")
        assert cells[-2] == f"{mixed['slope']:.3f}".replace("0.", ".").replace("-", "−")
    assert source.count('class="shown"') == 2
    assert "kind of control: losing selective neurons" in page.text
    assert "The conclusion about people" in page.text


def test_one_matched_control(tmp_path):
    folder = make_run(tmp_path, CONCEPTS, ATTRIBUTES, ks=(20, 40), controls=("random-by-activation",))
    _, page = reported(folder)
    assert "kind of control" not in page.text
    assert "as many random neurons that are as active" in page.text
    assert "3 activation-matched masks of each size for each attribute" in page.text
    assert "drawn at random among neurons about as active" in page.text
    assert "random masks" not in page.text
    figure = files(folder)["c1_accuracy_by_concept.svg"].decode()
    assert ">random neurons as active off</text>" in figure
    assert (
        ">Drop in accuracy: activation-matched − selective masks</text>"
        in files(folder)["c5_drop_by_concept.svg"].decode()
    )


def test_questions_without_tuned_prompts(tmp_path):
    folder = make_run(tmp_path, CONCEPTS, ATTRIBUTES, tuned=False, options=25)
    assert not folder.prompt_table.exists()
    told, page = reported(folder)
    assert told["figures"] == USUAL_FIGURES
    none = pd.read_parquet(folder.ablation_table).query("kind == 'none'")
    right = (none["correct"] / none["total"]).mean()
    assert f"answered {right:.0%} of the questions about the concepts correctly (guessing: 4%)" in page.text
    assert "where guessing gives .04" in page.text
    assert "the model was asked about each concept in plain words" in page.text
    assert "over sets of questions" in page.text
    for word in ("prompt", "held-out", "held out", "optimistic", "nan"):
        assert word not in page.text.lower()
    assert "held-out" not in files(folder)["c1_accuracy_by_concept.svg"].decode()


@pytest.mark.parametrize("count", [3, 5, 20])
def test_choices_among_all_concepts(tmp_path, count):
    concepts = [f"c{number}" for number in range(count)]
    folder = make_run(tmp_path, concepts, ATTRIBUTES, tuned=False, choice=True)
    told, page = reported(folder)
    assert told["figures"] == list(FIGURES)
    answers = pd.read_parquet(folder.ablation_table).query("kind == 'none'")
    chosen = answers.groupby("concept", sort=False)["chosen"]
    cells = np.stack([np.stack(counts).mean(axis=0) / 400 for _, counts in chosen])
    right = np.diag(cells).mean()
    assert f"right answers, {right:.2f}".replace(" 0.", " .") in page.text
    assert f"guessing gives {1 / count:.2f}".replace(" 0.", " .") in page.text
    np.fill_diagonal(cells, 0)
    row, column = np.unravel_index(cells.argmax(), cells.shape)
    taken = re.search(rf"it took c{row} for c{column} \((\.\d\d)\)", page.text)
    assert float(taken[1]) == pytest.approx(cells.max(), abs=0.0051)
    first, third = (answers[name].to_numpy() / 400 for name in ("correct", "top3"))
    pattern = r"comes first \(among the first three\) in (\S+) \[.*?\] \((\S+)\) by log probability and in .* tokens;"
    shares = re.search(pattern, page.text).groups()
    assert [float(share) for share in shares] == pytest.approx([first.mean(), third.mean()], abs=0.0051)
    svg = files(folder)["c0_confusion.svg"].decode()
    assert ">What the model answered</text>" in svg
    written = re.findall(r">\.\d\d</text>", svg)
    assert (len(written) >= count**2) == (count < 20)
    assert "nan" not in page.text


def test_choices_that_are_gone_leave_no_figure(tmp_path):
    folder = make_run(tmp_path, CONCEPTS, ATTRIBUTES, tuned=False, choice=True)
    reported(folder)
    pd.read_parquet(folder.ablation_table).drop(columns="top3").to_parquet(folder.ablation_table)
    analyze(folder, np.random.default_rng(0).random((5, 4)), CONCEPTS, ATTRIBUTES, None, progress=Silent())
    assert not {"choice.csv", "confusion.csv"} & {file.name for file in folder.tables.iterdir()}
    told, page = reported(folder)
    assert "c0_confusion" not in told["figures"]
    assert "c0_confusion.svg" not in files(folder)
    assert "A concept’s name can be scored" not in page.text


def test_how_neurons_were_edited_is_told(tmp_path):
    folder = make_run(tmp_path, CONCEPTS[:3], ATTRIBUTES[:3], **LEAST)
    assert not read_findings(folder).disjoint
    configs = {
        "ablation:\n  edit: zero\n": ("were set to zero", "sets it to zero"),
        "ablation:\n  edit: resample\n": ("were given the activations", "that it had for another input"),
        "ablation:\n  edit: scale\n": ("were multiplied", "only scales it"),
        "ablation:\n  masks_per_unit: 3\n": ("were set to zero", "sets it to zero"),
        "": ("were set to zero", "sets it to zero"),
        "masks:\n  disjoint: true\nablation:\n  edit: mean\n": (
            "were held at their mean activation",
            "holds it at its mean",
        ),
    }
    for config, (done, limit) in configs.items():
        folder.config.write_text(config)
        findings = read_findings(folder)
        assert done in EDITS[findings.edit].done
        assert any(limit in told for told in limits_told(findings))
    text = reported(folder)[1].text
    assert "All neurons of a mask were held at their mean activation while" in text
    assert "holds it at its mean" in text
    assert "None of them is among the neurons of the selective mask" in text
    assert "to zero" not in text


def test_prompts_that_the_task_did_not_use_are_not_told(tmp_path):
    folder = make_run(tmp_path, CONCEPTS[:3], ATTRIBUTES[:3], **LEAST)
    assert read_findings(folder).learned_prompts
    folder.config.write_text("ablation:\n  task: yes-no\n")
    findings = read_findings(folder)
    none = pd.read_parquet(folder.ablation_table).query("kind == 'none'")
    assert not findings.learned_prompts
    np.testing.assert_allclose(findings.prompts["accuracy"], none["correct"] / none["total"])


def test_one_size_has_no_figure_by_size(tmp_path):
    told, page = reported(make_run(tmp_path, CONCEPTS, ATTRIBUTES, ks=(20,)))
    assert "c6_drop_by_size" not in told["figures"]
    assert "doubling" not in page.text


def test_without_human_data_the_report_says_so_and_old_figures_go(tmp_path):
    folder = make_run(tmp_path, CONCEPTS, ATTRIBUTES)
    reported(folder)
    assert {name.partition(".")[0] for name in files(folder)} >= HUMAN_FIGURES
    analyze(folder, np.random.default_rng(0).random((5, 4)), CONCEPTS, ATTRIBUTES, None, progress=Silent())
    told, page = reported(folder)
    assert HUMAN_FIGURES.isdisjoint(told["figures"])
    assert HUMAN_FIGURES.isdisjoint(name.partition(".")[0] for name in files(folder))
    assert "no human data" in page.text


def cells_of(folder):
    """Return the first table of the findings: how many neurons each inference leaves."""
    source = folder.report.read_text(encoding="utf-8")
    rows = re.findall(r"<tr.*?</tr>", source[source.index("Split-half r") - 600 :].split("</table>")[0], re.S)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


def test_each_inference_is_counted(run):
    folder, _, page = run
    q, p, family = (folder_array(folder, name) for name in ("q", "p_attribute", "p_all"))
    assert f"{(q < 0.01).sum():,} (" in page.text
    assert f"{(p < 0.05).sum():,} survive correction for all neurons of the attribute" in page.text
    assert f"{(family < 0.05).sum():,} for all neurons and attributes" in page.text
    assert "τ varies 1.50 times as much" in page.text
    assert "permuting the concepts 999 times" in page.text
    table = folder.table("inference")
    for row, cells in zip(table.to_dict("records"), cells_of(folder)[-len(table) :], strict=True):
        names = ("asymptotic", "chosen", "attribute_corrected", "all_corrected")
        assert cells[:5] == [row["attribute"], *(f"{row[name]:,}" for name in names)]


def folder_array(folder, name):
    return open_store(folder.selectivity, SELECTIVITY).read(name)


def test_the_published_test_is_called_lenient(tmp_path):
    folder = make_run(tmp_path, CONCEPTS, ATTRIBUTES, permuted=False, halves=False)
    _, page = reported(folder)
    assert "by a lenient test" in page.text
    assert "p-values are too small" in page.text
    assert "Corrected" not in page.text
    assert "how well τ repeats is not known" in page.text


def test_missing_tables_are_all_named(tmp_path):
    with pytest.raises(StageError) as error:
        write_report(RunFolder(tmp_path), "t", {}, progress=Silent())
    assert len(error.value.problems) == 13
    assert any("ablation.parquet" in line for line in error.value.problems)
    assert not list(tmp_path.iterdir())


def test_the_shown_size_leaves_something_to_lose():
    rows = [("none", 0, 0.9), ("selective", 30, 0.9)]
    rows += [("random", 10, 0.85), ("random", 20, 0.72), ("random", 30, 0.60), ("random-by-layer", 30, 0.9)]
    accuracy = pd.DataFrame(rows, columns=["kind", "k", "accuracy"])

    def size(ks, chance=0.5, control="random"):
        overall = pd.DataFrame({"control": control, "k": ks})
        other = pd.DataFrame({"control": ["other"], "k": [1000]})
        return shown_size(accuracy.assign(chance=chance), pd.concat([overall, other]))

    assert size([10, 20, 30]) == 20
    assert size([10]) == 10
    assert size([30]) == 30
    assert size([10, 20, 30], chance=0.04) == 30
    assert size([30], control="random-by-layer") == 30
