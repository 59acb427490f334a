"""What a run found, for the figures and the text."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from emoscale.store import Store


@dataclass(frozen=True)
class People:
    """How the attributes matter in people's own space of the concepts, and how the model compares.

    Attributes
    ----------
    importance : DataFrame
        attribute, tau, p, q; ci_low and ci_high where the judgements of single participants are known.
    correlation_by_concept, comparison, mean_drop_correlation, mixed_model : DataFrame
        One row a control and k (and concept), as the analysis wrote them.
    """

    importance: pd.DataFrame
    correlation_by_concept: pd.DataFrame
    comparison: pd.DataFrame
    mean_drop_correlation: pd.DataFrame
    mixed_model: pd.DataFrame


@dataclass(frozen=True)
class Findings:
    """The result tables of a run.

    Attributes
    ----------
    prompts : DataFrame
        One row a prompt: concept, replicate, accuracy, accuracy_last, train, dev; NaN where the last three are unknown.
        Where no prompts were tuned, one row a concept and replicate.
    learned_prompts : bool
        Whether the concepts were inferred with tuned prompts.
    edit : str
        What is done to a neuron that is switched off: zero, mean, resample or scale.
    disjoint : bool
        Whether controls were drawn only from neurons outside the selective mask.
    accuracy, drop_overall, drop_by_attribute, drop_by_concept, drop_by_concept_attribute : DataFrame
    control_draws, unimodality, significant, tau_summary, overlap, inference, reliability : DataFrame
        As the analysis wrote them.
    dose_response, specificity, specificity_summary : DataFrame
        As the analysis wrote them; without rows where it could not.
    choice, confusion : DataFrame
        As the analysis wrote them; without rows where the model did not choose among all concepts.
    people : People or None
        None when the run has no human dissimilarities.
    selectivity : Store
        tau, p, q, rank.
    selective_neurons : int
        Neurons that are significant for at least one attribute.
    k : int
        Size of the masks that the figures show (see `emoscale.report.reading.shown_size`).
    """

    prompts: pd.DataFrame
    learned_prompts: bool
    edit: str
    disjoint: bool
    accuracy: pd.DataFrame
    drop_overall: pd.DataFrame
    drop_by_attribute: pd.DataFrame
    drop_by_concept: pd.DataFrame
    drop_by_concept_attribute: pd.DataFrame
    control_draws: pd.DataFrame
    unimodality: pd.DataFrame
    significant: pd.DataFrame
    tau_summary: pd.DataFrame
    overlap: pd.DataFrame
    inference: pd.DataFrame
    reliability: pd.DataFrame
    dose_response: pd.DataFrame
    specificity: pd.DataFrame
    specificity_summary: pd.DataFrame
    choice: pd.DataFrame
    confusion: pd.DataFrame
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

    @property
    def controls(self) -> list[str]:
        """Kinds of control that the selective masks were compared with, the one that is told in full first."""
        return list(dict.fromkeys(self.drop_overall["control"]))

    @property
    def control(self) -> str:
        """Kind of control that the figures and most sentences compare with."""
        return self.controls[0]

    @property
    def chance(self) -> float:
        """Accuracy of guessing, averaged over concepts."""
        return chance_of(self.accuracy)

    @property
    def units(self) -> str:
        """What a concept's replicates are, in the plural."""
        return "prompts" if self.learned_prompts else "sets of questions"

    def of_control(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a table that belong to the control that is told in full."""
        return table[table["control"] == self.control]

    def at_k(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a table that belong to masks of the shown size (and to the control told in full)."""
        rows = table[table["k"] == self.k]
        return self.of_control(rows) if "control" in rows else rows


def chance_of(accuracy: pd.DataFrame) -> float:
    """Return the accuracy of guessing, averaged over the concepts of the table ``accuracy``."""
    return float(accuracy[accuracy["kind"] == "none"]["chance"].mean())
