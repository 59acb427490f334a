"""What every benchmark does: repeat, take the median, print, write."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from emoscale.files import write_text


def arguments(question: str) -> argparse.Namespace:
    """Read the command line every benchmark has."""
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--repeats", type=int, default=5, help="take the median of so many runs")
    return parser.parse_args()


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median wall time of `work`, after one run to warm up."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def tell(title: str, numbers: dict[str, Any], file: Path | None) -> None:
    """Print the numbers as a table, and write them as JSON if asked."""
    table = Table("", "", title=title, show_header=False)
    for name, value in numbers.items():
        table.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
    Console().print(table)
    if file:
        write_text(file, json.dumps({"machine": platform.machine(), **numbers}, indent=2) + "\n")
