"""What the templates of the report's sections are given: numbers, names and on which side the evidence lies."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from emoscale.effect_schema import EFFECT_IN_LAYERS, ESTIMATES_ALONE, SINGLE_NEURONS, SIZE, SIZE_IN_LAYERS
from emoscale.report.choices import choices_data
from emoscale.report.faithfulness import faithfulness_data
from emoscale.report.findings import Findings
from emoscale.report.sides import direction, overlap_side
from emoscale.run.verdicts import LEVEL, Question
from emoscale.schema import ALL_ATTRIBUTES, DOSE, SPECIFICITY, WITH_IMPORTANCE

_ENDS = 3
"""Concepts named at each end."""
_HARDLY = 0.05
"""Accuracy above guessing that is hardly better."""
_UNSTABLE = 0.1
"""Split-half correlation below which a map is mostly noise."""
_RELIABLE = 0.8
"""Correlation with exact ablation below which estimates are not to be relied on."""
_NAMED = 3
"""Single neurons that are named."""

Values = dict[str, Any]


def sections(findings: Findings) -> Values:
    """Return what every section is given, by the name that its template uses."""
    return {
        "verdicts": {question.value: verdict for question, verdict in findings.verdicts.items()},
        "task": task_data(findings),
        "followers": followers_data(findings),
        "losses": losses_data(findings) if findings.shows_losses else None,
        "people": people_data(findings) if findings.shows_people else None,
        "effects": effects_data(findings) if findings.is_yes(Question.TASK) else None,
        "faithfulness": faithfulness_data(findings) if findings.is_yes(Question.TASK) else None,
        "has_effects": not findings.table("effects_by_layer").empty,
        "limits": limits_data(findings),
        "permuted_draws": int(findings.needed["draws"].max()) if len(findings.needed) else 0,
    }


def task_data(findings: Findings) -> Values:
    """Return how well the model infers the concepts before anything is switched off."""
    prompts, chance = findings.prompts, findings.chance
    means = prompts.groupby("concept")["accuracy"].mean().sort_values(ascending=False, kind="stable")
    ends = min(_ENDS, len(means) // 2)
    pairs = list(means.items())
    choice = findings.table("choice")
    choice = choice[choice["kind"] == "none"] if len(choice) else choice
    return {
        "accuracy": float(prompts["accuracy"].mean()),
        "chance": chance,
        "concepts": len(means),
        "replicates": int(prompts["replicate"].nunique()),
        "prompts": len(prompts),
        "easiest": pairs[:ends],
        "hardest": pairs[: -ends - 1 : -1],
        "weak": means[means <= chance + _HARDLY].index.tolist(),
        "choice": choice.to_dict("records"),
    }


def followers_data(findings: Findings) -> Values:
    """Return how many neurons follow an attribute, by which test, how far that repeats, and whether they are shared."""
    summary, inference = findings.table("tau_summary"), findings.table("inference")
    counted = findings.table("followers")
    counted = counted if len(counted) and np.isfinite(counted["p_corrected"]).any() else counted.iloc[:0]
    reliability = findings.table("reliability")
    known = reliability.dropna(subset=["split_half"]).sort_values("split_half", kind="stable")
    table = inference.merge(reliability, on="attribute", how="left")
    if len(counted):
        table = counted.merge(table, on="attribute", how="left").sort_values(
            "followers", ascending=False, kind="stable"
        )
    spread = inference["spread"].dropna() if "spread" in inference else pd.Series(dtype=float)
    permuted = findings.permutations is not None
    overlap = findings.at_k("overlap")
    names = ("tests", "asymptotic", *(("chosen", "attribute_corrected", "all_corrected") if permuted else ()))
    return {
        "counted": bool(len(counted)),
        "passed": counted[counted["p_corrected"] <= LEVEL]["attribute"].tolist() if len(counted) else [],
        "attributes": len(summary),
        "rows": table.to_dict("records"),
        "neurons": findings.neurons,
        "significant": findings.selective_neurons,
        "alpha": findings.alpha,
        "permutations": findings.permutations,
        "sums": {name: int(inference[name].sum()) for name in names},
        "spread": (float(spread.min()), float(spread.max())) if len(spread) else None,
        "least_repeating": known.iloc[0].to_dict() if len(known) else None,
        "most_repeating": known.iloc[-1].to_dict() if len(known) else None,
        "unstable": known[known["split_half"] < _UNSTABLE]["attribute"].tolist(),
        "undefined": int(summary["undefined"].max()),
        "short": summary[summary["significant"] < findings.k]["attribute"].tolist(),
        "overlap": _overlap(overlap) if len(overlap) else None,
    }


def _overlap(rows: pd.DataFrame) -> Values:
    most = rows.sort_values("ratio", kind="stable").iloc[-1]
    return {
        "side": overlap_side(rows).value,
        "median": float(rows["ratio"].median()),
        "above": int((rows["ratio"] > 1).sum()),
        "pairs": len(rows),
        "most": most.to_dict(),
    }


def losses_data(findings: Findings) -> Values:
    """Return what is lost without the neurons: by the two tests, by size, and against every kind of control."""
    overall = findings.table("drop_overall")
    drawn, others = (findings.of_drawn("drop_overall", is_drawn) for is_drawn in (True, False))
    needed = findings.table("needed")
    mean = needed[(needed["attribute"] == ALL_ATTRIBUTES) & (needed["k"] == findings.k)] if len(needed) else needed
    means = findings.table("accuracy").groupby(["kind", "k"])["accuracy"].mean()
    accuracies = [
        {"control": means.get((findings.control, k)), "selective": means.get(("selective", k))}
        for k in findings.needed_by_size["k"]
    ]
    rows = findings.needed_by_size.to_dict("records")
    dose = findings.table("dose_response")
    dips = findings.at_k("unimodality")
    return {
        "mean": mean.iloc[0].to_dict() if len(mean) else None,
        "needed": _names(findings.needed, "yes"),
        "not_needed": _names(findings.needed, "no"),
        "disagree": findings.needed[findings.needed["tests_disagree"].astype(bool)]["attribute"].tolist()
        if len(findings.needed)
        else [],
        "sizes": [row | accuracy for row, accuracy in zip(rows, accuracies, strict=True)],
        "first": findings.at_k("drop_overall").iloc[0].to_dict(),
        "controls": [_control(findings, row) for row in overall.to_dict("records")],
        "compared": [_control(findings, row) for row in drawn[drawn["k"] == findings.k].to_dict("records")],
        "yardsticks": [_control(findings, row) for row in others[others["k"] == findings.k].to_dict("records")],
        "variates": [
            row for row in findings.at_k("control_variates").to_dict("records") if np.isfinite(row["variance_ratio"])
        ],
        "dose": _first(findings.permuted_tests(DOSE)),
        "published_dose": _first(dose[(dose["control"] == findings.control) & (dose["attribute"] == "")]),
        "specificity": _first(_finite(findings.permuted_tests(SPECIFICITY), findings.k)),
        "specificity_dropped": _unspecific(findings),
        "published_specificity": _first(findings.at_k("specificity_summary")),
        "held_out": _held_out(findings),
        "choices": choices_data(findings),
        "dips": dips[dips["p"] < LEVEL]["attribute"].tolist() if len(dips) else [],
        "dips_tested": int(dips["p"].notna().sum()) if len(dips) else 0,
    }


def _held_out(findings: Findings) -> Values | None:
    """Return what neurons chosen on either half of the replicates cost, and the attributes that both halves need."""
    rows = findings.at_k("held_out")
    mean = _first(rows[rows["attribute"] == ALL_ATTRIBUTES])
    if mean is None:
        return None
    both = rows[(rows["answer_1"] == "yes") & (rows["answer_2"] == "yes") & (rows["attribute"] != ALL_ATTRIBUTES)]
    return mean | {"repeated": both["attribute"].tolist()}


def _names(rows: pd.DataFrame, answer: str) -> list[str]:
    return rows[rows["answer"] == answer]["attribute"].tolist() if len(rows) else []


def _first(rows: pd.DataFrame) -> Values | None:
    return {str(name): value for name, value in rows.iloc[0].items()} if len(rows) else None


def _finite(rows: pd.DataFrame, k: int) -> pd.DataFrame:
    return rows[(rows["k"] == k) & np.isfinite(rows["value"])] if len(rows) else rows


def _control(findings: Findings, row: Mapping[Hashable, Any]) -> Values:
    words = findings.study.controls[row["control"]]
    return {
        **{str(name): value for name, value in row.items()},
        "words": words,
        "side": direction(row["ci_low"], row["ci_high"]).value,
        "shown": row["k"] == findings.k,
        "share": row["k"] / findings.neurons,
    }


def _unspecific(findings: Findings) -> list[str]:
    rows = findings.at_k("specificity")
    if rows.empty:
        return []
    own = rows[rows["attribute"] == rows["score"]]
    return own[own["r"].isna()]["attribute"].tolist()


def people_data(findings: Findings) -> Values:
    """Return how the losses go with what matters to people, by the permuted masks and as published."""
    importances = findings.table("importance").sort_values("tau", ascending=False, kind="stable")
    known = importances.dropna(subset=["tau"])
    ends = min(_ENDS, len(known) // 2)
    pairs = list(zip(known["attribute"], known["tau"], strict=True))
    concepts = findings.at_k("correlation_by_concept")
    published = findings.study.as_published and findings.has_comparisons
    needed = findings.needed
    lost = needed[needed["drop"].isna()]["attribute"].tolist() if len(needed) and needed["drop"].notna().any() else []
    unknown = importances[importances["tau"].isna()]["attribute"].tolist()
    return {
        "test": _first(_finite(findings.permuted_tests(WITH_IMPORTANCE), findings.k)),
        "most": pairs[:ends],
        "least": pairs[: -ends - 1 : -1],
        "dropped": [*unknown, *(name for name in lost if name not in unknown)],
        "dropped_concepts": concepts[concepts["r"].isna()]["concept"].tolist() if published else [],
        "within": _first(findings.at_k("human_comparison")) if published else None,
        "over": _first(findings.at_k("mean_drop_correlation")) if published else None,
        "ceiling": None if findings.study.as_published else _first(findings.table("noise_ceiling")),
    }


def effects_data(findings: Findings) -> Values | None:
    """Return where estimated effects are, which neurons are needed most, and how far estimates can be relied on."""
    layers, most = findings.table("effects_by_layer"), findings.table("most_needed")
    if layers.empty:
        return None
    ranked = layers.sort_values("share", ascending=False, kind="stable")
    few = int(np.searchsorted(ranked["share"].cumsum(), 0.5)) + 1
    own = findings.table("concept_effects")
    own = own[own["k"] == findings.k]
    return {
        "layers": len(layers),
        "half_in": sorted(ranked["layer"].iloc[:few].tolist()),
        "most": most.head(_NAMED).to_dict("records"),
        "own": own_neurons_data(own),
        "named": not findings.table("choice").empty,
        "agreement": agreement_data(findings.table("effect_agreement")),
        "relation": relation_data(findings.table("tau_and_effect")),
    }


def own_neurons_data(rows: pd.DataFrame) -> Values | None:
    """Return whether concepts need neurons of their own: rows of ``concept_effects`` of one k, or none."""
    if rows.empty:
        return None
    together, each = rows[rows["concept"] == ""].iloc[0], rows[rows["concept"] != ""]
    return {
        "together": {str(name): value for name, value in together.items()},
        "shown": bool(together["p"] < LEVEL),
        "first": int((each["place"] == 1).sum()),
        "concepts": len(each),
    }


def agreement_data(agreement: pd.DataFrame) -> Values:
    """Return how far estimates agree with exact ablation, and which do not: ``effect_agreement``, or no rows."""
    rows = agreement.to_dict("records")
    used = [row for row in rows if row["stratum"] != ESTIMATES_ALONE]
    values = [(row["stratum"], row["r"] if row["k"] == 1 else row["item_r"]) for row in used]
    return {
        "checked": bool(rows),
        "single": [row for row in rows if row["stratum"] == SINGLE_NEURONS],
        "alone": [row for row in rows if row["stratum"] == ESTIMATES_ALONE],
        "groups": [row for row in rows if row["k"] > 1],
        "reliable": _RELIABLE,
        "weak": [(name, r) for name, r in values if r < _RELIABLE],
    }


def relation_data(relation: pd.DataFrame) -> Values | None:
    """Return whether being selective for an attribute goes with being used: ``tau_and_effect``, or no rows."""
    if relation.empty:
        return None
    rows = {str(name): table.set_index("attribute") for name, table in relation.groupby("relation")}
    single = relation[relation["attribute"] != ALL_ATTRIBUTES]
    within = rows[SIZE_IN_LAYERS].drop(ALL_ATTRIBUTES)
    mean = relation[relation["attribute"] == ALL_ATTRIBUTES]
    return {
        "ranges": {
            name: _range(rows[relation]["rho"].drop(ALL_ATTRIBUTES))
            for name, relation in (("size", SIZE), ("size_in_layers", SIZE_IN_LAYERS), ("in_layers", EFFECT_IN_LAYERS))
        },
        "attributes": len(within),
        "compared": bool(relation["p"].notna().any()),
        "beyond": single[single["p_corrected"] < LEVEL].to_dict("records"),
        "smallest_p": float(single["p_corrected"].min()),
        "null": (float(within["null_low"].min()), float(within["null_high"].max())),
        "mean": mean[mean["p"] < LEVEL].to_dict("records"),
    }


def _range(values: pd.Series) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def limits_data(findings: Findings) -> Values:
    """Return what bears on how far the findings reach."""
    prompts, draws = findings.prompts, findings.at_k("control_draws")
    texts = prompts["dev"].median()
    return {
        "permutations": findings.permutations,
        "replicates": int(prompts["replicate"].nunique()),
        "texts": int(texts) if np.isfinite(texts) else 0,
        "asked_texts_chose": not prompts["validation"].any(),
        "chosen": float(prompts["accuracy"].mean()),
        "last": float(prompts["accuracy_last"].mean()),
        "shared_masks": len(draws) if (draws["attribute"] == "").all() else 0,
        "masks_each": int(draws.groupby("attribute").size().median()) if len(draws) else 0,
        "permuted": int(findings.needed["draws"].max()) if len(findings.needed) else 0,
    }
