"""The settings as a JSON schema, by which editors complete and check a config."""

from __future__ import annotations

import json
import re
from typing import Any

from emoscale.config import loading

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def settings_schema() -> dict[str, Any]:
    """Return the JSON schema of the settings, with the description of each.

    Examples
    --------
    >>> settings_schema()["$defs"]["MaskOptions"]["properties"]["k"]["description"]
    'How many neurons: numbers, or fractions of all.'
    """
    schema = loading.ADAPTER.json_schema()
    for kind in (schema, *schema["$defs"].values()):
        kind["properties"] = {name: _described(_or_one(entry)) for name, entry in kind["properties"].items()}
    return {"$schema": _DIALECT, **schema, "title": "emoscale config"}


def schema_text() -> str:
    """Return the JSON schema as it is written to a file."""
    return json.dumps(settings_schema(), indent=2, ensure_ascii=False) + "\n"


def _or_one(entry: dict[str, Any]) -> dict[str, Any]:
    """Allow a single value where a list is expected, as the settings do."""
    if entry.get("type") != "array" or "items" not in entry:
        return entry
    outer: dict[str, Any] = {key: entry.pop(key) for key in ("default", "description", "title") if key in entry}
    return {"anyOf": [entry, entry["items"]], **outer}


def _described(entry: dict[str, Any]) -> dict[str, Any]:
    """Write a description as one paragraph, its names in the way of Markdown, which editors show."""
    if "description" in entry:
        entry["description"] = re.sub(r"``?", "`", " ".join(entry["description"].split()))
    return entry
