"""Texts put into templates, as the rows of tokens that a model's tokenizer makes of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from string import Formatter

from emoscale.errors import InputError
from emoscale.models.outline import ModelOutline, encode_texts, truncated


def check_templates(templates: Sequence[str], fields: Collection[str]) -> None:
    """Check that templates have the fields a task fills in.

    Parameters
    ----------
    templates : sequence of str
    fields : collection of str
        Each must occur once, and no other; braces that belong to the sentence are doubled.

    Raises
    ------
    InputError
        Names every template that cannot be filled in, and those that are repeated.
    """
    wanted = " and ".join(f"{{{field}}}" for field in fields)
    problems = [] if templates else [f"ablation.templates: empty; give at least one template, with {wanted} in it"]
    for template in dict.fromkeys(templates):
        try:
            parts = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
        except ValueError as error:
            problems.append(f"ablation.templates {template!r}: {error}; double a brace that belongs to the sentence")
            continue
        if sorted(parts) != sorted((field, "", None) for field in fields):
            found = " and ".join(f"{{{name}}}" for name, *_ in parts) or "no field"
            problems.append(f"ablation.templates {template!r}: has {found}; it must have {wanted}, each once")
        if templates.count(template) > 1:
            problems.append(f"ablation.templates {template!r}: repeated {templates.count(template)} times; keep one")
    if problems:
        raise InputError(problems)


def cut_texts(outline: ModelOutline, texts: Sequence[str], max_tokens: int) -> list[str]:
    """Cut texts to the tokens that `truncated` keeps."""
    if not texts:
        return []
    if not outline.tokenizer.is_fast:
        return [_cut_slowly(outline, text, max_tokens) for text in texts]
    spans = truncated(outline, texts, max_tokens, special=False, offsets=True)["offset_mapping"]
    return [
        _kept(text, own[0][0], own[-1][1], outline) if len(own) == max_tokens else text
        for text, own in zip(texts, spans, strict=True)
    ]


def _kept(text: str, first: int, last: int, outline: ModelOutline) -> str:
    """Cut a text before or after the characters of the tokens that are kept, if there is more than space."""
    cut = text[first:] if outline.tokenizer.truncation_side == "left" else text[:last]
    return text if cut.strip() == text.strip() else cut


def _cut_slowly(outline: ModelOutline, text: str, max_tokens: int) -> str:
    """Find the longest part of no more tokens, where the tokenizer does not say which characters a token is."""
    is_left = outline.tokenizer.truncation_side == "left"
    parts = [text[len(text) - size :] if is_left else text[:size] for size in range(len(text) + 1)]
    return parts[bisect_right(parts, max_tokens, key=lambda part: len(encode_texts(outline, [part], len(text))[0])) - 1]


def tokenise(outline: ModelOutline, sentences: Sequence[str], *, closed: bool) -> list[list[int]]:
    """Turn sentences into rows of tokens, with the tokenizer's own opening token.

    Parameters
    ----------
    outline : ModelOutline
    sentences : sequence of str
        An opening token that is spelled out in one is not added again.
    closed : bool
        Whether the tokenizer's closing token is added, if it has one; what is to be continued has none.

    Returns
    -------
    list of list of int
    """
    if not sentences:
        return []
    before, after = _around(outline)
    encoded = outline.tokenizer(list(sentences), add_special_tokens=False)["input_ids"]
    return [
        [*([] if before and ids[: len(before)] == before else before), *ids, *(after if closed else [])]
        for ids in encoded
    ]


def _around(outline: ModelOutline) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer puts before and after a text."""
    bare = outline.tokenizer("a", add_special_tokens=False)["input_ids"]
    full = outline.tokenizer("a")["input_ids"]
    start = next(start for start in range(len(full)) if full[start : start + len(bare)] == bare)
    return full[:start], full[start + len(bare) :]


def check_lengths(outline: ModelOutline, longest: int) -> None:
    """Check that a row has no more tokens than the model has positions.

    Parameters
    ----------
    outline : ModelOutline
    longest : int
        Tokens of the longest row.

    Raises
    ------
    InputError
        With the number of tokens to remove.
    """
    if outline.positions is None:
        return
    limit = outline.positions - outline.first_position
    if longest > limit:
        raise InputError(
            f"the longest item is {longest} tokens, {outline.name} has {limit} positions; shorten it by "
            f"{longest - limit} (ablation.templates, stimuli.max_tokens)"
        )
