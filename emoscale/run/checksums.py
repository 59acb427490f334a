"""What a finished stage left on the disk, file by file, so that what changes afterwards is noticed.

A list of a stage's files is one line each: checksum, size, name. Chunks of an array end with the checksums of their
values (CRC-32C), which are copied; of other files it is the SHA-256.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from emoscale.errors import StoreError
from emoscale.run.folder import RunFolder
from emoscale.store import chunk_checksum, has_checksum, is_chunk
from emoscale.system.addresses import is_here
from emoscale.system.files import sha256, write_text

_MOST_NAMED = 20
MANIFEST_CHANGED = (
    "has changed since emoscale wrote it, and what it records is uncertain; "
    "restore it, or run emoscale run with --fresh"
)
_TEMPORARY = re.compile(r"\..+\.\d+(\.\w+)?")
"""Names of files that `emoscale.system.files.replacing` and `link` have not finished."""


@dataclass(frozen=True)
class Verified:
    """What comparing a run with what it recorded has found.

    Attributes
    ----------
    problems : dict of Path to str
        A line for each file that is missing, has changed, or is there though no stage wrote it.
    unchanged : set of Path
        Files of chunks every byte of which is as it was recorded.
    """

    problems: dict[Path, str]
    unchanged: set[Path]


@dataclass(frozen=True)
class Recorded:
    """What a list says of one file.

    Attributes
    ----------
    checksum : str
    size : int
        In bytes.
    """

    checksum: str
    size: int


def write_checksums(folder: RunFolder, stage: str, outputs: Iterable[Path]) -> str:
    """List the files that a stage has left.

    Parameters
    ----------
    folder : RunFolder
    stage : str
    outputs : iterable of Path
        Files and folders; those that do not exist are left out.

    Returns
    -------
    str
        The SHA-256 of the list, for the manifest.
    """
    lines = []
    for file in sorted(_files(outputs)):
        name = file.relative_to(folder.path).as_posix()
        lines.append(f"{_checksum(file)} {file.stat().st_size} {name}\n")
    listed = folder.checksums(stage)
    write_text(listed, "".join(lines))
    return sha256(listed)


def read_checksums(folder: RunFolder, stage: str) -> dict[str, Recorded] | None:
    """Read the list of a finished stage's files.

    Parameters
    ----------
    folder : RunFolder
    stage : str

    Returns
    -------
    dict of str to Recorded, or None
        By name within the folder. None if the manifest records no list: another version finished the stage.

    Raises
    ------
    StoreError
        If the list is missing, or is not the one that the manifest records.
    """
    digest = folder.stage(stage).get("checksums")
    if digest is None:
        return None
    file = folder.checksums(stage)
    if not file.is_file():
        raise StoreError(f"{file}: missing; run emoscale {stage} again with --fresh")
    if sha256(file) != digest:
        raise StoreError(f"{file}: has changed since {stage} was done; run emoscale {stage} again with --fresh")
    found = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        checksum, size, name = line.split(" ", 2)
        found[name] = Recorded(checksum, int(size))
    return found


def missing_outputs(folder: RunFolder, stage: str) -> list[str]:
    """Return which files or folders that a finished stage left are gone, as a whole, by their names."""
    names = folder.stage(stage).get("outputs", [])
    return [name for name in names if isinstance(name, str) and not (folder.path / name).exists()]


def check_files(folder: RunFolder, stages: Iterable[str]) -> None:
    """Check that what finished stages left is what they recorded, but for chunks, which are checked as they are read.

    Parameters
    ----------
    folder : RunFolder
    stages : iterable of str

    Raises
    ------
    StoreError
        Names every file that is missing or has changed, and the stage that writes it.
    """
    problems = [line for stage in stages for line in _problems(folder, stage, lambda file: not is_chunk(file)).values()]
    if problems:
        more = len(problems) - _MOST_NAMED
        raise StoreError([*problems[:_MOST_NAMED], *([f"and {more} more"] if more > 0 else [])])


def verify_files(folder: RunFolder) -> Verified:
    """Compare every byte of a run's manifest, settings, and what finished stages left with what was recorded.

    Parameters
    ----------
    folder : RunFolder
        With a manifest.

    Returns
    -------
    Verified
        With a manifest that has changed nothing else can be compared, and only that is named.

    Raises
    ------
    InputError
        If the manifest cannot be read.
    """
    if not folder.manifest_is_unchanged():
        return Verified({folder.manifest_file: f"{folder.manifest_file}: {MANIFEST_CHANGED}"}, set())
    problems, unchanged = _problems_of_config(folder), set[Path]()
    for stage in folder.manifest()["stages"]:
        problems |= _problems(folder, stage, lambda _: True, unchanged)
        problems |= {file: f"{file}: no stage wrote it; remove it" for file in _extra(folder, stage)}
    return Verified(problems, unchanged)


def _problems_of_config(folder: RunFolder) -> dict[Path, str]:
    recorded, file = folder.manifest().get("config"), folder.config
    if recorded is None or (file.is_file() and _checksum(file) == recorded):
        return {}
    what = "has changed since the last stage began" if file.is_file() else "missing"
    return {file: f"{file}: {what}; restore it, or run emoscale run with the settings that are wanted"}


def remove_temporary_files(folder: RunFolder) -> None:
    """Remove what processes that were killed had begun to write; call it only while no other process may write."""
    for place in (folder.path, folder.tables, folder.figures, folder.prompts, folder.checksums("").parent):
        for file in place.iterdir() if place.is_dir() else ():
            if file.is_file() and _TEMPORARY.fullmatch(file.name):
                file.unlink()


def _problems(
    folder: RunFolder, stage: str, is_wanted: Callable[[Path], bool], unchanged: set[Path] | None = None
) -> dict[Path, str]:
    """Return a line for each file that is missing or has changed; add chunks' files that have not to `unchanged`."""
    fix = f"run emoscale {stage} again with --fresh" if is_here(folder.path) else "copy the run there again"
    try:
        recorded = read_checksums(folder, stage) or {}
    except StoreError as error:
        return {folder.checksums(stage): str(error)}
    found = {}
    for name, one in recorded.items():
        file = folder.path / name
        if not is_wanted(file):
            continue
        if not file.is_file():
            found[file] = f"{file}: missing; {fix}"
        elif not _is_unchanged(file, one):
            found[file] = f"{file}: has changed since {stage} was done; {fix}"
        elif unchanged is not None and is_chunk(file):
            unchanged.add(file)
    return found


def _is_unchanged(file: Path, recorded: Recorded) -> bool:
    if file.stat().st_size != recorded.size:
        return False
    return has_checksum(file, recorded.checksum) if is_chunk(file) else _checksum(file) == recorded.checksum


def _extra(folder: RunFolder, stage: str) -> list[Path]:
    try:
        recorded = read_checksums(folder, stage)
    except StoreError:
        return []
    outputs = [folder.path / name for name in folder.stage(stage).get("outputs", [])]
    there = sorted(_files(outputs)) if recorded is not None else []
    return [file for file in there if file.relative_to(folder.path).as_posix() not in (recorded or {})]


def _files(outputs: Iterable[Path]) -> Iterator[Path]:
    for path in outputs:
        if path.is_file():
            yield path
        elif is_here(path):
            for place, _, names in os.walk(path, followlinks=True):
                yield from (Path(place) / name for name in names)
        else:
            yield from (file for file in path.rglob("*") if file.is_file())


def _checksum(file: Path) -> str:
    return chunk_checksum(file) if is_chunk(file) else f"sha256:{sha256(file)}"
