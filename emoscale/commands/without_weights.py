"""A model whose weights are left where they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from huggingface_hub import snapshot_download

from emoscale.config import Settings
from emoscale.errors import InputError

_WITHOUT_WEIGHTS = ["*.json", "*.txt", "*.model", "*.py"]


def without_weights(settings: Settings) -> Settings:
    """Return settings that name a folder where they name a model on the hub, fetched but for its weights.

    Raises
    ------
    InputError
        If the hub does not give it.
    """
    name = settings.model.name
    if name.startswith(("package:", ".", "/", "~")) or Path(name).exists() or name.count("/") > 1:
        return settings
    try:
        folder = snapshot_download(name, revision=settings.model.revision, allow_patterns=_WITHOUT_WEIGHTS)
    except Exception as error:  # the hub client raises some twenty kinds
        raise InputError(
            f"model.name {name!r}: not a local folder, and its configuration cannot be downloaded from the "
            f"hub ({type(error).__name__}); give a local folder or a hub name"
        ) from error
    return replace(settings, model=replace(settings.model, name=str(folder)))
