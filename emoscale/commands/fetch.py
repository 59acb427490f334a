"""Public data that emoscale can fetch: pinned to a commit, checked file by file."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from emoscale.commands.reproduce import released
from emoscale.errors import EmoscaleError, InputError
from emoscale.system.files import sha256
from emoscale.system.option_types import lookup

_HERE = Path(__file__).parent
_TIMEOUT = 60.0
"""Seconds without an answer."""

COMMIT = "614c978ad0220fcd86e30e990b0e32934876a06c"


@dataclass(frozen=True)
class Dataset:
    """A data set to fetch.

    Parameters
    ----------
    about : str
        One line for the list.
    urls : tuple of str
        Of an archive, or of the files themselves, each named like the end of its URL.
    checks : Path
        JSON of the SHA-256 of the contents (see `verify`).
    unpack : callable, optional
        Takes the archive and a folder, and puts the files there; None if there is no archive.
    """

    about: str
    urls: tuple[str, ...]
    checks: Path
    unpack: Callable[[Path, Path], None] | None = None


_GOEMOTIONS = "https://raw.githubusercontent.com/google-research/google-research"

DATASETS = {
    "model-emotion": Dataset(
        f"released files of the published study, thunlp/Model_Emotion at {COMMIT[:7]}: for emoscale reproduce",
        (f"https://github.com/thunlp/Model_Emotion/archive/{COMMIT}.zip",),
        _HERE / "reproduce" / "data" / "model-emotion.json",
        released.unpack,
    ),
    "goemotions": Dataset(
        "43,410 train and 5,426 dev texts labelled with 27 emotions or neutral (Demszky et al. 2020; CC BY 4.0): for "
        "the text source goemotions",
        (
            f"{_GOEMOTIONS}/2adf640a14f11025ae5a9d0ec493b78530d276d3/goemotions/data/train.tsv",
            f"{_GOEMOTIONS}/2adf640a14f11025ae5a9d0ec493b78530d276d3/goemotions/data/dev.tsv",
            f"{_GOEMOTIONS}/018cbe7892d848bc871d482fd2868089037e375f/goemotions/data/emotions.txt",
        ),
        _HERE.parent / "stimuli" / "data" / "goemotions.json",
    ),
}


def fetch(name: str, out: Path | None = None, datasets: dict[str, Dataset] = DATASETS) -> tuple[Path, str | None]:
    """Download a data set, check it and put it into a folder.

    GitHub makes its archives on demand and does not promise that their bytes stay the same, so the files in an archive
    are checked, not the archive.

    Parameters
    ----------
    name : str
        Key of `datasets`.
    out : Path, optional
        Folder to create; by default ``data/NAME``.
    datasets : dict of str to Dataset

    Returns
    -------
    folder : Path
    digest : str or None
        SHA-256 of the archive, if one was downloaded.

    Raises
    ------
    InputError
        If there is no such data set, or the folder already exists.
    EmoscaleError
        If it cannot be downloaded, or the files are not those expected.
    """
    dataset = lookup("data set", datasets, name)
    folder = out or Path("data") / name
    if folder.exists():
        raise InputError(f"{folder}: already exists; choose another --out, or delete it")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside the final folder, so that moving it there is atomic.
        temporary = tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from error
    with temporary as place:
        files = Path(place) / "files"
        files.mkdir()
        digest = _fill(files, dataset)
        if problems := verify(files, dataset.checks):
            raise EmoscaleError([f"{dataset.urls[0]}: {problem}" for problem in problems])
        shutil.move(files, folder)
    return folder, digest


def _fill(files: Path, dataset: Dataset) -> str | None:
    if dataset.unpack is None:
        for url in dataset.urls:
            _download(url, files / url.rsplit("/", 1)[1])
        return None
    archive = files.with_name("archive.zip")
    _download(dataset.urls[0], archive)
    dataset.unpack(archive, files)
    return sha256(archive)


def _download(url: str, file: Path) -> None:
    try:
        with urlopen(url, timeout=_TIMEOUT) as answer, file.open("wb") as stream:  # noqa: S310 - one of those above
            shutil.copyfileobj(answer, stream)
            missing = int(answer.headers.get("Content-Length", stream.tell())) - stream.tell()
        if missing:
            raise ConnectionError(f"{missing} bytes are missing")
    except (HTTPException, OSError) as error:
        raise EmoscaleError(
            f"{url}: cannot be downloaded ({str(error) or type(error).__name__}); check the network, or download it on "
            "another machine and give its path"
        ) from error


def verify(folder: Path, checks: Path) -> list[str]:
    """Compare files with their expected hashes.

    Parameters
    ----------
    folder : Path
    checks : Path
        JSON: ``files``, SHA-256 by name; ``groups``, by pattern of names (as in `glob`), the number of files and the
        `group_digest`.

    Returns
    -------
    list of str
        A line for each file that is missing or differs.
    """
    expected = json.loads(checks.read_text(encoding="utf-8"))
    problems = []
    for name, digest in expected["files"].items():
        file = folder / name
        if not file.is_file():
            problems.append(f"{name} is missing; fetch again, and report it if that does not help")
        elif sha256(file) != digest:
            problems.append(f"{name} is not the expected file; fetch again, and report it if that does not help")
    for pattern, group in expected["groups"].items():
        found = sorted(folder.glob(pattern))
        if len(found) != group["count"]:
            problems.append(f"{len(found)} files {pattern}, expected {group['count']}; fetch again")
        elif group_digest(found) != group["sha256"]:
            problems.append(f"files {pattern} are not the expected ones; fetch again")
    return problems


def group_digest(files: list[Path]) -> str:
    """Return the SHA-256 of the lines ``SHA-256-OF-FILE  NAME``, one for each file, as ``sha256sum`` writes them."""
    lines = "".join(f"{sha256(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()
