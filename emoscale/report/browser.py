"""The neurons that the report lets a reader look at: where they are, their numbers, and what they respond to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoscale.report.charts import strip
from emoscale.report.findings import Findings
from emoscale.report.responses import Responses, Spell
from emoscale.run.effects import has_effects, mean_effects
from emoscale.run.verdicts import LEVEL, Question
from emoscale.schema import NEURON_COORDINATES

Values = dict[str, Any]

_LISTED, _FEWEST, _MOST = 150, 3, 10
"""Neurons of all lists together, and of each: texts of more would make the page too long to send."""
_MOST_LISTS = 50
_TEXTS = 4
"""Texts at each end."""
_STRIP, _DOTS = 400, 40
"""Width of the strip of concepts, in SVG units, and how many it shows: of more, those at both ends."""


@dataclass(frozen=True)
class _List:
    """Neurons that are shown together: an attribute's best, or those that are needed most."""

    name: str
    attribute: int
    neurons: NDArray[np.int64]


def browser_data(findings: Findings, spell: Spell | None) -> Values | None:
    """Return the best neurons of every attribute with what they respond to.

    Parameters
    ----------
    findings : Findings
    spell : callable, optional
        Writes token ids as text; without it only concepts are named.

    Returns
    -------
    dict or None
        None where no neuron could be measured.
    """
    effects = _effects(findings)
    lists, left_out = _lists(findings, effects)
    if not lists:
        return None
    numbers = _numbers(findings)
    everyone = np.unique(np.concatenate([one.neurons for one in lists]))
    responses = Responses(findings.folder, everyone, spell, _TEXTS)
    cards = [_card(neuron, lists, numbers, effects, findings) | responses.of(neuron) for neuron in everyone.tolist()]
    for card in cards:
        means = card.pop("means")
        shown = means if len(means) <= _DOTS else means.iloc[[*range(_DOTS // 2), *range(-_DOTS // 2, 0)]]
        card["strip"] = strip({str(name): float(value) for name, value in shown.items()}, _STRIP)
    by_number = {card["number"]: card for card in cards}
    followed = findings.table("followers")
    passed = set(followed[followed["p_corrected"] <= LEVEL]["attribute"]) if len(followed) else set()
    return {
        "lists": [_shown_list(one, place, by_number, passed) for place, one in enumerate(lists)],
        "cards": cards,
        "left_out": left_out,
        "has_effects": effects is not None,
        "has_p": bool(np.isfinite([card["p"] for card in cards]).any()),
        "has_texts": any(row["pieces"] for card in cards for row in [*card["highest"], *card["lowest"]]),
        "has_rows": any(card["highest"] for card in cards),
        "has_tokens": any(card["has_tokens"] for card in cards),
        "has_means": any(card["strip"] for card in cards),
        "strip": _STRIP,
        "each_end": _DOTS // 2 if findings.table("accuracy")["concept"].nunique() > _DOTS else 0,
        "shown_to_follow": findings.is_yes(Question.FOLLOWERS),
    }


def _effects(findings: Findings) -> NDArray[np.float64] | None:
    if not (has_effects(findings.folder) and findings.is_yes(Question.TASK)):
        return None
    return mean_effects(findings.folder).overall


def _lists(findings: Findings, effects: NDArray[np.float64] | None) -> tuple[list[_List], list[str]]:
    """Return the lists that have neurons, and the attributes for which there is no room."""
    attributes = findings.attributes[:_MOST_LISTS]
    each = int(np.clip(_LISTED // (len(attributes) + 1), _FEWEST, _MOST))
    tau = findings.selectivity.read("tau")
    found = [_List(name, place, first(-tau[:, place], each)) for place, name in enumerate(attributes)]
    if effects is not None:
        most = first(effects, each)
        found.append(_List("", -1, most[effects[most] < 0]))
    return [one for one in found if len(one.neurons)], findings.attributes[_MOST_LISTS:]


def first(key: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return the numbers of the neurons with the smallest keys, of equal ones the lower number; none that is NaN."""
    order = np.argsort(key, kind="stable")[:count]
    return np.asarray(order[~np.isnan(key[order])], np.int64)


def _numbers(findings: Findings) -> dict[str, NDArray[Any]]:
    names = [*(array.name for array in NEURON_COORDINATES), "tau", "p", "q", "rank"]
    return {name: findings.selectivity.read(name) for name in names}


def place_name(layer: int, expert: int, unit: int) -> str:
    """Write where a neuron is, as the command line takes it: ``3:512``, or ``3:7:512`` with its expert."""
    return f"{layer}:{unit}" if expert < 0 else f"{layer}:{expert}:{unit}"


def _card(
    neuron: int,
    lists: Sequence[_List],
    numbers: dict[str, NDArray[Any]],
    effects: NDArray[np.float64] | None,
    findings: Findings,
) -> Values:
    layer, expert, unit = (int(numbers[array.name][neuron]) for array in NEURON_COORDINATES)
    own = np.nan_to_num(numbers["tau"][neuron], nan=-np.inf)
    best = int(own.argmax())
    listed = [one.attribute for one in lists if one.attribute >= 0 and neuron in one.neurons] or [best]
    rows = [
        {"attribute": findings.attributes[a]}
        | {name: float(numbers[name][neuron, a]) for name in ("tau", "p", "q", "rank")}
        for a in listed
    ]
    name = place_name(layer, expert, unit)
    return {
        "number": neuron,
        "id": "neuron-" + name.replace(":", "-"),
        "place": name,
        "layer": layer,
        "expert": expert if expert >= 0 else None,
        "unit": unit,
        "attributes": rows,
        "p": rows[0]["p"],
        "effect": np.nan if effects is None else float(effects[neuron]),
    }


def _shown_list(one: _List, place: int, cards: dict[int, Values], passed: Iterable[str]) -> Values:
    rows = []
    for neuron in one.neurons.tolist():
        card = cards[neuron]
        (own,) = [row for row in card["attributes"] if row["attribute"] == one.name] or card["attributes"][:1]
        rows.append({"card": card} | own)
    return {"name": one.name, "number": place, "rows": rows, "passed": one.name in passed}
