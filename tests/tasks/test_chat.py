"""Messages of a chat: exactly what the chat template gives, and answers that begin where it ends."""

import copy
import dataclasses

import pytest
import tiny_models
import torch
from plain_models import engine_scores, log_probabilities, some_masks, zeroed
from test_multiple_choice import NAMES, STIMULI, labelled, make_items
from test_yes_no import PROMPTS, TEXTS

from emoscale.errors import InputError
from emoscale.tasks.multiple_choice import MultipleChoiceTask, multiple_choice_items
from emoscale.tasks.wording import Wording, continuations, put
from emoscale.tasks.yes_no import YesNoTask, _first_words, yes_no_items

TEMPLATE = (
    "{{ BOS }}a friend of my friend was at home.\n"
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}model:\n{% endif %}"
)
SPELLS_IT, LEAVES_IT = TEMPLATE.replace("BOS", "bos_token"), TEMPLATE.replace("BOS", "''")
THINKS = LEAVES_IT.replace("model:\n", "model:{% if enable_thinking is false %}<nothing>{% endif %}\n")


def with_template(outline, template):
    tokenizer = copy.deepcopy(outline.tokenizer)
    tokenizer.chat_template = template
    return dataclasses.replace(outline, tokenizer=tokenizer)


def chat_items(outline, answer="", templates=("{text} ? ",), **options):
    return multiple_choice_items(outline, labelled(), NAMES, Wording(templates, True, answer), STIMULI, **options)


