"""Opening files of text whose encoding is not what it should be: what they seem to be is said, not guessed."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from emoscale.errors import InputError

UTF_8 = "utf-8"
_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""What a file begins with that is in another encoding without doubt."""
_OTHER_FILES = {
    b"PK\x03\x04": ("an Excel workbook or another zip archive", "save the sheet as CSV UTF-8"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "save the sheet as CSV UTF-8"),
    b"\x1f\x8b": ("compressed with gzip", "unpack it"),
    b"PAR1": ("a parquet file", "let its name end in .parquet"),
}
_SHOWN = 30


@contextmanager
def open_text(path: Path, encoding: str) -> Iterator[tuple[IO[str], str]]:
    """Open a file of text; line breaks stay as they are.

    Parameters
    ----------
    path : Path
    encoding : str
        UTF-8 with or without a byte order mark where this is ``"utf-8"``; UTF-16 where its mark is there.

    Yields
    ------
    file : text file
    encoding : str
        What it is read with.

    Raises
    ------
    InputError
        If the file is of another kind, or its bytes are not in this encoding.
    """
    with path.open("rb") as raw:
        start = raw.read(4)
    for magic, (kind, fix) in _OTHER_FILES.items():
        if start.startswith(magic):
            raise InputError(f"{path}: not a {path.suffix[1:]} file (it seems to be {kind}); {fix}")
    used = next((marked for mark, marked in _MARKS.items() if start.startswith(mark)), encoding)
    if codecs.lookup(used).name == "utf-8":
        used = "utf-8-sig"
    try:
        with path.open(encoding=used, newline="") as file:
            yield file, used
    except UnicodeDecodeError as error:
        raise _undecodable(path, used) from error


def _undecodable(path: Path, encoding: str) -> InputError:
    """Name the first line that cannot be decoded, and what it says as Western European Windows text."""
    kind, name, codec = path.suffix[1:].lower(), encoding.removesuffix("-sig"), codecs.lookup(encoding)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                codec.decode(line)
            except UnicodeDecodeError as error:
                shown = line[max(0, error.start - _SHOWN // 2) : error.start + _SHOWN // 2].decode("cp1252", "replace")
                return InputError(
                    f"{path}: not a {kind} file in {name} (line {number}); save it as UTF-8, or set stimuli.encoding: "
                    f"in cp1252 (Windows) the place reads {shown.strip()!r}"
                )
    return InputError(f"{path}: not a {kind} file in {name}; save it as UTF-8")
