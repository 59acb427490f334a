"""Which blocks of a store are safely on disk."""

from __future__ import annotations

import os
import re
import threading
import zlib
from pathlib import Path

from emoscale.system.files import naming, sync

_LINE = re.compile(rb"([0-9]{1,18}) ([0-9]{1,18}) [0-9a-f]{8}")


def _line(block: int, absent: int) -> bytes:
    said = b"%d %d" % (block, absent)
    return b"%s %08x" % (said, zlib.crc32(said))


class CommitLog:
    """Append-only record of finished blocks, one file a rank.

    A line is written after the block's chunks are on the disk, so a block that is listed is complete. It ends with its
    own checksum; one without (the writer was killed in the middle of it, or a bit has flipped) is ignored.

    Parameters
    ----------
    folder : Path
        Contains the ranks' files.
    rank : int
        The writer's rank.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.folder = folder
        self._file = folder / f"rank-{rank}.log"
        self._lock = threading.Lock()

    def done(self) -> dict[int, int]:
        """Return the number of absent values in every block that any rank has finished, by the block's number."""
        blocks = {}
        for file in sorted(self.folder.glob("rank-*.log")):
            for line in file.read_bytes().split(b"\n")[:-1]:
                if (found := _LINE.fullmatch(line)) and line == _line(*map(int, found.groups())):
                    blocks[int(found[1])] = int(found[2])
        return blocks

    def add(self, block: int, absent: int = 0) -> None:
        """Record a finished block, and how many of its values are absent, on disk before this returns.

        Threads may call it concurrently.
        """
        with self._lock, naming(self._file):
            is_new = not self._file.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._file.open("ab") as file:
                # A line feed first: a torn line of an earlier process must not swallow this one.
                file.write(b"\n" + _line(block, absent) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                sync(self.folder)
                sync(self.folder.parent)