def by_hand(outline, text, answer, name=""):
    """Token ids of a row, without `put`."""
    message = [{"role": "user", "content": f"{text} ? "}]
    given = outline.tokenizer.apply_chat_template(message, add_generation_prompt=True)["input_ids"]
    return given + outline.tokenizer(f"{answer}{name}", add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("name", tiny_models.CAUSAL)
@pytest.mark.parametrize("template", [SPELLS_IT, LEAVES_IT])
@pytest.mark.parametrize("answer", ["", "she felt"])
def test_rows_are_those_of_the_chat_template(tiny_outline, name, template, answer):
    outline = with_template(tiny_outline(name), template)
    items = chat_items(outline, answer)
    texts = labelled()["text"]
    assert items.rows == [by_hand(outline, texts[text], answer) for text in items.table["text"]]
    opening = outline.tokenizer.bos_token_id
    assert {row.count(opening) for row in items.rows} == {int(template == SPELLS_IT)}
    space = " " if answer else ""
    whole = [by_hand(outline, texts[items.table["text"][0]], answer, f"{space}{option}") for option in NAMES]
    assert [items.rows[0] + tokens for tokens in items.continuations] == whole


@pytest.mark.parametrize("answer", ["", "she felt"])
def test_scores_are_those_of_the_rows_by_hand(tiny_model, answer):
    model = tiny_model("llama")
    model = dataclasses.replace(model, outline=with_template(model.outline, SPELLS_IT))
    items, off, texts = chat_items(model.outline, answer), some_masks(model), labelled()["text"]
    task = MultipleChoiceTask(model, items)
    found = engine_scores(model, task, off, 300)
    assert task.prefix(items.table.index.to_numpy()).length >= 8
    for m, mask in enumerate(off):
        module = zeroed(model, mask)
        for q in (0, 5):
            for n, name in enumerate(NAMES):
                row = by_hand(model.outline, texts[items.table["text"][q]], answer)
                ids = by_hand(model.outline, texts[items.table["text"][q]], answer, f"{' ' if answer else ''}{name}")
                logs = log_probabilities(module, ids)
                expected = sum(logs[at - 1, ids[at]] for at in range(len(row), len(ids)))
                assert float(found[q, m, n]) == pytest.approx(float(expected), abs=1e-4)


def test_a_model_that_thinks_first_is_asked_not_to(tiny_outline):
    outline = with_template(tiny_outline("llama"), THINKS)
    assert put(outline, ["a dog"], Wording(chat=True)).sentences == [
        "a friend of my friend was at home.\nuser: a dog\nmodel:<nothing>"
    ]


def test_a_longer_row_is_refused(tiny_outline):
    outline = with_template(tiny_outline("llama"), LEAVES_IT)
    with pytest.raises(InputError, match="positions; shorten"):
        chat_items(outline, "a" + " loud" * tiny_models.POSITIONS)


@pytest.mark.parametrize(
    ("name", "template", "wording", "part"),
    [
        ("llama", None, Wording(chat=True), "has no chat template; set ablation.chat to false"),
        ("llama", "{{ raise_exception('no user') }}", Wording(chat=True), "takes no message of a user (no user); set"),
        ("llama", LEAVES_IT, Wording(chat=True, answer="she felt "), "ablation.answer 'she felt ': ends with a space"),
        ("llama", LEAVES_IT, Wording(answer="she felt"), "begins the answer in a chat; set ablation.chat to true"),
        ("bert", LEAVES_IT, Wording(chat=True), "does not answer (masked-lm); set ablation.chat to false"),
    ],
)
def test_what_cannot_be_asked_in_a_chat(tiny_outline, name, template, wording, part):
    outline = with_template(tiny_outline(name), template)
    wording = dataclasses.replace(wording, templates=["{text} {concept}" + " {mask}" * (name == "bert")])
    with pytest.raises(InputError) as caught:
        yes_no_items(outline, TEXTS, PROMPTS, wording, 256)
    assert part in str(caught.value)
    assert len(caught.value.problems) == 1
    if name != "bert":
        with pytest.raises(InputError) as caught:
            multiple_choice_items(
                outline, labelled(), NAMES, dataclasses.replace(wording, templates=["{text}"]), STIMULI
            )
        assert part in str(caught.value)


def test_an_answer_that_merges_with_the_mark_before_it(tiny_outline):
    outline = tiny_outline("llama")
    outline = with_template(outline, LEAVES_IT.replace("model:\n", "model: jo"))
    asked = put(outline, ["a dog"], Wording(chat=True))
    with pytest.raises(InputError, match=r"as tokens of both; end it with a word \(ablation.answer\)"):
        continuations(outline, asked, ["y"], "concepts.names")


@pytest.mark.parametrize("answer", ["", "she felt"])
def test_yes_or_no_in_a_chat(tiny_model, answer):
    model = tiny_model("llama")
    model = dataclasses.replace(model, outline=with_template(model.outline, SPELLS_IT))
    items = yes_no_items(model.outline, TEXTS, PROMPTS, Wording(["{text} {concept} ? "], True, answer), 256)
    words = ("n", "y") if not answer else ("negative", "positive")
    task = YesNoTask(model, items, _first_words(model.outline, items.asked, words))
    space = " " if answer else ""
    assert task.option_ids == [
        model.outline.tokenizer(f"{space}{word}", add_special_tokens=False)["input_ids"] for word in words
    ]
    first = f"{TEXTS[task.items['text'][0]]} joy"
    assert task.rows[0] == by_hand(model.outline, first, answer)
    logits = model.module(torch.tensor([task.rows[0]])).logits[0, -1]
    found = engine_scores(model, task, some_masks(model), 200)
    assert torch.allclose(found[0, 0], logits[[token for (token,) in task.option_ids]], atol=1e-4)


@pytest.mark.parametrize(
    ("words", "part"),
    [(("sad alone", "y"), "ablation.words 'sad alone': "), (("y", "y"), "the same token"), (("y", ""), "is empty")],
)
def test_words_that_cannot_begin_an_answer(tiny_outline, words, part):
    outline = with_template(tiny_outline("llama"), LEAVES_IT)
    asked = put(outline, ["a dog"], Wording(chat=True))
    with pytest.raises(InputError) as caught:
        _first_words(outline, asked, words)
    assert part in str(caught.value)


def test_default_messages_are_filled_in(tiny_outline):
    outline = dataclasses.replace(with_template(tiny_outline("llama"), LEAVES_IT), positions=None)
    chosen = chat_items(outline, templates=None)
    assert "\nWhich emotion does the writer feel?" in outline.tokenizer.decode(chosen.rows[0])
    asked = yes_no_items(outline, TEXTS, PROMPTS, Wording(chat=True), 256)
    assert "Does the writer feel joy? " in asked.asked.sentences[0]


def test_first_tokens_only(tiny_model):
    model, names = tiny_model("llama"), ("joy", "sad alone", "surprise")
    whole = make_items(model.outline, names)
    first = make_items(model.outline, names, scoring="first-token")
    assert first.continuations == [tokens[:1] for tokens in whole.continuations]
    assert first.rows == whole.rows
    assert first.table["tokens"].tolist() == [len(row) for row in first.rows]
    assert whole.table["tokens"].tolist() > first.table["tokens"].tolist()
    task, off = MultipleChoiceTask(model, first), some_masks(model)
    assert task.option_ids == first.continuations
    assert [len(ids) for ids in task.option_ids] == [1, 1, 1]
    assert MultipleChoiceTask(model, whole).option_ids == whole.continuations
    found = engine_scores(model, task, off, 100)
    for m, mask in enumerate(off):
        module = zeroed(model, mask)
        for q in (0, 4):
            logs = log_probabilities(module, first.rows[q])[-1]
            assert torch.allclose(found[q, m], logs[[token for (token,) in first.continuations]], atol=1e-4)


def test_first_tokens_that_are_the_same(tiny_outline):
    with pytest.raises(InputError) as caught:
        make_items(tiny_outline("gpt2"), NAMES, scoring="first-token")
    (problem,) = caught.value.problems
    assert problem.startswith("ablation.scoring 'first-token': 'sad alone' and 'sad' begin with the same token in ")
    assert problem.endswith("set ablation.scoring to name")
    chat = with_template(tiny_outline("llama"), LEAVES_IT)
    with pytest.raises(InputError, match=r"to name, or ablation\.answer to words that they follow"):
        chat_items(chat, scoring="first-token")
