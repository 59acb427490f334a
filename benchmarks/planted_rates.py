"""From the records of planted models to the rates at which tests and intervals are right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from benchmarks.planted_record import MATCHED, NULL, PLANTED, UNREAD
from emoscale.analysis.options import AnalysisOptions
from emoscale.run.verdicts import LEVEL
from emoscale.schema import ALL_ATTRIBUTES

Record = dict[str, Any]
Rates = dict[str, float]
YES, NO = "yes", "no"
SMALLEST = AnalysisOptions().smallest_effect
TRUE_DROPS = (0.1, 0.15, 0.2, 0.3)
"""Where true drops are divided to tell power; the first is the smallest effect of interest."""
RANDOM = "random"
"""The control of the tests used until now."""


def rates(records: Sequence[Record]) -> Rates:
    """Compute all rates of finished records.

    Parameters
    ----------
    records : sequence of dict
        From `emoscale`'s stages on planted models, see `benchmarks.planted_record.record`.

    Returns
    -------
    dict of str to float
        Shares with ``_high``, the upper end of their 95 % interval (Clopper & Pearson 1934, *Biometrika* 26, 404-413),
        and ``_of``, the number that they are of. Names that end in a number of draws are of runs with as many permuted
        masks.
    """
    found: Rates = {"models": len(records)}
    for what in (PLANTED, NULL, MATCHED, UNREAD):
        found[f"models_{what}"] = len(_of(records, what))
    found |= _of_map(records) | _measures(records)
    for draws in sorted({name for record in records for name in record["by_draws"]}, key=int, reverse=True):
        found |= {f"{name}_{draws}": value for name, value in _of_draws(records, draws).items()}
    most = max((name for record in records for name in record["by_draws"]), key=int, default=None)
    return found if most is None else found | _until_now(records, most)


def share(name: str, flags: Iterable[Any]) -> Rates:
    """Return how often something happened, with the upper end of the interval; nothing if there was no occasion."""
    known = [bool(flag) for flag in flags]
    if not known:
        return {}
    interval = binomtest(sum(known), len(known)).proportion_ci(method="exact")
    return {name: float(np.mean(known)), f"{name}_high": float(interval.high), f"{name}_of": len(known)}


def _of(records: Sequence[Record], *whats: str) -> list[Record]:
    return [record for record in records if record["job"]["what"] in whats]


def _of_map(records: Sequence[Record]) -> Rates:
    null, others = _of(records, NULL), _of(records, PLANTED, MATCHED, UNREAD)
    return {
        **share("false_followers", [_verdict(record, "followers") == YES for record in null]),
        **share("false_followers_p", [_lowest(_rows(record, "followers"), "p_corrected") <= LEVEL for record in null]),
        **share("false_q", [record["tests_at_01"] > 0 for record in null]),
        **share("found_followers", [_verdict(record, "followers") == YES for record in others]),
    }


def _measures(records: Sequence[Record]) -> Rates:
    planted = _of(records, PLANTED)
    names = planted[0]["measures"] if planted else ()
    return {name: float(np.mean([record["measures"][name] for record in planted])) for name in names}


def _of_draws(records: Sequence[Record], draws: str) -> Rates:
    null, matched, planted = _of(records, NULL), _of(records, MATCHED, UNREAD), _of(records, PLANTED)
    known = [record for record in records if "truth" in record]
    found: Rates = {}
    # Where nothing follows an attribute no verdict on need is given, so what it would rest on is looked at, too.
    for name, some in (("", null), ("_matched", matched)):
        found |= share(f"false_needed{name}", [_verdict(record, "need", draws) == YES for record in some])
        found |= share(f"false_mean_drop{name}", [_all(record, draws)["answer"] == YES for record in some])
        found |= share(f"false_attribute{name}", [_any_needed(record, draws) for record in some])
    for p, one in (("p", "p"), ("estimated_p", "estimated_p")):
        found |= share(f"false_mean_{p}", [_all(record, draws)[one] <= LEVEL for record in null])
        found |= share(
            f"false_attribute_{p}",
            [_lowest(_attributes(record, draws), f"{one}_corrected") <= LEVEL for record in null],
        )
    found |= share("equivalent", [_all(record, draws)["answer"] == NO for record in null])
    found |= share("false_people", [_about_people(record, draws) for record in records])
    found |= share("false_people_p", [_people_p(record, draws) <= LEVEL for record in records])
    for family in sorted({record["job"]["family"] for record in planted}):
        some = [record for record in planted if record["job"]["family"] == family]
        found |= share(f"power_need_{family}", [_verdict(record, "need", draws) == YES for record in some])
    planted = [record for record in planted if "truth" in record]
    large = [record for record in planted if _true_mean(record) >= SMALLEST]
    found |= share("false_not_needed", [_all(record, draws)["answer"] == NO for record in large])
    found |= share("false_not_needed_attribute", _answers(known, draws, NO, (SMALLEST, np.inf)))
    found |= share("false_needed_attribute", _answers(known, draws, YES, (-np.inf, 0.0)))
    found |= _power(planted, draws)
    found |= share("coverage_mean", [_covers(_all(record, draws), _true_mean(record)) for record in known])
    pairs = [pair for record in known for pair in zip(_attributes(record, draws), _true(record), strict=True)]
    return found | share("coverage_attribute", [_covers(*pair) for pair in pairs])


def _power(planted: Sequence[Record], draws: str) -> Rates:
    found: Rates = {}
    for low, high in zip(TRUE_DROPS, (*TRUE_DROPS[1:], np.inf), strict=True):
        some = [record for record in planted if low <= _true_mean(record) < high]
        found |= share(f"power_need_{low:g}", [_verdict(record, "need", draws) == YES for record in some])
        found |= share(f"power_mean_{low:g}", [_all(record, draws)["answer"] == YES for record in some])
        of_attribute = _answers(planted, draws, YES, (low, high))
        found |= share(f"power_attribute_{low:g}", of_attribute)
    return found


def _until_now(records: Sequence[Record], draws: str) -> Rates:
    """Return the rates of the t tests over concepts and of Pearson's test over attributes."""
    null, known = _of(records, NULL), [record for record in records if "truth" in record]
    planted = _of(known, PLANTED)

    def rows(record: Record, table: str) -> list[dict[str, Any]]:
        return [row for row in _rows(record, table, draws) if row["control"] == RANDOM]

    def mean(record: Record) -> dict[str, Any]:
        return rows(record, "drop_overall")[0]

    def attributes(record: Record) -> list[dict[str, Any]]:
        return rows(record, "drop_by_attribute")

    pairs = [
        pair for record in known for pair in zip(attributes(record), record["truth"]["beyond_random"], strict=True)
    ]
    found = {
        **share("false_needed_t", [mean(record)["p"] <= LEVEL for record in null]),
        **share("false_attribute_t", [_lowest(attributes(record), "q") <= LEVEL for record in null]),
        **share("false_people_pearson", [_lowest(rows(r, "mean_drop_correlation"), "p") <= LEVEL for r in records]),
        **share("false_people_t", [_lowest(rows(record, "human_comparison"), "p") <= LEVEL for record in records]),
        **share("coverage_mean_t", [_covers(mean(r), float(np.mean(r["truth"]["beyond_random"]))) for r in known]),
        **share("coverage_attribute_t", [_covers(*pair) for pair in pairs]),
    }
    for low, high in zip(TRUE_DROPS, (*TRUE_DROPS[1:], np.inf), strict=True):
        some = [record for record in planted if low <= _true_mean(record) < high]
        found |= share(f"power_mean_{low:g}_t", [mean(record)["p"] <= LEVEL for record in some])
    return found


