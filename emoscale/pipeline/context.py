"""Everything the settings name, loaded once and checked before anything is written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar

import pandas as pd
import torch

from emoscale.ablation.checks import check_precision, check_used
from emoscale.ablation.edits import EDITS, EditKind
from emoscale.ablation.options import TWO_LEVEL
from emoscale.analysis.drop_estimates import FEWEST_DRAWS
from emoscale.attribution.rankings import RANKINGS
from emoscale.concepts.loading import Concepts, load_concepts
from emoscale.config import Settings
from emoscale.errors import InputError, collect_problems
from emoscale.extraction.rows import ROW_SOURCES, check_rows
from emoscale.masks.by_rank import needs_two_replicates
from emoscale.masks.controls import CONTROLS, Control, by_halves, of_permuted_concepts
from emoscale.masks.draw_numbers import check_draws_can_be_chosen
from emoscale.masks.drawing import check_disjoint
from emoscale.masks.make_masks import resolve_k
from emoscale.masks.options import AUTO
from emoscale.models.identity import identify
from emoscale.models.loading import LanguageModel, check_split, load_model
from emoscale.models.outline import ModelOutline, encode_texts, outline_model
from emoscale.models.prompted import PromptedModel
from emoscale.models.quantised import quantisation
from emoscale.pipeline.stage import Stage
from emoscale.run.stores import needs_every_row
from emoscale.schema import HALF, PERMUTED
from emoscale.selectivity.executor import Executor
from emoscale.selectivity.row_measures import RowMeasure
from emoscale.selectivity.searchlight import chosen_row_measures
from emoscale.stimuli.prompt_texts import AskedTexts, PromptTexts, draw_asked_texts, draw_prompt_texts
from emoscale.stimuli.samples import check_labels
from emoscale.stimuli.templates import DEFAULT_TEMPLATES, render_templates
from emoscale.stimuli.texts import SPLITS, TextReader, open_texts
from emoscale.system.ranks import Ranks
from emoscale.tasks import soft_prompt
from emoscale.tasks.halves import HALVES
from emoscale.tasks.registry import TASKS

Made = TypeVar("Made")

_log = logging.getLogger(__name__)


class Context:
    """What a run works on.

    Parameters
    ----------
    settings : Settings
    ranks : Ranks
        The model goes to this rank's device.
    """

    def __init__(self, settings: Settings, ranks: Ranks) -> None:
        self.settings = settings
        self.ranks = ranks
        self._made: dict[Callable[[Context], Any], Any] = {}

    def once(self, make: Callable[[Context], Made]) -> Made:
        """Return what a function makes of this context; it is called the first time only."""
        if make not in self._made:
            self._made[make] = make(self)
        made: Made = self._made[make]
        return made

    @cached_property
    def concepts(self) -> Concepts:
        """Concepts, attribute scores, people's dissimilarities."""
        concepts = load_concepts(self.settings.concepts)
        if self.ranks.is_main:
            for how in concepts.how:
                _log.info(how)
            for note in concepts.notes:
                _log.warning(note)
        return concepts

    @cached_property
    def texts(self) -> pd.DataFrame:
        """The texts with labels and splits."""
        self._text_reader.require("dev")
        return pd.concat(self._text_reader.pieces(concepts=self._named), ignore_index=True)

    @cached_property
    def _text_reader(self) -> TextReader:
        """The texts, read through once."""
        return open_texts(self.settings.stimuli)

    @cached_property
    def _named(self) -> list[str]:
        """The names of the concepts, when it has been said which labels are read as them."""
        reader, names = self._text_reader, self.concepts.names
        if self.ranks.is_main:
            for note in reader.notes(names):
                _log.warning(note)
        return names

    @property
    def has_texts(self) -> bool:
        """Whether the texts have been loaded."""
        return "texts" in self.__dict__

    @cached_property
    def text_pieces(self) -> Iterator[pd.DataFrame]:
        """The texts to extract, a piece at a time; they are checked before the first, and can be taken once."""
        return self._text_reader.pieces(self.settings.extraction.split, self._named)

    @cached_property
    def prompt_texts(self) -> list[PromptTexts]:
        """The texts of every prompt."""
        names, options = self.concepts.names, self.settings.tuning
        self._text_reader.require(*SPLITS)
        check_labels(self.texts, names)
        return draw_prompt_texts(
            self.texts,
            names,
            options.seeds,
            self.settings.stimuli,
            validation=options.validation,
            keep_repeated=options.keep_repeated,
        )

    @cached_property
    def asked_texts(self) -> list[AskedTexts]:
        """The held-out texts of every concept and seed, where nothing is trained."""
        names = self.concepts.names
        check_labels(self.texts, names, ["dev"])
        return draw_asked_texts(self.texts, names, self.settings.tuning.seeds, self.settings.stimuli)

    @property
    def tunes(self) -> bool:
        """Whether prompts are tuned."""
        s = self.settings
        return ROW_SOURCES[s.extraction.rows].uses_prompts or TASKS[s.ablation.task].uses_prompts

    @cached_property
    def sentences(self) -> pd.DataFrame:
        """Carrier sentences that name the concepts."""
        templates = self.settings.extraction.templates
        return render_templates(DEFAULT_TEMPLATES if templates is None else templates, self.concepts.names)

    @property
    def pooling(self) -> str:
        """Name of the pooling of rows of activations."""
        e = self.settings.extraction
        return e.pooling or ROW_SOURCES[e.rows].pooling(self)

    @cached_property
    def outline(self) -> ModelOutline:
        """The model without its weights."""
        return outline_model(self.settings.model)

    @cached_property
    def identity(self) -> dict[str, str]:
        """Hashes of the model's parts, see `identify`; that of the weights is compared with the settings'."""
        found, wanted = identify(self.outline), self.settings.model.sha256
        weights = found["weights_sha256"]
        if wanted and weights != wanted.lower():
            raise InputError(
                f"model.sha256: the weights in {self.outline.files.source} hash to {weights}, not {wanted}; "
                "download them again, or correct model.sha256 if you trust them"
            )
        return found

    @cached_property
    def tokens(self) -> list[list[int]]:
        """Token ids of every text."""
        return encode_texts(self.outline, self.texts["text"].tolist(), self.settings.stimuli.max_tokens)

    @cached_property
    def model(self) -> LanguageModel:
        """The model, loaded."""
        m, machine = self.settings.model, self.settings.machine
        loaded = load_model(self.outline, device=self.ranks.device, dtype=m.dtype, split=machine.split_model)
        self.outline = loaded.outline  # which says more, now that the model was tried
        return loaded

    @cached_property
    def prompted(self) -> PromptedModel:
        """The model, ready for prompts."""
        t = self.settings.tuning
        return PromptedModel(self.model, t.layout, t.prompt_length, t.verbaliser)

    @cached_property
    def executor(self) -> Executor:
        """Where selectivity is computed."""
        return Executor.of(self.settings.machine, self.settings.selectivity)

    @property
    def hardware(self) -> dict[str, Any]:
        """The device, threads and processes of this run, for the manifest."""
        device = self.ranks.device
        return {
            "device": str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
            "threads": torch.get_num_threads(),
            "ranks": self.ranks.processes,
        }

    def check(self, stages: Sequence[Stage]) -> None:
        """Check everything before anything is written.

        Parameters
        ----------
        stages : sequence of Stage
            What is to be done. If one of them runs the model it is loaded once all else is well: no check of its files
            replaces that.

        Raises
        ------
        InputError
            With every problem found.
        """
        collect_problems(self.checks(stages))
        if any(stage.loads_model for stage in stages):
            _ = self.model

    def checks(self, stages: Sequence[Stage], weights: bool = True) -> list[Callable[[], object]]:
        """Return all checks but that of loading the model.

        Parameters
        ----------
        stages : sequence of Stage
            What is to be done.
        weights : bool
            Whether to identify the model by its files, which reads all of its weights.
        """
        names = [stage.name for stage in stages]
        checks: list[Callable[[], object]] = [
            lambda: self.concepts,
            lambda: self.outline,
            *([lambda: self.identity] if weights else []),
            lambda: check_split(self.outline, self.settings.machine.split_model, self.ranks.tp_size, names),
            self._check_rows_are_kept,
        ]
        # Two stages may have a check in common.
        return list(dict.fromkeys([*checks, *(check for stage in stages for check in stage.checks(self))]))

    def tuning_checks(self) -> list[Callable[[], object]]:
        """Return the checks of tuning."""
        return [lambda: self.texts, lambda: soft_prompt.check(self)]

    def extraction_checks(self) -> list[Callable[[], object]]:
        """Return the checks of the extraction."""
        return [lambda: check_rows(self)]

    def mask_checks(self) -> list[Callable[[], object]]:
        """Return the checks of the masks."""
        permuted = of_permuted_concepts(self.settings.masks.controls)
        return [self.check_k, self._check_draws, self._check_halves, *([self.executor.check] if permuted else [])]

    def task_checks(self) -> list[Callable[[], object]]:
        """Return the checks of what the model is asked: the same ones for every stage that asks it."""
        return self.once(_task_checks)

    def faithfulness_checks(self) -> list[Callable[[], object]]:
        """Return the checks of the faithfulness."""
        return [*self.task_checks(), self._check_rankings]

    def _check_rankings(self) -> None:
        if not self.settings.faithfulness.rankings:
            raise InputError(f"faithfulness.rankings: names none; list some of {', '.join(RANKINGS)}")

    def check_stop(self) -> None:
        """Check that comparisons which may end early are with permuted masks."""
        masks, ablation = self.settings.masks, self.settings.ablation
        if ablation.stop_when == "never":
            return
        if ablation.precision == TWO_LEVEL:
            raise InputError(
                f"ablation.stop_when: not together with ablation.precision {TWO_LEVEL}; set one of them otherwise"
            )
        if PERMUTED not in masks.controls:
            raise InputError(
                f"ablation.stop_when: comparisons with permuted masks end early; list {PERMUTED} in masks.controls"
            )
        if masks.permutations < FEWEST_DRAWS:
            raise InputError(
                f"ablation.stop_when: how permuted masks differ is not known from {masks.permutations}; set "
                f"masks.permutations to {FEWEST_DRAWS} or more"
            )

    def check_k(self) -> None:
        """Check that there are enough neurons for every size of masks."""
        masks, neurons = self.settings.masks, self.outline.neurons
        try:
            k = resolve_k(masks.k, neurons)
            if masks.disjoint:
                check_disjoint(k, neurons)
        except InputError as error:
            raise InputError(f"masks.{problem}" for problem in error.problems) from error

    def _check_draws(self) -> None:
        masks, attribution = self.settings.masks, self.settings.attribution
        if masks.draws == AUTO:
            controls = [CONTROLS[name] for name in masks.controls]
            check_draws_can_be_chosen(controls, len(attribution.check_groups), attribution.check_draws)

    def _check_halves(self) -> None:
        controls = self.settings.masks.controls
        if not by_halves(controls):
            return
        if not of_permuted_concepts(controls):
            raise InputError(f"masks.controls {HALF!r}: is compared with {PERMUTED!r}; add that")
        if ROW_SOURCES[self.settings.extraction.rows].replicates(self) < HALVES:
            raise needs_two_replicates()

    def _check_rows_are_kept(self) -> None:
        """Refuse what needs every row's activations where only moments are kept."""
        if self.settings.extraction.keep != "moments":
            return
        problems = [
            problem for setting in self._settings_that_need_rows() for problem in needs_every_row(setting).problems
        ]
        if problems:
            raise InputError(problems)

    def _settings_that_need_rows(self) -> Iterator[str]:
        s = self.settings
        chosen: dict[str, Sequence[RowMeasure | Control | EditKind]] = {
            "selectivity.row_measures": chosen_row_measures(s.selectivity),
            "masks.controls": [CONTROLS[name] for name in s.masks.controls],
            "ablation.edit": [EDITS[s.ablation.edit]],
            "faithfulness.edit": [EDITS[s.faithfulness.edit]] if s.faithfulness.rankings else [],
        }
        for setting, entries in chosen.items():
            yield from (f"{setting} {entry.name!r}" for entry in entries if entry.needs_rows)


def _task_checks(context: Context) -> list[Callable[[], object]]:
    options = context.settings.ablation
    return [
        lambda: check_used(options),
        lambda: check_precision(options, context.settings.model.dtype, quantisation(context.outline.config)),
        lambda: context.texts,
        lambda: TASKS[options.task].check(context),
    ]
