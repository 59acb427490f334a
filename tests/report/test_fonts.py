"""Names in scripts that the usual font lacks."""

import logging
import warnings
from base64 import b64decode

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.text import Text
from report_pages import reported
from synthetic_run import make_run

from emoscale.report.fonts import HOUSE, add_fonts, undrawable
from emoscale.report.style import house_style, new_figure, save

NAMES = ["喜び", "怒り", "두려움", "悲しみ", "pride"]
LETTERS = set("".join(NAMES[:4]))


def draw(*texts):
    figure = new_figure(2)
    for number, text in enumerate(texts):
        figure.text(0.1, 0.2 * number + 0.1, text)
    return figure


@pytest.fixture
def no_other_fonts(monkeypatch):
    """Leave the fonts that matplotlib brings, whatever is installed."""
    own = font_manager.findfont(HOUSE).rsplit("/", 1)[0]
    left = [font for font in font_manager.fontManager.ttflist if font.fname.startswith(own)]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", left)


@pytest.fixture
def stand_in(no_other_fonts, tmp_path):
    """Install a font that has a square for some letters."""

    def install(name, letters):
        builder = FontBuilder(1000)
        glyphs = [".notdef", *(f"u{ord(letter):04X}" for letter in letters)]
        pen = TTGlyphPen(None)
        for number, corner in enumerate([(0, 0), (0, 700), (700, 700), (700, 0)]):
            (pen.lineTo if number else pen.moveTo)(corner)
        pen.closePath()
        square = pen.glyph()
        builder.setupGlyphOrder(glyphs)
        builder.setupCharacterMap({ord(letter): f"u{ord(letter):04X}" for letter in letters})
        builder.setupGlyf(dict.fromkeys(glyphs, square))
        builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (800, 0)))
        builder.setupHorizontalHeader(ascent=800, descent=-200)
        builder.setupNameTable({"familyName": name, "styleName": "Regular"})
        builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
        builder.setupPost()
        path = tmp_path / f"{name}.ttf"
        builder.save(path)
        font_manager.fontManager.addfont(path)

    return install


def test_usual_letters_change_nothing(no_other_fonts, tmp_path):
    with house_style():
        figure = draw("Ärger, τ ≥ −.5", "грусть", "two\nlines")
        save(figure, tmp_path, "a")
        assert not add_fonts(figure)
    assert undrawable(figure) == set()
    assert {tuple(text.get_fontfamily()) for text in figure.findobj(Text)} == {(HOUSE,)}


def test_a_font_that_has_the_letters_writes_them(stand_in, tmp_path):
    stand_in("Stand-in Sans", sorted(LETTERS))
    stand_in("Useless Sans", "abc")
    with house_style(), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw(*NAMES)
        png, svg = save(figure, tmp_path, "a")
        again, _ = save(draw(*NAMES), tmp_path, "b")
    assert undrawable(figure) == set()
    assert {tuple(text.get_fontfamily()) for text in figure.findobj(Text)} == {(HOUSE, "Stand-in Sans")}
    assert "Stand-in Sans" in svg.read_text(encoding="utf-8")
    assert png.read_bytes() == again.read_bytes()


def test_letters_of_several_fonts(stand_in):
    stand_in("Some Sans", "喜怒")
    stand_in("Other Sans", "두려움")
    with house_style():
        figure = draw("喜怒", "두려움", "悲")
        assert add_fonts(figure)
    assert undrawable(figure) == {"悲"}


def test_boxes_for_every_character_are_no_font(no_other_fonts):
    with house_style():
        assert undrawable(draw("喜")) == {"喜"}


@pytest.mark.slow
def test_a_report_without_a_font_says_it_once_and_has_texts(no_other_fonts, tmp_path, caplog):
    run = make_run(tmp_path, NAMES, ["valence", "喜悦"])
    with caplog.at_level(logging.WARNING):
        _, page = reported(run)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("figures: no font here writes ")
    assert "\n" not in said
    images = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    drawn = [
        b64decode(source.partition(",")[2]).decode() for source in images if source.startswith("data:image/svg+xml")
    ]
    assert drawn
    assert all(any(name in svg for name in [*NAMES[:4], "喜悦"]) for svg in drawn)


@pytest.mark.slow
def test_a_report_with_a_font_is_as_usual(stand_in, tmp_path, caplog):
    stand_in("Stand-in Sans", sorted(LETTERS))
    run = make_run(tmp_path, NAMES, ["valence", "arousal"])
    with caplog.at_level(logging.WARNING):
        _, page = reported(run)
    assert not caplog.records
    images = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    assert images
    assert all(source.startswith("data:image/png;base64,") for source in images)
