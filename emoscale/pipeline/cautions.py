"""What a reviewer would say of a run's design: the one list that `check`, `plan`, a run and its report show."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pandas as pd

from emoscale.extraction.rows import ROW_SOURCES
from emoscale.permutations import smallest_permutation_p
from emoscale.pipeline.context import Context
from emoscale.stimuli.same_text import identify
from emoscale.tasks.registry import TASKS

FEWEST_REPLICATES = 4
FEWEST_TEXTS = 30
_UNBALANCED = 2
"""How many times the texts of the rarest concept the most frequent one may have."""

Kind = Literal["concepts", "permutations", "replicates", "texts", "balance", "overlap", "labels", "epochs"]


@dataclass(frozen=True)
class Caution:
    """Something that weakens what a run can show.

    Attributes
    ----------
    kind : str
        What it is about.
    text : str
        A sentence with the fix, without its full stop.
    """

    kind: Kind
    text: str

    def __str__(self) -> str:
        return self.text


def cautions_of(context: Context) -> list[Caution]:
    """Return what a reviewer would say of a run's design.

    Parameters
    ----------
    context : Context
        Texts are looked at only where they have been loaded: a corpus that is streamed may not fit into memory.

    Returns
    -------
    list of Caution
    """
    found = [*_of_permutations(context), *_of_replicates(context)]
    if context.has_texts:
        looks = (_of_held_out, _of_train, _of_overlap, _of_labels, _of_epochs)
        found += [caution for look in looks for caution in look(context)]
    return found


def _of_permutations(context: Context) -> Iterator[Caution]:
    selectivity, concepts = context.settings.selectivity, context.concepts
    if selectivity.inference != "permutation":
        return
    alpha, count = selectivity.alpha, len(concepts.names)
    smallest = smallest_permutation_p(concepts.scores)
    few = [name for name, p in zip(concepts.attributes, smallest, strict=True) if p > alpha]
    if len(few) == len(smallest):
        # n!/C! times as many orders.
        enough = next(n for n in range(count, 99) if smallest.min() / math.perm(n, n - count) <= alpha)
        yield Caution(
            "concepts",
            f"{count} concepts have too few orders: no p is below {smallest.min():.2g}, and no neuron can be "
            f"significant at selectivity.alpha {alpha:g}; compare {enough} concepts or more",
        )
    elif few:
        yield Caution(
            "concepts",
            f"Too many of the {count} concepts share a score of {', '.join(map(repr, few))}: no p is below "
            f"{smallest[smallest > alpha].min():.2g}, and no neuron can be significant at selectivity.alpha {alpha:g}; "
            "use finer scores, or compare more concepts",
        )
    if len(few) < len(smallest) and 1 / (selectivity.permutations + 1) >= alpha:
        yield Caution(
            "permutations",
            f"With selectivity.permutations {selectivity.permutations} no neuron can be significant at "
            f"selectivity.alpha {alpha:g}; set {math.floor(1 / alpha)} or more",
        )


def _of_replicates(context: Context) -> Iterator[Caution]:
    source = ROW_SOURCES[context.settings.extraction.rows]
    if source.needs_texts:  # every text is a row
        return
    count = source.replicates(context)
    if count < FEWEST_REPLICATES:
        fix = "list more tuning.seeds" if source.uses_prompts else "list more extraction.templates"
        yield Caution(
            "replicates",
            f"{_number(count, 'replicate')} of each concept, fewer than {FEWEST_REPLICATES}: it cannot be told well "
            f"whether the map of neurons repeats; {fix}",
        )


def _of_held_out(context: Context) -> Iterator[Caution]:
    texts = context.texts[context.texts["split"] == "dev"]
    yield from _of_counts(context, texts, "held-out", "dev_texts", context.settings.stimuli.dev_texts)


def _of_train(context: Context) -> Iterator[Caution]:
    if context.tunes:
        texts = context.texts[context.texts["split"] == "train"]
        yield from _of_counts(context, texts, "train", "train_texts", context.settings.stimuli.train_texts)


def _of_counts(context: Context, texts: pd.DataFrame, which: str, setting: str, limit: int | None) -> Iterator[Caution]:
    labels = texts["labels"].explode()
    there = labels.value_counts().reindex(context.concepts.names, fill_value=0)
    used = there if limit is None else there.clip(upper=limit)
    few, many = int(used.min()), int(used.max())
    if few < FEWEST_TEXTS:
        fix = f"raise stimuli.{setting}" if limit is not None and limit < min(FEWEST_TEXTS, there.min()) else "add some"
        span = str(few) if few == many else f"{few} to {many}"
        yield Caution(
            "texts", f"{span} {which} texts a concept, fewer than {FEWEST_TEXTS}: what is found is uncertain; {fix}"
        )
    if many > _UNBALANCED * few:
        yield Caution(
            "balance",
            f"The {which} texts are unbalanced: {few} of {used.idxmin()!r}, {many} of {used.idxmax()!r}, so that "
            f"concepts weigh differently; add texts of the rare ones, or set stimuli.{setting}",
        )


def _of_overlap(context: Context) -> Iterator[Caution]:
    """Compare the texts that something is learned from with those that are asked about."""
    settings, texts = context.settings, context.texts
    trained, split = texts["split"] == "train", settings.extraction.split
    learned = trained & (context.tunes and settings.tuning.keep_repeated)
    if ROW_SOURCES[settings.extraction.rows].needs_texts:
        learned |= (texts["split"] == split) | (split == "all")
    identity = _identities(context)
    if shared := _shared(texts, identity, learned):
        yield Caution(
            "overlap",
            f"{shared.are} both learned from and asked about (e.g. {shared.example}), so that memory looks like "
            "understanding; keep each text in one split",
        )
    elif context.tunes and (shared := _shared(texts, identity, trained)):
        yield Caution(
            "overlap",
            f"{shared.are} in both the train and the held-out texts (e.g. {shared.example}); no prompt is trained on "
            "them; keep each text in one split",
        )


def _of_labels(context: Context) -> Iterator[Caution]:
    """Compare the labels of rows that hold the same text."""
    table = context.texts.assign(identity=_identities(context))
    table = table[table["identity"].duplicated(keep=False)]
    known = set(context.concepts.names)
    shown = [" and ".join(sorted(known.intersection(own))) or "none" for own in table["labels"]]
    labels = pd.Series(shown, table.index, dtype=object)
    contrary = labels.groupby(table["identity"]).unique().loc[lambda found: found.str.len() > 1]
    if len(contrary):
        text = table["text"][table["identity"] == contrary.index[0]].iloc[0]
        one = len(contrary) == 1
        yield Caution(
            "labels",
            f"{_number(len(contrary), 'text')} {'has' if one else 'have'} other labels in other rows (e.g. "
            f"{_cut(text)!r}: {' / '.join(contrary.iloc[0])}), so that the same text shows a concept and does "
            "not; give each text once, with all its labels",
        )


def _of_epochs(context: Context) -> Iterator[Caution]:
    asked, tuning = TASKS[context.settings.ablation.task].uses_prompts, context.settings.tuning
    if asked and tuning.epochs > 1 and not tuning.validation:
        yield Caution(
            "epochs",
            "The texts that choose each prompt's best epoch are those that are asked about, which flatters the "
            "accuracy; set tuning.validation to a share of the train texts, e.g. 0.2",
        )


class _Shared(NamedTuple):
    """Texts that are learned from and held out: how many, and one of them."""

    are: str
    example: str


def _shared(texts: pd.DataFrame, identity: pd.Series, learned: pd.Series) -> _Shared | None:
    held_out = identity[texts["split"] == "dev"]
    rows = identity[learned & identity.isin(held_out)]
    if rows.empty:
        return None
    count = rows.nunique()
    are = f"{_number(count, 'text')} {'is' if count == 1 else 'are'}"
    return _Shared(are, repr(_cut(texts["text"][rows.index[0]])))


def _identities(context: Context) -> pd.Series:
    """Return which rows of the texts hold the same text."""
    return context.once(_identify)


def _identify(context: Context) -> pd.Series:
    return pd.Series(identify(context.texts["text"]), context.texts.index)


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _cut(text: str, width: int = 40) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
