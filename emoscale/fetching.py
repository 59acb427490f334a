"""Public data that emoscale can fetch: pinned to a commit, checked file by file."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pooch
from requests.exceptions import RequestException

from emoscale.errors import EmoscaleError, InputError
from emoscale.files import sha256
from emoscale.reproduction import released

COMMIT = "614c978ad0220fcd86e30e990b0e32934876a06c"


@dataclass(frozen=True)
class Dataset:
    """Something to fetch.

    Parameters
    ----------
    about : str
        One line for the list.
    url : str
        Of an archive.
    unpack : callable
        From the archive and a folder: puts the files there.
    checks : Path
        JSON of the SHA-256 of the contents (see `verify`).
    """

    about: str
    url: str
    unpack: Callable[[Path, Path], None]
    checks: Path


DATASETS = {
    "model-emotion": Dataset(
        f"released files of the published study, thunlp/Model_Emotion at {COMMIT[:7]}: for emoscale reproduce",
        f"https://github.com/thunlp/Model_Emotion/archive/{COMMIT}.zip",
        released.unpack,
        Path(__file__).parent / "reproduction" / "data" / "model-emotion.json",
    ),
}


def fetch(name: str, out: Path | None = None, datasets: dict[str, Dataset] = DATASETS) -> tuple[Path, str]:
    """Download a data set, check it and put it into a folder.

    GitHub makes its archives on demand and does not promise that their bytes stay the same, so it is not the archive
    that is checked but the files in it.

    Parameters
    ----------
    name : str
        Key of `datasets`.
    out : Path, optional
        Folder to make; by default ``data/NAME``.
    datasets : dict

    Returns
    -------
    folder : Path
    digest : str
        SHA-256 of the archive that was downloaded.

    Raises
    ------
    InputError
        If there is no such data set, or the folder is there already.
    EmoscaleError
        If it cannot be downloaded, or the files are not those expected.
    """
    if name not in datasets:
        raise InputError(f"{name}: no such data; give one of {', '.join(datasets)}")
    folder = out or Path("data") / name
    if folder.exists():
        raise InputError(f"{folder}: is there already; choose another --out, or delete it")
    dataset = datasets[name]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside its place, so that the finished folder appears at once.
        temporary = tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from error
    with temporary as place:
        archive = _download(dataset.url, Path(place))
        digest = sha256(archive)
        files = Path(place) / "files"
        files.mkdir()
        dataset.unpack(archive, files)
        if problems := verify(files, dataset.checks):
            raise EmoscaleError([f"{dataset.url}: {problem}" for problem in problems])
        shutil.move(files, folder)
    return folder, digest


def _download(url: str, folder: Path) -> Path:
    # Pooch would tell the hash to keep; it is the files that are checked.
    pooch.get_logger().setLevel(logging.WARNING)
    try:
        return Path(pooch.retrieve(url, known_hash=None, fname="archive.zip", path=folder))
    except (RequestException, OSError) as error:
        raise EmoscaleError(
            f"{url}: cannot be downloaded ({type(error).__name__}); where there is no network, bring the archive or a "
            "clone from elsewhere and give its path"
        ) from error


def verify(folder: Path, checks: Path) -> list[str]:
    """Compare files with the hashes they should have.

    Parameters
    ----------
    folder : Path
    checks : Path
        JSON: ``files``, SHA-256 by name; ``groups``, by pattern of names (as in `glob`), the number of files and the
        `group_digest`.

    Returns
    -------
    list of str
        What is missing or differs; empty if nothing.
    """
    expected = json.loads(checks.read_text(encoding="utf-8"))
    problems = []
    for name, digest in expected["files"].items():
        file = folder / name
        if not file.is_file():
            problems.append(f"lacks {name}; the files at this commit have changed, or the download is incomplete")
        elif sha256(file) != digest:
            problems.append(f"{name} is not the file expected; fetch again, and report it if that does not help")
    for pattern, group in expected["groups"].items():
        found = sorted(folder.glob(pattern))
        if len(found) != group["count"]:
            problems.append(f"{len(found)} files {pattern}, {group['count']} expected; fetch again")
        elif group_digest(found) != group["sha256"]:
            problems.append(f"files {pattern} are not those expected; fetch again")
    return problems


def group_digest(files: list[Path]) -> str:
    """Return the SHA-256 of the lines ``SHA-256-OF-FILE  NAME``, one a file, as ``sha256sum`` writes them."""
    lines = "".join(f"{sha256(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()
