"""Finding a model's files: a folder, a GGUF file, an adapter, any of them inside a package, or a name on the hub."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import snapshot_download

from emoscale.errors import InputError
from emoscale.models.adapters import ADAPTER_CONFIG, read_adapter_config
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
    adapter : Path or None
        Folder of an adapter to merge into the weights.
    """

    folder: Path
    gguf: Path | None = None
    gguf_sha256: str | None = None
    adapter: Path | None = None

    @property
    def tokenizer(self) -> Path:
        """The folder of the tokenizer: an adapter may come with one."""
        if self.adapter and (self.adapter / "tokenizer_config.json").is_file():
            return self.adapter
        return self.folder

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
    looks_local = name.startswith((_PACKAGE, ".", "/", "~")) or path.exists() or name.count("/") > 1
    if not looks_local:
        path = _fetch(name, revision)
    if (path / ADAPTER_CONFIG).is_file():
        return _with_adapter(name, path)
    if (path / "config.json").is_file():
        return ModelFiles(path)
    lacking = "has no config.json" if path.is_dir() else "is not a folder"
    raise InputError(f"model.name {name!r}: {path} {lacking}; set a folder that save_pretrained wrote, or a GGUF file")


def _with_adapter(name: str, path: Path) -> ModelFiles:
    """Return the files of an adapter beside its model's weights, or of one that names its base model."""
    config = read_adapter_config(name, path)
    if (path / "config.json").is_file():
        return ModelFiles(path, adapter=path)
    base = config.get("base_model_name_or_path")
    advice = f"correct base_model_name_or_path in {path / ADAPTER_CONFIG}"
    if not isinstance(base, str) or not base:
        raise InputError(f"model.name {name!r}: the adapter does not name its base model; {advice}")
    try:
        files = find_model(base, config.get("revision"))
    except InputError as error:
        raise InputError(f"model.name {name!r}: no base model of the adapter ({error}); {advice}") from error
    if files.adapter:
        raise InputError(f"model.name {name!r}: its base model {base} has an adapter too; merge that one first")
    return replace(files, adapter=path)


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
