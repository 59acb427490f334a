"""What a run found, read from its folder for the figures and the text."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from emoscale.errors import StageError
from emoscale.report.study import ControlWords, Study
from emoscale.run.folder import RunFolder
from emoscale.run.stores import not_finished, open_finished
from emoscale.run.verdicts import Answer, Question, Verdict, read_verdicts
from emoscale.schema import ALL_ATTRIBUTES, SELECTIVITY
from emoscale.store import Store

_REQUIRED = (
    "accuracy",
    "drop_overall",
    "drop_by_attribute",
    "drop_by_concept",
    "drop_by_concept_attribute",
    "control_draws",
    "significant",
    "tau_summary",
    "overlap",
    "inference",
    "reliability",
)
"""Tables without which there is no report."""

_COMPARISONS = ("human_comparison", "mean_drop_correlation")
"""Tables of the published tests of agreement with people."""

_ABSENT = pd.DataFrame({name: [] for name in ("control", "kind", "k", "attribute", "sizes", "statistic")})
"""A table that a run does not have."""


@dataclass(frozen=True, eq=False)
class Findings:
    """What a run found.

    Parameters
    ----------
    folder : RunFolder
    study : Study
    prompts : DataFrame
        One row a prompt: concept, replicate, accuracy on the held-out texts, accuracy_last, train, validation, dev; NaN
        where the last four are unknown. Where no prompts were tuned, one row a concept and replicate.
    selectivity : Store
        tau, p, q, rank.
    selective_neurons : int
        Neurons that are significant for at least one attribute.
    k : int
        Size of the masks that the figures show.
    verdicts : dict of Question to Verdict
        Empty where the run has none.
    """

    folder: RunFolder
    study: Study
    prompts: pd.DataFrame
    selectivity: Store
    selective_neurons: int
    k: int
    verdicts: dict[Question, Verdict]
    _tables: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)

    def table(self, name: str) -> pd.DataFrame:
        """Return a table of the analysis; one without rows where the run has none of this name."""
        if name not in self._tables:
            self._tables[name] = _read(self.folder, name)
        return self._tables[name]

    def of_control(self, name: str) -> pd.DataFrame:
        """Return the rows of a table that belong to the control that is described in full."""
        table = self.table(name)
        return table[table["control"] == self.control]

    def of_drawn(self, name: str, drawn: bool = True) -> pd.DataFrame:
        """Return the rows of a table that belong to controls whose neurons chance chose, or to the others."""
        table = self.table(name)
        return table.loc[np.array([self.study.controls[kind].is_drawn is drawn for kind in table["control"]], bool)]

    def at_k(self, name: str) -> pd.DataFrame:
        """Return the rows of a table that belong to masks of the shown size (and to the control described in full)."""
        table = self.table(name)
        rows = table[table["k"] == self.k]
        return rows[rows["control"] == self.control] if "control" in rows else rows

    @property
    def has_people(self) -> bool:
        """Whether people's judgements of the concepts are known."""
        return not self.table("importance").empty

    @property
    def smallest_effect(self) -> float:
        """Smallest effect of interest, in the unit of the outcome; NaN if it is not known."""
        need, design = self.verdicts.get(Question.NEED), self.study.design
        if need is not None and np.isfinite(need.reference):
            return need.reference
        if design is None:
            return np.nan
        return design.smallest_accuracy_effect if self.study.outcome.is_accuracy else design.smallest_effect

    @property
    def has_comparisons(self) -> bool:
        """Whether the published tests of agreement with people were computed."""
        return all(not self.table(name).empty for name in _COMPARISONS)

    def is_yes(self, *questions: Question) -> bool:
        """Whether all of these are answered with yes; a report of published tests asks none of them first."""
        found = [self.verdicts.get(question) for question in questions]
        return self.study.as_published or all(one is not None and one.answer == Answer.YES for one in found)

    @property
    def shows_losses(self) -> bool:
        """Whether the losses to masks mean something, so that they are described, and compared with people's view."""
        return self.is_yes(Question.TASK, Question.FOLLOWERS)

    @property
    def shows_people(self) -> bool:
        """Whether anything with a sign may be said of agreement with people."""
        return self.has_people and self.shows_losses

    @property
    def needed(self) -> pd.DataFrame:
        """The rows of ``needed`` of the attributes, at the shown size."""
        rows = self.at_k("needed")
        return rows[rows["attribute"] != ALL_ATTRIBUTES]

    @property
    def needed_by_size(self) -> pd.DataFrame:
        """The rows of ``needed`` of the mean over attributes, by size."""
        rows = self.table("needed")
        return rows[rows["attribute"] == ALL_ATTRIBUTES].sort_values("k")

    def permuted_tests(self, statistic: str) -> pd.DataFrame:
        """Return the rows of ``permuted_tests`` of one statistic, by size."""
        table = self.table("permuted_tests")
        return table[table["statistic"] == statistic].sort_values("k")

    @property
    def attributes(self) -> list[str]:
        """Names of the attributes, in the order of the selectivity store."""
        return self.table("tau_summary")["attribute"].tolist()

    @property
    def alpha(self) -> float:
        """A neuron is selective at q < alpha."""
        return float(self.table("tau_summary")["alpha"].iloc[0])

    @property
    def permutations(self) -> int | None:
        """Permutations that p come from; None where they come from the published approximation."""
        origin = self.selectivity.attributes["origin"]
        return int(origin["permutations"]) if origin.get("inference") == "permutation" else None

    @property
    def neurons(self) -> int:
        """All neurons that were measured."""
        return int(self.table("tau_summary")["neurons"].iloc[0])

    @property
    def controls(self) -> list[str]:
        """Kinds of control that the selective masks were compared with; the one that is described in full is first."""
        return list(dict.fromkeys(self.table("drop_overall")["control"]))

    @property
    def control(self) -> str:
        """Kind of control that the figures and most sentences compare with."""
        return self.controls[0]

    @property
    def words(self) -> ControlWords:
        """What this control is called."""
        return self.study.controls[self.control]

    @property
    def chance(self) -> float:
        """Accuracy of guessing, averaged over concepts."""
        return chance_of(self.table("accuracy"))


