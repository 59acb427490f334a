"""Finding a model's files: a folder, a GGUF file, either of them inside an installed package, or a name on the hub."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download

from emoscale.errors import InputError
from emoscale.models.gguf import convert_gguf
from emoscale.models.options import INSTALL

_PACKAGE = "package:"
_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.py", "*.jinja"]


@dataclass(frozen=True)
class ModelFiles:
    """Where a model's files are.

    Attributes
    ----------
    folder : Path
        Holds its configuration, tokenizer and weights, in the form of `save_pretrained`.
    gguf : Path or None
        The file that the folder was converted from.
    gguf_sha256 : str or None
    """

    folder: Path
    gguf: Path | None = None
    gguf_sha256: str | None = None

    @property
    def source(self) -> Path:
        """What the user has: the GGUF file, or the folder."""
        return self.gguf or self.folder


def find_model(name: str, revision: str | None) -> ModelFiles:
    """Find a model's files, fetching or converting them if they are not here.

    Parameters
    ----------
    name, revision : str
        See `ModelOptions`.

    Raises
    ------
    InputError
        If there are none.
    """
    path = _in_package(name) if name.startswith(_PACKAGE) else Path(name).expanduser()
    if path.suffix.lower() == ".gguf" and not path.is_dir():
        folder, digest = convert_gguf(name, path)
        return ModelFiles(folder, path, digest)
    if (path / "config.json").is_file():
        return ModelFiles(path)
    looks_local = name.startswith((_PACKAGE, ".", "/", "~")) or path.exists() or name.count("/") > 1
    if not looks_local:
        return ModelFiles(_fetch(name, revision))
    lacking = "has no config.json" if path.is_dir() else "is not a folder"
    raise InputError(f"model.name {name!r}: {path} {lacking}; set a folder that save_pretrained wrote, or a GGUF file")


def _in_package(name: str) -> Path:
    package, _, inside = name.removeprefix(_PACKAGE).partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        fix = INSTALL.get(package, f"pip install {package.replace('_', '-')}")
        raise InputError(f"model.name {name!r}: package {package} is not installed; {fix}")
    return Path(spec.submodule_search_locations[0]) / inside


def _fetch(name: str, revision: str | None) -> Path:
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_PATTERNS))
    except Exception as error:  # the hub client raises some twenty kinds
        raise InputError(
            f"model.name {name!r}: not a local folder, and the download from the Hub failed ({type(error).__name__}); "
            "set a local folder or a name on the Hub"
        ) from error
