"""What the report lets a reader look at of single neurons, and the charts that it lets choose from."""

import re
import shutil

import numpy as np
import pytest
from made_activations import spell, write_activations
from report_pages import ATTRIBUTES, UNTUNED, reported
from synthetic_answers import NOISE_MAPS, write_tables
from synthetic_run import make_run

from emoscale.report import browser, figures
from emoscale.report.charts import Mark, Scale, forest
from emoscale.run.folder import RunFolder
from emoscale.schema import SELECTIVITY
from emoscale.store import open_store

pytestmark = pytest.mark.slow

NEURONS = 300
HOSTILE = ["joy", "<b>fear</b>", "anger", "grief", "pride"]


@pytest.fixture(scope="module", autouse=True)
def _few_figures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "FIGURES", {"c3_overlap": figures.FIGURES["c3_overlap"]})
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run with activations at tokens, its activations with their items, and its page; tests only read it."""
    folder = make_run(
        tmp_path_factory.mktemp("run"), HOSTILE, ATTRIBUTES, controls=("permuted", "random"), choice=True, tuned=False
    )
    values, item = write_activations(folder, HOSTILE, NEURONS)
    _, page = reported(folder, spell, **UNTUNED)
    return folder, values, item, page


def copied(folder, path):
    shutil.copytree(folder.path, path)
    return RunFolder(path)


def card_of(page, place):
    body = page.source.split(f'<div id="neuron-{place.replace(":", "-")}">')[1].split("</details>")[0]
    return body, *(body.split("<h4>")[1:] if "<h4>" in body else ("", ""))


def test_lists_name_the_neurons_with_the_largest_tau(run):
    folder, _, _, page = run
    tau = open_store(folder.selectivity, SELECTIVITY).read("tau")
    for number, name in enumerate(ATTRIBUTES):
        source = page.source.split(f'data-list="{number}"')[1].split("</table>")[0]
        assert f"<summary>{name}" in source
        rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>.*?</tr>", source)[1:]]
        best = np.argsort(-tau[:, number], kind="stable")[:10]
        assert [re.sub("<.*?>", "", cells[0]) for cells in rows] == [f"{n // 100}:{n % 100}" for n in best]
        assert [float(cells[1].replace("−", "-")) for cells in rows] == pytest.approx(tau[best, number], abs=6e-4)


def test_cards_name_the_texts_with_the_highest_and_the_lowest_activation(run):
    folder, values, item, page = run
    tau = open_store(folder.selectivity, SELECTIVITY).read("tau")
    neuron = int(np.nanargmax(tau[:, 0]))
    _, highest, lowest = card_of(page, f"{neuron // 100}:{neuron % 100}")
    for text, ends in (
        (highest, sorted((values[item == i, neuron].max() for i in set(item)), reverse=True)[:4]),
        (lowest, sorted(values[item == i, neuron].min() for i in set(item))[:4]),
    ):
        shown = [float(one.replace("−", "-")) for one in re.findall(r'class="value">(.*?)</span>', text)]
        assert shown == pytest.approx(ends, abs=0.006)
    assert re.search(r'<mark class="p5">', highest)
    assert re.search(r'<mark class="m5">', lowest)


def test_names_and_texts_are_escaped(run):
    source = run[3].source
    assert "&lt;b&gt;fear&lt;/b&gt;" in source
    assert "&lt;gift&gt;" in source
    assert "<b>fear" not in source
    assert "<gift>" not in source


def test_the_page_may_load_nothing_and_is_small(run):
    page = run[3]
    (policy,) = [attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'")
    assert not [attrs for tag, attrs in page.tags if tag == "script" and attrs]
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert len(page.source.encode()) < 5e6


def test_a_long_text_is_cut_around_the_token_that_counts(run):
    _, values, item, page = run
    long = np.flatnonzero(np.bincount(item) > 48)[0]
    pieces = re.findall(r'<span class="text">(.*?)</span></li>', page.source)
    texts = [re.sub("<.*?>", "", piece) for piece in pieces]
    assert any(text.startswith("… ") or text.endswith(" …") for text in texts)
    assert max(len(text.split()) for text in texts) <= 48 + 2 < (item == long).sum()
    assert values.shape[1] == NEURONS


def test_where_maps_are_noise_neurons_are_shown_as_such(run, tmp_path):
    folder = copied(run[0], tmp_path / "copy")
    write_tables(folder, NOISE_MAPS, ATTRIBUTES, [20, 60], has_people=True)
    write_activations(folder, HOSTILE, NEURONS, by_token=False)
    _, page = reported(folder, spell, **UNTUNED)
    text = " ".join(page.text.split())
    assert "was not shown in this run, so that much here may be chance" in text
    assert "<mark" not in page.source
    assert 'id="choices"' not in page.source


def test_without_activations_there_are_numbers_alone(run, tmp_path):
    folder = copied(run[0], tmp_path / "copy")
    shutil.rmtree(folder.activations)
    _, page = reported(folder, spell, **UNTUNED)
    assert 'id="browser"' in page.source
    assert "Most active" not in page.source
    assert 'class="strip"' not in page.source


def test_more_attributes_have_shorter_lists(run, monkeypatch):
    monkeypatch.setattr(browser, "_LISTED", 20)
    monkeypatch.setattr(browser, "_MOST_LISTS", 3)
    _, page = reported(run[0], spell, **UNTUNED)
    assert page.source.count('class="list"') == 3
    assert page.source.count('<tr><td><a href="#neuron') == 3 * 5
    assert "for want of room: novelty." in " ".join(page.text.split())


def test_every_size_and_control_can_be_chosen(run):
    folder, *_, page = run
    panels = [attrs for tag, attrs in page.tags if attrs.get("class") == "panel"]
    overall = folder.table("drop_overall")
    assert {(int(one["data-size"]), one["data-control"]) for one in panels} == set(
        zip(overall["k"], overall["control"], strict=True)
    )
    assert (panels[0]["data-size"], panels[0]["data-control"]) == ("60", "permuted")
    row = folder.table("drop_by_attribute").query("control == 'random' and k == 20 and attribute == 'arousal'").iloc[0]
    panel = page.source.split('data-size="20" data-size-name="20 neurons" data-control="random"')[1].split(
        "</section>"
    )[0]
    numbers = [f"{row[name]:.3f}".replace("0.", ".").replace("-", "−") for name in ("drop", "ci_low", "ci_high")]
    assert f"<title>arousal: {numbers[0]} [{numbers[1]}, {numbers[2]}]</title>" in panel


def test_scales_have_round_ticks():
    scale = Scale.around([0.02, -0.011], 100, 200)
    assert [name for _, name in scale.ticks()] == ["−.010", "−.005", ".000", ".005", ".010", ".015", ".020"]
    assert scale.at(scale.low) == 100
    assert scale.at(scale.high) == 200
    chart = forest({"a": [Mark(0.5, 0.4, 0.7, "a"), Mark(np.nan, name="b")]}, "label")
    ((x, title),) = [(mark["x"], mark["title"]) for mark in chart["rows"][0]["marks"]]
    assert chart["zero"] < x < 616
    assert title == "a: .500 [.400, .700]"
