"""One planted model: draw it, run the stages, and write down what they concluded beside what is true."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks.common import seconds
from benchmarks.planted_models import Floats, Kind, PlantedModel, PlantedOptions, draw_model
from benchmarks.planted_run import BEFORE_MASKS, FROM_MASKS, PlantedRun, settings_of, write_inputs
from benchmarks.planted_twin import Truth, Twin, with_drop
from emoscale.analysis.options import AnalysisOptions
from emoscale.analysis.permuted_masks import PermutedMasks
from emoscale.analysis.power import power_table
from emoscale.analysis.tables import TABLES
from emoscale.config import Settings
from emoscale.masks.options import MaskOptions
from emoscale.run.effects import mean_effects
from emoscale.run.stores import open_finished
from emoscale.run.verdicts import can_decide
from emoscale.schema import SELECTIVE, SELECTIVITY

K = 24
"""Neurons in a mask: as many as follow each attribute."""
PERMUTATIONS = 499
CONTROLS = ("random", "permuted", "lowest")
KEPT = (
    *("drop_overall", "drop_by_attribute", "mean_drop_correlation", "importance", "human_comparison"),
    *("needed", "permuted_tests", "verdicts", "followers", "unmasked", "reliability"),
)
"""Tables that are computed; the others take time and are not looked at."""
NULLS_A_TRUTH = 8
"""Of so many null models the truth is computed for one: it takes several seconds."""
MASKED_STRENGTH = 2.5
"""Of every attribute in a masked planted model."""
PLANTED, NULL, MATCHED, UNREAD = "planted", "null", "matched", "unread"


@dataclass(frozen=True)
class Job:
    """One model.

    Attributes
    ----------
    what : str
        ``planted``: losing the followers of attributes costs more than losing others; ``null``: nothing follows an
        attribute; ``matched``: neurons do, and losing them costs as much as losing others; ``unread``: neurons do, and
        nothing reads them.
    seed : int
    effect : float
        Of ``planted``: how much more their loss costs, in log-odds, on average over the attributes.
    family : str
        See `PlantedOptions`.
    """

    what: str
    seed: int
    effect: float = 0.0
    family: str = "llama"

    @property
    def is_masked(self) -> bool:
        """Whether the model is a masked one; there is no twin of it, and so no truth in numbers."""
        return self.family == "bert"

    @property
    def has_truth(self) -> bool:
        """Whether its true drops are computed."""
        return not self.is_masked and (self.what != NULL or self.seed % NULLS_A_TRUTH == 0)

    @property
    def key(self) -> str:
        """Name of the job."""
        return f"{self.what} {self.effect:g} {self.family} {self.seed}"

    def model(self) -> PlantedModel:
        """Draw the model."""
        options = PlantedOptions(seed=self.seed, family=self.family)
        if self.what == NULL:
            return draw_model(options.without_followers())
        if self.what == UNREAD:
            return draw_model(options.all_unread())
        if self.is_masked:
            return draw_model(replace(options, strength=(MASKED_STRENGTH,) * options.attributes))
        return with_drop(draw_model(options), K, self.effect)

    def weights(self) -> Floats:
        """Return how much each attribute counts to people: what does not depend on the model."""
        return np.random.default_rng([self.seed, 4]).uniform(size=PlantedOptions().attributes)


def keep_few_tables() -> None:
    """Let the analysis of this process compute only the tables that are looked at."""
    for name in TABLES.keys() - set(KEPT):
        del TABLES[name]


def record(job: Job, draws: Sequence[int], folder: Path) -> dict[str, Any]:
    """Run a model and write down what came of it.

    Parameters
    ----------
    job : Job
    draws : sequence of int
        Numbers of permuted masks; what comes from the masks on is done with each.
    folder : Path
        For the files of the run, which go afterwards.

    Returns
    -------
    dict of str to JSON value
        ``job``; ``truth``; ``measures``; ``followers``, ``tests`` and ``alpha`` of the map; ``by_draws``, the rows of
        the tables and what `emoscale power` would say; ``seconds`` by stage.
    """
    times: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place, made = Path(name), dict[str, PlantedModel]()
        times["draw"] = seconds(lambda: made.update(model=job.model()))
        model = made["model"]
        times["save"] = seconds(lambda: write_inputs(model, job.weights(), place))
        run = PlantedRun(place, _settings(place, job, draws[0]))
        times |= run.do(BEFORE_MASKS)
        by_draws = {}
        for number, count in enumerate(draws):
            if number:
                run.use(_settings(place, job, count))
            times |= {f"{stage} {count}": wall for stage, wall in run.do(FROM_MASKS).items()}
            by_draws[str(count)] = _tables(run)
            if job.what == PLANTED and can_decide(count):
                by_draws[str(count)]["power"] = _power(run, model)
        found = {"job": asdict(job), **_of_map(run), "by_draws": by_draws}
        if job.what != NULL:
            found["measures"] = _measures(run, model)
        if job.has_truth:
            times["truth"] = seconds(lambda: found.update(truth=_truth(run, model)))
    return found | {"seconds": times}


def _settings(folder: Path, job: Job, draws: int) -> Settings:
    # Permutations of its own for every model: with the same few for all, how these happen to lie would not average out.
    masks = MaskOptions(k=[K], controls=list(CONTROLS), permutations=draws, seed=job.seed)
    return settings_of(folder, PERMUTATIONS, masks, masked=job.is_masked)


def _tables(run: PlantedRun) -> dict[str, Any]:
    return {name: run.folder.table(name).to_dict("records") for name in KEPT if name in TABLES}


def _power(run: PlantedRun, model: PlantedModel) -> list[dict[str, Any]]:
    return power_table(PermutedMasks(run.folder, list(model.attributes), AnalysisOptions())).to_dict("records")


def _of_map(run: PlantedRun) -> dict[str, Any]:
    q = open_finished(run.folder.selectivity, SELECTIVITY).read("q")
    return {"lowest_q": float(np.nanmin(q)), "tests_at_01": int(np.count_nonzero(q < 0.01))}


def _truth(run: PlantedRun, model: PlantedModel) -> dict[str, Any]:
    truth, masks = Truth(Twin(model), K), run.masks(SELECTIVE, K)
    return {"drops": truth.drops(masks).tolist(), "beyond_random": truth.random_drops(masks).tolist()}


class Measured:
    """Neurons ranked by several measures, of a finished run."""

    def __init__(self, run: PlantedRun, model: PlantedModel) -> None:
        self.tau = np.nan_to_num(open_finished(run.folder.selectivity, SELECTIVITY).read("tau"), nan=-1.0)
        self._effects = mean_effects(run.folder)
        self.model = model

    @cached_property
    def by_measure(self) -> dict[str, Floats]:
        """Values by measure, (N,), larger first."""
        tau, effect = self.tau.max(axis=1), np.nan_to_num(self._effects.overall)
        both = rankdata(tau) + rankdata(-effect)
        by_cell = np.nan_to_num(np.abs(self._effects.by_cell)).mean(axis=0)
        return {"tau": tau, "loss": -effect, "size": np.abs(effect), "size_by_concept": by_cell, "tau_and_loss": both}

    @cached_property
    def by_kind(self) -> dict[str, NDArray[np.bool_]]:
        """Neurons to be found, (N,)."""
        kind = self.model.kind
        selective = (kind == Kind.SELECTIVE) | (kind == Kind.UNREAD)
        causal = (kind == Kind.SELECTIVE) | (kind == Kind.UNSELECTIVE)
        return {"causal": causal, "selective": selective, "both": selective & causal}


def _measures(run: PlantedRun, model: PlantedModel) -> dict[str, float]:
    measured, found = Measured(run, model), {}
    for measure, values in measured.by_measure.items():
        for kind, wanted in measured.by_kind.items():
            if 0 < wanted.sum() < len(wanted):
                found[f"auroc_{measure}_{kind}"] = auroc(values, wanted)
                found[f"precision_at_k_{measure}_{kind}"] = precision_at_k(values, wanted)
    own = [auroc(measured.tau[:, a], model.follows == a) for a in range(measured.tau.shape[1])]
    return found | {"auroc_tau_own_attribute": float(np.mean(own))}


def auroc(values: Floats, positive: NDArray[np.bool_]) -> float:
    """Return the probability that a positive one has the larger value."""
    ranks, count = rankdata(values), positive.sum()
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (~positive).sum()))


def precision_at_k(values: Floats, positive: NDArray[np.bool_]) -> float:
    """Return the share of positive ones among as many with the largest values as there are positive ones."""
    first = np.argsort(-values, kind="stable")[: positive.sum()]
    return float(positive[first].mean())
