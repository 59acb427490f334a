"""What pydantic finds wrong with settings, in the words of the YAML file."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any, get_type_hints

from emoscale.config.settings import Settings


def explain(problem: Any) -> str:
    """Return one of pydantic's errors as a line: the setting, what is wrong, and the fix."""
    place = place_of(problem)
    kind, value = problem["type"], problem.get("input")
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _keys(problem["loc"][:-1])
        near = get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
        fix = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"{place}: no such key; {fix}"
    if kind == "missing":
        return f"{place}: missing; add it"
    if kind == "dataclass_type":
        held = "is empty" if value is None else f"{reprlib.repr(value)} cannot be used"
        return f"{place}: {held}; write a section with keys {', '.join(_keys(problem['loc']))}, or leave it out"
    if kind == "value_error" and isinstance(value, dict):  # a check of a section, which names its keys
        return f"{place}: {problem['msg'].removeprefix('Value error, ')}"
    if kind == "string_type" and isinstance(value, bool):
        return (
            f"{place}: {value} cannot be used; YAML reads no, yes, off and on without quotes as false and true: put "
            f'the word in quotes, e.g. "{"yes" if value else "no"}"'
        )
    if kind == "string_type" and isinstance(value, int | float):
        return f"{place}: {reprlib.repr(value)} cannot be used; it is text: put it in quotes"
    what = problem["msg"].removeprefix("Value error, ").replace(" after validation", "")
    return f"{place}: {reprlib.repr(value)} cannot be used; {what[0].lower()}{what[1:]}"


def place_of(problem: Any) -> str:
    """Return the setting that one of pydantic's errors is about, as ``section.key``."""
    return ".".join(str(part) for part in problem["loc"] if part not in ("float", "int"))


def _keys(location: Sequence[Any]) -> list[str]:
    section: Any = Settings
    for part in location:
        section = get_type_hints(section).get(str(part))
        if not is_dataclass(section):
            return []
    return [field.name for field in fields(section)]