def read_findings(folder: RunFolder, study: Study) -> Findings:
    """Read what the earlier stages left.

    Raises
    ------
    StageError
        If a table, or the prompts or the ablation, is missing, or the study has no words for a control.
    """
    files = {_file(folder, name): "analyze" for name in _REQUIRED}
    files |= {folder.prompt_table: "tune"} if study.learned_prompts else {_file(folder, "unmasked"): "analyze"}
    if problems := [
        problem for path, stage in files.items() if not path.is_file() for problem in not_finished(path, stage).problems
    ]:
        raise StageError(problems)
    overall = _read(folder, "drop_overall")
    if unknown := [kind for kind in overall["control"].unique() if kind not in study.controls]:
        raise StageError(
            f"{_file(folder, 'drop_overall')}: compares with {', '.join(unknown)}, which the settings do not name; run "
            "`emoscale analyze` again"
        )
    store = open_finished(folder.selectivity, SELECTIVITY)
    alpha = float(_read(folder, "tau_summary")["alpha"].iloc[0])
    verdicts = read_verdicts(folder)
    return Findings(
        folder=folder,
        study=study,
        prompts=_prompts(folder, study.learned_prompts),
        selectivity=store,
        selective_neurons=int((store.read("q") < alpha).any(axis=1).sum()),
        k=_chosen_size(study, verdicts, overall),
        verdicts=verdicts,
    )


def _chosen_size(study: Study, verdicts: dict[Question, Verdict], overall: pd.DataFrame) -> int:
    """Choose the size that the answer on need is about, if the study asks for no other."""
    if study.k is not None:
        return study.k
    need = verdicts.get(Question.NEED)
    return need.k if need is not None and need.k else int(overall["k"].min())


def chance_of(accuracy: pd.DataFrame) -> float:
    """Return the accuracy of guessing, averaged over the concepts of the table ``accuracy``."""
    return float(accuracy[accuracy["kind"] == "none"]["chance"].mean())


def _prompts(folder: RunFolder, learned: bool) -> pd.DataFrame:
    if not learned:
        table = _read(folder, "unmasked")[["concept", "replicate", "accuracy"]]
        return table.assign(accuracy_last=np.nan, train=np.nan, validation=np.nan, dev=np.nan)
    prompts = pd.read_parquet(folder.prompt_table)
    if not prompts["validation"].any():
        return prompts
    # That of a prompt's own table is on the texts that chose its epoch.
    key = ["concept", "replicate"]
    asked = _read(folder, "unmasked").astype({"replicate": str})[[*key, "accuracy"]]
    return prompts.drop(columns="accuracy").merge(asked, on=key, how="left", validate="one_to_one")


def _file(folder: RunFolder, name: str) -> Path:
    return folder.tables / f"{name}.csv"


def _read(folder: RunFolder, name: str) -> pd.DataFrame:
    if not _file(folder, name).is_file():
        return _ABSENT
    return folder.table(name)
