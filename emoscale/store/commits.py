"""Which blocks of a store are safely on disk."""

from __future__ import annotations

import os
from pathlib import Path

from emoscale.files import naming, sync


class CommitLog:
    """Append-only record of finished blocks, one file a rank.

    A line is written after the block's chunks are on the disk, so a block that is listed is whole. A torn last line
    (the writer was killed in the middle of it) counts as not written.

    Parameters
    ----------
    folder : Path
        Where the ranks' files are.
    rank : int
        The writer's rank.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.folder = folder
        self._file = folder / f"rank-{rank}.log"

    def done(self) -> set[int]:
        """Return the numbers of all blocks that any rank has finished."""
        blocks = set()
        for file in sorted(self.folder.glob("rank-*.log")):
            for line in file.read_text(encoding="ascii").splitlines(keepends=True):
                if line.endswith(";\n"):
                    blocks.add(int(line[:-2]))
        return blocks

    def add(self, block: int) -> None:
        """Record a finished block, on disk before this returns."""
        with naming(self._file):
            is_new = not self._file.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="ascii") as file:
                # A line feed first: a torn line of an earlier process must not swallow this one.
                file.write(f"\n{block};\n")
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                sync(self.folder)
                sync(self.folder.parent)
