"""Writing a config: a copy of an example, or one of one's own from a look at ratings, texts and a model."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from emoscale.commands.check import check
from emoscale.commands.text_columns import TextColumns, find_columns
from emoscale.commands.without_weights import without_weights
from emoscale.concepts.loading import Concepts, load_concepts
from emoscale.concepts.options import ConceptOptions
from emoscale.config import load_settings, make_settings
from emoscale.config.examples import SCHEMA_FILE, example, examples_folder, with_schema
from emoscale.errors import InputError
from emoscale.models.outline import ModelOutline, outline_model
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.templates import DEFAULT_TEMPLATES
from emoscale.stimuli.texts import load_texts
from emoscale.system.files import write_text
from emoscale.tasks.multiple_choice import MULTIPLE_CHOICE_TEMPLATES
from emoscale.tasks.yes_no import YES_NO_TEMPLATES

_FEWEST_CONCEPTS = 3
_SHOWN_NAMES = 8


@dataclass(frozen=True)
class Sources:
    """What a study is made of.

    Attributes
    ----------
    ratings, texts : Path
    model : str
        As in ``model.name``.
    """

    ratings: Path
    texts: Path
    model: str


def write_example(name: str, out: Path) -> list[str]:
    """Write an example config to a file.

    Returns
    -------
    list of str
        What to do next, a line each.

    Raises
    ------
    InputError
        If there is no such example, or the file exists.
    """
    text = example(name).read_text(encoding="utf-8").replace(f"configs/{name}.yaml", str(out))
    _check_free(out)
    write_text(out, with_schema(text, examples_folder() / SCHEMA_FILE))
    return [_next(out)]


def write_config(sources: Sources, out: Path) -> list[str]:
    """Look at ratings, texts and a model, and write a config that runs.

    Parameters
    ----------
    sources : Sources
    out : Path
        Its paths are relative to it.

    Returns
    -------
    list of str
        What was found and what to do next, a line each.

    Raises
    ------
    InputError
        If a file cannot be used, no column of the texts holds the concepts, or the file exists.
    """
    _check_free(out)
    key, concepts = _read_concepts(sources.ratings)
    columns = find_columns(sources.texts, concepts.names, sources.ratings)
    texts = load_texts(_stimuli(sources.texts, columns), concepts.names)
    kept = _in_both_splits(texts, concepts.names, sources)
    named = make_settings({"model": {"name": sources.model}})
    outline = outline_model(without_weights(named).model)
    values = {
        "file": out,
        "schema": examples_folder() / SCHEMA_FILE,
        "title": f"{_listed(concepts.attributes, 3)} in {Path(sources.model).name}",
        "model": _model(sources.model, named.model.name, outline, out),
        "concepts": _concepts(key, sources.ratings, concepts, kept, out),
        "texts": _texts(sources.texts, columns, texts, kept, concepts, out),
        "tuned": outline.kind == "encoder",
        "sentences": DEFAULT_TEMPLATES,
        "task": _task(outline),
    }
    write_text(out, _environment().get_template("study.yaml.j2").render(values))
    return [*_found(columns, kept, outline), *_faults(out), _next(out)]


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("emoscale.commands", ""),
        autoescape=False,  # noqa: S701 (YAML, which no browser shows)
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    # JSON is YAML in which every text is in quotes.
    environment.filters["quoted"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment


def _check_free(out: Path) -> None:
    if out.exists():
        raise InputError(f"{out}: exists; give another --out, or remove it")


def _read_concepts(path: Path) -> tuple[str, Concepts]:
    """Read a file of scores or ratings with the first setting that takes it."""
    keys = [key for key in ("attributes", "ratings") if key in {field.name for field in fields(ConceptOptions)}]
    problems: list[str] = []
    for key in keys:
        try:
            return key, load_concepts(make_settings({"model": {"name": ""}, "concepts": {key: str(path)}}).concepts)
        except InputError as error:
            problems = problems or error.problems
    raise InputError(problems)


def _stimuli(path: Path, columns: TextColumns) -> StimuliOptions:
    return StimuliOptions(
        source="file",
        path=str(path),
        text_column=columns.text,
        label_column=columns.label,
        label_separator=columns.separator,
        split_column=columns.split,
    )


def _in_both_splits(texts: pd.DataFrame, names: Sequence[str], sources: Sources) -> pd.DataFrame:
    """Count the texts of the concepts that have some in every split: a row a concept, a column a split."""
    labels = texts[["split", "labels"]].explode("labels")
    counts = pd.crosstab(labels["labels"], labels["split"]).reindex(list(names), fill_value=0)
    kept = counts[(counts > 0).all(axis=1)]
    if len(kept) < _FEWEST_CONCEPTS:
        raise InputError(
            f"{sources.texts}: only {len(kept)} concepts of {sources.ratings} have texts both to learn from and held "
            f"out, and {_FEWEST_CONCEPTS} are needed; label more texts"
        )
    return kept


def _model(name: str, located: str, outline: ModelOutline, out: Path) -> dict[str, Any]:
    facts = {"kind": outline.kind, "neurons": outline.neurons, "layers": len(outline.sites)}
    if not Path(located).is_absolute():  # on the hub, or in a package
        return {"name": name, **facts}
    path = _relative(Path(located), out)
    # With a dot it is not taken for a name on the hub.
    return {"name": path if path.startswith(("/", ".")) else f"./{path}", **facts}


def _concepts(key: str, path: Path, concepts: Concepts, kept: pd.DataFrame, out: Path) -> dict[str, Any]:
    left_out = [name for name in concepts.names if name not in kept.index]
    return {
        "key": key,
        "path": _relative(path, out),
        "attributes": concepts.attributes,
        "left_out": left_out,
        "names": list(kept.index) if left_out else [],
    }


def _texts(
    path: Path, columns: TextColumns, texts: pd.DataFrame, kept: pd.DataFrame, concepts: Concepts, out: Path
) -> dict[str, Any]:
    labels = {label for found in texts["labels"] for label in found}
    return {
        **asdict(columns),
        "path": _relative(path, out),
        "span": _span(kept.sum(axis=1)),
        "ignored": sorted(labels - set(concepts.names))[:_SHOWN_NAMES],
    }


def _task(outline: ModelOutline) -> dict[str, Any]:
    """Choose what a model is asked by what can be read from it."""
    if outline.kind == "causal-lm":
        return _asked("multiple-choice", MULTIPLE_CHOICE_TEMPLATES, scoring="name")
    if outline.kind == "masked-lm":
        return _asked("yes-no", YES_NO_TEMPLATES[outline.kind], words=["no", "yes"])
    if outline.kind == "encoder":
        return _asked("soft-prompt")
    raise InputError(
        f"--model {outline.name!r}: an encoder-decoder model can be extracted, but not asked; give a masked or causal "
        "language model or an encoder"
    )


def _asked(name: str, templates: Sequence[str] = (), scoring: str = "", words: Sequence[str] = ()) -> dict[str, Any]:
    return {"name": name, "templates": list(templates), "scoring": scoring, "words": list(words)}


def _found(columns: TextColumns, kept: pd.DataFrame, outline: ModelOutline) -> list[str]:
    names = _listed(list(kept.index), _SHOWN_NAMES)
    return [
        f"model: {outline.kind}, {outline.neurons:,} neurons in {len(outline.sites)} layers",
        f"texts: column {columns.text!r}; labels in {columns.label!r}"
        + (f", separated by {columns.separator!r}" if columns.separator else "")
        + (f"; splits in {columns.split!r}" if columns.split else "; a fifth is held out"),
        f"concepts with ratings and texts: {len(kept)} ({names}), {_span(kept.sum(axis=1))} texts each",
    ]


def _faults(out: Path) -> list[str]:
    """Check what was written; what it lacks is for the user to add."""
    try:
        found = check(load_settings(out))
    except InputError as error:
        return [f"to be fixed in {out}: {problem}" for problem in error.problems]
    return [f"warning: {warning}" for warning in found.warnings]


def _next(out: Path) -> str:
    return f"{out}: written; next: emoscale check {out}, emoscale plan {out}, emoscale run {out}"


def _relative(path: Path, out: Path) -> str:
    """Return a path as a config in another folder names it."""
    try:
        return Path(os.path.relpath(path.resolve(), out.resolve().parent)).as_posix()
    except ValueError:  # another drive
        return str(path.resolve())


def _span(counts: pd.Series) -> str:
    few, many = int(counts.min()), int(counts.max())
    return f"{few:,}" if few == many else f"{few:,} to {many:,}"


def _listed(names: Sequence[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
