"""GoEmotions in its original layout."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from emoscale.errors import InputError
from emoscale.stimuli.cleaning import check_texts
from emoscale.stimuli.options import TextSettings

_LABEL_FILES = ("labels.txt", "emotions.txt")


def read_goemotions(settings: TextSettings) -> pd.DataFrame:
    """Read the texts of GoEmotions.

    Parameters
    ----------
    settings : TextSettings
        `path` is a folder with `train.tsv` and `dev.tsv` (text, label numbers separated by commas, id; no header, no
        quoting) and `labels.txt` or `emotions.txt` (a name a line, in the order of the numbers).

    Returns
    -------
    DataFrame
        Columns `text`, `labels`, `split`. "neutral" is a label as the others.

    Raises
    ------
    InputError
        If the folder or a file is missing, or a row is not in that layout.

    References
    ----------
    Demszky et al. (2020), "GoEmotions: A Dataset of Fine-Grained Emotions", ACL.
    """
    settings.refuse("dev_path", "split_column", "label_separator")
    folder = Path(settings.require_path("the folder with train.tsv, dev.tsv and labels.txt"))
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one with train.tsv, dev.tsv and labels.txt")
    label_file = next((folder / name for name in _LABEL_FILES if (folder / name).is_file()), folder / _LABEL_FILES[0])
    problems = [
        f"{file}: no such file; put GoEmotions' own {file.name} there"
        for file in (folder / "train.tsv", folder / "dev.tsv", label_file)
        if not file.is_file()
    ]
    if problems:
        raise InputError(problems)
    names = [line.strip() for line in _lines(label_file)]
    parts = [_read_split(folder / f"{split}.tsv", names).assign(split=split) for split in ("train", "dev")]
    return pd.concat(parts, ignore_index=True)


def _lines(path: Path) -> list[str]:
    # Only a line feed ends a row: a text may hold quotation marks and any other character that breaks lines.
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); give GoEmotions' own file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    return [line.removesuffix("\r") for line in lines if line.strip()]


def _read_split(path: Path, names: list[str]) -> pd.DataFrame:
    name_of = {str(number): name for number, name in enumerate(names)}
    texts, labels, misfits = [], [], []
    for row, line in enumerate(_lines(path), 1):
        text, *rest = line.split("\t")
        numbers = rest[0].split(",") if rest else [""]
        if not set(numbers) <= name_of.keys():
            misfits.append(row)
            continue
        texts.append(text)
        labels.append(tuple(dict.fromkeys(name_of[number] for number in numbers)))
    if misfits:
        raise InputError(
            f"{path}: {len(misfits)} rows are not a text, a tab and label numbers below {len(names)}, the first is row "
            f"{misfits[0]}; give GoEmotions' own file"
        )
    check_texts(texts, str(path))
    return pd.DataFrame({"text": texts, "labels": labels})
