"""Every number of a run's design, for its report's paragraph on methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale import __version__
from emoscale.ablation.edits import EDITS
from emoscale.concepts.loading import BUILT_IN_JUDGES, BUILT_IN_RATERS
from emoscale.concepts.options import BUILT_IN
from emoscale.extraction.rows import ROW_SOURCES
from emoscale.models.sites.registry import SITES
from emoscale.pipeline.context import Context
from emoscale.pipeline.facts import controls_in_words, short
from emoscale.report.study import Design
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.schema import SELECTIVITY
from emoscale.selectivity.measures import MEASURES
from emoscale.system.files import sha256
from emoscale.tasks.registry import TASKS

_DIGITS = 16
"""Of a hash, enough to tell files apart."""


def run_design(context: Context, folder: RunFolder) -> Design:
    """Gather what a run was made of.

    Parameters
    ----------
    context : Context
    folder : RunFolder
        With the selectivity and, if it was begun there, a manifest.
    """
    s, outline, concepts = context.settings, context.outline, context.concepts
    measure, task = MEASURES[s.selectivity.measure], TASKS[s.ablation.task]
    origin = open_finished(folder.selectivity, SELECTIVITY).attributes["origin"]
    split = context.texts["split"]
    return Design(
        model=short(outline.name),
        revision=s.model.revision or "",
        neurons=outline.neurons,
        layers=len(outline.sites),
        site=SITES[s.model.site].meaning if s.model.site in SITES else s.model.site,
        concepts=len(concepts.names),
        attributes=len(concepts.attributes),
        replicates=_replicates(folder),
        represented_by=ROW_SOURCES[s.extraction.rows].meaning,
        raters=_raters(context),
        icc=_icc(context),
        judges=_judges(context),
        texts=(int(split.eq("train").sum()), int(split.eq("dev").sum())),
        task=task.meaning,
        items=task.facts(context).get("Items", ""),
        measure=f"{measure.symbol} ({measure.meaning})",
        permutations=int(origin["permutations"]) if origin.get("inference") == "permutation" else 0,
        selectivity_seed=s.selectivity.seed,
        alpha=s.selectivity.alpha,
        masks=controls_in_words(s.masks, folder),
        mask_seed=s.masks.seed,
        edit=EDITS[s.ablation.edit].done,
        smallest_effect=s.analysis.smallest_effect,
        smallest_accuracy_effect=s.analysis.smallest_accuracy_effect,
        command="emoscale run config.yaml",
        version=__version__,
        created=str(folder.manifest().get("created", ""))[:10],
        hashes=_hashes(context, folder),
    )


def _replicates(folder: RunFolder) -> int:
    return int(folder.table("unmasked")["replicate"].nunique())


def _raters(context: Context) -> str:
    if context.settings.concepts.are_built_in:
        return BUILT_IN_RATERS
    agreement = _agreement(context)
    if agreement is None or "raters" not in agreement:
        return ""
    counts = agreement["raters"].to_numpy(np.int64)
    return _range(counts[counts > 0], "d")


def _icc(context: Context) -> str:
    agreement = _agreement(context)
    if agreement is None:
        return ""
    icc = agreement["icc"].to_numpy(np.float64)
    kinds = sorted({str(kind) for kind in agreement["icc_type"] if kind}) if "icc_type" in agreement else []
    found = _range(icc[np.isfinite(icc)], ".2f")
    return f"{', '.join(kinds)} {found}".strip() if found else ""


def _agreement(context: Context) -> pd.DataFrame | None:
    """Return how raters agree: by the ratings, or as `emoscale scores` wrote it beside a table of scores."""
    options = context.settings.concepts
    if options.are_built_in or options.ratings is not None:
        return context.concepts.agreement
    table = Path(options.attributes)
    file = table.with_name(f"{table.stem}_agreement.csv")
    return pd.read_csv(file) if file.is_file() else None


def _range(values: NDArray[Any], form: str) -> str:
    if not len(values):
        return ""
    low, high = format(values.min(), form), format(values.max(), form)
    return low if low == high else f"{low} to {high}"


def _judges(context: Context) -> str:
    if context.concepts.dissimilarity is None:
        return ""
    options, judges = context.settings.concepts, context.concepts.judges
    asked = options.dissimilarity
    if asked == BUILT_IN or asked is None:
        return BUILT_IN_JUDGES
    if judges:
        return f"mean over {judges} participants, from {Path(asked).name}"
    return f"from {Path(asked).name}, number of people not known"


def _hashes(context: Context, folder: RunFolder) -> dict[str, str]:
    hashes = {"weights, SHA-256": context.identity["weights_sha256"][:_DIGITS]}
    if folder.config.is_file():
        hashes["config.yaml"] = sha256(folder.config)[:_DIGITS]
    scores = folder.stage("select").get("settings", {}).get("concepts.attributes", "")
    if str(scores).startswith("sha256:"):
        hashes["attribute scores"] = str(scores).removeprefix("sha256:")[:_DIGITS]
    return hashes
