"""How often are a run's conclusions right? The stages run on models whose neurons are known.

Planted models, in which losing the followers of attributes costs more than losing others by 0.1 to 0.3 log-odds; null
models, in which nothing follows an attribute; and models in which neurons follow attributes and their loss costs no
more than that of others, or nothing at all. Records are appended to a file as they come: started again, it goes on.

    python -m benchmarks.planted [--planted N] [--null N] [--processes N] [--records FILE] [--json FILE]
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import arguments, tell
from benchmarks.planted_jobs import run_jobs
from benchmarks.planted_rates import rates
from benchmarks.planted_record import MATCHED, NULL, PLANTED, UNREAD, Job

EFFECTS = (0.1, 0.15, 0.2, 0.3)
DRAWS = (19, 3)
"""Numbers of permuted masks: as few as can decide, and so few that estimates decide."""
OTHER_NULLS = {5: "mixtral", 9: "bert"}
"""Of ten null models those that are of another family, by their number."""


def main() -> None:
    """Run the models that have no record yet, and tell the rates."""
    options = arguments(
        __doc__ or "", planted=36, null=400, followed=40, others=8, processes=2, records="planted.jsonl"
    )
    every = run_jobs(list(jobs(options)), DRAWS, Path(options.records), options.processes)
    numbers = rates(every) | _seconds(every)
    tell(f"Conclusions on {len(every)} models whose neurons are known", numbers, options.json)


def jobs(options: Any) -> Iterator[Job]:
    """Yield every model; no two have one seed."""
    seeds = iter(range(10**9))
    for number in range(options.planted):
        yield Job(PLANTED, next(seeds), EFFECTS[number % len(EFFECTS)])
    seeds = iter(range(1_000, 10**9))
    for number in range(options.followed):
        yield Job((MATCHED, UNREAD)[number % 2], next(seeds))
    seeds = iter(range(2_000, 10**9))
    for number in range(options.others):
        yield Job(PLANTED, next(seeds), EFFECTS[-1], ("mixtral", "bert")[number % 2])
    seeds = iter(range(10_000, 10**9))
    for number in range(options.null):
        yield Job(NULL, next(seeds), family=OTHER_NULLS.get(number % 10, "llama"))


def _seconds(records: list[dict[str, Any]]) -> dict[str, float]:
    names = dict.fromkeys(name for one in records for name in one["seconds"])
    by_name = {name: [one["seconds"][name] for one in records if name in one["seconds"]] for name in names}
    return {f"seconds_{name.replace(' ', '_')}": float(np.mean(wall)) for name, wall in by_name.items()}


if __name__ == "__main__":
    main()
