"""The files that make a tokenizer what it is."""

from __future__ import annotations

import hashlib

from emoscale.models.loading import ModelOutline
from emoscale.system.files import sha256

_PATTERNS = ("tokenizer*.json", "vocab*", "merges.txt", "added_tokens.json", "special_tokens_map.json", "*.model")


def tokenizer_sha256(outline: ModelOutline) -> str:
    """Return one SHA-256 for a model's tokenizer: the hash of its files' sorted names and hashes."""
    files = sorted({file for pattern in _PATTERNS for file in outline.folder.glob(pattern) if file.is_file()})
    return hashlib.sha256("".join(f"{file.name} {sha256(file)}\n" for file in files).encode()).hexdigest()
