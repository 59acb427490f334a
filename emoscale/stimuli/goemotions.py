"""GoEmotions in its original layout."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import pandas as pd

from emoscale.errors import InputError
from emoscale.stimuli.cleaning import Columns
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.text_table import TextTable

_LABEL_FILES = ("labels.txt", "emotions.txt")


def open_goemotions(options: StimuliOptions) -> list[TextTable]:
    """Open the train and dev texts of GoEmotions.

    Parameters
    ----------
    options : StimuliOptions
        `path` is a folder with `train.tsv` and `dev.tsv` (text, label numbers separated by commas, id; no header, no
        quoting) and `labels.txt` or `emotions.txt` (a name a line, in the order of the numbers).

    Returns
    -------
    list of TextTable
        "neutral" is a label like the others.

    Raises
    ------
    InputError
        If the folder or a file is missing; while reading, if rows are not in that layout.

    References
    ----------
    Demszky et al. (2020), "GoEmotions: A Dataset of Fine-Grained Emotions", ACL.
    """
    folder = Path(str(options.path))
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; give the one with train.tsv, dev.tsv and labels.txt")
    label_file = next((folder / name for name in _LABEL_FILES if (folder / name).is_file()), folder / _LABEL_FILES[0])
    files = {split: folder / f"{split}.tsv" for split in ("train", "dev")}
    problems = [
        f"{file}: no such file; put GoEmotions' own {file.name} there"
        for file in (*files.values(), label_file)
        if not file.is_file()
    ]
    if problems:
        raise InputError(problems)
    names = [line.strip() for line in _lines(label_file)]
    columns = Columns("text", "labels")
    return [TextTable(str(file), partial(_read, file, names), columns, split) for split, file in files.items()]


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            # Only a line feed ends a row: a text may hold quotation marks and any other character that breaks lines.
            for row in file:
                line = row.decode("utf-8").removesuffix("\n").removesuffix("\r")
                if line.strip():
                    yield line
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); give GoEmotions' own file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error


def _read(path: Path, names: list[str], chunk: int) -> Iterator[pd.DataFrame]:
    name_of = {str(number): name for number, name in enumerate(names)}
    lines, misfits = enumerate(_lines(path), 1), []
    while rows := list(islice(lines, chunk)):
        texts, labels = [], []
        for row, line in rows:
            text, *rest = line.split("\t")
            numbers = rest[0].split(",") if rest else [""]
            if not set(numbers) <= name_of.keys():
                misfits.append(row)
                continue
            texts.append(text)
            labels.append([name_of[number] for number in numbers])
        yield pd.DataFrame({"text": texts, "labels": labels})
    if misfits:
        raise InputError(
            f"{path}: {len(misfits)} rows are not a text, a tab and label numbers below {len(names)}, the first is row "
            f"{misfits[0]}; give GoEmotions' own file"
        )
