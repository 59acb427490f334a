"""Where texts come from.

To add a source, write a function that yields its texts, and an entry: ``SOURCES["mine"] = TextSource("mine", "what it
is", open=pieces_of(read_mine))``. Checks, the draw of held-out texts and streaming are shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import pandas as pd

from emoscale.errors import InputError
from emoscale.stimuli.cleaning import Columns
from emoscale.stimuli.encodings import UTF_8
from emoscale.stimuli.goemotions import open_goemotions
from emoscale.stimuli.hub import open_dataset
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.tables import FORMATS, read_pieces
from emoscale.stimuli.text_table import TextTable

_SCENARIOS = Path(__file__).parent / "data" / "scenarios.csv"
_OF_SOURCES = ("path", "dev_path", "text_column", "label_column", "label_separator", "split_column", "encoding")
"""Settings that only some sources use."""


@dataclass(frozen=True)
class TextSource:
    """A source of labelled texts.

    Parameters
    ----------
    name, meaning : str
    open : callable
        Takes StimuliOptions, returns the tables to read; raises `InputError` if there are none.
    path : str, optional
        What `stimuli.path` must name, e.g. "a folder with train.tsv"; without it the source has no path.
    uses : tuple of str
        Further settings of `_OF_SOURCES` that it uses; the others must keep their defaults.
    """

    name: str
    meaning: str
    open: Callable[[StimuliOptions], list[TextTable]]
    path: str | None = None
    uses: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name

    def check(self, options: StimuliOptions) -> None:
        """Raise InputError if the path is missing, or for each setting that the source would ignore."""
        if self.path and not options.path:
            raise InputError(f"text source {self.name!r}: has no path; set stimuli.path to {self.path}")
        used = {*self.uses, *(["path"] if self.path else [])}
        problems = [
            f"text source {self.name!r}: stimuli.{field.name} is not used by it; leave it out, or set stimuli.source "
            f"to {_users(field.name)}"
            for field in fields(options)
            if field.name in _OF_SOURCES and field.name not in used and getattr(options, field.name) != field.default
        ]
        if problems:
            raise InputError(problems)


def _users(setting: str) -> str:
    return " or ".join(
        source.name for source in SOURCES.values() if setting in source.uses or (setting == "path" and source.path)
    )


def pieces_of(read: Callable[[StimuliOptions], Iterator[pd.DataFrame]]) -> Callable[[StimuliOptions], list[TextTable]]:
    """Make a source's `open` of a function that yields its texts.

    Parameters
    ----------
    read : callable
        Takes StimuliOptions, yields tables with the columns `text`, `labels` (a label, or a list of labels) and, if
        the source says which texts are held out, `split`. It is called several times, and yields the same every time.
    """

    def open_pieces(options: StimuliOptions) -> list[TextTable]:
        first = next(iter(read(options)), None)
        columns = Columns("text", "labels", split="split" if first is not None and "split" in first else None)
        return [TextTable(options.path or f"text source '{options.source}'", lambda _: read(options), columns)]

    return open_pieces


def _open_scenarios(_options: StimuliOptions) -> list[TextTable]:
    columns = Columns("text", "concept", split="split")
    return [_file(_SCENARIOS, _SCENARIOS.name, columns)]


def _open_file(options: StimuliOptions) -> list[TextTable]:
    path, dev, encoding = str(options.path), options.dev_path, options.encoding
    if dev is not None and options.split_column is not None:
        raise InputError(
            "text source 'file': both stimuli.dev_path and stimuli.split_column say which texts are held out; leave "
            "one out"
        )
    columns = Columns(options.text_column, options.label_column, options.label_separator, options.split_column)
    if dev is None:
        return [_file(Path(path), path, columns, encoding)]
    return [_file(Path(path), path, columns, encoding, "train"), _file(Path(dev), dev, columns, encoding, "dev")]


def _file(path: Path, place: str, columns: Columns, encoding: str = UTF_8, split: str | None = None) -> TextTable:
    return TextTable(place, partial(read_pieces, path, columns=columns.names, encoding=encoding), columns, split)


SOURCES = {
    source.name: source
    for source in (
        TextSource(
            "scenarios",
            "built-in first-person situations, 20 train and 10 dev for each of the 27 emotions",
            _open_scenarios,
        ),
        TextSource(
            "goemotions",
            "GoEmotions in its original layout",
            open_goemotions,
            path="the folder with train.tsv, dev.tsv and labels.txt",
        ),
        TextSource(
            "file",
            f"a file of your own ({', '.join(FORMATS)})",
            _open_file,
            path=f"a file that ends in {', '.join(FORMATS)}",
            uses=("dev_path", "text_column", "label_column", "label_separator", "split_column", "encoding"),
        ),
        TextSource(
            "dataset",
            "a data set of the Hugging Face hub, or a folder of one; needs the package datasets",
            open_dataset,
            path="a name on the Hugging Face hub, or a folder",
            uses=("text_column", "label_column", "label_separator"),
        ),
    )
}
