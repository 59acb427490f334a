"""What a run found, read from its folder for the figures and the text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from emoscale.errors import StageError
from emoscale.run_folder import RunFolder
from emoscale.schema import SELECTIVITY
from emoscale.store import Store, open_store

CHANCE = 0.5
"""Accuracy of guessing: half of each concept's texts express it."""

_NAMES = ("concept", "attribute", "attribute_1", "attribute_2", "kind")


@dataclass(frozen=True)
class People:
    """How the attributes matter in people's own space of the concepts, and how the model compares.

    Attributes
    ----------
    importance : DataFrame
        attribute, tau, p, q; ci_low and ci_high where the judgements of single participants are known.
    correlation_by_concept : DataFrame
        k, concept, r.
    comparison : DataFrame
        k, mean_r, ci_low, ci_high, t, df, p, concepts.
    mean_drop_correlation : DataFrame
        k, r, p, attributes.
    """

    importance: pd.DataFrame
    correlation_by_concept: pd.DataFrame
    comparison: pd.DataFrame
    mean_drop_correlation: pd.DataFrame


@dataclass(frozen=True)
class Findings:
    """The result tables of a run.

    Attributes
    ----------
    prompts : DataFrame
        One row a prompt: concept, replicate, accuracy, accuracy_last, train, dev; NaN where the last three are unknown.
    accuracy, drop_overall, drop_by_attribute, drop_by_concept, drop_by_concept_attribute : DataFrame
    random_draws, unimodality, significant, tau_summary, overlap, inference, reliability : DataFrame
        As the analysis wrote them.
    people : People or None
        None when the run has no human dissimilarities.
    selectivity : Store
        tau, p, q, rank.
    selective_neurons : int
        Neurons that are significant for at least one attribute.
    k : int
        Size of the masks that the figures show (see `shown_size`).
    """

    prompts: pd.DataFrame
    accuracy: pd.DataFrame
    drop_overall: pd.DataFrame
    drop_by_attribute: pd.DataFrame
    drop_by_concept: pd.DataFrame
    drop_by_concept_attribute: pd.DataFrame
    random_draws: pd.DataFrame
    unimodality: pd.DataFrame
    significant: pd.DataFrame
    tau_summary: pd.DataFrame
    overlap: pd.DataFrame
    inference: pd.DataFrame
    reliability: pd.DataFrame
    people: People | None
    selectivity: Store
    selective_neurons: int
    k: int

    @property
    def attributes(self) -> list[str]:
        """Names of the attributes, in the order of the selectivity store."""
        return self.tau_summary["attribute"].tolist()

    @property
    def alpha(self) -> float:
        """A neuron is selective at q < alpha."""
        return float(self.tau_summary["alpha"].iloc[0])

    @property
    def permutations(self) -> int | None:
        """Permutations that p come from; None where they come from the published approximation."""
        origin = self.selectivity.attributes["origin"]
        return int(origin["permutations"]) if origin.get("inference") == "permutation" else None

    @property
    def neurons(self) -> int:
        """All neurons that were measured."""
        return int(self.tau_summary["neurons"].iloc[0])

    def at_k(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a table that belong to masks of the shown size."""
        return table[table["k"] == self.k]


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
        If the prompts or the analysis are missing.
    """
    required = [name for name in Findings.__annotations__ if name.startswith(("accuracy", "drop_"))]
    required += ["random_draws", "unimodality", "significant", "tau_summary", "overlap", "inference", "reliability"]
    missing = [
        path for path in (folder.prompt_table, *(_file(folder, name) for name in required)) if not path.is_file()
    ]
    if missing:
        raise StageError([f"{path}: not there; run the stages before the report first" for path in missing])
    tables = {name: _read(_file(folder, name)) for name in required}
    store = open_store(folder.selectivity, SELECTIVITY)
    alpha = float(tables["tau_summary"]["alpha"].iloc[0])
    return Findings(
        prompts=pd.read_parquet(folder.prompt_table),
        people=_people(folder),
        selectivity=store,
        selective_neurons=int((store.read("q") < alpha).any(axis=1).sum()),
        k=shown_size(tables["accuracy"], tables["drop_overall"]["k"].tolist()) if k is None else k,
        **tables,
    )


def shown_size(accuracy: pd.DataFrame, ks: list[int]) -> int:
    """Choose the size of the masks that the figures show, without looking at what the selective masks did.

    Parameters
    ----------
    accuracy : DataFrame
        kind, k, concept, accuracy.
    ks : list of int
        Sizes that were compared.

    Returns
    -------
    int
        The largest size at which random masks leave at least half of the accuracy above chance: where even they
        leave nothing, nothing more can be lost to the selective ones. The smallest size if there is none such.
    """
    means = accuracy.groupby(["kind", "k"])["accuracy"].mean()
    enough = CHANCE + (means["none"].iloc[0] - CHANCE) / 2
    return max((k for k in ks if means["random"][k] >= enough), default=min(ks))


def _people(folder: RunFolder) -> People | None:
    names = ("importance", "correlation_by_concept", "human_comparison", "mean_drop_correlation")
    files = [_file(folder, name) for name in names]
    return People(*(_read(file) for file in files)) if all(file.is_file() for file in files) else None


def _file(folder: RunFolder, name: str) -> Path:
    return folder.tables / f"{name}.csv"


def _read(file: Path) -> pd.DataFrame:
    # A concept may be called "1" or "None", an attribute "NA" (negative affect): names are text whatever they say.
    return pd.read_csv(file, dtype=dict.fromkeys(_NAMES, str), keep_default_na=False, na_values=[""])
