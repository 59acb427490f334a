"""Whether a folder holds a run, and whether it is the one that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from emoscale.errors import InputError
from emoscale.run.folder import RunFolder
from emoscale.system.files import sha256

_MAY_CHANGE = ("machine", "title")
_SHOWN_FILES = 3


def holds_run(folder: RunFolder) -> bool:
    """Whether a run has been begun in a folder.

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
        If it holds something else, or is no folder.
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


def hash_inputs(names: Iterable[str | None]) -> dict[str, str]:
    """Hash the user's own files, so that a changed one is not taken for the one the run was made with.

    Parameters
    ----------
    names : iterable of str or None
        Files and folders that settings name; what is not there, or no path, is left out.

    Returns
    -------
    dict of str to str
        SHA-256 by path. Of a folder, the files right in it.
    """
    paths = [Path(name) for name in names if name]
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    return {str(file): sha256(file) for file in files if file.is_file()}


def check_same_settings(folder: RunFolder, settings: Mapping[str, Any], inputs_sha256: dict[str, str]) -> None:
    """Raise unless the run in a folder has these settings and was made from these files.

    Parameters
    ----------
    folder : RunFolder
        Holds a run.
    settings : mapping
        Nested, as `config.settings_mapping` returns them. The title and the machine may differ.
    inputs_sha256 : dict of str to str
        From `hash_inputs`.

    Raises
    ------
    InputError
        Names every difference.
    """
    manifest = folder.manifest()
    if not folder.config.is_file() and not manifest["stages"]:
        return  # killed in the moment between the writing of the two
    differing = _differences(_flat(_recorded_settings(folder)), _flat(settings))
    recorded = manifest.get("inputs", {})
    differing += [
        f"{name} has changed" for name, digest in inputs_sha256.items() if recorded.get(name, digest) != digest
    ]
    if differing:
        raise _other_run(folder, differing)


def check_same_model(folder: RunFolder, weights_sha256: str, tokenizer_sha256: str) -> None:
    """Raise if the run in a folder, if there is one, was made with other weights or another tokenizer.

    Parameters
    ----------
    folder : RunFolder
    weights_sha256, tokenizer_sha256 : str

    Raises
    ------
    InputError
        Names what differs.
    """
    recorded = folder.manifest().get("model", {})
    here = {"weights": weights_sha256, "tokenizer": tokenizer_sha256}
    differing = [
        f"the model's {what}: {there[:12]}… there, {digest[:12]}… here"
        for what, digest in here.items()
        if (there := recorded.get(f"{what}_sha256", digest)) != digest
    ]
    if differing:
        raise _other_run(folder, differing)


def _other_run(folder: RunFolder, differing: list[str]) -> InputError:
    return InputError(
        f"{folder.path}: holds a run with other settings ({'; '.join(differing)}); "
        "choose another --out, or start anew with emoscale run --fresh"
    )


def _recorded_settings(folder: RunFolder) -> dict[str, Any]:
    try:
        recorded = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, yaml.YAMLError):
        recorded = None
    if not isinstance(recorded, dict):
        raise InputError(
            f"{folder.config}: does not hold the run's settings any more; put it back, choose another --out, or start "
            "anew with emoscale run --fresh"
        )
    return recorded


def _differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    return [
        f"{key}: {there.get(key)!r} there, {here.get(key)!r} here"
        for key in sorted(there.keys() | here.keys())
        if key.split(".")[0] not in _MAY_CHANGE and there.get(key) != here.get(key)
    ]


def _flat(sections: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{section}.{key}" if isinstance(values, dict) else section: value
        for section, values in sections.items()
        for key, value in (values.items() if isinstance(values, dict) else [("", values)])
    }
