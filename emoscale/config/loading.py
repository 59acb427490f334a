"""YAML in, settings out, every mistake named with its mend."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from emoscale.config.settings import Settings
from emoscale.errors import InputError


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
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())}); mend the file") from error
    if not isinstance(given, dict):
        raise InputError(f"{path}: holds no settings; write sections such as 'model:' (see configs/demo.yaml)")
    for override in overrides:
        _override(given, override)
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        # A value that may be of two types and is of neither is reported once for each type; one line is enough.
        by_place = {_place(problem): problem for problem in error.errors()}
        raise InputError([f"{path}: {_explain(problem)}" for problem in by_place.values()]) from error


def settings_yaml(settings: Settings) -> str:
    """Return all settings, defaults filled in, as YAML that `load_settings` reads back."""
    return yaml.safe_dump(settings.model_dump(), sort_keys=False, allow_unicode=True)


def _override(given: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    *sections, name = key.split(".")
    if not equals or not name:
        raise InputError(f"--set {override!r}: write section.key=value, e.g. --set tuning.epochs=3")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"--set {override!r}: the value is not YAML; quote it") from error
    for section in sections:
        if not isinstance(given.get(section), dict):
            given[section] = {}
        given = given[section]
    given[name] = value


def _explain(problem: Any) -> str:
    place = _place(problem)
    kind, value = problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        known = _keys(problem["loc"][:-1])
        near = get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
        mend = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"{place}: no such key; {mend}"
    if kind == "missing":
        return f"{place}: missing; add it"
    if kind in ("model_type", "model_attributes_type"):
        return f"{place}: {value!r} cannot be used; write a section with keys {', '.join(_keys(problem['loc']))}"
    what = problem["msg"].replace(" after validation", "")
    return f"{place}: {value!r} cannot be used; {what[0].lower()}{what[1:]}"


def _place(problem: Any) -> str:
    return ".".join(str(part) for part in problem["loc"] if part not in ("float", "int"))


def _keys(location: Sequence[Any]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in location:
        inner = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
