"""What the stages of a run depend on: its settings, and what the user's own files hold."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from emoscale.concepts.loading import Concepts, load_concepts
from emoscale.config import Settings, settings_mapping
from emoscale.errors import InputError
from emoscale.system.files import sha256

_UNREADABLE = "cannot be read"
"""In place of what a file holds. The checks before the first stage report what is wrong with it."""

_OF_FILES = ("names", "attributes", "ratings", "scale", "dissimilarity")
"""Settings of the concepts that are known once their files are read."""


def dependency_values(settings: Settings) -> dict[str, Any]:
    """Return the value of every setting, by ``section.key``; in place of a file's name a hash of what it holds.

    ``concepts.names`` is the concepts there are, ``concepts.attributes`` a hash of their scores, ``concepts.ratings``
    of the raters' agreement: a table that was only reformatted has not changed.

    Parameters
    ----------
    settings : Settings
    """
    values: dict[str, Any] = {}
    for section, content in settings_mapping(settings).items():
        if isinstance(content, dict):
            values |= {f"{section}.{key}": value for key, value in content.items()}
        else:
            values[section] = content
    for key in ("path", "dev_path"):
        values[f"stimuli.{key}"] = _digest_of_files(values[f"stimuli.{key}"])
    return values | _concept_values(settings)


def _concept_values(settings: Settings) -> dict[str, Any]:
    try:
        concepts: Concepts = load_concepts(settings.concepts)
    except InputError:
        return dict.fromkeys((f"concepts.{name}" for name in _OF_FILES), _UNREADABLE)
    scores = repr(concepts.attributes).encode() + concepts.scores.tobytes()
    agreement = concepts.agreement
    judged = [values for values in (concepts.dissimilarity, concepts.participants) if values is not None]
    return {
        "concepts.names": concepts.names,
        "concepts.attributes": _digest(scores),
        "concepts.ratings": None if agreement is None else _digest(agreement.to_csv().encode()),
        # It only says which ratings are mistakes.
        "concepts.scale": None,
        "concepts.dissimilarity": _digest(b"".join(values.tobytes() for values in judged)) if judged else None,
    }


def _digest_of_files(name: str | None) -> str | None:
    """Return one hash of a file, or of the files right in a folder; the name itself if there is neither."""
    if not name or not Path(name).exists():
        return name
    path = Path(name)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return _digest("".join(f"{file.name} {sha256(file)}\n" for file in files if file.is_file()).encode())


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
