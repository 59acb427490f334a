"""Writing files atomically and durably, and hashing them."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from filelock import lock_descriptor

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it when the block ends without an error.

    Parameters
    ----------
    path : Path
        The file to write. A reader sees the old content or the new, never a part of it, even after a power failure.

    Yields
    ------
    Path
        Where to write; it has the same suffix as `path`.

    Raises
    ------
    OSError
        If the file cannot be written. It names the file, whatever library wrote it.
    """
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield unfinished
            sync(unfinished)
            os.replace(unfinished, path)
            sync(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` atomically."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def remove(path: Path) -> None:
    """Remove a file, a folder with all it holds, or a link; nothing happens if there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def link(source: Path, target: Path) -> None:
    """Make a file or folder appear at another path as well, at once, without copying what files hold.

    Parameters
    ----------
    source : Path
    target : Path
        What is there is replaced. Files become hard links; on another file system the target becomes a symbolic link.
    """
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    remove(unfinished)
    with naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if source.is_dir():
                shutil.copytree(source, unfinished, copy_function=os.link)
            else:
                os.link(source, unfinished)
        except (OSError, shutil.Error):
            remove(unfinished)
            unfinished.symlink_to(source.resolve())
        remove(target)
        os.replace(unfinished, target)
        sync(target.parent)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn errors of writing a file into an `OSError` that names the file.

    Libraries written in Rust raise errors of their own, with the system's error number in the message; others omit the
    name.

    Parameters
    ----------
    path : Path
        What the block writes.

    Raises
    ------
    OSError
    """
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else _rust_number(error)
        if number is None or (isinstance(error, OSError) and error.filename and not disk_is_full(error)):
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _rust_number(error: Exception) -> int | None:
    found = _RUST_ERROR.search(str(error))
    return int(found[1]) if found else None


def disk_is_full(error: OSError) -> bool:
    """Whether the disk is full, or a quota or the limit of file sizes is reached."""
    return error.errno in _FULL


def mount_point(path: Path) -> Path:
    """Return the mount point of the file system that holds `path`, or would hold it."""
    path = path.resolve()
    return next(p for p in (path, *path.parents) if os.path.ismount(p))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 lower-case hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(files: Iterable[Path]) -> str:
    """Return one SHA-256 for several files of a folder: that of their sorted names and hashes."""
    lines = "".join(f"{file.name} {sha256(file)}\n" for file in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def lock_if_possible(stream: IO[Any]) -> bool:
    """Wait until no other process holds this open file, where the file system has such locks.

    Closing the file, or the end of the process, gives the lock back. Returns whether the lock was taken.
    """
    with suppress(OSError):  # a file system without such locks
        return lock_descriptor(stream.fileno())
    return False
