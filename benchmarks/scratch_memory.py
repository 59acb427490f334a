"""Does it pay that the searchlight uses its scratch memory again?

That depends on whether the C library gives freed memory back to the system, so that every page of new memory is a
fault; glibc decides it by what was asked for before. So it is measured in two processes: with glibc as it is, and where
it gives all pieces from 128 KiB back, which it does at first. In each, reused and new memory are tried by turns.

    python -m benchmarks.scratch_memory [--json FILE]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from resource import RUSAGE_SELF, getrusage
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.common import arguments, seconds, tell
from benchmarks.searchlight import ATTRIBUTES, BLOCK, CONCEPTS, NEURONS, REPLICATES
from emoscale.selectivity.kendall import tau
from emoscale_kernels import attribute_patterns, decimal_distances, kendall_bits
from emoscale_kernels.reuse import reused

SMALL_BLOCK = 256
PROCESSES = {"as_it_is": {}, "given_back": {"MALLOC_MMAP_THRESHOLD_": str(128 * 1024)}}
"""What the environment of each says to glibc."""


def main() -> None:
    options = arguments(__doc__ or "", worker="")
    if options.worker:
        print(json.dumps(measure(options.repeats)))
        return
    command = [sys.executable, "-m", "benchmarks.scratch_memory", "--worker", "yes", "--repeats", str(options.repeats)]
    numbers: dict[str, float] = {}
    for name, environment in PROCESSES.items():
        done = subprocess.run(command, env=os.environ | environment, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        numbers |= {f"{key}_{name}": value for key, value in found.items()}
    tell("Scratch memory of the searchlight: 36,864 neurons x 14 attributes", numbers, options.json)


def measure(repeats: int) -> dict[str, float]:
    """Measure in this process."""
    generator = np.random.default_rng(0)
    values = generator.normal(size=(REPLICATES, CONCEPTS, NEURONS)).astype(np.float32)
    patterns = attribute_patterns(decimal_distances(generator.random((CONCEPTS, ATTRIBUTES)).round(3)))
    tau(values[:, :, :BLOCK], patterns)
    return memory_numbers(values, patterns, repeats)


def memory_numbers(values: np.ndarray, patterns: Any, repeats: int) -> dict[str, float]:
    """Compare memory that a thread uses again with new memory for every tile, by turns; also for small blocks."""
    ways: dict[str, Any] = {"reused": reused, "new": lambda _, shape, dtype: np.empty(shape, dtype)}
    numbers: dict[str, float] = {}
    for block in (BLOCK, SMALL_BLOCK):
        blocks = [values[:, :, first : first + block] for first in range(0, NEURONS, block)]
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(repeats):
            for way, take in ways.items():
                with patch.object(kendall_bits, "reused", take):
                    before = getrusage(RUSAGE_SELF).ru_minflt
                    times[way].append(seconds(lambda blocks=blocks: [tau(one, patterns) for one in blocks]))
                    numbers[f"page_faults_{way}_blocks_of_{block}"] = getrusage(RUSAGE_SELF).ru_minflt - before
        ratios = [new / again for new, again in zip(times["new"], times["reused"], strict=True)]
        numbers[f"new_memory_over_reused_blocks_of_{block}"] = statistics.median(ratios)
    return numbers


if __name__ == "__main__":
    main()
