"""Token ids are written so that the pieces of a text are the text."""

import pytest
from transformers import AutoTokenizer

from emoscale.models.options import ModelOptions
from emoscale.models.token_texts import read_speller, speller


@pytest.mark.parametrize("name", ["gpt2", "bert-encoder"])
def test_the_pieces_of_a_text_are_the_text(tiny_folder, name):
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder(name))
    text = "she felt joy alone"
    ids = tokenizer(text)["input_ids"]
    spell = speller(tokenizer)
    kept, plain = spell(ids, True), spell(ids, False)
    assert len(kept) == len(plain) == len(ids)
    assert "".join(kept) == tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    assert "".join(plain).strip() == tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def test_a_character_of_several_tokens_is_in_the_piece_of_the_last(tiny_folder):
    spell = read_speller(ModelOptions(str(tiny_folder("gpt2"))))
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder("gpt2"))
    ids = tokenizer("joy — fear")["input_ids"]
    pieces = spell([-1, *ids], True)
    assert pieces[0] == ""
    assert "".join(pieces) == "joy — fear"
    assert "—" in [piece.strip() for piece in pieces]
    assert not any("\ufffd" in piece for piece in pieces)