def _rows(record: Record, table: str, draws: str | None = None) -> list[dict[str, Any]]:
    by_draws = record["by_draws"]
    rows: list[dict[str, Any]] = by_draws[next(iter(by_draws)) if draws is None else draws][table]
    return rows


def _verdict(record: Record, question: str, draws: str | None = None) -> str:
    return next(str(row["answer"]) for row in _rows(record, "verdicts", draws) if row["question"] == question)


def _about_people(record: Record, draws: str) -> bool:
    return _verdict(record, "people", draws) in (YES, NO)


def _people_p(record: Record, draws: str) -> float:
    rows = _rows(record, "permuted_tests", draws)
    return next(float(row["p"]) for row in rows if row["statistic"] == "correlation with importance")


def _all(record: Record, draws: str) -> dict[str, Any]:
    return next(row for row in _rows(record, "needed", draws) if row["attribute"] == ALL_ATTRIBUTES)


def _attributes(record: Record, draws: str) -> list[dict[str, Any]]:
    return [row for row in _rows(record, "needed", draws) if row["attribute"] != ALL_ATTRIBUTES]


def _any_needed(record: Record, draws: str) -> bool:
    return any(row["answer"] == YES for row in _attributes(record, draws))


def _answers(records: Sequence[Record], draws: str, answer: str, true: tuple[float, float]) -> list[bool]:
    """Say of each attribute whose true drop is in a range whether an answer was given."""
    pairs = [pair for record in records for pair in zip(_attributes(record, draws), _true(record), strict=True)]
    return [row["answer"] == answer for row, drop in pairs if true[0] <= drop < true[1]]


def _true(record: Record) -> list[float]:
    return list(record["truth"]["drops"])


def _true_mean(record: Record) -> float:
    return float(np.mean(_true(record)))


def _covers(row: dict[str, Any], true: float) -> bool:
    return bool(row["ci_low"] <= true <= row["ci_high"])


def _lowest(rows: Iterable[dict[str, Any]], column: str) -> float:
    """Return the smallest value that is known; infinite if none is."""
    return min((row[column] for row in rows if not np.isnan(row[column])), default=np.inf)
