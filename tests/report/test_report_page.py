import re

import matplotlib as mpl
import pandas as pd
import pytest
from report_pages import ATTRIBUTES, CONCEPTS, USUAL_FIGURES, files, reported
from synthetic_run import make_run

from emoscale.schema import SELECTIVITY
from emoscale.store import open_store

pytestmark = pytest.mark.slow


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
    done, page = reported(folder, facts={"Model": "a <small> one & more"})
    return folder, done, page


def test_every_figure_is_saved_and_shown(run):
    folder, done, page = run
    assert done["figures"] == USUAL_FIGURES
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


def test_facts_and_manifest_are_reported(run):
    text = run[2].text
    assert "a <small> one & more" in text
    assert "emoscale 9.9, numpy 2" in text
    assert "two cores" in text
    assert "tune 12 s" in text


def test_numbers_are_those_of_the_tables(run):
    folder, done, page = run
    overall = folder.table("drop_overall").query("control == 'random'").set_index("k").loc[done["k"]]
    drop, low, high = (f"{overall[name]:.3f}".removeprefix("0") for name in ("drop", "ci_low", "ci_high"))
    assert overall["drop"] > 0
    assert f"accuracy fell {drop} further" in page.text
    assert f"[{low}, {high}]" in page.text
    prompts = pd.read_parquet(folder.prompt_table)["accuracy"].mean()
    assert f"right in {prompts:.2f}".replace("0.", ".") in page.text
    assert f"right for {prompts:.0%} of the texts" in page.text


def test_limits_are_reported(run):
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


def row_of(folder, name, k, control):
    return folder.table(name).query("k == @k and control == @control").iloc[0]


def test_the_figures_and_sentences_compare_with_the_first_control(run):
    folder, done, page = run
    k = done["k"]
    assert "most selective for an attribute hurt the model more than switching off as many random neurons:" in page.text
    dose = folder.table("dose_response").fillna({"attribute": ""})
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
        people = row_of(folder, "human_comparison", expected["k"], expected["control"])
        assert cells[:2] == [labels[expected["control"]], f"{expected['k']} ({expected['k'] / 300:.1%})"]
        assert cells[2] == f"{expected['drop']:.3f}".replace("0.", ".").replace("-", "−")
        assert cells[-2] == f"{people['mean_r']:.2f}".replace("0.", ".").replace("-", "−")
    assert source.count('class="shown"') == 2
    assert "kind of control: losing selective neurons" in page.text
    assert "The conclusion about people" in page.text


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
