"""The released accuracies, as the tables that a run's own ablation would leave."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from emoscale.errors import InputError
from emoscale.run.folder import RunFolder
from emoscale.run.stores import require

ALIASES = {
    "happy": "happy-face",
    "anger": "anger-face",
    "sad": "sad-face",
    "fear": "fear-face",
    "surprise": "surprise-face",
    "disgust": "disgust-face",
    "self-related": "self-relativity",
    "other-related": "other-relativity",
    "non-novelty": "novelty",
}
"""Names of attributes in the accuracy files, where they differ from those of the attribute tables."""

CONTROL = "random"
"""Kind of the released random masks."""

_KEY = re.compile(r"(?P<attribute>.+)_(?:top|random)(?P<k>\d+)")
_UNMASKED = "best"

ACCURACIES = "accuracies.parquet"
"""In the run folder: the table of `answer_table`."""


def read_accuracies(folder: RunFolder) -> pd.DataFrame:
    """Read the accuracies that were brought into a run folder."""
    return pd.read_parquet(require(folder.path / ACCURACIES, "reproduce"))


def answer_table(selective: Path, random: Path, prompts: pd.DataFrame, attributes: list[str]) -> pd.DataFrame:
    """Read the accuracy of every prompt after every mask.

    Parameters
    ----------
    selective, random : Path
        Folders with ``{concept}-{replicate}.json``: keys ``{attribute}_top{k}`` or ``{attribute}_random{k}``, and
        ``best`` for no mask.
    prompts : DataFrame
        Columns ``concept`` and ``replicate``.
    attributes : list of str
        A names, as in the attribute tables.

    Returns
    -------
    DataFrame
        Columns ``concept``, ``replicate``, ``mask`` (a number), ``kind``, ``attribute``, ``k``, ``draw``, ``options``
        (2), ``accuracy``.
        Random masks are of the kind `CONTROL` and carry the attribute they were drawn for, one draw per attribute
        and k.

    Raises
    ------
    InputError
        Names every file that is missing or unreadable, has other keys than the rest, or a value that is no accuracy.
    """
    problems: list[str] = []
    tables = [
        *_kind("selective", selective, prompts, attributes, problems),
        *_kind(CONTROL, random, prompts, attributes, problems),
    ]
    if problems:
        raise InputError(problems)
    table = pd.concat(tables, ignore_index=True)
    # Both folders hold the accuracy without masks.
    table = table.drop_duplicates(["concept", "replicate", "kind", "attribute", "k"], ignore_index=True)
    table["mask"] = table.groupby(["kind", "k", "attribute"], sort=False).ngroup()
    return table.assign(draw=0, options=2)


def _kind(
    kind: str, folder: Path, prompts: pd.DataFrame, attributes: list[str], problems: list[str]
) -> list[pd.DataFrame]:
    tables = []
    first: set[str] | None = None
    for concept, replicate in zip(prompts["concept"], prompts["replicate"], strict=True):
        file = folder / f"{concept}-{replicate}.json"
        accuracies = _read(file, problems)
        if accuracies is None:
            continue
        first = first or set(accuracies)
        if differing := sorted(first ^ set(accuracies)):
            problems.append(f"{file}: {len(differing)} keys differ from other files ({differing[0]}); fetch it again")
            continue
        keys = pd.DataFrame([_parse(key, kind, attributes, file, problems) for key in accuracies])
        tables.append(keys.assign(concept=concept, replicate=replicate, accuracy=list(accuracies.values())))
    return tables


def _read(file: Path, problems: list[str]) -> dict[str, float] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problems.append(f"{file}: missing; fetch it again")
        return None
    except ValueError as error:
        problems.append(f"{file}: not JSON ({error}); fetch it again")
        return None
    if not isinstance(content, dict):
        problems.append(f"{file}: not a JSON object; fetch it again")
        return None
    values = {key: value for key, value in content.items() if key not in ("sentiment", "seed")}
    wrong = [
        key
        for key, value in values.items()
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1
    ]
    problems += [f"{file}: {key} is no accuracy between 0 and 1 ({values[key]!r}); fetch it again" for key in wrong]
    return None if wrong else values


def _parse(key: str, kind: str, attributes: list[str], file: Path, problems: list[str]) -> dict[str, object]:
    if key == _UNMASKED:
        return {"kind": "none", "attribute": "", "k": 0}
    match = _KEY.fullmatch(key)
    name = match["attribute"] if match else ""
    attribute = ALIASES.get(name, name)
    if match is None or attribute not in attributes:
        problems.append(f"{file}: {key} names no mask of a known attribute; fetch it again")
        return {"kind": kind, "attribute": name, "k": 0}
    return {"kind": kind, "attribute": attribute, "k": int(match["k"])}


def prompt_table(file: Path, concepts: list[str]) -> pd.DataFrame:
    """Read the accuracy of every prompt without masks.

    Parameters
    ----------
    file : Path
        Columns ``sentiment``, ``random_seed``, ``accuracy``.
    concepts : list of str
        C names.

    Returns
    -------
    DataFrame
        Columns ``concept``, ``replicate`` (text), ``accuracy``; one row a prompt, by concept in the order given, then
        by replicate. ``validation`` is 0: the held-out texts chose each prompt's epoch. What the authors did not
        release, ``accuracy_last``, ``train`` and ``dev``, is NaN.

    Raises
    ------
    InputError
        Names what is wrong with the file, all at once.
    """
    try:
        table = pd.read_csv(file, dtype={"sentiment": str, "random_seed": str})
        raw = table[["sentiment", "random_seed", "accuracy"]]
    except (ValueError, KeyError) as error:
        raise InputError(f"{file}: not a table of sentiment, random_seed and accuracy ({error})") from error
    accuracy = pd.to_numeric(raw["accuracy"], errors="coerce")
    seeds = sorted(raw["random_seed"].dropna().unique(), key=lambda seed: (len(seed), seed))
    prompts = list(zip(raw["sentiment"], raw["random_seed"], strict=True))
    counts = Counter(prompts)
    expected = [(concept, seed) for concept in concepts for seed in seeds]
    problems = [f"{file}: prompt {c}-{s} is missing; fetch it again" for c, s in expected if not counts[c, s]]
    problems += [f"{file}: prompt {c}-{s} is there {n} times; fetch it again" for (c, s), n in counts.items() if n > 1]
    problems += [
        f"{file}: prompt {c}-{s} is of no known concept; fetch it again" for c, s in set(counts) - set(expected)
    ]
    if not accuracy.between(0, 1).all():
        line = int(np.flatnonzero(~accuracy.between(0, 1))[0]) + 2
        problems.append(f"{file}, line {line}: no accuracy between 0 and 1; fetch it again")
    if problems:
        raise InputError(problems)
    ordered = raw.assign(accuracy=accuracy).set_index(["sentiment", "random_seed"])
    ordered = ordered.loc[expected].reset_index()
    ordered.columns = pd.Index(["concept", "replicate", "accuracy"])
    return ordered.assign(accuracy_last=np.nan, train=np.nan, validation=0, dev=np.nan)
