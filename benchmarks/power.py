"""Does `emoscale power` say how small an effect is found?

Planted models with effects around that size run through all stages, with 19 permuted masks. How often a drop of some
size is found in them (a logistic curve over the logarithm of true drops) gives the drop that is found in four of five;
what `emoscale power` says, from each model's own run, is the median over models. The ratio of the two should be 1.
Records are appended to a file as they come: started again, it goes on.

    python -m benchmarks.power [--models N] [--processes N] [--records FILE] [--json FILE]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import logit

from benchmarks.common import arguments, tell
from benchmarks.planted_jobs import run_jobs
from benchmarks.planted_models import Floats
from benchmarks.planted_record import PLANTED, Job
from emoscale.analysis.power import POWER
from emoscale.schema import ALL_ATTRIBUTES

DRAWS = 19
EFFECTS = (0.08, 0.3)
"""Mean drops that are planted, evenly between these."""
FIRST_SEED = 5_000
RESAMPLES = 400


def main() -> None:
    """Run the models that have no record yet, and compare."""
    options = arguments(__doc__ or "", models=120, processes=2, records="power.jsonl")
    effects = np.linspace(*EFFECTS, options.models).round(4)
    jobs = [Job(PLANTED, FIRST_SEED + number, float(effect)) for number, effect in enumerate(effects)]
    records = run_jobs(jobs, [DRAWS], Path(options.records), options.processes)
    numbers = {"models": float(len(records))}
    for name, mean in (("attribute", False), ("mean", True)):
        numbers |= {
            f"{key}_{name}": value for key, value in compare([_cases(one, mean=mean) for one in records]).items()
        }
    tell(f"The smallest effect that is found in {POWER:.0%} of runs with {DRAWS} permuted masks", numbers, options.json)


def compare(cases: Sequence[Floats]) -> dict[str, float]:
    """Compare predicted with simulated detectable drops.

    Parameters
    ----------
    cases : sequence of ndarray, shape (n, 3)
        Of each model: true drop, whether it was found, and what was predicted to be found with the power asked for.

    Returns
    -------
    dict of str to float
        ``simulated``, ``predicted``, their ``ratio`` (predicted / simulated) and the ends of its 95 % interval,
        percentiles of a bootstrap over models.
    """
    simulated, predicted = _both(np.concatenate(cases))
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(len(cases), size=len(cases))
        found, said = _both(np.concatenate([cases[number] for number in drawn]))
        ratios.append(said / found)
    low, high = np.nanquantile(ratios, [0.025, 0.975])
    return {
        "simulated": simulated,
        "predicted": predicted,
        "ratio": predicted / simulated,
        "ratio_low": float(low),
        "ratio_high": float(high),
    }


def _both(cases: Floats) -> tuple[float, float]:
    true, found, said = cases.T
    return found_in_most(true, found), float(np.median(said))


def found_in_most(true: Floats, found: Floats) -> float:
    """Return the drop that is found with the power asked for, by a logistic curve over the logarithm of drops."""
    x, y = np.log(true[true > 0]), np.asarray(found[true > 0], dtype=np.float64)
    shift = x.mean()

    def loss(parameters: Floats) -> float:
        z = parameters[0] + parameters[1] * (x - shift)
        return float(np.logaddexp(0, z).sum() - (y * z).sum())

    intercept, slope = minimize(loss, [0.0, 1.0], method="BFGS").x
    return float(np.exp(shift + (logit(POWER) - intercept) / slope))


def _cases(record: dict[str, Any], *, mean: bool) -> Floats:
    tables, true = record["by_draws"][str(DRAWS)], record["truth"]["drops"]
    drops = {ALL_ATTRIBUTES: float(np.mean(true))}
    names = [row["attribute"] for row in tables["needed"] if row["attribute"] != ALL_ATTRIBUTES]
    drops |= dict(zip(names, true, strict=True))
    said = {row["attribute"]: row["detectable"] for row in tables["power"]}
    answers = {row["attribute"]: row["answer"] == "yes" for row in tables["needed"]}
    return np.array([[drops[name], answers[name], said[name]] for name in ([ALL_ATTRIBUTES] if mean else names)])


if __name__ == "__main__":
    main()
