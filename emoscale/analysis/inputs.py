"""What the result tables are computed from: read and checked once, shared by all of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from emoscale.analysis.drops import paired_accuracies, random_draws
from emoscale.analysis.humans import concept_correlations, importance, importance_intervals
from emoscale.concepts.loading import Concepts
from emoscale.errors import StageError
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished, require
from emoscale.schema import SELECTIVITY
from emoscale.statistics import Floats
from emoscale.store import Store
from emoscale_kernels import decimal_distances


@dataclass(frozen=True, eq=False)
class AnalysisInputs:
    """What a run left for the analysis.

    Parameters
    ----------
    folder : RunFolder
        Holds the ablation table, with correct and total or with the accuracy itself, and the selectivity store. Every
        kind of mask in it but ``none`` and ``selective`` is a control, and is compared by itself.
    concepts : Concepts
        Tables list concepts and attributes in its orders. Without its dissimilarity there are no tables of people.
    alpha : float
        A neuron is selective at q < alpha.
    given_rdms : ndarray, float, shape (A, P), optional
        The attributes' RDMs where these are given; otherwise the differences of the scores.
    participants : ndarray, float, shape (S, P), optional
        The judgements whose mean is the dissimilarity of the concepts.
    exchangeable : collection of str
        Kinds of control whose masks differ in chance alone, even if each was drawn for an attribute.
    """

    folder: RunFolder
    concepts: Concepts
    alpha: float
    given_rdms: Floats | None = None
    participants: Floats | None = None
    exchangeable: Collection[str] = ()

    def check(self) -> None:
        """Read what every analysis needs.

        Raises
        ------
        StageError
            If the ablation or selectivity belongs to other concepts or attributes, or has nothing to compare.
        """
        if self.paired.empty:
            raise StageError(
                f"{self.folder.ablation_table}: no prompt has both selective and control masks of one size; "
                "run mask and ablate again with --fresh"
            )
        attributes = [str(name) for name in self.selectivity.read("attribute")]
        if attributes != self.concepts.attributes:
            raise StageError(
                f"{self.folder.selectivity}: made for other attributes ({', '.join(attributes)}); run select again"
            )

    @cached_property
    def accuracies(self) -> pd.DataFrame:
        """The ablation table in order of concepts, replicates and masks, with ``accuracy``."""
        path, concepts = require(self.folder.ablation_table, "ablate"), self.concepts
        table = pd.read_parquet(path)
        unknown = {
            "concepts": set(table["concept"]) - set(concepts.names),
            "attributes": set(table["attribute"]) - {"", *concepts.attributes},
        }
        if problems := [
            f"{path}: holds other {kind} ({', '.join(sorted(names))}); run ablate again with --fresh"
            for kind, names in unknown.items()
            if names
        ]:
            raise StageError(problems)
        # Sums in floating point depend on the order of the rows, and the tables must not depend on how ablation was
        # split.
        table = table.sort_values(["concept", "replicate", "mask"], ignore_index=True)
        return table.assign(
            concept=pd.Categorical(table["concept"], concepts.names, ordered=True),
            attribute=pd.Categorical(table["attribute"], ["", *concepts.attributes], ordered=True),
            accuracy=table["accuracy"] if "accuracy" in table else table["correct"] / table["total"],
        )

    @cached_property
    def paired(self) -> pd.DataFrame:
        """See `paired_accuracies`."""
        return paired_accuracies(self.accuracies)

    @cached_property
    def draws(self) -> pd.DataFrame:
        """See `random_draws`."""
        return random_draws(self.accuracies)

    @cached_property
    def ks(self) -> list[int]:
        """Sizes of masks that are compared, in ascending order."""
        return sorted({int(k) for k in self.paired["k"]})

    @cached_property
    def rdms(self) -> Floats:
        """The attributes' RDMs, shape (A, P)."""
        return decimal_distances(self.concepts.scores) if self.given_rdms is None else self.given_rdms

    @cached_property
    def importance(self) -> pd.DataFrame | None:
        """How much each attribute matters to people, with intervals where single participants are known."""
        dissimilarity, attributes = self.concepts.dissimilarity, self.concepts.attributes
        if dissimilarity is None:
            return None
        table = importance(dissimilarity, self.rdms, attributes)
        if self.participants is None:
            return table
        intervals = importance_intervals(self.participants, self.rdms, attributes)
        return table.merge(intervals, on="attribute")[["attribute", "tau", "ci_low", "ci_high", "p", "q"]]

    @cached_property
    def correlations(self) -> pd.DataFrame | None:
        """Within each concept, the correlation of the attributes' drops with their importance."""
        return None if self.importance is None else concept_correlations(self.paired, self.importance)

    @cached_property
    def selectivity(self) -> Store:
        """The store of tau, p, q and rank."""
        return open_finished(self.folder.selectivity, SELECTIVITY)

    @cached_property
    def q(self) -> Floats:
        """q of every neuron and attribute, shape (N, A)."""
        return self.selectivity.read("q")
