"""The likeliest of several names, against one text and one name at a time."""

import dataclasses
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny_models
import torch
from plain_models import engine_scores, log_probabilities, some_masks, zeroed

from emoscale.errors import InputError
from emoscale.stimuli.options import StimuliOptions
from emoscale.tasks.continuations import Continuations
from emoscale.tasks.multiple_choice import MultipleChoiceTask, draw_single, multiple_choice_items
from emoscale.tasks.wording import Wording

NAMES = ("joy", "sad alone", "surprise", "sad", "sad angry", "sad alone home", "remorseful")
STIMULI = StimuliOptions()
TEMPLATES = ("{text}\nThe writer feels", "She said: {text} He felt")


def labelled(names=NAMES):
    """Dev texts of one concept, two of each; one of two concepts, one of none, and one to learn from."""
    texts = [f"{tiny_models.TEXTS[i % len(tiny_models.TEXTS)]}{' .' * i}" for i in range(2 * len(names))]
    rows = [(text, (names[i % len(names)], "unasked"), "dev") for i, text in enumerate(texts)]
    rows += [("loud", names[:2], "dev"), ("news", ("unasked",), "dev"), ("home", (names[0],), "train")]
    return pd.DataFrame(rows, columns=["text", "labels", "split"])


@pytest.fixture(scope="module", params=tiny_models.CAUSAL)
def model(request, tiny_model):
    return tiny_model(request.param)


@pytest.fixture(scope="module")
def items(model):
    return make_items(model.outline, NAMES, TEMPLATES)


def make_items(outline, names=NAMES, templates=TEMPLATES[:1], stimuli=STIMULI, **options):
    return multiple_choice_items(outline, labelled(names), names, Wording(templates), stimuli, **options)


def ways(task):
    """The same task in its quick and in its general way."""
    names = task._score.__self__
    for way in (names.by_tree, names.by_stems):
        task._score = way
        yield task


def plain_scores(model, off):
    """(items, masks, names): every sentence and name encoded whole, one row a pass, all logits."""
    tokenizer, texts = model.outline.tokenizer, labelled()
    sentences = [
        template.format(text=text)
        for template in TEMPLATES
        for name in NAMES
        for text, labels, split in texts.itertuples(index=False)
        if split == "dev" and set(labels) & set(NAMES) == {name}
    ]
    result = torch.zeros(len(sentences), len(off), len(NAMES))
    for m, mask in enumerate(off):
        module = zeroed(model, mask)
        for q, sentence in enumerate(sentences):
            start = len(tokenizer(sentence)["input_ids"])
            for n, name in enumerate(NAMES):
                ids = tokenizer(f"{sentence} {name}")["input_ids"]
                logs = log_probabilities(module, ids)
                result[q, m, n] = sum(logs[at - 1, ids[at]] for at in range(start, len(ids)))
    return result


@pytest.fixture(scope="module")
def expected(model):
    return plain_scores(model, some_masks(model))


def test_names_are_one_token_and_several(items):
    lengths = [len(tokens) for tokens in items.continuations]
    assert lengths[0] == 1
    assert max(lengths) > 2
    table = items.table
    assert table["label"].tolist() == [n for _ in TEMPLATES for n in range(len(NAMES)) for _ in range(2)]
    assert table["replicate"].tolist() == ["0"] * 14 + ["1"] * 14
    assert [NAMES[label] for label in table["label"]] == table["concept"].tolist()


@pytest.mark.parametrize("tokens_per_pass", [1, 150, 10**6])
def test_scores_are_those_of_one_text_and_one_name_at_a_time(model, items, expected, tokens_per_pass):
    off = some_masks(model)
    for task in ways(MultipleChoiceTask(model, items)):
        found = engine_scores(model, task, off, tokens_per_pass)
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert (expected[:, 1:] - expected[:, :1]).abs().max() > 0.1  # masks make a difference


def test_several_tokens_a_name_need_one_pass_over_their_tree(model, items):
    task = MultipleChoiceTask(model, items)
    widths = []
    hook = model.module.register_forward_hook(lambda *_: widths.append(1))
    task.scores(np.arange(2))
    hook.remove()
    assert len(widths) == 1
    nodes = {tuple(tokens[:end]) for tokens in items.continuations for end in range(1, len(tokens))}
    assert task.items["tokens"].tolist() == [len(row) + len(nodes) for row in items.rows]


def test_what_the_model_was_given_is_known(model, items):
    task = MultipleChoiceTask(model, items)
    assert task.rows == items.rows
    assert task.option_ids == items.continuations


