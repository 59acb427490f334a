"""Reference pages, made from the code while the documentation is built: a page holds a marker that is replaced.

The markers are ``<!-- reference: settings -->`` and the same with ``commands`` and ``api``. Nothing generated is
kept in git, so that nothing of it can be old.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import typer.main
from sphinx.application import Sphinx

import emoscale
from emoscale.cli import app
from emoscale.config import settings_schema

_MARKER = re.compile(r"^<!-- reference: (\w+) -->$", re.MULTILINE)
_SHORT = 60
"""Characters of a default that a table's cell holds well."""


_WORDS = {
    "integer": "whole number",
    "boolean": "true or false",
    "string": "text",
    "object": "mapping",
    "null": "none",
}


def settings_reference() -> str:
    """Return Markdown with a section for every section of a config: names, types, defaults and meanings."""
    schema = settings_schema()
    parts = []
    for name, entry in schema["properties"].items():
        options = _definition(entry, schema)
        if options is None:
            required = "" if "default" in entry else " Must be given."
            parts.append(f"## `{name}`\n\n{entry.get('description', '')}{required}\n")
            continue
        parts.append(f"## `{name}`\n\n{options.get('description', '')}\n")
        required_keys = options.get("required", ())
        for key, field in options["properties"].items():
            default = "must be given" if key in required_keys else f"default {_default(field)}"
            parts.append(f"`{name}.{key}`\n: {_type(field, schema)}; {default}.\n\n  {field.get('description', '')}\n")
    return "\n".join(parts)


def _definition(entry: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any] | None:
    """Return the options that a section refers to; None for a plain value."""
    if "$ref" not in entry:
        return None
    definition: dict[str, Any] = schema["$defs"][entry["$ref"].rpartition("/")[2]]
    return definition if "properties" in definition else None


def _default(field: dict[str, Any]) -> str:
    if "default" not in field:
        return "made of the other settings"
    text = json.dumps(field["default"], ensure_ascii=False)
    return "`none`" if text == "null" else f"`{text}`" if len(text) <= _SHORT else f"`{text[:_SHORT]}`…"


def _type(entry: dict[str, Any], schema: dict[str, Any]) -> str:
    """Say in words which values a setting takes."""
    if "enum" in entry:
        return "one of " + ", ".join(f"`{value}`" for value in entry["enum"])
    if "const" in entry:
        return f"`{entry['const']}`"
    if "$ref" in entry:
        return _type(schema["$defs"][entry["$ref"].rpartition("/")[2]], schema)
    if "anyOf" in entry:
        return " or ".join(dict.fromkeys(_type(one, schema) for one in entry["anyOf"]))
    kind = entry.get("type", "any value")
    if kind == "array":
        inner = entry.get("items") or (entry.get("prefixItems") or [{}])[0]
        return f"list of {_type(inner, schema)}"
    low, high = entry.get("minimum", entry.get("exclusiveMinimum")), entry.get("exclusiveMaximum")
    bounds = f", above {low}" if "exclusiveMinimum" in entry else f" of {low} or more" if low is not None else ""
    return _WORDS.get(kind, kind) + bounds + (f", below {high}" if high is not None else "")


def commands_reference() -> str:
    """Return Markdown with a section for every command: what it does, its arguments and options."""
    return "\n".join(_commands(typer.main.get_command(app), "emoscale"))


def _commands(group: Any, prefix: str) -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        full = f"{prefix} {name}"
        if hasattr(command, "commands"):
            yield from _commands(command, full)
            continue
        context = command.context_class(command, info_name=full)
        usage = command.get_usage(context).removeprefix("Usage: ")
        yield f"## {full}\n\n```text\n{usage}\n```\n\n{_escaped_lines(command.help)}\n"
        for parameter in command.params:
            record = parameter.get_help_record(context)
            if record:
                yield f"`{record[0].strip()}`\n: {_escaped(record[1])}\n"
        if command.epilog:
            yield f"{_escaped(command.epilog)}\n"


def _escaped_lines(text: str | None) -> str:
    """Return paragraphs of help as Markdown that shows them as they are."""
    return "\n\n".join(_escaped(paragraph) for paragraph in inspect.cleandoc(text or "").split("\n\n"))


def _escaped(text: str) -> str:
    """Return help as Markdown that shows it as it is; what is in backticks stays code."""
    pieces = " ".join((text or "").split()).split("`")
    pieces[::2] = [re.sub(r"([*_\[\]{}<>])", r"\\\1", piece) for piece in pieces[::2]]
    return "`".join(pieces)


def api_reference() -> str:
    """Return Markdown with a section for every public name, which autodoc fills in: its signature and docstring."""
    return "\n".join(_documented(f"emoscale.{name}", getattr(emoscale, name)) for name in emoscale.__all__)


def _documented(name: str, value: Any) -> str:
    title = f"## {name}\n"
    if isinstance(value, ModuleType):
        parts = (_directive(f"{name}.{one}", getattr(value, one)) for one in value.__all__)
        return "\n".join([title, inspect.getdoc(value) or "", "", *parts])
    return f"{title}\n{_directive(name, value)}"


def _directive(name: str, value: Any) -> str:
    is_class = inspect.isclass(value)
    kind = "exception" if is_class and issubclass(value, BaseException) else "class" if is_class else "function"
    members = "   :members:\n" if kind == "class" else ""
    return f"```{{eval-rst}}\n.. auto{kind}:: {name}\n{members}```\n"


_MAKERS = {"settings": settings_reference, "commands": commands_reference, "api": api_reference}


def _replace(_app: Sphinx, _page: str, source: list[str]) -> None:
    source[0] = _MARKER.sub(lambda match: _MAKERS[match[1]](), source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Have Sphinx replace the markers as it reads pages."""
    app.connect("source-read", _replace)
    return {"version": "1", "parallel_read_safe": True}
