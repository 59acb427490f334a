import re

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from report_pages import ATTRIBUTES, CONCEPTS, USUAL_FIGURES, files, reported
from scipy.stats import norm
from synthetic_run import make_design, make_run

from emoscale.report.neuron_figures import z_or_tau
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
            "hardware": {"cores": 2},
            "stages": {"tune": {"state": "done", "wall_s": 12.3}, "report": {"state": "running"}},
        }
    )
    done, page = reported(folder, facts={"Model": "a <small> one & more"}, design=make_design())
    return folder, done, page


def test_every_figure_is_saved_and_shown(run):
    folder, done, page = run
    assert done["figures"] == USUAL_FIGURES
    assert set(files(folder)) == {f"{name}.{suffix}" for name in USUAL_FIGURES for suffix in ("png", "svg")}
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(images) == len(USUAL_FIGURES)
    assert all(attrs["src"].startswith("data:image/png;base64,") and len(attrs["alt"]) > 20 for attrs in images)


def test_sections_come_in_reading_order(run):
    names = [attrs["id"] for tag, attrs in run[2].tags if tag in ("h2", "h3") and "id" in attrs]
    assert names == [
        "results",
        "task",
        "followers",
        "losses",
        "people",
        "neurons",
        "material",
        "methods",
        "limits",
        "files",
        "made-with",
        "cite",
    ]
    source = run[2].source
    assert source.index('class="answers"') < source.index("Figure 1.") < source.index('id="results"')


def test_the_page_needs_nothing_from_outside(run):
    _, _, page = run
    assert not {"link", "iframe", "object"} & {tag for tag, _ in page.tags}
    loads = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href", "srcset")]
    assert all(value.startswith(("data:", "#")) for value in loads)
    assert "url(" not in page.source
    assert "@import" not in page.source


def test_facts_and_manifest_are_reported(run):
    text = run[2].text
    assert "a <small> one & more" in text
    assert "emoscale 9.9, numpy 2" in text
    assert "cores 2" in text
    assert "tune 12 s" in text


def test_numbers_are_those_of_the_tables(run):
    folder, done, page = run
    text = " ".join(page.text.split())
    mean = folder.table("needed").query(f"k == {done['k']} and attribute == 'mean over attributes'").iloc[0]
    drop, low, high = (f"{mean[name]:.3f}".removeprefix("0") for name in ("drop", "ci_low", "ci_high"))
    assert f"{drop} [{low}, {high}]" in text
    prompts = pd.read_parquet(folder.prompt_table)["accuracy"].mean()
    assert f"right in {prompts:.2f}".replace("0.", ".") in text
    assert f"Right in {prompts:.0%}" in text


def test_the_paragraph_on_methods_holds_every_number_of_the_design(run):
    paragraph = " ".join(run[2].source.split('<p class="paste">')[1].split("</p>")[0].split())
    design = make_design()
    for name, value in vars(design).items():
        written = value.values() if name == "hashes" else value if name == "texts" else [value]
        for one in written:
            text = (
                f"{one:,}" if isinstance(one, int) else f"{one:g}".removeprefix("0") if isinstance(one, float) else one
            )
            assert text in paragraph, name
    assert "20, 40 and 80" in paragraph
    assert "not known" not in paragraph
    assert "19 permutations" in paragraph


def test_what_is_not_known_of_raters_is_said(run):
    folder = run[0]
    _, page = reported(folder, design=make_design(raters="", icc="", judges=""))
    paragraph = page.source.split('<p class="paste">')[1].split("</p>")[0]
    assert paragraph.count("not known") == 2
    assert "no judgements of dissimilarity" in " ".join(paragraph.split())


def test_made_again_the_files_and_the_settings_of_matplotlib_are_the_same(run):
    folder = run[0]
    options = {"facts": {"Model": "a <small> one & more"}, "design": make_design()}
    reported(folder, **options)
    figures, page, settings = files(folder), folder.report.read_bytes(), dict(mpl.rcParams)
    reported(folder, **options)
    assert files(folder) == figures
    assert folder.report.read_bytes() == page
    assert dict(mpl.rcParams) == settings


def test_svg_text_is_text_without_a_date(run):
    svg = files(run[0])["a1_needed.svg"].decode()
    assert ">valence</text>" in svg
    assert ">cannot be told</text>" in svg
    assert "<dc:date>" not in svg


def rows_of(page, heading):
    """Return the cells of the first table whose head begins with some text."""
    source = page.source[page.source.index(f'<th scope="col">{heading}</th>') :].split("</table>")[0]
    rows = re.findall(r"<tr.*?</tr>", source, re.DOTALL)
    return [re.findall(r"<td>(.*?)</td>", row) for row in rows], source.count('class="shown"')


def minus(text):
    return text.replace("0.", ".").replace("-", "−")


def test_every_control_and_size_has_its_row(run):
    folder, _, page = run
    rows, shown = rows_of(page, "Compared with")
    overall = folder.table("drop_overall")
    assert len(rows) == len(overall) == 6
    labels = {"random": "random neurons", "random-by-layer": "random neurons of the same layers"}
    for cells, expected in zip(rows, overall.to_dict("records"), strict=True):
        assert cells[:2] == [labels[expected["control"]], f"{expected['k']} ({expected['k'] / 300:.0%})"]
        assert cells[2] == minus(f"{expected['drop']:.3f}")
    assert shown == 2
    sizes, shown = rows_of(page, "Neurons off")
    means = folder.table("needed").query("attribute == 'mean over attributes'")
    assert [cells[3] for cells in sizes] == [minus(f"{drop:.3f}") for drop in means["drop"]]
    assert shown == 1


def test_each_inference_is_counted(run):
    folder, _, page = run
    q, family = (folder_array(folder, name) for name in ("q", "p_all"))
    text = " ".join(page.text.split())
    assert f"{(q < 0.01).sum():,} of" in text
    assert f"{(family < 0.05).sum():,} at p < .05 corrected for all neurons and attributes" in text
    assert "1.50 times" in text
    rows, _ = rows_of(page, "Attribute")
    table = folder.table("followers").merge(folder.table("inference"), on="attribute")
    assert sorted(cells[0] for cells in rows) == sorted(table["attribute"])
    for row in table.to_dict("records"):
        (cells,) = [cells for cells in rows if cells[0] == row["attribute"]]
        assert cells[1] == f"{row['followers']:,}"
        assert cells[5:8] == [f"{row[name]:,}" for name in ("chosen", "all_corrected", "asymptotic")]


def test_tau_is_scaled_by_its_own_null(run):
    store = open_store(run[0].selectivity, SELECTIVITY)
    z, is_z = z_or_tau(store)
    assert is_z
    expected = norm.isf(store.read("p_asymptotic")) / store.read("null_spread")
    np.testing.assert_allclose(z, expected)
    assert np.isnan(z[3]).all()


def folder_array(folder, name):
    return open_store(folder.selectivity, SELECTIVITY).read(name)


def test_tables_scroll_and_pages_break_between_blocks(run):
    source = run[2].source
    assert source.count('aria-label="table"') == source.count('<table class="numbers')
    assert source.count('aria-label="figure"') == source.count("<img ")
    rules = source.split("@media print")[1].split("</style>")[0]
    assert "page-break-inside: avoid" in rules
