"""One process, or one job of several ranks, works in a run folder at a time."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import psutil

from emoscale.errors import InputError
from emoscale.system.files import disk_is_full, lock_if_possible

LOCK = ".emoscale.lock"
"""Name of the lock in a run folder. It holds what `Holder` says, as JSON."""

_READ_TRIES, _READ_PAUSE = 20, 0.1
_SAME_START = 2.0
"""Seconds by which two readings of the moment when one process started may differ."""

_held: dict[Path, str] = {}
"""What this process has written into its locks."""


@dataclass(frozen=True)
class Holder:
    """The process that works in a run folder.

    Attributes
    ----------
    pid : int
    host : str
    namespace : str
        Of process numbers: containers of one host may each have their own. Empty where there is no such thing.
    started : float
        When the process started, in seconds after the machine did, which no setting of the clock can move.
    since : str
        When it took the folder, in UTC.
    """

    pid: int
    host: str
    namespace: str
    started: float
    since: str

    def is_gone(self) -> bool:
        """Whether this process, of this host, has ended; its number may belong to another one since."""
        try:
            process = psutil.Process(self.pid)
            if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                return True
        except psutil.Error:  # it has ended, or belongs to somebody whose processes are hidden
            return not psutil.pid_exists(self.pid)
        return abs(_started(process) - self.started) > _SAME_START


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run folder while the block lasts.

    A lock that a killed process of this host has left is taken over. One that stems from another host, or from another
    container, may belong to a process that is alive: it stays.

    Parameters
    ----------
    folder : Path
        Made if it is not there, and removed again if nothing has come into it.

    Raises
    ------
    InputError
        If another process works there (says which, where and since when), or the folder cannot be written.
    """
    file = folder.resolve() / LOCK
    made = [path for path in (file.parent, *file.parent.parents) if not path.exists()]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _take(file, folder)
    except OSError as error:
        _remove_empty(made)
        if disk_is_full(error):
            raise
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from error
    try:
        yield
    finally:
        _release(file)
        _remove_empty(made)


def release_all() -> None:
    """Remove the locks that this process holds; for a process that must end without leaving its blocks."""
    for file in list(_held):
        _release(file)


def _take(file: Path, folder: Path) -> None:
    own = json.dumps(asdict(_this_process()))
    while True:
        try:
            descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            _remove_if_left(file, folder)
            continue
        _held[file] = own
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as stream:
                stream.write(own)
        except OSError:  # a full disk
            del _held[file]
            file.unlink(missing_ok=True)
            raise
        return


def _release(file: Path) -> None:
    own = _held.pop(file, None)
    with suppress(OSError):  # the folder may be gone, or the file somebody else's since a user has removed ours
        if file.read_text(encoding="ascii") == own:
            file.unlink()


def _remove_if_left(file: Path, folder: Path) -> None:
    """Remove a lock whose process is gone; raise if it is not, or if nobody can say."""
    try:
        if not stat.S_ISREG(file.lstat().st_mode):  # a link to nothing could be neither read nor replaced
            raise InputError(f"{folder}: {file} is not a lock, but a link, folder or pipe; delete it")
        stream = file.open(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return
    with stream:
        # Of two processes that find the same lock, one removes it while the other waits, and then sees that it is gone.
        lock_if_possible(stream)
        holder = _read(stream)
        try:
            if not os.path.samestat(os.fstat(stream.fileno()), file.stat()):
                return
        except FileNotFoundError:
            return
        advice = "wait until it ends, or choose another --out"
        if holder is None:
            raise InputError(
                f"{folder}: in use, but {file} does not say by what; if nothing works there, delete that file"
            )
        in_use = f"{folder}: in use by process {holder.pid} on {holder.host} since {holder.since}"
        own = _this_process()
        if (holder.host, holder.namespace) != (own.host, own.namespace):
            raise InputError(f"{in_use}; {advice}; if that process is gone, delete {file}")
        if not holder.is_gone():
            raise InputError(f"{in_use}; {advice}")
        with suppress(PermissionError):
            file.unlink(missing_ok=True)
            return
    file.unlink(missing_ok=True)  # Windows removes no file that is open


def _read(stream: TextIO) -> Holder | None:
    """Read who holds a lock; a moment after it was made that may not be written yet."""
    for _ in range(_READ_TRIES):
        stream.seek(0)
        try:
            said = json.loads(stream.read())
            return Holder(int(said["pid"]), said["host"], said["namespace"], float(said["started"]), said["since"])
        except (ValueError, KeyError, TypeError):
            time.sleep(_READ_PAUSE)
    return None


def _this_process() -> Holder:
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    process = psutil.Process()
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return Holder(process.pid, socket.gethostname(), namespace, _started(process), since)


def _started(process: psutil.Process) -> float:
    return float(process.create_time() - psutil.boot_time())


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
