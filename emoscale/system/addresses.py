"""Folders on this machine, and on object stores (``s3://``, ``gs://``), which are read and never written."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlparse
from urllib.request import url2pathname

from emoscale.errors import InputError, first_lines
from emoscale.system.files import replacing

OBJECT_STORES = ("s3", "gs")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def place(given: str | Path) -> Path:
    """Return where something is, by its path or its address.

    Parameters
    ----------
    given : str or Path
        A path; ``file://``; or ``s3://BUCKET/PATH`` or ``gs://BUCKET/PATH``, which are read with the extra ``remote``.
        Keys, region and endpoint are taken from the environment (``AWS_ACCESS_KEY_ID``, ``AWS_REGION``,
        ``AWS_ENDPOINT_URL``, ``AWS_SKIP_SIGNATURE=true`` for public buckets; ``GOOGLE_APPLICATION_CREDENTIALS``).

    Returns
    -------
    Path
        Of an object store something that can be read as one.

    Raises
    ------
    InputError
        If it is an address of another kind, or the extra is not installed.

    Examples
    --------
    >>> place("file:///data/my%20runs/demo").name
    'demo'
    """
    found = _SCHEME.match(given) if isinstance(given, str) else None
    if found is None:
        return Path(given)
    scheme = found[1].lower()
    if scheme == "file":
        return Path(url2pathname(unquote(urlparse(str(given)).path)))
    if scheme not in OBJECT_STORES:
        known = ", ".join(f"{name}://" for name in ("file", *OBJECT_STORES))
        raise InputError(f"{given}: no such kind of address; those that are read begin with {known}")
    try:
        from obstore.fsspec import register
        from upath import UPath
    except ImportError as error:
        raise InputError(
            f"{given}: object stores are read with the extra remote; pip install 'emoscale[remote]'"
        ) from error
    register(list(OBJECT_STORES))
    return cast(Path, UPath(f"{scheme}://{str(given)[found.end() :]}"))


def is_here(path: Path) -> bool:
    """Whether a path is one of this machine's file system."""
    return isinstance(path, Path)


def is_file(path: Path) -> bool:
    """Whether there is a file; raise InputError if an object store does not answer, or refuses."""
    with reading(path):
        return path.is_file() if is_here(path) else path.exists()


def read_bytes(path: Path, start: int, length: int) -> bytes:
    """Read a part of a file on an object store, fewer bytes if it ends before.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    InputError
        If the object store does not answer, or refuses.
    """
    with reading(path):
        remote: Any = path
        return bytes(remote.fs.cat_file(remote.path, start=start, end=start + length))


def download(source: Path, target: Path) -> None:
    """Copy a file, or a folder with all it holds, from an object store; each file whole or not at all."""
    with reading(source):
        files = sorted(source.rglob("*")) if source.is_dir() else [source]
        for file in files:
            if file.is_file():
                inside = str(file)[len(str(source)) :].lstrip("/")
                with replacing(target / inside if inside else target) as unfinished:
                    unfinished.write_bytes(file.read_bytes())


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong on an object store into an `InputError` that names what was read."""
    if is_here(path):
        yield
        return
    base: Any = sys.modules["obstore.exceptions"].BaseError
    try:
        yield
    except FileNotFoundError:
        raise
    except (base, OSError) as error:
        reason = first_lines(error)
        raise InputError(
            f"{path}: cannot be read ({reason}); check the address, and the keys in the environment"
        ) from error