def test_names_of_one_token_need_one_pass(model):
    names = ("joy", "anger", "fear")
    items = make_items(model.outline, names)
    task = MultipleChoiceTask(model, items)
    passes = []
    hook = model.module.register_forward_hook(lambda *_: passes.append(1))
    found = task.scores(np.arange(len(task.items)))
    hook.remove()
    assert len(passes) == 1
    for row, scores in zip(items.rows, found, strict=True):
        last = log_probabilities(model.module, row)[-1]
        tokens = [model.outline.tokenizer.encode(f" {name}", add_special_tokens=False)[0] for name in names]
        assert torch.allclose(scores, last[tokens], atol=1e-4)


def test_a_model_that_takes_no_tree_is_asked_name_by_name(model, items, expected, monkeypatch):
    def refused(*_):
        raise ValueError("no such mask")

    monkeypatch.setattr(Continuations, "_run", refused)
    found = engine_scores(model, MultipleChoiceTask(model, items), some_masks(model), 500)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_opening_token_is_there_once(model):
    tokenizer = model.outline.tokenizer
    plain = make_items(model.outline, NAMES, ["{text} she felt"])
    assert plain.rows[0] == tokenizer(f"{tokenizer.decode(plain.rows[0], skip_special_tokens=True)}")["input_ids"]
    opening = tokenizer.bos_token if tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id else ""
    spelled = make_items(model.outline, NAMES, [f"{opening}{{text}} she felt"])
    assert spelled.rows == plain.rows


def test_texts_are_cut(model):
    short = make_items(model.outline, NAMES, ["{text} she felt"], replace(STIMULI, max_tokens=2))
    assert len({len(row) for row in short.rows}) <= 2
    assert max(map(len, short.rows)) <= 2 + len(model.outline.tokenizer(" she felt")["input_ids"])


def test_single_texts_are_drawn_with_a_seed():
    texts = pd.concat([labelled()] * 5, ignore_index=True)
    whole = draw_single(texts, NAMES, None, 0)
    assert [len(rows) for rows in whole] == [10] * len(NAMES)
    few, again, other = (draw_single(texts, NAMES, 3, seed) for seed in (0, 0, 1))
    for concept, rows in enumerate(few):
        assert len(rows) == 3
        assert set(rows) <= set(whole[concept])
        assert (np.diff(rows) > 0).all()
    assert all(map(np.array_equal, few, again))
    assert not all(map(np.array_equal, few, other))
    # What is drawn of one concept does not depend on the others, as long as its texts stay single.
    assert np.array_equal(draw_single(texts, NAMES[2:], 3, 0)[0], few[2])


@pytest.mark.parametrize(
    ("names", "templates", "part"),
    [
        (NAMES, ["she felt"], "has no field; it must have {text}"),
        (NAMES, ["{text} {concept}"], "has {text} and {concept}"),
        (NAMES, ["{text} she felt "], "ends with a space"),
        (NAMES, [], "give at least one template"),
        (NAMES, ["{text} a", "{text} a"], "repeated 2 times"),
        (NAMES, ["{text} {"], "double a brace"),
        (("joy", " "), ["{text} felt"], "no dev text shows ' '"),
        (("joy", "pride"), ["{text} felt"], "no dev text shows 'pride'"),
        (NAMES, ["{text}" + " loud" * tiny_models.POSITIONS], "positions; shorten"),
    ],
)
def test_what_cannot_be_asked(tiny_outline, names, templates, part):
    with pytest.raises(InputError) as caught:
        multiple_choice_items(tiny_outline("gpt2"), labelled(), names, Wording(templates), STIMULI)
    assert part in str(caught.value)


def test_a_name_without_letters(tiny_outline):
    with pytest.raises(InputError, match="is empty"):
        make_items(tiny_outline("gpt2"), ("joy", " "))


def test_a_name_that_merges_with_the_sentence(tiny_outline, monkeypatch):
    outline = tiny_outline("gpt2")

    class Merging:
        unk_token_id, is_fast = None, True

        def __call__(self, sentences, **options):
            if isinstance(sentences, str):
                return outline.tokenizer(sentences, **options)
            encoded = dict(outline.tokenizer(sentences, **options))
            encoded["input_ids"] = [
                [*ids[:-2], 599] if sentence.endswith("felt joy") else ids
                for sentence, ids in zip(sentences, encoded["input_ids"], strict=True)
            ]
            return encoded

    merging = dataclasses.replace(outline, tokenizer=Merging())
    with pytest.raises(InputError, match=r"felt' and 'joy' as tokens of both; end it with a word"):
        make_items(merging, NAMES, ["{text} she felt"])


@pytest.mark.parametrize("name", ["bert", "bert-encoder"])
def test_a_model_that_continues_no_text(tiny_outline, name):
    with pytest.raises(InputError, match="does not continue a text"):
        make_items(tiny_outline(name))
