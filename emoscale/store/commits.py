"""Which blocks of a store are safely on disk."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from emoscale.system.files import naming, sync


class CommitLog:
    """Append-only record of finished blocks, one file a rank.

    A line is written after the block's chunks are on the disk, so a block that is listed is complete. A torn last line
    (the writer was killed in the middle of it) is ignored.

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
            for line in file.read_text(encoding="ascii").splitlines(keepends=True):
                if line.endswith(";\n"):
                    block, absent = map(int, line[:-2].split())
                    blocks[block] = absent
        return blocks

    def add(self, block: int, absent: int = 0) -> None:
        """Record a finished block, and how many of its values are absent, on disk before this returns.

        Threads may call it concurrently.
        """
        with self._lock, naming(self._file):
            is_new = not self._file.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="ascii") as file:
                # A line feed first: a torn line of an earlier process must not swallow this one.
                file.write(f"\n{block} {absent};\n")
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                sync(self.folder)
                sync(self.folder.parent)
