"""YAML in, settings out, every mistake named with its fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from emoscale.config.settings import Settings
from emoscale.errors import InputError

_ADAPTER = TypeAdapter(Settings)


def load_settings(path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Read settings from a YAML file.

    Parameters
    ----------
    path : Path
    overrides : sequence of str
        ``section.key=value`` each, the value in YAML; they win over the file.

    Returns
    -------
    Settings

    Raises
    ------
    InputError
        With one line for every mistake in file and overrides.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such config; give a YAML file, e.g. configs/demo.yaml")
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}, line {line}: not YAML ({error.problem}); fix the line") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())}); give a YAML file") from error
    if not isinstance(given, dict):
        raise InputError(f"{path}: holds no settings; write sections such as 'model:' (see configs/demo.yaml)")
    overridden, problems = _override(given, overrides)
    try:
        settings = _ADAPTER.validate_python(given)
    except ValidationError as error:
        # A value that may be of two types and is of neither is reported once for each type; one line is enough.
        by_place = {_place(problem): _explain(problem) for problem in error.errors()}
        problems += [f"{'--set' if _is_in(overridden, place) else path}: {text}" for place, text in by_place.items()]
    if problems:
        raise InputError(problems)
    return settings


def make_settings(given: Mapping[str, Any]) -> Settings:
    """Make settings of nested mappings, as YAML gives them.

    Raises
    ------
    InputError
        With one line for every mistake.
    """
    try:
        return _ADAPTER.validate_python(dict(given))
    except ValidationError as error:
        raise InputError(dict.fromkeys(_explain(problem) for problem in error.errors())) from error


def settings_mapping(settings: Settings) -> dict[str, Any]:
    """Return all settings, defaults filled in, as nested mappings of plain values."""
    return asdict(settings)


def settings_yaml(settings: Settings) -> str:
    """Return all settings, defaults filled in, as YAML that `load_settings` reads back."""
    return yaml.safe_dump(settings_mapping(settings), sort_keys=False, allow_unicode=True)


def settings_schema() -> dict[str, Any]:
    """Return the JSON schema of the settings, with the description of each."""
    return _ADAPTER.json_schema()


def _override(given: dict[str, Any], overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Change what the file gave; return the keys that were overridden, and what is wrong with the others."""
    keys, problems = [], []
    for override in overrides:
        key, equals, text = override.partition("=")
        *sections, name = key.split(".")
        if not equals or not all([*sections, name]):
            problems.append(f"--set {override!r}: write section.key=value, e.g. --set tuning.epochs=3")
            continue
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            problems.append(f"--set {override!r}: the value is not YAML; quote it")
            continue
        inner = given
        for section in sections:
            if not isinstance(inner.get(section), dict):
                inner[section] = {}
            inner = inner[section]
        inner[name] = value
        keys.append(key)
    return keys, problems


def _is_in(keys: Sequence[str], place: str) -> bool:
    return any(f"{place}.".startswith(f"{key}.") or key.startswith(f"{place}.") for key in keys)


def _explain(problem: Any) -> str:
    place = _place(problem)
    kind, value = problem["type"], problem.get("input")
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _keys(problem["loc"][:-1])
        near = get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
        fix = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"{place}: no such key; {fix}"
    if kind == "missing":
        return f"{place}: missing; add it"
    if kind == "dataclass_type":
        held = "is empty" if value is None else f"{value!r} cannot be used"
        return f"{place}: {held}; write a section with keys {', '.join(_keys(problem['loc']))}, or leave it out"
    if kind == "value_error" and isinstance(value, dict):  # a check of a section, which names its keys
        return f"{place}: {problem['msg'].removeprefix('Value error, ')}"
    what = problem["msg"].removeprefix("Value error, ").replace(" after validation", "")
    return f"{place}: {value!r} cannot be used; {what[0].lower()}{what[1:]}"


def _place(problem: Any) -> str:
    return ".".join(str(part) for part in problem["loc"] if part not in ("float", "int"))


def _keys(location: Sequence[Any]) -> list[str]:
    section: Any = Settings
    for part in location:
        section = get_type_hints(section).get(str(part))
        if not is_dataclass(section):
            return []
    return [field.name for field in fields(section)]
