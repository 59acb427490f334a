"""What a run consists of, in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emoscale.extraction.rows import ROW_SOURCES
from emoscale.masks.controls import CONTROLS, Control
from emoscale.masks.draw_numbers import chosen_draws
from emoscale.masks.options import MaskOptions
from emoscale.models.sites.registry import SITES
from emoscale.pipeline.context import Context
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.schema import SCORES
from emoscale.selectivity.measures import MEASURES
from emoscale.selectivity.row_measures import ROW_MEASURES
from emoscale.stimuli.sources import SOURCES
from emoscale.tasks import soft_prompt
from emoscale.tasks.registry import TASKS


def run_facts(context: Context, folder: RunFolder) -> dict[str, str]:
    """Say in words what a run consists of, for the head of its report."""
    s, outline, concepts = context.settings, context.outline, context.concepts
    train, dev = (context.texts["split"].eq(split).sum() for split in ("train", "dev"))
    named = s.stimuli.path is not None
    source = f"{s.stimuli.source} ({short(str(s.stimuli.path))})" if named else SOURCES[s.stimuli.source].meaning
    unit = SITES[s.model.site].meaning if s.model.site in SITES else s.model.site
    measure, row_measures = MEASURES[s.selectivity.measure], [ROW_MEASURES[m] for m in s.selectivity.row_measures]
    source_of_rows = ROW_SOURCES[s.extraction.rows]
    prompts = soft_prompt.facts(context) if source_of_rows.uses_prompts else {}
    return {
        "Model": f"{short(outline.name)} ({type(outline.config).__name__.removesuffix('Config')}, {outline.kind})",
        "Weights (SHA-256)": context.identity["weights_sha256"],
        "Neurons": f"{outline.neurons:,} in {len(outline.sites)} layers ({unit})",
        "Concepts": f"{len(concepts.names)}: {', '.join(concepts.names)}",
        "Attributes": f"{len(concepts.attributes)}: {', '.join(concepts.attributes)}",
        "Texts": f"{source}: {train:,} to learn from, {dev:,} held out",
        **prompts,
        **TASKS[s.ablation.task].facts(context),
        **_precision_in_words(folder),
        "A concept is represented by": source_of_rows.meaning,
        "Activations": f"stored as {s.extraction.dtype}" if s.extraction.keep == "activations" else "moments only",
        "Selectivity": f"{measure.symbol}: {measure.meaning}",
        **({"Measures over rows": "; ".join(f"{m.name}: {m.meaning}" for m in row_measures)} if row_measures else {}),
        "Neurons switched off (k)": ", ".join(map(str, s.masks.k)),
        "Controls": controls_in_words(s.masks, folder),
        **_early_stop(context, folder),
    }


def _precision_in_words(folder: RunFolder) -> dict[str, str]:
    """Say of how many items scores were computed in two precisions."""
    store = open_finished(folder.scores, SCORES)
    if not store.sizes["exact_item"]:
        return {}
    is_exact = ~np.isnan(store.read("exact_scores", mask=slice(0, 1))[:, 0, 0])
    share = f"{np.count_nonzero(is_exact):,} of {len(is_exact):,} items"
    return {"Precision": f"bfloat16, outcomes corrected by {share} in the weights' own type too"}


def _early_stop(context: Context, folder: RunFolder) -> dict[str, str]:
    if context.settings.ablation.stop_when == "never":
        return {}
    counts = folder.stage("ablate")["counts"]
    saved = 1 - counts["rows"] / (counts["items"] * counts["masks"])
    return {"Comparisons": f"ended once they were decided: {saved:.0%} of all texts and masks were not asked"}


def short(name: str) -> str:
    """Return what a path ends with; where a file lies on this machine is nobody's concern. Other names stay."""
    return Path(name).name if Path(name).is_absolute() else name


def controls_in_words(m: MaskOptions, folder: RunFolder) -> str:
    """Name the kinds of control, and say how many masks of each there are."""
    chosen = chosen_draws(folder)

    def masks(control: Control) -> str:
        if control.cross_fitted:
            return "two for each k, each chosen on half of the items and judged on the others"
        each = "k and attribute" if control.belongs_to_attributes(m.disjoint) else "k"
        if control.needs_halves:
            return f"two for each {each}, each chosen on half of the replicates"
        if not control.is_drawn:
            return f"one for each {each}"
        if control.needs_permuted_values:
            return f"one for each {each} and each of {m.permutations} permutations of the concepts"
        if control.name not in chosen:
            return f"{m.draws} for each {each}"
        number = chosen[control.name]
        return (
            f"{number['draws']} for each {each}, so that their mean was expected to be known to ±"
            f"{number['half_width']:.2g} nats, ±{m.draw_width:g} being asked"
        )

    halves = [kind for kind in m.controls if CONTROLS[kind].needs_halves]
    others = [kind for kind in m.controls if kind not in halves]
    text = ", ".join(f"{kind} ({masks(CONTROLS[kind])})" for kind in others)
    text += ", none of them selective for the attribute" if m.disjoint else ""
    return "; ".join([text, *(f"{kind} ({masks(CONTROLS[kind])})" for kind in halves)])
