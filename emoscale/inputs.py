"""Everything the settings name, loaded once and checked before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import pandas as pd

from emoscale.concepts import Concepts, load_concepts
from emoscale.config import Settings
from emoscale.distributed import Ranks
from emoscale.errors import InputError
from emoscale.masks import resolve_k
from emoscale.models import LanguageModel, ModelOutline, PromptedModel, load_model, outline_model
from emoscale.models.loading import encode_texts, weights_sha256
from emoscale.models.prompted import make_layout
from emoscale.models.tasks import verbaliser_tokens
from emoscale.selectivity import Computers
from emoscale.stimuli import DEFAULT_TEMPLATES, check_labels, load_texts, render_templates
from emoscale.stimuli.prompt_texts import PromptTexts, draw_prompt_texts


class Inputs:
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

    @cached_property
    def concepts(self) -> Concepts:
        """Concepts, attribute scores, people's dissimilarities."""
        chosen = self.settings.concepts
        return load_concepts(chosen.attributes, chosen.dissimilarity, chosen.names)

    @cached_property
    def texts(self) -> pd.DataFrame:
        """The texts with labels and splits."""
        s = self.settings.stimuli
        return load_texts(
            s.source,
            path=s.path,
            dev_path=s.dev_path,
            text_column=s.text_column,
            label_column=s.label_column,
            label_separator=s.label_separator,
            split_column=s.split_column,
            dev_fraction=s.dev_fraction,
            seed=s.seed,
        )

    @cached_property
    def prompt_texts(self) -> list[PromptTexts]:
        """The texts of every prompt."""
        s = self.settings.stimuli
        check_labels(self.texts, self.concepts.names)
        return draw_prompt_texts(
            self.texts,
            self.concepts.names,
            self.settings.tuning.seeds,
            train_limit=s.train_texts,
            dev_limit=s.dev_texts,
            negatives=s.negatives,
        )

    @cached_property
    def sentences(self) -> pd.DataFrame:
        """Carrier sentences that name the concepts."""
        templates = self.settings.extraction.templates
        return render_templates(DEFAULT_TEMPLATES if templates is None else templates, self.concepts.names)

    @cached_property
    def outline(self) -> ModelOutline:
        """The model without its weights."""
        m = self.settings.model
        return outline_model(m.name, revision=m.revision, site=m.site, trust_remote_code=m.trust_remote_code)

    @cached_property
    def weights_sha256(self) -> str:
        """Hash of the weights, compared with the settings'."""
        found, wanted = weights_sha256(self.outline.folder), self.settings.model.sha256
        if wanted and found != wanted.lower():
            raise InputError(
                f"model.sha256: the weights in {self.outline.folder} hash to {found}, not {wanted}; "
                "fetch them anew, or correct model.sha256 if you trust them"
            )
        return found

    @cached_property
    def tokens(self) -> list[list[int]]:
        """Token ids of every text."""
        return encode_texts(self.outline, self.texts["text"].tolist(), self.settings.stimuli.max_tokens)

    @cached_property
    def model(self) -> LanguageModel:
        """The model, loaded."""
        return load_model(self.outline, device=self.ranks.device, dtype=self.settings.model.dtype)

    @cached_property
    def prompted(self) -> PromptedModel:
        """The model, ready for prompts."""
        t = self.settings.tuning
        return PromptedModel(self.model, t.layout, t.prompt_length, t.verbaliser)

    @cached_property
    def computers(self) -> Computers:
        """Where selectivity is computed."""
        s, machine = self.settings.selectivity, self.settings.machine
        return Computers(
            threads=machine.threads,
            memory_limit=machine.memory_limit,
            block_neurons=s.block_neurons,
            scheduler=machine.scheduler,
            cluster=machine.cluster,
            workers=machine.workers,
            backend=machine.backend,
        )

    def check(self, with_model: bool, with_computers: bool) -> None:
        """Check everything before anything is written.

        Parameters
        ----------
        with_model : bool
            Also load the model, which no check of its files can stand for, once all else is well.
        with_computers : bool
            Also see whether the cluster or the GPU that is to compute selectivity is there.

        Raises
        ------
        InputError
            With every problem found.
        """
        checks: list[Callable[[], Any]] = [
            lambda: self.concepts,
            lambda: self.texts,
            lambda: self.outline,
            lambda: self.prompt_texts,
            lambda: self.weights_sha256,
            self._check_k,
            self._check_verbaliser,
            self._check_length,
            self._check_sentences,
            *([lambda: self.computers.check()] if with_computers else []),
        ]
        problems: list[str] = []
        for check in checks:
            try:
                check()
            except InputError as error:
                problems += error.problems
        if problems:
            # A check that stands on another one repeats its problem.
            raise InputError(dict.fromkeys(problems))
        if with_model:
            _ = self.model

    def _check_k(self) -> None:
        neurons = self.outline.neurons
        try:
            resolve_k(self.settings.masks.k, neurons)
        except InputError as error:
            raise InputError(f"masks.{problem}" for problem in error.problems) from error

    def _check_verbaliser(self) -> None:
        if self.outline.kind != "encoder":
            verbaliser_tokens(self.outline, self.settings.tuning.verbaliser)

    def _check_length(self) -> None:
        tuning = self.settings.tuning
        layout = make_layout(tuning.layout, self.outline)
        if self.outline.positions is None:
            return
        limit = self.outline.positions - (0 if layout.positions_from_zero else self.outline.first_position)
        longest = max(map(len, self.tokens))
        needed = layout.tokens + tuning.prompt_length + longest
        if needed > limit:
            room = limit - layout.tokens - tuning.prompt_length
            mend = f"set stimuli.max_tokens to {room} or less" if room > 0 else "set a smaller tuning.prompt_length"
            raise InputError(
                f"tuning.prompt_length {tuning.prompt_length} and the longest text ({longest} tokens) need {needed} "
                f"positions, {self.outline.name} has {limit}; {mend}"
            )

    def _check_sentences(self) -> None:
        if self.settings.extraction.rows != "templates":
            return
        sentences = self.sentences["text"].tolist()
        if self.outline.positions is None:
            return
        limit = self.outline.positions - self.outline.first_position
        lengths = map(len, self.outline.tokenizer(sentences)["input_ids"])
        problems = [
            f"extraction.templates: {text!r} is {length} tokens, {self.outline.name} has {limit} positions; shorten it"
            for text, length in zip(sentences, lengths, strict=True)
            if length > limit
        ]
        if problems:
            raise InputError(problems)
