"""What represents a concept in the rows of activations. A new kind of rows is one entry of `ROW_SOURCES`.

The settings import this module, so PyTorch and pandas are imported only inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from emoscale.errors import InputError
from emoscale.extraction.options import ExtractionOptions
from emoscale.extraction.pooling import POOLINGS
from emoscale.run.folder import RunFolder
from emoscale.stimuli.options import StimuliOptions

if TYPE_CHECKING:
    import pandas as pd

    from emoscale.concepts.loading import Concepts
    from emoscale.extraction.inputs import Amount, Rows
    from emoscale.models.loading import LanguageModel
    from emoscale.models.outline import ModelOutline
    from emoscale.models.prompted import Layout, PromptedModel


class PromptSettings(Protocol):
    """The settings of prompt tuning that describe a prompt."""

    @property
    def layout(self) -> str:
        """Name of the layout, see `make_layout`."""

    @property
    def prompt_length(self) -> int:
        """Vectors of a prompt."""

    @property
    def seeds(self) -> Sequence[int]:
        """One prompt a concept and seed."""


class RowSettings(Protocol):
    """The settings that rows depend on."""

    @property
    def extraction(self) -> ExtractionOptions: ...  # noqa: D102

    @property
    def stimuli(self) -> StimuliOptions: ...  # noqa: D102

    @property
    def tuning(self) -> PromptSettings: ...  # noqa: D102


class RowContext(Protocol):
    """What rows are made of; each part is loaded when it is first used."""

    @property
    def settings(self) -> RowSettings: ...  # noqa: D102

    @property
    def concepts(self) -> Concepts: ...  # noqa: D102

    @property
    def outline(self) -> ModelOutline:
        """The model without its weights."""

    @property
    def model(self) -> LanguageModel: ...  # noqa: D102

    @property
    def prompted(self) -> PromptedModel:
        """The model, ready for prompts."""

    @property
    def sentences(self) -> pd.DataFrame:
        """Carrier sentences that name the concepts."""

    @property
    def text_pieces(self) -> Iterator[pd.DataFrame]:
        """The texts of the split, some at a time; they are checked before the first, and can be iterated over once."""

    @property
    def pooling(self) -> str:
        """Name of the pooling, the rows' own where the settings do not name one."""


@dataclass(frozen=True)
class RowSource:
    """A kind of rows.

    Attributes
    ----------
    name : str
    meaning : str
        What represents a concept, for the report.
    pooling : callable
        From the context to the name of the pooling where the settings do not name one.
    check : callable
        Takes the context; raises `InputError` if there can be no such rows.
    make : callable
        From the context and the run's folder to the rows.
    count : callable
        From the context to how much there is to extract.
    sample : callable
        From the context, what `count` returned and a number of inputs to as many inputs like those of the run, to
        measure throughput with.
    replicates : callable
        From the context to the number of replicates of each concept.
    uses_prompts : bool
        Whether prompts must be tuned first.
    needs_texts : bool
        Whether rows are made of the texts of a split.
    names_concept : bool
        Whether it is known which tokens name the concept.
    only_pooling : str, optional
        The one pooling that is possible; any otherwise.
    """

    name: str
    meaning: str
    pooling: Callable[[RowContext], str]
    check: Callable[[RowContext], None]
    make: Callable[[RowContext, RunFolder], Rows]
    count: Callable[[RowContext], Amount]
    sample: Callable[[RowContext, Amount, int], Rows]
    replicates: Callable[[RowContext], int] = lambda context: 1
    uses_prompts: bool = False
    needs_texts: bool = False
    names_concept: bool = False
    only_pooling: str | None = None

    def poolings(self) -> list[str]:
        """Return the names of the poolings that are possible."""
        if self.only_pooling:
            return [self.only_pooling]
        return [name for name, pooling in POOLINGS.items() if self.names_concept or not pooling.needs_concept]


def check_rows(context: RowContext) -> None:
    """Check what is to be extracted.

    Raises
    ------
    InputError
        If there can be no such rows.
    """
    e = context.settings.extraction
    source = ROW_SOURCES[e.rows]
    if e.pooling is not None and e.pooling not in source.poolings():
        others = [name for name, other in ROW_SOURCES.items() if e.pooling in other.poolings()]
        raise InputError(
            f"extraction.pooling {e.pooling!r}: not possible with extraction.rows {e.rows!r}; set it to "
            f"{' or '.join(source.poolings())}, or extraction.rows to {' or '.join(others)}"
        )
    if e.keep == "moments" and e.dtype != ExtractionOptions().dtype:
        raise InputError(f"extraction.dtype {e.dtype!r}: moments are kept in float64; remove it")
    source.check(context)


def _most_tokens(outline: ModelOutline) -> int | None:
    """Return how many tokens an input may have."""
    return None if outline.positions is None else outline.positions - outline.first_position


def _layout(context: RowContext) -> Layout:
    from emoscale.models.prompted import make_layout

    return make_layout(context.settings.tuning.layout, context.outline)


def _make_prompts(context: RowContext, folder: RunFolder) -> Rows:
    import pandas as pd

    from emoscale.extraction.inputs import PromptRows
    from emoscale.models.prompt_files import load_prompts

    vectors, table = load_prompts(folder.prompts).vectors, pd.read_parquet(folder.prompt_table)
    return PromptRows(context.prompted, vectors, table, context.pooling)


