"""What an earlier stage left in a run folder, opened for the stages after it."""

from __future__ import annotations

from pathlib import Path

from emoscale.errors import InputError, StageError
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS, MOMENTS, StoreSchema
from emoscale.store import Store, open_store


def not_finished(path: Path, stage: str) -> StageError:
    """Return the error of a stage that needs what another one has not finished.

    Parameters
    ----------
    path : Path
        What is missing or incomplete.
    stage : str
        The stage that writes it.
    """
    state = "not finished" if path.exists() else "missing"
    return StageError(f"{path}: {state}; run `emoscale {stage}` first")


def require(path: Path, stage: str) -> Path:
    """Return a path that a stage has written.

    Raises
    ------
    StageError
        If there is nothing at the path.
    """
    if not path.exists():
        raise not_finished(path, stage)
    return path


def open_finished(path: Path, schema: StoreSchema) -> Store:
    """Open a store that an earlier stage has finished.

    Raises
    ------
    StageError
        If it is missing or not finished.
    InputError
        If it is another kind of store, or of another format.
    """
    store = open_store(require(path, schema.written_by), schema)
    if not store.complete:
        raise not_finished(path, schema.written_by)
    return store


def open_extraction(folder: RunFolder, needed_by: str | None = None) -> Store:
    """Open a run's activations, or the moments that were kept instead.

    Parameters
    ----------
    folder : RunFolder
    needed_by : str, optional
        What needs every row's activations, for the message; moments are refused then.

    Raises
    ------
    StageError
        If they are missing or not finished.
    InputError
        If every row is needed and only moments were kept.
    """
    if folder.activations.exists() or not folder.moments.exists():
        return open_finished(folder.activations.resolve(), ACTIVATIONS)
    if needed_by:
        raise needs_every_row(needed_by)
    return open_finished(folder.moments.resolve(), MOMENTS)


def needs_every_row(what: str) -> InputError:
    """Return the error of something that needs every row's activations where only moments are kept.

    Parameters
    ----------
    what : str
        The setting and its value, e.g. ``"ablation.edit 'resample'"``.
    """
    return InputError(f"{what}: needs every row's activations; remove it, or set extraction.keep to activations")
