"""Token ids as text again, token by token, for people to read what a model read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from transformers import AutoTokenizer

from emoscale.models.finding import find_model
from emoscale.models.options import ModelOptions

Spell = Callable[[Sequence[int], bool], list[str]]
"""From token ids, and whether to keep special tokens, to a piece of text for each: see `speller`."""

_CUT = "\ufffd"
"""What a part of a character decodes to."""


def speller(tokenizer: Any) -> Spell:
    """Return the function that writes token ids of a tokenizer as text.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase

    Returns
    -------
    callable
        From token ids, and whether to keep special tokens, to a piece of text for each token, with the space before it;
        joined they are the text. A character of several tokens is in the piece of the last. Ids below 0 (a prompt's
        vectors) and special tokens that are not kept are empty.
    """
    # A word that is not known, and the place of one that was asked for, belong to the text.
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id, tokenizer.mask_token_id}

    def spell(ids: Sequence[int], keep_special: bool) -> list[str]:
        pieces, known, done = [], [], ""
        for token in ids:
            if token < 0 or (token in special and not keep_special):
                pieces.append("")
                continue
            known.append(token)
            text = tokenizer.decode(known, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            if text.endswith(_CUT):
                pieces.append("")
            elif text.startswith(done):
                pieces.append(text[len(done) :])
                done = text
            else:  # a tokenizer that changes what stands before
                pieces.append(f" {tokenizer.convert_ids_to_tokens(token)}")
                done = text
        return pieces

    return spell


def read_speller(options: ModelOptions) -> Spell:
    """Return the speller of a model's own tokenizer, without reading the model.

    Raises
    ------
    InputError
        If there is no such model.
    OSError, ValueError
        If transformers cannot read its tokenizer.
    """
    files = find_model(options.name, options.revision)
    trust = options.trust_remote_code
    return speller(AutoTokenizer.from_pretrained(files.tokenizer, trust_remote_code=trust, local_files_only=True))
