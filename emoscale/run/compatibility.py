"""Whether a folder holds a run, and whether the run's model is the one that is asked for."""

from __future__ import annotations

from emoscale.errors import InputError
from emoscale.run.folder import RunFolder

_SHOWN_FILES = 3


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


def model_differences(folder: RunFolder, weights_sha256: str, tokenizer_sha256: str) -> list[str]:
    """Say in what the files of the model of a folder's run differ from those here; empty if there is no run."""
    recorded = folder.manifest().get("model", {})
    here = {"weights": weights_sha256, "tokenizer": tokenizer_sha256}
    return [
        f"the model's {what}: {there[:12]}… there, {digest[:12]}… here"
        for what, digest in here.items()
        if (there := recorded.get(f"{what}_sha256", digest)) != digest
    ]


def check_same_model(folder: RunFolder, name: str, weights_sha256: str, tokenizer_sha256: str) -> None:
    """Check that the model has not changed under the name that a folder's run was made with.

    Parameters
    ----------
    folder : RunFolder
    name : str
        Another name than the run's is another setting, not a changed model.
    weights_sha256, tokenizer_sha256 : str

    Raises
    ------
    InputError
        Names what differs.
    """
    if folder.manifest().get("model", {}).get("name", name) != name:
        return
    if differing := model_differences(folder, weights_sha256, tokenizer_sha256):
        raise InputError(
            f"{folder.path}: was made with another model of that name ({'; '.join(differing)}); choose another --out, "
            "or start again with emoscale run --fresh"
        )