def _count_prompts(context: RowContext) -> Amount:
    from emoscale.extraction.inputs import Amount, InputBatch, prompt_ids

    tuning = context.settings.tuning
    ids = prompt_ids(_layout(context), tuning.prompt_length)
    names = [(concept, str(seed)) for seed in tuning.seeds for concept in context.concepts.names]
    concepts, seeds = zip(*names, strict=True)
    pooling = POOLINGS[context.pooling]
    span = pooling.tokens(ids, context.outline.tokenizer.mask_token_id)
    return Amount.of(InputBatch([ids] * len(names), concepts, seeds, [span] * len(names)), pooling, concepts)


def _sample_prompts(context: RowContext, amount: Amount, count: int) -> Rows:
    import pandas as pd
    import torch

    from emoscale.extraction.inputs import PromptRows

    # Time does not depend on the values of a prompt's vectors, so they need not be tuned.
    hidden = context.prompted.initial_prompt().shape[1]
    vectors = torch.zeros(count, context.settings.tuning.prompt_length, hidden)
    table = pd.DataFrame({"concept": ["any"] * count, "replicate": [""] * count})
    return PromptRows(context.prompted, vectors, table, context.pooling)


def _check_sentences(context: RowContext) -> None:
    sentences, limit = context.sentences["text"].tolist(), _most_tokens(context.outline)
    if limit is None:
        return
    lengths = map(len, context.outline.tokenizer(sentences)["input_ids"])
    problems = [
        f"extraction.templates: {text!r} is {length} tokens, {context.outline.name} has {limit} positions; shorten it"
        for text, length in zip(sentences, lengths, strict=True)
        if length > limit
    ]
    if problems:
        raise InputError(problems)


def _make_sentences(context: RowContext, folder: RunFolder) -> Rows:
    from emoscale.extraction.inputs import TemplateRows

    return TemplateRows(context.model, context.sentences, context.pooling)


def _count_sentences(context: RowContext) -> Amount:
    from emoscale.extraction.inputs import Amount, TemplateRows
    from emoscale.models.loading import LanguageModel

    rows = TemplateRows(LanguageModel(context.outline, None), context.sentences, context.pooling)
    return Amount.of(next(rows.inputs()), rows.pooling, context.concepts.names)


def _sample_sentences(context: RowContext, amount: Amount, count: int) -> Rows:
    from emoscale.extraction.inputs import TemplateRows

    # In random order: sentences of one concept may be longer than those of another.
    sentences = context.sentences.sample(count, random_state=0)
    return TemplateRows(context.model, sentences, context.pooling)


def _check_texts(context: RowContext) -> None:
    _ = context.text_pieces
    wanted, limit = context.settings.stimuli.max_tokens, _most_tokens(context.outline)
    if limit is not None and wanted > limit:
        raise InputError(
            f"stimuli.max_tokens {wanted}: {context.outline.name} has {limit} positions; set {limit} or less"
        )


def _make_texts(context: RowContext, folder: RunFolder) -> Rows:
    from emoscale.extraction.inputs import TextRows

    return TextRows(context.model, context.text_pieces, context.pooling, context.settings.stimuli.max_tokens)


def _count_texts(context: RowContext) -> Amount:
    from emoscale.extraction.inputs import Amount, TextRows, survey_texts
    from emoscale.models.loading import LanguageModel

    count, cells, sample = survey_texts(context.text_pieces, set(context.concepts.names))
    model = LanguageModel(context.outline, None)
    rows = TextRows(model, [sample], context.pooling, context.settings.stimuli.max_tokens)
    return Amount.of(next(rows.inputs()), rows.pooling, ())._replace(inputs=count, cells=cells, texts=sample)


def _sample_texts(context: RowContext, amount: Amount, count: int) -> Rows:
    from emoscale.extraction.inputs import TextRows

    texts = amount.texts.iloc[[number % len(amount.texts) for number in range(count)]]
    return TextRows(context.model, [texts], context.pooling, context.settings.stimuli.max_tokens)


ROW_SOURCES: dict[str, RowSource] = {
    source.name: source
    for source in (
        RowSource(
            "prompts",
            "its tuned prompts",
            pooling=lambda context: _layout(context).read,
            check=lambda context: None,
            make=_make_prompts,
            count=_count_prompts,
            sample=_sample_prompts,
            replicates=lambda context: len(context.settings.tuning.seeds),
            uses_prompts=True,
        ),
        RowSource(
            "templates",
            "carrier sentences that name it",
            pooling=lambda context: "concept-last",
            check=_check_sentences,
            make=_make_sentences,
            count=_count_sentences,
            sample=_sample_sentences,
            replicates=lambda context: context.sentences["template"].nunique(),
            names_concept=True,
        ),
        RowSource(
            "texts",
            "the texts labelled with it",
            pooling=lambda context: "mean",
            check=_check_texts,
            make=_make_texts,
            count=_count_texts,
            sample=_sample_texts,
            needs_texts=True,
        ),
        RowSource(
            "tokens",
            "the tokens of the texts labelled with it",
            pooling=lambda context: "all",
            check=_check_texts,
            make=_make_texts,
            count=_count_texts,
            sample=_sample_texts,
            needs_texts=True,
            only_pooling="all",
        ),
    )
}
"""Kinds of rows by name."""
