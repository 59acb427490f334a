"""Whether a folder holds a run, and whether the run's model is the one that is asked for."""

from __future__ import annotations

from collections.abc import Mapping

from emoscale.errors import InputError
from emoscale.run.folder import RunFolder

_SHOWN_FILES = 3
_SHA256 = "_sha256"


def holds_run(folder: RunFolder) -> bool:
    """Whether a run has been started in a folder.

    Parameters
    ----------
    folder : RunFolder

    Returns
    -------
    bool
        False if there is no such folder, or nothing in it; hidden files do not count.

    Raises
    ------
    InputError
        If it holds something else, or is not a folder.
    """
    if not folder.path.exists():
        return False
    if not folder.path.is_dir():
        raise InputError(f"{folder.path}: is a file; choose another --out")
    if "emoscale" in folder.manifest():
        return True
    if foreign := sorted(file.name for file in folder.path.iterdir() if not file.name.startswith(".")):
        raise InputError(
            f"{folder.path}: holds files that are not an emoscale run ({', '.join(foreign[:_SHOWN_FILES])}); "
            "choose an empty --out"
        )
    return False


def model_differences(folder: RunFolder, identity: Mapping[str, str]) -> list[str]:
    """Return the differences between a model's files and those that a folder's run used; empty without a run.

    Parameters
    ----------
    folder : RunFolder
    identity : mapping of str to str
        ``PART_sha256`` of each part of the model.
    """
    recorded = folder.manifest().get("model")
    if recorded is None:
        return []
    there = {key: str(value) for key, value in recorded.items() if key.endswith(_SHA256)}
    return [
        f"the model's {key.removesuffix(_SHA256)}: {_shown(there.get(key))} there, {_shown(identity.get(key))} here"
        for key in {**identity, **there}
        if there.get(key) != identity.get(key)
    ]


def _shown(digest: str | None) -> str:
    return "none" if digest is None else f"{digest[:12]}…"


def check_same_model(folder: RunFolder, name: str, identity: Mapping[str, str]) -> None:
    """Check that the model has not changed under the name that a folder's run was made with.

    Parameters
    ----------
    folder : RunFolder
    name : str
        Another name than the run's is another setting, not a changed model.
    identity : mapping of str to str
        See `model_differences`.

    Raises
    ------
    InputError
        Names what differs.
    """
    if folder.manifest().get("model", {}).get("name", name) != name:
        return
    if differing := model_differences(folder, identity):
        raise InputError(
            f"{folder.path}: was made with another model of that name ({'; '.join(differing)}); choose another --out, "
            "or start again with emoscale run --fresh"
        )
