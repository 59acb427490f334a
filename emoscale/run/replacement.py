"""Stages that were done again elsewhere take the place of the old ones, all of them or none.

A stage whose settings changed is done again in `RunFolder.replacement`, which links to what is still valid. Once
everything there is finished it is moved into the run folder. A process that is killed meanwhile leaves a replacement
that says it is complete: the next one moves the rest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from emoscale.run.folder import RunFolder
from emoscale.run.manifest import write_config
from emoscale.system.files import remove, sync

FilesOf = Callable[[str, RunFolder], Sequence[Path]]
"""From a stage's name and a folder to everything that the stage may leave there."""

_COMPLETE = "complete"
"""Key of the manifest: names of the files that are to be moved."""


def is_complete(folder: RunFolder) -> bool:
    """Whether a run folder has a replacement that only has to be moved."""
    return _COMPLETE in folder.replacement.manifest()


def complete_replacement(folder: RunFolder, stages: Collection[str], files_of: FilesOf) -> None:
    """Declare that everything in a folder's replacement is finished; parameters as of `finish_replacement`."""
    new = folder.replacement
    files = [file.name for name in stages for file in files_of(name, new) if file.exists()]
    new.write_manifest(new.manifest() | {_COMPLETE: files})


def finish_replacement(folder: RunFolder, stages: Collection[str], files_of: FilesOf) -> None:
    """Move a complete replacement into its run folder.

    Parameters
    ----------
    folder : RunFolder
    stages : collection of str
        All stages of this kind of run. What the replacement does not have is removed from the folder: it was made from
        what is replaced.
    files_of : callable
    """
    new = folder.replacement
    manifest = new.manifest()
    moving = set(manifest.pop(_COMPLETE))
    for name in stages:
        if (recorded := manifest["stages"].get(name)) and recorded == folder.stage(name):
            continue  # linked from here
        for old, made in zip(files_of(name, folder), files_of(name, new), strict=True):
            if old.name not in moving:
                remove(old)
            elif made.exists():  # if not, it was moved before this process
                remove(old)
                old.parent.mkdir(exist_ok=True)
                os.replace(made, old)
    sync(folder.path)
    write_config(folder, new.config.read_text(encoding="utf-8"))
    folder.write_manifest(manifest)
    remove(new.path)
