"""From released files to a run folder."""

from __future__ import annotations

import logging
from pathlib import Path

from rich.console import Console

from emoscale.commands.reproduce.options import UNPACK_LIMIT, ReproductionOptions
from emoscale.commands.reproduce.released import released_files
from emoscale.commands.reproduce.stages import (
    REPRODUCTION_STAGES,
    SOURCE,
    ReproductionContext,
    dependency_values,
)
from emoscale.errors import InputError
from emoscale.pipeline.runner import execute
from emoscale.pipeline.stage import fingerprints
from emoscale.run.folder import RunFolder
from emoscale.run.lock import LOCK, locked
from emoscale.run.manifest import environment, new_manifest
from emoscale.system.files import remove
from emoscale.system.progress import stage_progress

_log = logging.getLogger(__name__)


def reproduce(
    path: Path, out: Path, console: Console, options: ReproductionOptions, unpack_limit: int = UNPACK_LIMIT
) -> None:
    """Compute the published study again, and report every figure beside ours.

    Parameters
    ----------
    path : Path
        A clone of the authors' repository, an archive of it, or a folder with one archive.
    out : Path
        Run folder; a reproduction that is there already is replaced.
    console : Console
        Where a bar is drawn. Lines go to the log.
    options : ReproductionOptions
    unpack_limit : int
        Bytes that an archive may unpack to.

    Raises
    ------
    InputError
        If the files or the folder cannot be used. Nothing has been written then.
    """
    folder = RunFolder(out)
    _check_out(folder)
    with locked(folder.path), released_files(path, unpack_limit) as files:
        context = ReproductionContext(files, options)
        with stage_progress("read", console) as progress:
            context.read(progress)
        _prepare(folder, files.source)
        expected = fingerprints(REPRODUCTION_STAGES, options, dependency_values(files.source.name, options))
        execute(REPRODUCTION_STAGES, list(REPRODUCTION_STAGES), context, folder, expected, console)
    _log.info(f"report: {folder.report}")


def _check_out(folder: RunFolder) -> None:
    if folder.path.is_dir() and any(not file.name.startswith(".") for file in folder.path.iterdir()):
        if not folder.manifest_file.is_file() or "reproduction" not in folder.manifest():
            raise InputError(f"{folder.path}: holds files that are not a reproduction; choose an empty --out")
    elif folder.path.exists() and not folder.path.is_dir():
        raise InputError(f"{folder.path}: a file; choose another --out")


def _prepare(folder: RunFolder, source: Path) -> None:
    for path in folder.path.iterdir():
        if path.name != LOCK:
            remove(path)
    try:
        facts = {"reproduction": {"of": SOURCE, "from": source.name}, **environment()}
        folder.write_manifest(new_manifest() | facts)
    except OSError as error:
        raise InputError(f"{folder.path}: cannot be written ({error.strerror}); choose another --out") from error
