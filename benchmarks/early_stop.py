"""What does `ablation.stop_when: decided` save, and are its answers as right as those from all texts?

The stages run on models whose neurons are known (`benchmarks.planted`) with more texts. Every model is ablated twice,
with all texts and with comparisons that end once they are decided, under the same masks. `rows_saved` is the share of
pairs (item, mask) that were not asked; `false_needed` that of models without followers in which anything was called
needed; `false_not_needed` that of attributes whose true drop is the smallest effect of interest or more and which were
called not needed; `found` that of those which were called needed; `coverage` that of intervals that hold the true drop.
Each is given for both ways, the latter two by attribute.

    python -m benchmarks.early_stop [--models N] [--texts N] [--processes N] [--records FILE] [--json FILE]
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import arguments, tell
from benchmarks.planted_jobs import run_jobs
from benchmarks.planted_rates import NO, SMALLEST, YES, Record, share
from benchmarks.planted_record import MATCHED, NULL, PERMUTATIONS, PLANTED, UNREAD, Job, K
from benchmarks.planted_run import BEFORE_MASKS, FROM_MASKS, PlantedRun, settings_of, write_inputs
from benchmarks.planted_twin import Truth, Twin
from emoscale.masks.options import MaskOptions
from emoscale.schema import ALL_ATTRIBUTES, PERMUTED, SELECTIVE

WAYS = ("never", "decided")
KINDS = (NULL, PLANTED, PLANTED, MATCHED, UNREAD)
"""What every five models are; of the planted ones one has a small effect and one a large one."""
EFFECTS = (0.1, 0.3)
DRAWS = 19


def main() -> None:
    """Run the models that have no record yet, and tell the rates."""
    options = arguments(__doc__ or "", models=200, texts=32, processes=2, records="early-stop.jsonl")
    records = run_jobs(list(jobs(options.models)), [options.texts], Path(options.records), options.processes, compare)
    tell(f"Comparisons that end early, on {len(records)} models", rates(records), options.json)


def jobs(models: int) -> Iterator[Job]:
    """Yield the models; no two have one seed, and none that of another benchmark."""
    for number in range(models):
        what = KINDS[number % len(KINDS)]
        effect = EFFECTS[number % len(KINDS) - 1] if what == PLANTED else 0.0
        yield Job(what, 20_000 + number, effect)


def compare(job: Job, texts: Sequence[int], folder: Path) -> Record:
    """Ablate a model in both ways.

    Parameters
    ----------
    job : Job
    texts : sequence of int
        One number: of texts of each concept.
    folder : Path
        For the files of the run, which go afterwards.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place, model = Path(name), job.model()
        model = replace(model, options=replace(model.options, texts=texts[0]))
        write_inputs(model, job.weights(), place)
        masks = MaskOptions(k=[K], controls=[PERMUTED], permutations=DRAWS, seed=job.seed)
        settings = settings_of(place, PERMUTATIONS, masks)
        run, ways = PlantedRun(place, settings), {}
        run.do(BEFORE_MASKS)
        for way in WAYS:
            run.use(replace(settings, ablation=replace(settings.ablation, stop_when=way, seed=job.seed)))
            seconds = run.do(FROM_MASKS)
            counts = run.folder.stage("ablate")["counts"]
            needed = run.folder.table("needed").to_dict("records")
            ways[way] = {"rows": counts["rows"], "seconds": seconds["ablate"], "needed": needed}
        truth = None if job.what == NULL else Truth(Twin(model), K).drops(run.masks(SELECTIVE, K)).tolist()
    return {"job": job.__dict__, "ways": ways, "truth": truth, "seconds": {}}


def rates(records: Sequence[Record]) -> dict[str, float]:
    """Compute the rates, see the module's head."""
    found: dict[str, float] = {"models": len(records)}
    rows = {way: np.array([record["ways"][way]["rows"] for record in records]) for way in WAYS}
    saved = 1 - rows["decided"] / rows["never"]
    found["rows_saved"] = float(1 - rows["decided"].sum() / rows["never"].sum())
    for what in dict.fromkeys(KINDS):
        found[f"rows_saved_{what}"] = float(saved[[record["job"]["what"] == what for record in records]].mean())
    seconds = {way: sum(record["ways"][way]["seconds"] for record in records) for way in WAYS}
    found["seconds_saved"] = 1 - seconds["decided"] / seconds["never"]
    for way in WAYS:
        null = [record["ways"][way]["needed"] for record in records if record["truth"] is None]
        found |= share(f"false_needed_{way}", [any(row["answer"] == YES for row in table) for table in null])
        pairs = [pair for record in records for pair in _with_truth(record, way)]
        real = [row for row, drop in pairs if drop >= SMALLEST]
        found |= share(f"false_not_needed_{way}", [row["answer"] == NO for row in real])
        found |= share(f"found_{way}", [row["answer"] == YES for row in real])
        small = [row for row, drop in pairs if abs(drop) < SMALLEST]
        found |= share(f"absent_told_{way}", [row["answer"] == NO for row in small])
        found |= share(f"coverage_{way}", [row["ci_low"] <= drop <= row["ci_high"] for row, drop in pairs])
    both = [zip(*(record["ways"][way]["needed"] for way in WAYS), strict=True) for record in records]
    found |= share("same_answer", [one["answer"] == other["answer"] for pairs in both for one, other in pairs])
    return found


def _with_truth(record: Record, way: str) -> list[tuple[dict[str, Any], float]]:
    """Pair every attribute's row with its true drop."""
    rows = [row for row in record["ways"][way]["needed"] if row["attribute"] != ALL_ATTRIBUTES]
    return [] if record["truth"] is None else list(zip(rows, record["truth"], strict=True))


if __name__ == "__main__":
    main()
