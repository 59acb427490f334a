"""Reads what a run found from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from emoscale.errors import StageError
from emoscale.report.findings import Findings, People, chance_of
from emoscale.run.folder import RunFolder
from emoscale.schema import SELECTIVITY
from emoscale.store import open_store

_NAMES = (
    "control",
    "kind",
    "concept",
    "attribute",
    "attribute_1",
    "attribute_2",
    "score",
    "random",
    "answer",
    "scoring",
)

_TABLES = (
    "accuracy",
    "drop_overall",
    "drop_by_attribute",
    "drop_by_concept",
    "drop_by_concept_attribute",
    "control_draws",
    "unimodality",
    "significant",
    "tau_summary",
    "overlap",
    "inference",
    "reliability",
)
_TABLES_IF_POSSIBLE = ("dose_response", "specificity", "specificity_summary", "choice", "confusion")


def read_findings(folder: RunFolder, k: int | None = None) -> Findings:
    """Read the tables that the earlier stages left.

    Parameters
    ----------
    folder : RunFolder
    k : int, optional
        Size of the masks that the figures show; by default `shown_size` chooses.

    Returns
    -------
    Findings

    Raises
    ------
    StageError
        If the analysis is missing, or both the prompts and the ablation.
    """
    ablation = _settings(folder, "ablation")
    # Prompts may have been tuned for the activations alone.
    learned = folder.prompt_table.is_file() and ablation.get("task", "soft-prompt") == "soft-prompt"
    files = [_file(folder, name) for name in _TABLES]
    if not learned:
        files.append(folder.ablation_table)
    if missing := [path for path in files if not path.is_file()]:
        raise StageError([f"{path}: not there; run the stages before the report first" for path in missing])
    tables = {name: _read(_file(folder, name)) for name in _TABLES}
    tables |= {name: _read_if_there(_file(folder, name)) for name in _TABLES_IF_POSSIBLE}
    store = open_store(folder.selectivity, SELECTIVITY)
    alpha = float(tables["tau_summary"]["alpha"].iloc[0])
    return Findings(
        prompts=_prompts(folder, learned),
        learned_prompts=learned,
        edit=ablation.get("edit", "zero"),
        disjoint=_settings(folder, "masks").get("disjoint", False),
        people=_people(folder),
        selectivity=store,
        selective_neurons=int((store.read("q") < alpha).any(axis=1).sum()),
        k=shown_size(tables["accuracy"], tables["drop_overall"]) if k is None else k,
        **tables,
    )


def shown_size(accuracy: pd.DataFrame, overall: pd.DataFrame) -> int:
    """Choose the size of the masks that the figures show, without looking at what the selective masks did.

    Parameters
    ----------
    accuracy : DataFrame
        kind, k, concept, accuracy, chance.
    overall : DataFrame
        ``drop_overall``: control, k. The first control counts.

    Returns
    -------
    int
        The largest size at which control masks leave at least half of the accuracy above chance: where even they
        leave nothing, nothing more can be lost to the selective ones. The smallest size if there is none such.
    """
    control = overall["control"].iloc[0]
    ks: list[int] = overall[overall["control"] == control]["k"].tolist()
    means, chance = accuracy.groupby(["kind", "k"])["accuracy"].mean(), chance_of(accuracy)
    enough = chance + (means["none"].iloc[0] - chance) / 2
    return max((k for k in ks if means[control][k] >= enough), default=min(ks))


def _prompts(folder: RunFolder, learned: bool) -> pd.DataFrame:
    if learned:
        return pd.read_parquet(folder.prompt_table)
    table = pd.read_parquet(folder.ablation_table)
    table = table[table["kind"] == "none"].reset_index(drop=True)
    accuracy = table["accuracy"] if "accuracy" in table else table["correct"] / table["total"]
    return table[["concept", "replicate"]].assign(accuracy=accuracy, accuracy_last=np.nan, train=np.nan, dev=np.nan)


def _settings(folder: RunFolder, section: str) -> dict[str, Any]:
    # A reproduction has no settings; the study's were what is the default in each section.
    settings = yaml.safe_load(folder.config.read_text(encoding="utf-8")) if folder.config.is_file() else None
    return (settings or {}).get(section) or {}


def _people(folder: RunFolder) -> People | None:
    names = ("importance", "correlation_by_concept", "human_comparison", "mean_drop_correlation", "mixed_model")
    files = [_file(folder, name) for name in names]
    return People(*(_read(file) for file in files)) if all(file.is_file() for file in files) else None


def _file(folder: RunFolder, name: str) -> Path:
    return folder.tables / f"{name}.csv"


def _read_if_there(file: Path) -> pd.DataFrame:
    columns = ("control", "kind", "k", "attribute", "sizes")
    return _read(file) if file.is_file() else pd.DataFrame({name: [] for name in columns})


def _read(file: Path) -> pd.DataFrame:
    # A concept may be called "1" or "None", an attribute "NA" (negative affect): names are text whatever they say.
    table = pd.read_csv(file, dtype=dict.fromkeys(_NAMES, str), keep_default_na=False, na_values=[""])
    names = [name for name in _NAMES if name in table]
    return table.fillna(dict.fromkeys(names, ""))
