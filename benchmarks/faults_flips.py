"""Single flipped bits in a finished run: `benchmarks.faults --stage flips`.

Every kind of file is chosen as often as any other, and of it a random file and bit. After each flip the run is verified
as `emoscale inspect --verify` does it, and the bit is flipped back. Named right is a flip after which the file, and no
other, is named.
"""

from __future__ import annotations

import random
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.faults_job import environment, job_of
from benchmarks.faults_stages import SHORT_RUN, make_run_config
from emoscale.commands.inspect import inspect_path
from emoscale.errors import EmoscaleError
from emoscale.run.folder import RunFolder
from emoscale.store import is_chunk


def flip_bits(flips: int, chance: random.Random) -> dict[str, Any]:
    """Flip so many bits of a finished run, one at a time; return the numbers."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as path:
        folder = RunFolder(Path(path) / "run")
        config = make_run_config(Path(path), SHORT_RUN)
        subprocess.run(job_of("run", config, folder, 1), check=True, stdout=subprocess.DEVNULL, env=environment())
        if unchanged := _named(folder):
            raise SystemExit(f"named in an unchanged run: {', '.join(unchanged)}")
        by_kind = _by_kind(folder)
        kinds = sorted(by_kind)
        named = others = 0
        tried: Counter[str] = Counter()
        for number in range(flips):
            kind = kinds[number % len(kinds)]
            file = chance.choice(by_kind[kind])
            content = file.read_bytes()
            bit = chance.randrange(8 * len(content))
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            file.write_bytes(flipped)
            found = _named(folder)
            file.write_bytes(content)
            tried[kind] += 1
            named += str(file) in found
            others += bool(found - {str(file)})
            if found != {str(file)}:
                print(
                    f"flip {number + 1}: bit {bit} of {file}; named: {', '.join(sorted(found)) or 'nothing'}",
                    flush=True,
                )
        files = sum(map(len, by_kind.values()))
    return {
        "flips": flips,
        "named": named,
        "others_named": others,
        "seconds": time.perf_counter() - begin,
        "files": files,
        **{f"flips, {kind}": count for kind, count in sorted(tried.items())},
    }


def _named(folder: RunFolder) -> set[str]:
    """Return the files that verifying a run names."""
    try:
        inspect_path(folder.path, True, Console(quiet=True))
    except EmoscaleError as error:
        return {problem.partition(": ")[0] for problem in error.problems}
    return set()


def _by_kind(folder: RunFolder) -> dict[str, list[Path]]:
    """Return the files of a run that hold something, by kind."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.path.rglob("*")):
        if file.is_file() and file.stat().st_size:
            found.setdefault(_kind(folder, file), []).append(file)
    return found


def _kind(folder: RunFolder, file: Path) -> str:
    """Say what a file is: a store's chunks or metadata, or by its folder and suffix."""
    name, *inside = file.relative_to(folder.path).parts
    if name.endswith(".zarr"):
        return f"{name}, {'chunks' if is_chunk(file) else 'metadata'}"
    return f"{name}/*{file.suffix}" if inside else name
