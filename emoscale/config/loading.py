"""YAML in, settings out, every mistake named with its fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from emoscale.config.fields import locate_paths, single_values_as_lists
from emoscale.config.problems import explain, place_of
from emoscale.config.settings import Settings
from emoscale.config.yaml_files import Dumper, parse_value, read_mapping
from emoscale.errors import InputError

ADAPTER = TypeAdapter(Settings)
"""What checks settings, and describes them."""


def load_settings(path: Path, overrides: Sequence[str] = (), base: Path | None = None) -> Settings:
    """Read settings from a YAML file.

    Parameters
    ----------
    path : Path
    overrides : sequence of str
        ``section.key=value`` each, the value in YAML; they win over the file. Their relative paths start from the
        working directory.
    base : Path, optional
        The folder that the file's relative paths start from; by default its own. What is not there but in the working
        directory is taken from there.

    Returns
    -------
    Settings
        Paths are absolute.

    Raises
    ------
    InputError
        With one line for every mistake in file and overrides.

    Examples
    --------
    >>> from emoscale.config.examples import example
    >>> load_settings(example("demo"), ["masks.k=0.2"]).masks.k
    [0.2]
    """
    reading = read_settings(path, overrides, base)
    if reading.problems or reading.settings is None:
        raise InputError(reading.problems)
    return reading.settings


@dataclass(frozen=True)
class Reading:
    """What was read of a config that may be faulty.

    Attributes
    ----------
    settings : Settings or None
        Faulty sections have their defaults; None if no more can be said.
    problems : list of str
    faulty : set of str
        The sections that have problems.
    """

    settings: Settings | None
    problems: list[str]
    faulty: set[str]


def read_settings(path: Path, overrides: Sequence[str] = (), base: Path | None = None) -> Reading:
    """Read settings from a YAML file, as far as it can be used.

    Parameters
    ----------
    path, overrides, base
        As of `load_settings`.

    Raises
    ------
    InputError
        If the file holds no settings at all.
    """
    given = locate_paths(read_mapping(path), path.parent if base is None else base)
    overridden, problems = _override(given, overrides)
    try:
        return Reading(_validated(given), problems, set())
    except ValidationError as error:
        found = error.errors()
    # A value that may be of two types and is of neither is reported once for each type; one line is enough.
    by_place = {place_of(problem): explain(problem) for problem in found}
    problems += [f"{'--set' if _is_in(overridden, place) else path}: {text}" for place, text in by_place.items()]
    faulty = {str(problem["loc"][0]) for problem in found}
    rest = {section: content for section, content in given.items() if section not in faulty}
    try:
        settings = _validated({"model": {"name": ""}, **rest})
    except ValidationError:
        return Reading(None, problems, faulty)
    return Reading(settings, problems, faulty)


def make_settings(given: Mapping[str, Any]) -> Settings:
    """Make settings of nested mappings, as YAML gives them.

    Parameters
    ----------
    given : mapping
        Its relative paths start from the working directory.

    Raises
    ------
    InputError
        With one line for every mistake.

    Examples
    --------
    >>> make_settings({"model": {"name": "gpt2"}, "masks": {"k": 0.1}}).masks.k
    [0.1]
    """
    try:
        return _validated(locate_paths(given, Path.cwd()))
    except ValidationError as error:
        raise InputError(dict.fromkeys(explain(problem) for problem in error.errors())) from error


def _validated(given: Mapping[str, Any]) -> Settings:
    return ADAPTER.validate_python(single_values_as_lists(given))


def settings_mapping(settings: Settings) -> dict[str, Any]:
    """Return all settings, defaults filled in, as nested mappings of plain values."""
    return asdict(settings)


def settings_yaml(settings: Settings) -> str:
    """Return all settings, defaults filled in, as YAML that `load_settings` reads back."""
    return yaml.dump(settings_mapping(settings), Dumper=Dumper, sort_keys=False, allow_unicode=True)


def _override(given: dict[str, Any], overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Change what the file gave; return the keys that were overridden, and what is wrong with the others."""
    keys, problems = [], []
    for override in overrides:
        key, equals, text = override.partition("=")
        *sections, name = key.split(".")
        if not equals or not all([*sections, name]) or not key.isprintable():
            problems.append(f"--set {override!r}: write section.key=value, e.g. --set tuning.epochs=3")
            continue
        try:
            value = _located(key, parse_value(text))
        except (yaml.YAMLError, RecursionError):
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


def _located(key: str, value: Any) -> Any:
    """Make the paths in the value of one setting, or of one section, absolute."""
    section, _, name = key.partition(".")
    given = {section: {name: value} if name else value}
    found = locate_paths(given, Path.cwd())[section]
    return found[name] if name else found


def _is_in(keys: Sequence[str], place: str) -> bool:
    return any(f"{place}.".startswith(f"{key}.") or key.startswith(f"{place}.") for key in keys)
