"""Finding the released files: in a clone of the authors' repository, or in an archive of it."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from emoscale.commands.reproduce.options import UNPACK_LIMIT
from emoscale.errors import InputError

ACTIVATIONS = "Data/raw_data/PLM/prompt_tuning_RoBERTa/neurons_activation_before_relu"
ACCURACY = "Data/raw_data/PLM/prompt_tuning_RoBERTa/accuracy.csv"
CONCEPTS = "Data/preprocessed/reordered_emotions.csv"
SCORES = "Data/preprocessed/emotional_features/score_emotional_PCs.csv"
RDMS = "Data/preprocessed/emotional_features/dist_emotional_PCs.csv"
PEOPLE = "Data/preprocessed/subjective_comparison/avg_dist_subjective_comparison.csv"
PARTICIPANTS = "Data/preprocessed/subjective_comparison/ind_dist_subjective_comparison.csv"
AGREEMENTS = "Data/emotion_agreements.csv"
RATINGS = "Data/ratings"
RANKS = (
    "Result/search_light_analysis/RoBERTa_neurons_rank.csv",
    "Result/search_light_analysis/RoBERTa_neurons_rank.layers1-6.csv",
)
SELECTIVE = "Result/masking/RoBERTa/RSA_tau_14property/Acc_perSeed_JSON"
RANDOM = "Result/masking/RoBERTa/random/Acc_perSeed_JSON"

NEEDED = (ACTIVATIONS, ACCURACY, CONCEPTS, SCORES, RDMS, PEOPLE, PARTICIPANTS, SELECTIVE, RANDOM)
"""Files and folders without which there is nothing to reproduce; of the others there may be none."""
_USED = (*NEEDED, AGREEMENTS, RATINGS, *RANKS)

_ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar.xz", ".txz")
_TOPS = ("Data", "Result")


@dataclass(frozen=True)
class Released:
    """The released files, unpacked.

    Parameters
    ----------
    root : Path
        The folder that holds ``Data`` and ``Result``.
    source : Path
        What the user gave.
    """

    root: Path
    source: Path

    def file(self, name: str) -> Path:
        """Return the path of a file or folder by its name in the repository."""
        return self.root / name

    def first(self, names: tuple[str, ...]) -> Path | None:
        """Return the first of several that is there."""
        return next((self.root / name for name in names if (self.root / name).exists()), None)


@contextmanager
def released_files(path: Path, unpack_limit: int = UNPACK_LIMIT) -> Iterator[Released]:
    """Find the released files, unpacking an archive into a temporary folder while the block runs.

    Parameters
    ----------
    path : Path
        A clone, an archive (zip, tar.gz, tar.xz) of one, or a folder that holds either.
    unpack_limit : int
        Bytes that an archive may unpack to.

    Yields
    ------
    Released

    Raises
    ------
    InputError
        If there is nothing at `path`, it cannot be unpacked, or needed files are not in it: all that are missing.
    """
    if not (path.is_dir() or path.is_file()):
        what = "neither a file nor a folder" if path.exists() else "nothing is there"
        raise InputError(f"{path}: {what}; give a clone of thunlp/Model_Emotion or an archive of it")
    root = _root(path) if path.is_dir() else None
    if root is not None:
        yield _checked(root, path)
        return
    archive = _archive_in(path) if path.is_dir() else path
    with tempfile.TemporaryDirectory(prefix="emoscale-") as temporary:
        folder = Path(temporary)
        unpack(archive, folder, unpack_limit)
        yield _checked(folder, path)


def _root(folder: Path) -> Path | None:
    for candidate in (folder, *sorted(entry for entry in folder.iterdir() if entry.is_dir())):
        if any((candidate / name).exists() for name in NEEDED):
            return candidate
    return None


def _archive_in(folder: Path) -> Path:
    archives = sorted(entry for entry in folder.iterdir() if entry.name.endswith(_ARCHIVES))
    if len(archives) != 1:
        found = ", ".join(archive.name for archive in archives) or "none"
        raise InputError(
            f"{folder}: neither a clone of thunlp/Model_Emotion nor a folder with one archive of it ({found} found); "
            "give the clone or the archive"
        )
    return archives[0]


def _checked(root: Path, source: Path) -> Released:
    missing = [name for name in NEEDED if not (root / name).exists()]
    if missing:
        raise InputError([f"{source}: lacks {name}; give a complete copy of thunlp/Model_Emotion" for name in missing])
    return Released(root, source)


def unpack(archive: Path, folder: Path, limit: int = UNPACK_LIMIT) -> None:
    """Unpack the files that the reproduction reads, whatever folder the archive wraps them in.

    Parameters
    ----------
    archive : Path
    folder : Path
        Receives ``Data`` and ``Result``. Nothing is written outside it: only regular files are taken, under names of
        our own making.
    limit : int
        Bytes that they may have.

    Raises
    ------
    InputError
        If the archive cannot be read, holds a file twice, or a file and a folder of one name, or unpacks to more than
        the limit. Each member's size is known before any of it is unpacked.
    """
    room = _Room(archive, folder, limit)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                _unpack_zip(zipped, room)
        else:
            with tarfile.open(archive, "r|*") as tarred:
                _unpack_tar(tarred, room)
    # The last two are what zipfile raises for names that are not there.
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        EOFError,
        ValueError,
        NotImplementedError,
        RuntimeError,
        LookupError,
        TypeError,
    ) as error:
        raise InputError(
            f"{archive}: cannot be unpacked ({error}); give a whole zip, tar.gz or tar.xz archive"
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise InputError(f"{archive}: damaged ({error}); fetch it again") from error


def _unpack_zip(zipped: zipfile.ZipFile, room: _Room) -> None:
    for member in zipped.infolist():
        is_link = member.external_attr >> 28 == 0o12
        if not member.is_dir() and not is_link and (target := room.place(member.filename, member.file_size)):
            with zipped.open(member) as packed, target.open("wb") as file:
                shutil.copyfileobj(packed, file)
    room.close()


def _unpack_tar(tarred: tarfile.TarFile, room: _Room) -> None:
    for member in tarred:
        if member.isreg() and (target := room.place(member.name, member.size)):
            member.name = target.relative_to(room.folder).as_posix()
            tarred.extract(member, room.folder, filter="data")
    room.close()


class _Room:
    """Where each member of an archive goes, and what is wrong with the archive as a whole."""

    def __init__(self, archive: Path, folder: Path, limit: int) -> None:
        self.folder = folder
        self._archive = archive
        self._limit = limit
        self._bytes = 0
        self._placed: set[Path] = set()
        self._doubled: list[str] = []

    def place(self, name: str, size: int) -> Path | None:
        """Return the path for a member, or None for one that is of no use."""
        parts = PurePosixPath(name).parts
        start = next((i for i, part in enumerate(parts) if part in _TOPS), None)
        if start is None or ".." in parts:
            return None
        inner = PurePosixPath(*parts[start:])
        if not any(inner == PurePosixPath(used) or PurePosixPath(used) in inner.parents for used in _USED):
            return None
        self._bytes += size
        if self._bytes > self._limit:
            raise InputError(
                f"{self._archive}: unpacks to more than {self._limit / 1e6:,.0f} MB; give an archive of "
                "thunlp/Model_Emotion, or raise --unpack-limit if you trust it"
            )
        target = self.folder / inner
        if target in self._placed:
            self._doubled.append(str(inner))
        if target.is_dir() or any(parent in self._placed for parent in target.parents):
            raise InputError(f"{self._archive}: holds a file and a folder at {inner}; keep one of them")
        self._placed.add(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def close(self) -> None:
        """Complain of files that the archive holds twice."""
        if self._doubled:
            raise InputError([f"{self._archive}: holds {name} twice; keep one of them" for name in self._doubled])
