"""Identifying a model by the content of its files."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from emoscale.errors import InputError
from emoscale.models.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from emoscale.models.outline import ModelOutline
from emoscale.system.files import sha256, sha256_of

_INDEX = "model.safetensors.index.json"
_TOKENIZER_FILES = (
    "tokenizer*.json",
    "vocab*",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "*.model",
    "chat_template*",
)


def identify(outline: ModelOutline) -> dict[str, str]:
    """Return the SHA-256 of each part of a model that its values depend on.

    Parameters
    ----------
    outline : ModelOutline

    Returns
    -------
    dict of str to str
        ``weights_sha256``, ``config_sha256`` (of `config.json`, of the weights' index if there is one, and of Python
        code that is allowed to run), ``tokenizer_sha256``, and ``adapter_sha256`` if there is an adapter. A GGUF file
        is the first three.

    Raises
    ------
    InputError
        See `weights_files` and `weights_sha256`.
    """
    files = outline.files
    adapter = {} if files.adapter is None else {"adapter_sha256": sha256_of(_of_adapter(files.adapter))}
    if files.gguf_sha256 is not None:
        parts = dict.fromkeys(("weights_sha256", "config_sha256", "tokenizer_sha256"), files.gguf_sha256)
    else:
        parts = {
            "weights_sha256": weights_sha256(files.folder),
            "config_sha256": sha256_of(_config_files(outline)),
        }
    if files.gguf_sha256 is None or files.tokenizer != files.folder:
        parts["tokenizer_sha256"] = sha256_of(_matching(files.tokenizer, _TOKENIZER_FILES))
    return parts | adapter


def weights_files(folder: Path) -> list[Path]:
    """Return the files that transformers takes a model's weights from, sorted.

    Parameters
    ----------
    folder : Path
        Holds one file that `config.json` names or that is called ``model.safetensors``, or several that an index names.

    Raises
    ------
    InputError
        If there are none, or the index cannot be read, or names a file that is missing or outside the folder.
    """
    index = folder / _INDEX
    named = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("transformers_weights")
    if named and named.endswith(".index.json"):
        index = _inside(folder, folder / "config.json", named)
    elif named:
        return [_inside(folder, folder / "config.json", named)]
    elif (single := folder / "model.safetensors").is_file():
        return [single]
    if not index.is_file():
        raise InputError(f"{folder}: no safetensors weights; convert them (pickled weights are not loaded)")
    return sorted({_inside(folder, index, name) for name in _names(index)})


def weights_sha256(folder: Path) -> str:
    """Return one SHA-256 for a model's weights.

    Parameters
    ----------
    folder : Path
        See `weights_files`. One file gives its own hash; several give the hash of their sorted names and hashes.

    Raises
    ------
    InputError
        See `weights_files`; or if a file is cut short.
    """
    files = weights_files(folder)
    for file in files:
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise InputError(f"{file}: incomplete safetensors file ({error}); fetch it again") from error
    return sha256(files[0]) if len(files) == 1 else sha256_of(files)


def _names(index: Path) -> set[str]:
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index}: not an index of weights ({error!r}); fetch it again") from error
    if not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{index}: names no files of weights; fetch it again")
    return names


def _inside(folder: Path, source: Path, name: str) -> Path:
    """Return a file of the folder; it must lie there also when links are followed."""
    file, home = folder / name, folder.resolve()
    # The hub's cache keeps files beside its snapshots, which consist of links.
    homes = [home, home.parents[1] / "blobs"] if home.parent.name == "snapshots" else [home]
    if ".." in Path(name).parts or not any(file.resolve().is_relative_to(place) for place in homes):
        raise InputError(
            f"{source}: names {name}, which is outside the folder; copy the file there and correct the name"
        )
    if not file.is_file():
        raise InputError(f"{source}: names {name}, which is missing; fetch it again")
    return file


def _of_adapter(folder: Path) -> set[Path]:
    return {folder / ADAPTER_CONFIG, folder / ADAPTER_WEIGHTS}


def _config_files(outline: ModelOutline) -> set[Path]:
    code = ("*.py",) if outline.trust_remote_code else ()
    return _matching(outline.folder, ("config.json", "*.safetensors.index.json", *code))


def _matching(folder: Path, patterns: tuple[str, ...]) -> set[Path]:
    return {file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}
