"""Shared by all benchmarks: repeated timing, output, and limits of the processor."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import torch
from llvmlite.binding import get_host_cpu_features, get_host_cpu_name
from rich.console import Console
from rich.table import Table

from emoscale.system.files import write_text
from emoscale.system.ranks import precision

SQUARE = 2048
"""Rows of the matrices whose product shows what the machine can do."""


def arguments(question: str, **own: float | str | tuple[str, ...]) -> argparse.Namespace:
    """Parse the options of all benchmarks and the benchmark's own: numbers or words by default, or choices."""
    parser = argparse.ArgumentParser(description=question, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--repeats", type=int, default=5, help="take the median of so many runs (default: 5)")
    for name, given in own.items():
        default = given[0] if isinstance(given, tuple) else given
        choices = given if isinstance(given, tuple) else None
        parser.add_argument(
            f"--{name}", type=type(default), choices=choices, default=default, help=f"(default: {default})"
        )
    return parser.parse_args()


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of `work`."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_seconds(work: Callable[[], object], repeats: int, warm: bool = True) -> float:
    """Return the median wall time of `work`, after one run to warm up."""
    if warm:
        work()
    return statistics.median(seconds(work) for _ in range(repeats))


def peak_rss_mib() -> float:
    """Return the peak memory of this program; getrusage would include what its parent used when it started it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def vector_bits() -> int:
    """Return the width of this processor's vector registers."""
    features = get_host_cpu_features()
    return 512 if features.get("avx512f") else 256 if features.get("avx2") else 128


def clock_ghz() -> float:
    """Measure the clock by a chain of dependent operations."""
    turns = 50_000_000
    _chain(turns)
    return 2 * turns / min(seconds(lambda: _chain(turns)) for _ in range(5)) / 1e9


@numba.njit
def _chain(turns: int) -> int:
    x = 1
    for i in range(turns):
        x = (x * 3) ^ i  # an addition with a shift, and an XOR: two cycles
    return x


def matmul_flops(device: str | torch.device = "cpu", precision_name: str = "exact") -> float:
    """Measure the operations per second of a product of large matrices."""
    a, b = (torch.rand(SQUARE, SQUARE, device=device) for _ in range(2))

    def product() -> None:
        with precision(precision_name, a.device):
            _ = a @ b
        if a.is_cuda:
            torch.cuda.synchronize()

    return 2 * SQUARE**3 / min(seconds(product) for _ in range(10))


def tell(title: str, numbers: dict[str, Any], file: Path | None) -> None:
    """Print the numbers as a table, and write them as JSON if asked."""
    table = Table("", "", title=title, show_header=False)
    for name, value in numbers.items():
        table.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
    Console().print(table)
    if file:
        machine = {"machine": platform.machine(), "processor": get_host_cpu_name(), "cores": os.cpu_count()}
        write_text(file, json.dumps({**machine, **numbers}, indent=2) + "\n")
