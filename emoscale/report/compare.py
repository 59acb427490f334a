"""What is shown of several runs side by side: settings that differ, answers, profiles by depth, and effects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from emoscale.report.charts import Line, Mark, forest, lines
from emoscale.report.study import OutcomeWords
from emoscale.run.folder import RunFolder
from emoscale.run.verdicts import LEVEL, Answer, Question, Verdict, deciding_p
from emoscale.schema import ALL_ATTRIBUTES

Values = dict[str, Any]

_NOT_OF_RESULTS = ("title", "machine")
"""Settings on which no result depends."""


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """One of the runs.

    Parameters
    ----------
    name : str
        By which it is called on the page.
    folder : RunFolder
        Holds the tables of the analysis.
    settings : mapping of str to object
        As used, by sections.
    verdicts : mapping of Question to Verdict
    outcome : OutcomeWords
    """

    name: str
    folder: RunFolder
    settings: Mapping[str, Any]
    verdicts: Mapping[Question, Verdict]
    outcome: OutcomeWords

    def table(self, name: str) -> pd.DataFrame | None:
        """Return a table of the analysis; None where the run has none of this name."""
        return self.folder.table(name) if (self.folder.tables / f"{name}.csv").is_file() else None

    def is_yes(self, *questions: Question) -> bool:
        """Whether all of these are answered with yes."""
        return all(q in self.verdicts and self.verdicts[q].answer == Answer.YES for q in questions)

    @property
    def k(self) -> int:
        """Size of the masks that the answers are about; 0 if there is none."""
        need = self.verdicts.get(Question.NEED)
        return need.k if need is not None else 0


def comparison(runs: Sequence[ComparedRun]) -> Values:
    """Return what the page is given."""
    by_accuracy = len({(run.outcome.noun, run.outcome.unit) for run in runs}) > 1
    return {
        "runs": [_facts(run) for run in runs],
        "settings": list(differing_settings(runs)),
        "questions": [question.value for question in Question if any(question in run.verdicts for run in runs)],
        "followers": followers_profile(runs),
        "effects": effects_profile(runs),
        "drops": drops(runs, by_accuracy=by_accuracy),
    }


def _facts(run: ComparedRun) -> Values:
    manifest = run.folder.manifest()
    model = manifest.get("model", {})
    return {
        "name": run.name,
        "title": run.settings.get("title", ""),
        "model": run.settings.get("model", {}).get("name", ""),
        "neurons": model.get("neurons") if isinstance(model, Mapping) else None,
        "layers": model.get("layers") if isinstance(model, Mapping) else None,
        "k": run.k,
        "verdicts": {question.value: verdict for question, verdict in run.verdicts.items()},
        "outcome": run.outcome,
    }


def differing_settings(runs: Sequence[ComparedRun]) -> Iterator[tuple[str, list[str]]]:
    """Yield the settings that differ, with what each run has."""
    flat = [dict(_flat(run.settings)) for run in runs]
    for key in dict.fromkeys(key for settings in flat for key in settings):
        values = [_written(settings[key]) if key in settings else "–" for settings in flat]
        if len(set(values)) > 1 and key.split(".")[0] not in _NOT_OF_RESULTS:
            yield key, values


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _written(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_written, value)) or "none"
    return "not set" if value is None else str(value)


def followers_profile(runs: Sequence[ComparedRun]) -> Values | None:
    """Lay out which share of each layer's neurons is significant, the mean over attributes, by relative depth."""
    found = []
    for series, run in enumerate(runs):
        table = run.table("significant")
        if table is not None and table["neurons"].any():
            found.append(_profile(run, series, table.groupby("layer")["share"].mean() * 100, "%"))
    return lines(found, _DEPTH, "Significant neurons, %") if found else None


def effects_profile(runs: Sequence[ComparedRun]) -> Values | None:
    """Lay out where estimated effects are: each layer's share, in units of an even spread, by relative depth."""
    found = []
    for series, run in enumerate(runs):
        table = run.table("effects_by_layer")
        if table is not None and run.is_yes(Question.TASK):
            share = table.groupby("layer")["share"].sum()
            found.append(_profile(run, series, share * len(share), " times an even share"))
    return lines(found, _DEPTH, "Effects, even share = 1") if found else None


_DEPTH = "Relative depth: the first layer is 0, the last 1"


def _profile(run: ComparedRun, series: int, values: pd.Series, unit: str) -> Line:
    layers = values.index.to_numpy()
    depth = np.arange(len(layers)) / max(len(layers) - 1, 1)
    titles = [f"{run.name}, layer {layer}: {value:.3g}{unit}" for layer, value in zip(layers, values, strict=True)]
    return Line(run.name, depth.tolist(), values.tolist(), titles, series)


def drops(runs: Sequence[ComparedRun], *, by_accuracy: bool) -> Values | None:
    """Lay out the drops with their intervals, the mean over attributes first, of the runs in which they mean something.

    Parameters
    ----------
    runs : sequence of ComparedRun
    by_accuracy : bool
        Show drops in accuracy, whatever the runs' own outcomes.
    """
    names = ("accuracy_drop", "accuracy_low", "accuracy_high") if by_accuracy else ("drop", "ci_low", "ci_high")
    rows: dict[str, list[Mark]] = {ALL_ATTRIBUTES: []}
    left_out = []
    for series, run in enumerate(runs):
        table = run.table("needed")
        own = None if table is None else table[table["k"] == run.k]
        if own is None or not run.is_yes(Question.TASK, Question.FOLLOWERS) or not np.isfinite(own[names[0]]).any():
            left_out.append(run.name)
            continue
        for row in own.to_dict("records"):
            value, low, high = (float(row[name]) for name in names)
            passed = not by_accuracy and deciding_p(pd.Series(row)) <= LEVEL
            label = f"{run.name}, {row['attribute']}"
            rows.setdefault(row["attribute"], []).append(Mark(value, low, high, label, series, passed))
    rows = {name: marks for name, marks in rows.items() if any(np.isfinite(mark.value) for mark in marks)}
    noun = "accuracy" if by_accuracy else runs[0].outcome.label
    unit = "" if by_accuracy or not runs[0].outcome.unit else f" ({runs[0].outcome.unit})"
    chart = forest(rows, f"Drop in {noun}{unit}: permuted − selective masks") if rows else None
    return {"chart": chart, "left_out": left_out, "by_accuracy": by_accuracy, "noun": noun}
