"""What the result tables are computed from: read and checked once, shared by all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from emoscale.analysis.drops import paired_answers, random_draws
from emoscale.analysis.humans import concept_correlations, importance, importance_intervals
from emoscale.analysis.mask_effects import mask_effects
from emoscale.analysis.needed import needed_table
from emoscale.analysis.neurons import followers, reliability
from emoscale.analysis.options import AnalysisOptions
from emoscale.analysis.outcomes import Outcomes, evaluate
from emoscale.analysis.permuted_masks import PermutedMasks
from emoscale.analysis.permuted_tests import People, permuted_tests
from emoscale.concepts.loading import Concepts
from emoscale.errors import StageError
from emoscale.permutations import smallest_permutation_p
from emoscale.run.effects import has_effects
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.schema import SCORES, SELECTIVITY
from emoscale.statistics import Floats
from emoscale.store import Store
from emoscale.tasks.outcomes import NORMALIZATIONS, OUTCOMES, Design, read_design
from emoscale_kernels import decimal_distances

_TWO = 2


@dataclass(frozen=True, eq=False)
class AnalysisInputs:
    """What a run left for the analysis.

    Parameters
    ----------
    folder : RunFolder
        Holds the scores, unless answers are given, and the selectivity. Every kind of mask but ``none`` and
        ``selective`` is a control, and is compared by itself.
    concepts : Concepts
        Tables list concepts and attributes in its orders. Without its dissimilarity there are no tables of people.
    alpha : float
        A neuron is selective at q < alpha.
    options : AnalysisOptions
    given_answers : DataFrame, optional
        In place of the scores: see `emoscale.analysis.drops`, with ``mask``, a number, too.
    given_rdms : ndarray, float, shape (A, P), optional
        The attributes' RDMs where these are given; otherwise the differences of the scores.
    participants : ndarray, float, shape (S, P), optional
        The judgements whose mean is the dissimilarity of the concepts.
    exchangeable : collection of str
        Kinds of control whose masks differ in chance alone, even if each was drawn for an attribute.
    cross_fitted : collection of str
        Kinds of control of which each half of the items chose a mask, by which the other half is judged.
    expected_effects : callable, optional
        From the effects of neurons, float64 of shape (N,), to the mean of their sum over all masks that each control
        can draw, see `emoscale.analysis.control_variates.control_variates`.
    """

    folder: RunFolder
    concepts: Concepts
    alpha: float
    options: AnalysisOptions = field(default_factory=AnalysisOptions)
    given_answers: pd.DataFrame | None = None
    given_rdms: Floats | None = None
    participants: Floats | None = None
    exchangeable: Collection[str] = ()
    cross_fitted: Collection[str] = ()
    expected_effects: Callable[[Floats], pd.DataFrame] | None = None

    def check(self) -> None:
        """Read what every analysis needs.

        Raises
        ------
        StageError
            If the ablation or selectivity belongs to other concepts or attributes, or has nothing to compare.
        """
        if self.given_answers is None:
            self._check_normalization()
        if self.paired.empty:
            raise StageError(
                f"{self.folder.scores}: no concept has both selective and control masks of one size; run mask and "
                "ablate again with --fresh"
            )
        attributes = [str(name) for name in self.selectivity.read("attribute")]
        if attributes != self.concepts.attributes:
            raise StageError(
                f"{self.folder.selectivity}: made for other attributes ({', '.join(attributes)}); run select again"
            )

    def _check_normalization(self) -> None:
        questions = self.design.question
        if NORMALIZATIONS[self.options.normalization].needs_several and np.bincount(questions).min() == 1:
            raise StageError(
                f"analysis.normalization {self.options.normalization!r}: a question was asked about a single text, so "
                "there is no mean to subtract; set stimuli.dev_texts to more, or analysis.normalization to none"
            )

    @cached_property
    def design(self) -> Design:
        """What was asked."""
        return read_design(open_finished(self.folder.scores, SCORES))

    @cached_property
    def outcomes(self) -> Outcomes:
        """What the run's scores come to."""
        return evaluate(open_finished(self.folder.scores, SCORES), self.options.normalization, self.cross_fitted)

    @cached_property
    def answers(self) -> pd.DataFrame:
        """Outcomes in order of concepts, replicates and masks; ``value`` is the one that effects are measured in."""
        concepts = self.concepts
        table = self.given_answers
        if table is None:
            table = self.outcomes.table.assign(row=np.arange(len(self.outcomes.table)))
        unknown = {
            "concepts": set(table["concept"]) - set(concepts.names),
            "attributes": set(table["attribute"]) - {"", *concepts.attributes},
        }
        if problems := [
            f"{self.folder.scores}: holds other {kind} ({', '.join(sorted(names))}); run ablate again with --fresh"
            for kind, names in unknown.items()
            if names
        ]:
            raise StageError(problems)
        # Sums in floating point depend on the order of the rows.
        table = table.sort_values(["concept", "replicate", "mask"], ignore_index=True)
        return table.assign(
            concept=pd.Categorical(table["concept"], concepts.names, ordered=True),
            attribute=pd.Categorical(table["attribute"], ["", *concepts.attributes], ordered=True),
            value=table[OUTCOMES[self.options.outcome].column],
        )

    @cached_property
    def choices(self) -> Outcomes | None:
        """The outcomes in the order of `answers`, of a model that chose among more than two options; else None."""
        if self.given_answers is not None or len(self.outcomes.options) <= _TWO:
            return None
        found = self.outcomes
        row = self.answers["row"].to_numpy()
        normalized = {name: table.iloc[row].reset_index(drop=True) for name, table in found.normalized.items()}
        return replace(found, table=self.answers, normalized=normalized, answers=found.answers[row])

    @cached_property
    def paired(self) -> pd.DataFrame:
        """See `paired_answers`."""
        return paired_answers(self.answers)

    @cached_property
    def draws(self) -> pd.DataFrame:
        """See `random_draws`."""
        return random_draws(self.answers)

    @cached_property
    def mask_effects(self) -> pd.DataFrame | None:
        """See `mask_effects`; None if the run has no estimated effects."""
        known = self.given_answers is None and has_effects(self.folder)
        return mask_effects(self.folder) if known else None

    @cached_property
    def permuted_masks(self) -> PermutedMasks | None:
        """Outcomes after the masks of attributes as they are and permuted; None of a run whose answers were given."""
        if self.given_answers is not None:
            return None
        return PermutedMasks(self.folder, self.concepts.attributes, self.options, self.mask_effects)

    @cached_property
    def needed(self) -> pd.DataFrame | None:
        """See `needed_table`."""
        return None if self.permuted_masks is None else needed_table(self.permuted_masks)

    @cached_property
    def permuted_tests(self) -> pd.DataFrame | None:
        """See `permuted_tests`."""
        if self.permuted_masks is None or self.needed is None:
            return None
        known = self.importance
        importance = np.full(len(self.concepts.attributes), np.nan) if known is None else known["tau"].to_numpy()
        order = [self.concepts.names.index(name) for name in self.design.items["concept"].unique()]
        people = People(importance, np.asarray(self.concepts.scores, np.float64)[order])
        return permuted_tests(self.permuted_masks, self.needed, people)

    @cached_property
    def ks(self) -> list[int]:
        """Sizes of masks that are compared, in ascending order."""
        return sorted({int(k) for k in self.paired["k"]})

    @cached_property
    def rdms(self) -> Floats:
        """The attributes' RDMs, shape (A, P)."""
        return decimal_distances(self.concepts.scores) if self.given_rdms is None else self.given_rdms

    @property
    def smallest_p(self) -> float:
        """The smallest p that permuting the concepts can give, over the attributes."""
        scores = self.concepts.scores
        return float(smallest_permutation_p(scores).min()) if self.given_rdms is None and len(scores) else 0.0

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
        first = ["attribute", "tau", "ci_low", "ci_high"]
        return table.merge(intervals, on="attribute")[[*first, *table.columns.drop(first[:2])]]

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

    @cached_property
    def followers(self) -> pd.DataFrame | None:
        """See `emoscale.analysis.neurons.followers`; None without permutations."""
        counts = self.selectivity.read("followers")
        return followers(counts, self.concepts.attributes) if len(counts) else None

    @cached_property
    def reliability(self) -> pd.DataFrame:
        """See `emoscale.analysis.neurons.reliability`."""
        odd, even = (self.selectivity.read(name) for name in ("tau_odd", "tau_even"))
        return reliability(odd, even, self.concepts.attributes)
