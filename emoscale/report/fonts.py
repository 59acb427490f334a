"""Fonts for names in any script: those that matplotlib brings have no Chinese, Japanese or Korean letters."""

from __future__ import annotations

import unicodedata
from functools import cache

import matplotlib
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

HOUSE = "DejaVu Sans"
"""Comes with matplotlib: the same letters on every machine."""

_PLACEHOLDERS = "Last Resort"
"""Begins the name of fonts that have a box for every character."""
_RIGHT_TO_LEFT = {"R", "AL"}
_SHAPES = matplotlib.__version_info__[:2] >= (3, 11)
"""Whether matplotlib writes such letters in their direction, and joins them."""
_REGULAR = {400, "normal", "regular", "book"}


def add_fonts(figure: Figure) -> bool:
    """Let the texts of a figure fall back on installed fonts for what the house font lacks.

    Parameters
    ----------
    figure : Figure
        Drawn once, so that all its texts are there.

    Returns
    -------
    bool
        Whether that changes how it looks.
    """
    fonts = _fallback(_letters(figure) - _of_house())
    if fonts:
        for text in figure.findobj(Text):
            text.set_fontfamily([HOUSE, *fonts])
    return bool(fonts)


def undrawable(figure: Figure) -> set[str]:
    """Return the characters of a drawn figure that no installed font has, or that are not written as they should be."""
    letters = _letters(figure)
    lacking = letters - _of_house()
    having = {letter for name in _fallback(lacking) for letter in _charmap(_paths()[name])}
    unshaped = set() if _SHAPES else {one for one in letters if unicodedata.bidirectional(one) in _RIGHT_TO_LEFT}
    return (lacking - having) | unshaped


def _letters(figure: Figure) -> set[str]:
    return {letter for text in figure.findobj(Text) for letter in text.get_text()}


def _fallback(characters: set[str]) -> tuple[str, ...]:
    """Choose as few fonts as possible that together have these characters, as far as there are any."""
    fonts, left = [], set(characters)
    while left:
        having = {name: len(left & _charmap(path)) for name, path in _paths().items()}
        best = max(having, key=lambda name: having[name], default="")
        if not having.get(best):
            break
        fonts.append(best)
        left -= _charmap(_paths()[best])
    return tuple(fonts)


def _of_house() -> frozenset[str]:
    # A line break and a tab are no letters.
    return _charmap(font_manager.findfont(HOUSE)) | {"\n", "\t"}


def _paths() -> dict[str, str]:
    """Return the file of each font by its name, fonts without serifs first."""
    listed = font_manager.fontManager.ttflist
    return _paths_of(tuple((font.name, font.fname, font.style, font.weight) for font in listed))


@cache
def _paths_of(fonts: tuple[tuple[str, str, str, int | str], ...]) -> dict[str, str]:
    upright = [(name, path) for name, path, style, weight in fonts if style == "normal" and weight in _REGULAR]
    usual = sorted(upright, key=lambda font: ("Sans" not in font[0], "Mono" in font[0], *font))
    return {name: path for name, path in usual if not name.startswith(_PLACEHOLDERS)}


@cache
def _charmap(path: str) -> frozenset[str]:
    try:
        font = FT2Font(path)
        return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
    except (OSError, RuntimeError):  # a file that is gone, or bitmaps such as those of coloured emoji
        return frozenset()
