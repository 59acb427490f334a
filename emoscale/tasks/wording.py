"""How items are put into words: as a text to be continued, or as a message that the model answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from jinja2 import TemplateError

from emoscale.errors import InputError
from emoscale.models.outline import ModelOutline
from emoscale.tasks.templates import tokenise

Encode = Callable[[Sequence[str]], list[list[int]]]

_SHOWN = 30
"""Characters of a sentence in a message."""


@dataclass(frozen=True)
class Wording:
    """Settings of tasks in plain words.

    Attributes
    ----------
    templates : sequence of str, optional
        What texts are put into; the task's own by default.
    chat : bool
        Whether a filled-in template is a user's message, which the model answers, instead of a text that it continues.
    answer : str
        What the model's answer begins with, in a chat.
    """

    templates: Sequence[str] | None = None
    chat: bool = False
    answer: str = ""

    @property
    def described(self) -> str:
        """A part of a sentence that says so, for the report."""
        begun = f" that begins “{self.answer}”" if self.answer else ""
        return f", each a message of a chat, with an answer{begun}" if self.chat else ""


def wording_of(options: Any) -> Wording:
    """Return the wording that the settings of an ablation ask for."""
    return Wording(options.templates, options.chat, options.answer or "")


@dataclass(frozen=True)
class Asked:
    """Sentences as the model is given them.

    Attributes
    ----------
    sentences : list of str
        All of a row's text, with the marks of a chat.
    gap : str
        What stands between a sentence and its continuation: a space, or nothing where an answer begins.
    encode : callable
        Turns sentences, with or without a continuation, into rows of tokens.
    rows : list of list of int
        The tokens of each sentence.
    setting : str
        The setting that decides how sentences end.
    """

    sentences: list[str]
    gap: str
    encode: Encode
    rows: list[list[int]]
    setting: str = "ablation.templates"


def check_wording(outline: ModelOutline, wording: Wording) -> None:
    """Raise InputError if a model cannot be asked in a chat, or an answer's beginning cannot be used."""
    if not wording.chat:
        if wording.answer:
            raise InputError(
                f"ablation.answer {wording.answer!r}: begins the answer in a chat; set ablation.chat to true, or "
                "remove it"
            )
        return
    if outline.kind != "causal-lm":
        raise InputError(f"ablation.chat: {outline.name} does not answer ({outline.kind}); set ablation.chat to false")
    if not outline.tokenizer.chat_template:
        raise InputError(f"ablation.chat: {outline.name} has no chat template; set ablation.chat to false")
    if wording.answer != wording.answer.rstrip():
        raise InputError(
            f"ablation.answer {wording.answer!r}: ends with a space, but names bring a space of their own; remove it"
        )


def put(outline: ModelOutline, filled: Sequence[str], wording: Wording, *, closed: bool = False) -> Asked:
    """Make rows of filled-in templates.

    Parameters
    ----------
    outline : ModelOutline
    filled : sequence of str
        At least one.
    wording : Wording
    closed : bool
        See `tokenise`; not in a chat.

    Returns
    -------
    Asked

    Raises
    ------
    InputError
        If the tokenizer's chat template does not take a message.
    """
    if not wording.chat:
        encode = partial(tokenise, outline, closed=closed)
        return Asked(list(filled), " ", encode, encode(filled))

    def encode_chat(sentences: Sequence[str]) -> list[list[int]]:
        # The template has spelled out every special token there is to be: a second opening token would be another text.
        return list(outline.tokenizer(list(sentences), add_special_tokens=False)["input_ids"])

    sentences = [f"{message}{wording.answer}" for message in _rendered(outline, filled)]
    gap = " " if wording.answer else ""
    return Asked(sentences, gap, encode_chat, encode_chat(sentences), "ablation.answer")


def _rendered(outline: ModelOutline, messages: Sequence[str]) -> list[str]:
    conversations = [[{"role": "user", "content": message}] for message in messages]
    # A model that thinks first would begin with a thought: some templates can open the answer itself, others ignore it.
    options = {"add_generation_prompt": True, "enable_thinking": False}
    try:
        return list(outline.tokenizer.apply_chat_template(conversations, tokenize=False, **options))
    except (TemplateError, ValueError, TypeError) as error:
        raise InputError(
            f"ablation.chat: the chat template of {outline.name} takes no message of a user ({error}); set "
            "ablation.chat to false"
        ) from error


def continuations(outline: ModelOutline, asked: Asked, options: Sequence[str], setting: str) -> list[list[int]]:
    """Tokenise what may follow sentences; it must be the same tokens after each of them.

    Parameters
    ----------
    outline : ModelOutline
    asked : Asked
    options : sequence of str
    setting : str
        The setting that names the options.

    Returns
    -------
    list of list of int
        Tokens of each option.

    Raises
    ------
    InputError
        If an option is empty, unknown to the tokenizer or no tokens of its own after a sentence.
    """
    if empty := [option for option in options if not option.strip()]:
        raise InputError(f"{setting} {empty[0]!r}: is empty, so it cannot be an answer; give another name")
    # Every option after the first sentence, a single one after each other: merging depends on the border alone.
    pairs = [(0, option) for option in range(len(options))]
    pairs += [(item, item % len(options)) for item in range(1, len(asked.sentences))]
    complete = asked.encode([f"{asked.sentences[item]}{asked.gap}{options[option]}" for item, option in pairs])
    found: dict[int, list[int]] = {}
    for (item, option), ids in zip(pairs, complete, strict=True):
        row = asked.rows[item]
        tokens = ids[len(row) :]
        if ids[: len(row)] != row or not tokens or found.setdefault(option, tokens) != tokens:
            raise InputError(
                f"{outline.name} reads the end of {asked.sentences[item][-_SHOWN:]!r} and {options[option]!r} as "
                f"tokens of both; end it with a word ({asked.setting})"
            )
    tokens_of = [found[option] for option in range(len(options))]
    unknown = outline.tokenizer.unk_token_id
    if problems := [
        f"{setting} {option!r}: unknown to {outline.name}; replace or remove it"
        for option, tokens in zip(options, tokens_of, strict=True)
        if unknown is not None and unknown in tokens
    ]:
        raise InputError(problems)
    return tokens_of
