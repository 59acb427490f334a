"""The page in a real browser: what it gains with scripts, and what it is without them, on a phone and on paper."""

import json
import sys

import pytest
from chromium import PROGRAM, Chromium
from made_activations import spell, write_activations
from report_pages import UNTUNED, reported
from synthetic_run import make_run

from emoscale.report import figures

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="needs Chromium (apt-get install chromium)"),
    pytest.mark.skipif(sys.platform == "win32", reason="the pipe is inherited as on Unix"),
]

CONCEPTS = ["joy", "<i>fear</i>", "anger", "grief", "pride"]
ATTRIBUTES = ["valence", "arousal", "control", "novelty", "fairness", "certainty", "effort", "a long & <winding> name"]
NEURONS = 300


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        few = ("a1_needed", "b2_confusion")
        patch.setattr(figures, "FIGURES", {name: figures.FIGURES[name] for name in few})
        folder = make_run(
            tmp_path_factory.mktemp("run"),
            CONCEPTS,
            ATTRIBUTES,
            controls=("permuted", "random"),
            choice=True,
            tuned=False,
        )
        write_activations(folder, CONCEPTS, NEURONS)
        reported(folder, spell, **UNTUNED)
    return folder


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def page(chromium, report):
    """Give the browser with the report open in it; nothing was refused, failed or fetched."""
    chromium.open(report.report)
    yield chromium
    assert not [one for one in chromium.events if one["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")]
    asked = [one["params"]["request"]["url"] for one in chromium.events if one["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("data:", "about:"))] == [report.report.resolve().as_uri()]


SHOWN = "[...{}].filter((e) => e.offsetParent)"


def texts(page, selector):
    """Return the texts of the elements that are seen."""
    found = SHOWN.format(f"document.querySelectorAll({json.dumps(selector)})")
    return page.value(f"{found}.map((e) => e.textContent.replace(/\\s+/g, ' ').trim())")


def choose(page, name, value):
    page.value(
        f"(() => {{ const field = document.querySelector('[name={name}]'); field.value = {json.dumps(value)};"
        "field.dispatchEvent(new Event(field.tagName === 'SELECT' ? 'change' : 'input', {bubbles: true})); })()"
    )


@pytest.mark.parametrize(
    ("point", "begins"),
    [('#figure-1 .pt[data-name^="valence: "]', "valence: "), ("#choices .panel .pt", "mean over attributes: ")],
)
def test_points_name_themselves_to_the_mouse_and_to_the_keyboard(page, point, begins):
    assert texts(page, ".tip") == []
    page.point_at(point)
    (named,) = texts(page, ".tip")
    assert named.startswith(begins)
    assert "[" in named
    page("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    assert texts(page, ".tip") == []
    page.value(f"document.querySelector({json.dumps(point)}).focus()")
    assert texts(page, ".tip") == [named]
    box = page.value(
        "(() => { const b = document.querySelector('.tip').getBoundingClientRect(); return [b.left, b.right]; })()"
    )
    assert 0 <= box[0] < box[1] <= 1280


def test_cells_of_a_figure_name_themselves(page):
    page.point_at("#figure-2 .pt")
    assert texts(page, ".tip")[0].startswith("joy taken for joy: .")


def column(page, table, number):
    return texts(page, f"{table} tbody tr td:nth-child({number})")


def test_tables_sort_by_a_click_on_a_head(page):
    page.value("[...document.querySelectorAll('table')].find((t) => t.textContent.includes('Followers')).id = 'mine'")
    heads = texts(page, "#mine th")
    number = heads.index("Followers") + 1
    before = column(page, "#mine", number)
    page.click(f"#mine th:nth-child({number}) button")
    up = column(page, "#mine", number)
    page.click(f"#mine th:nth-child({number}) button")
    down = column(page, "#mine", number)
    numbers = sorted(float(text.replace("−", "-")) for text in before)
    assert numbers[0] < numbers[-1]
    assert [float(text.replace("−", "-")) for text in up] == numbers != [float(text) for text in before]
    assert [float(text.replace("−", "-")) for text in down] == numbers[::-1]
    page.click("#mine th:nth-child(1) button")
    assert column(page, "#mine", 1) == sorted(ATTRIBUTES)
    assert page.value("document.querySelector('#mine th').ariaSort") == "ascending"


def test_tables_filter(page):
    page.value("[...document.querySelectorAll('table')].find((t) => t.textContent.includes('Followers')).id = 'mine'")
    page.value(
        "(() => { const field = document.querySelector('.filter'); field.value = 'Winding';"
        "field.dispatchEvent(new Event('input')); })()"
    )
    assert column(page, "#mine", 1) == [ATTRIBUTES[-1]]


def test_size_and_control_are_chosen(page, report):
    assert texts(page, "#choices .panel h4") == [
        "Accuracy, 60 neurons off, compared with neurons most selective for permuted attributes"
    ]
    choose(page, "size", "20")
    choose(page, "control", "random")
    assert texts(page, "#choices .panel h4") == ["Accuracy, 20 neurons off, compared with random neurons"]
    row = report.table("drop_overall").query("control == 'random' and k == 20").iloc[0]
    page.point_at("#choices .panel:not([hidden]) .pt")
    assert f"{row['drop']:.3f}".replace("0.", ".").replace("-", "−") in texts(page, ".tip")[0]


def test_neurons_are_looked_up(page):
    (first,) = texts(page, ".pane .card summary")
    choose(page, "attribute", "1")
    link = texts(page, "#browser td a")[3]
    page.click("#browser .list:not([hidden]) tbody tr:nth-child(4) a")
    layer, unit = link.split(":")
    assert texts(page, ".pane .card summary") == [f"Layer {layer}, unit {unit}"]
    assert len(texts(page, ".pane .ends li")) == 8
    assert texts(page, "#browser tr.shown td:first-child") == [link]
    choose(page, "layer", first.split()[1].strip(","))
    choose(page, "unit", first.split()[-1])
    assert texts(page, ".pane .card summary") == [first]
    choose(page, "unit", "12345")
    assert texts(page, ".pane .card") == []
    assert "prints any" in texts(page, "#browser [role=status]")[0]
    choose(page, "layer", "")
    choose(page, "unit", "")
    assert len(texts(page, ".pane .card")) == 1


def test_names_from_files_are_text(page):
    assert page.value("document.querySelectorAll('i, winding').length") == page.value(
        "[...document.querySelectorAll('i')].filter((e) => /^(prompt|neuron|selective mask|control masks|replicates|"
        "drop|iScience|.* mask)$/.test(e.textContent)).length"
    )


def test_on_a_phone_only_figures_and_tables_scroll(chromium, report):
    chromium.open(report.report, width=375, height=700)
    assert chromium.value("document.documentElement.scrollWidth") == 375
    wide = (
        "[...document.querySelectorAll('body *')].filter((e) => !e.closest('.scroll') && !e.closest('[hidden]')"
        "&& e.getBoundingClientRect().right > 375.5).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert chromium.value(wide) == []


LIGHTNESS = (
    "(() => {{ const c = getComputedStyle(document.querySelector('{}')).{}.match(/[0-9.]+/g).map(Number);"
    "return (c[0] + c[1] + c[2]) / 765; }})()"
)


@pytest.mark.parametrize("dark", [False, True])
def test_at_night_it_is_dark(chromium, report, dark):
    chromium.open(report.report, dark=dark)
    paper = chromium.value(LIGHTNESS.format("body", "backgroundColor"))
    assert (paper < 0.2) == dark
    for selector in ("p", "h2", "figcaption", ".answers dd", "td", "thead th", "summary", ".answers .yes", ".note"):
        ink = chromium.value(LIGHTNESS.format(selector, "color"))
        assert abs(ink - paper) > 0.3, selector
    assert chromium.value(LIGHTNESS.format(".plot", "backgroundColor")) == 1


def test_on_paper_there_is_nothing_to_click(chromium, report):
    chromium.open(report.report, dark=True)
    chromium("Emulation.setEmulatedMedia", media="print")
    assert chromium.value(LIGHTNESS.format("body", "backgroundColor")) == 1
    assert texts(chromium, ".bar, .filter, .tip") == []
    assert len(texts(chromium, "#choices .panel")) == 1
    printed = chromium.printed()
    assert printed.startswith(b"%PDF")
    assert 4 < printed.count(b"/Type /Page\n") + printed.count(b"/Type/Page/") < 40
    chromium("Emulation.setEmulatedMedia", media="")


def test_without_scripts_everything_is_there(chromium, report):
    chromium.open(report.report, scripts=False)
    try:
        source = report.report.read_text(encoding="utf-8")
        assert source.count('class="bar"') == 0
        tree = chromium("DOM.getDocument", depth=1)["root"]["nodeId"]

        def found(selector):
            return chromium("DOM.querySelectorAll", nodeId=tree, selector=selector)["nodeIds"]

        assert len(found(".bar, .filter, .sort, .tip")) == 0
        assert len(found("#choices > .panel")) == 1
        assert len(found("#choices details .panel")) == 3
        assert len(found(".list")) == len(ATTRIBUTES)
        assert len(found(".pt > title")) == len(found(".pt")) > 50
    finally:
        chromium("Emulation.setScriptExecutionDisabled", value=False)
