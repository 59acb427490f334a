"""Identifying a model's weights and tokenizer by the content of their files."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from emoscale.errors import InputError
from emoscale.models.outline import ModelOutline
from emoscale.system.files import sha256, sha256_of

_TOKENIZER_FILES = (
    "tokenizer*.json",
    "vocab*",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "*.model",
)


def weights_sha256(folder: Path) -> str:
    """Return one SHA-256 for a model's weights.

    Parameters
    ----------
    folder : Path
        Holds ``*.safetensors``. One file gives its own hash; several give the hash of their sorted names and hashes.

    Raises
    ------
    InputError
        If there is no safetensors file, or one is cut short.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError(f"{folder}: no safetensors weights; convert them (pickled weights are not loaded)")
    for file in files:
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError as error:
            raise InputError(f"{file}: incomplete safetensors file ({error}); fetch it again") from error
    return sha256(files[0]) if len(files) == 1 else sha256_of(files)


def tokenizer_sha256(outline: ModelOutline) -> str:
    """Return one SHA-256 for a model's tokenizer, whatever files it consists of."""
    return sha256_of({file for pattern in _TOKENIZER_FILES for file in outline.folder.glob(pattern) if file.is_file()})
