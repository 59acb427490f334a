"""Two words after a question, against one text at a time."""

import numpy as np
import pytest
import tiny_models
import torch
from plain_models import engine_scores, some_masks, zeroed

from emoscale.errors import InputError
from emoscale.models.readouts import verbaliser_tokens
from emoscale.stimuli.prompt_texts import PromptTexts, Sample
from emoscale.tasks.wording import Wording
from emoscale.tasks.yes_no import YesNoTask, yes_no_items

TEXTS = [*tiny_models.TEXTS, "she felt [MASK] <mask> alone"]
CONCEPTS = ("joy", "surprise")
TEMPLATES = {
    "gpt2": "Text: {text}\nWas she full of {concept}? Answer:",
    "llama": "Text: {text}\nWas she full of {concept}? Answer:",
    "bert": "{text}. was she full of {concept}? {mask}.",
    "roberta": "{mask} she was full of {concept} at {text}",
}


def sample(*rows):
    return Sample(np.array(rows, np.int64), np.arange(len(rows)) % 2)


PROMPTS = [
    PromptTexts(concept, seed, sample(0), dev)
    for seed, dev in ((1, sample(0, 3, 6, 4)), (3, sample(5, 3)))
    for concept in CONCEPTS
]


@pytest.fixture(scope="module", params=TEMPLATES)
def name(request):
    return request.param


def make_task(model, template, words=("negative", "positive")):
    items = yes_no_items(model.outline, TEXTS, PROMPTS, Wording([template]), 256)
    return YesNoTask(model, items, verbaliser_tokens(model.outline, words))


@torch.no_grad()
def plain_scores(model, template, off):
    """(items, masks, 2): every question by itself, all logits."""
    tokenizer = model.outline.tokenizer
    words = verbaliser_tokens(model.outline, ["negative", "positive"])
    asked = [(prompt.concept, TEXTS[row]) for prompt in PROMPTS for row in prompt.dev.rows]
    result = torch.zeros(len(asked), len(off), 2)
    for m, mask in enumerate(off):
        module = zeroed(model, mask)
        for q, (concept, text) in enumerate(asked):
            ids = tokenizer(template.format(text=text, concept=concept, mask=tokenizer.mask_token))["input_ids"]
            masks = [place for place, token in enumerate(ids) if token == tokenizer.mask_token_id]
            read = len(ids) - 1 if "{mask}" not in template else masks[0 if template.startswith("{mask}") else -1]
            result[q, m] = module(torch.tensor([ids])).logits[0, read, words]
    return result


@pytest.mark.parametrize("tokens_per_pass", [1, 90, 10**6])
def test_scores_are_those_of_one_text_at_a_time(tiny_model, name, tokens_per_pass):
    model, template = tiny_model(name), TEMPLATES[name]
    off = some_masks(model)
    expected = plain_scores(model, template, off)
    found = engine_scores(model, make_task(model, template), off, tokens_per_pass)
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert (expected[:, 1:] - expected[:, :1]).abs().max() > 0.1  # masks make a difference


def test_questions_are_those_of_the_prompts(tiny_model, name):
    model = tiny_model(name)
    task = make_task(model, TEMPLATES[name])
    table = task.items
    assert table["concept"].tolist() == ["joy"] * 4 + ["surprise"] * 4 + ["joy"] * 2 + ["surprise"] * 2
    assert table["replicate"].tolist() == ["1"] * 8 + ["3"] * 4
    assert table["label"].tolist() == [0, 1] * 6
    assert list(task.options) == ["other", "concept"]
    assert task.items["text"].tolist() == [0, 3, 6, 4] * 2 + [5, 3] * 2
    assert task.option_ids == [[token] for token in verbaliser_tokens(model.outline, ["negative", "positive"])]
    tokenizer = model.outline.tokenizer
    first = TEMPLATES[name].format(text=TEXTS[0], concept="joy", mask=tokenizer.mask_token)
    assert task.rows[0] == tokenizer(first)["input_ids"]
    assert [len(row) for row in task.rows] == table["tokens"].tolist()


def test_a_text_asked_about_twice_is_one_row(tiny_outline):
    items = yes_no_items(tiny_outline("gpt2"), TEXTS, PROMPTS, Wording(), 256)
    assert len(items.rows) == 2 * 5
    assert len(items.table) == 12
    assert (items.table["tokens"] == [len(items.rows[row]) for row in items.row]).all()


def test_several_templates_are_replicates(tiny_outline):
    templates = ["{text} {concept}", "{concept}: {text}"]
    table = yes_no_items(tiny_outline("gpt2"), TEXTS, PROMPTS, Wording(templates), 256).table
    assert table["replicate"].unique().tolist() == ["1-0", "3-0", "1-1", "3-1"]
    groups = table.groupby(["concept", "replicate"], sort=False).ngroup()
    assert groups.is_monotonic_increasing  # items of a concept and replicate are consecutive


def test_texts_are_cut(tiny_outline):
    outline = tiny_outline("gpt2")
    cut = yes_no_items(outline, TEXTS, PROMPTS, Wording(["{concept} {text}"]), 2)
    for prompt, row in zip(np.repeat([0, 1, 2, 3], [4, 4, 2, 2]), cut.row, strict=True):
        text = outline.tokenizer.decode(cut.rows[row]).removeprefix(PROMPTS[prompt].concept + " ")
        assert len(outline.tokenizer(text)["input_ids"]) <= 3


@pytest.mark.parametrize(
    ("name", "templates", "part"),
    [
        ("gpt2", ["{text}"], "it must have {text} and {concept}, each once"),
        ("gpt2", ["{text} {concept} {mask}"], "has {text} and {concept} and {mask}"),
        ("bert", ["{text} {concept}"], "it must have {text} and {concept} and {mask}"),
        ("gpt2", ["{text!r} {concept}"], "each once"),
        ("gpt2", ["{concept} {text}" + " loud" * tiny_models.POSITIONS], "positions; shorten"),
        ("bert-encoder", None, "predicts no words"),
    ],
)
def test_what_cannot_be_asked(tiny_outline, name, templates, part):
    with pytest.raises(InputError) as caught:
        yes_no_items(tiny_outline(name), TEXTS, PROMPTS, Wording(templates), 256)
    assert part in str(caught.value)
