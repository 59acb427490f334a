"""A tree of continuations gives the same as a pass for each, in every family."""

import inspect
from types import SimpleNamespace

import pytest
import tiny_families
import tiny_models
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_models import log_probabilities

from emoscale.models.sites.registry import find_sites
from emoscale.tasks.continuations import Continuations, fastest, make_tree
from emoscale.tasks.reading import RowReader

TOKENS = st.lists(st.integers(3, 9), min_size=1, max_size=4)
CONTINUATIONS = st.lists(TOKENS, min_size=1, max_size=6, unique_by=tuple)
TEXTS = [[5, 6, 7, 8, 3], [4, 3], [9, 9, 9, 4, 5, 6, 7, 8]]
CAUSAL = [
    name for name, (kind, *_) in tiny_families.FAMILIES.items() if kind.__name__.endswith(("CausalLM", "LMHeadModel"))
]
WITHOUT_TREE = {"bloom"}
CASES = [(name, kind) for name in CAUSAL for kind in ("sdpa", "eager") if (name, kind) != ("gemma2", "sdpa")]


def make_reader(module):
    outline = SimpleNamespace(
        name="tiny",
        pad_id=0,
        sites=find_sites(module),
        first_position=0,
        takes_positions="position_ids" in inspect.signature(module.base_model.forward).parameters,
    )
    return RowReader(SimpleNamespace(module=module, outline=outline, device=torch.device("cpu"), tp_size=1))


def plain_scores(module, continuations, texts=TEXTS):
    scores = [
        [
            sum(log_probabilities(module, [*text, *tokens])[len(text) - 1 + i, token] for i, token in enumerate(tokens))
            for tokens in continuations
        ]
        for text in texts
    ]
    return torch.tensor(scores)


@given(CONTINUATIONS)
def test_every_token_of_every_continuation_is_read_once(continuations):
    tree = make_tree(continuations)
    asked = [
        (option, *node.tokens, following)
        for node in tree
        for option, following in zip(node.options, node.following, strict=True)
    ]
    assert sorted(asked) == sorted(
        (option, *tokens[: end + 1]) for option, tokens in enumerate(continuations) for end in range(len(tokens))
    )
    assert len({node.tokens for node in tree}) == len(tree)
    for number, node in enumerate(tree):
        assert node.path == () or node.path[-1] == number
        assert [tree[step].tokens for step in node.path] == [node.tokens[:n] for n in range(1, len(node.tokens) + 1)]


@given(CONTINUATIONS)
def test_passes_are_as_few_as_cover_all(continuations):
    module = SimpleNamespace(forward=lambda: None)
    reader = RowReader(SimpleNamespace(module=module, outline=SimpleNamespace(pad_id=0)))
    stems = [node.tokens for node in Continuations(reader, continuations).stems]
    wanted = {tuple(tokens[:-1]) for tokens in continuations}
    assert all(any(stem[: len(one)] == one for stem in stems) for one in wanted)
    assert not any(a != b and b[: len(a)] == a for a in stems for b in stems)
    assert len(set(stems)) == len(stems)
    assert set(stems) <= wanted


@pytest.fixture(scope="module")
def llama():
    return tiny_families.make("llama")


@settings(max_examples=25)
@given(CONTINUATIONS)
def test_tree_and_stems_give_what_one_pass_for_each_gives(llama, continuations):
    names = Continuations(make_reader(llama), continuations)
    expected = plain_scores(llama, continuations)
    take = torch.tensor([2, 0, 1, 0])
    with torch.inference_mode():
        for score in (names.by_stems, names.by_tree):
            assert torch.allclose(score(TEXTS, take), expected[take], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("family", "attention"), CASES)
def test_families(family, attention):
    module = tiny_families.make(family)
    module.set_attn_implementation(attention)
    assert taken(module) == ("by_stems" if family in WITHOUT_TREE else "by_tree")


def taken(module):
    """Name what is taken, after its scores are found right."""
    continuations = [[5], [6, 7], [6, 7, 8], [6, 8, 3], [9, 4], [3, 3, 3]]
    names = Continuations(make_reader(module), continuations)
    score = fastest(names, TEXTS)
    with torch.inference_mode():
        found = score(TEXTS, torch.arange(3))
    assert torch.allclose(found, plain_scores(module, continuations), rtol=1e-4, atol=1e-4)
    return score.__name__


@pytest.mark.parametrize(
    ("family", "setting"),
    [
        ("mistral", {"sliding_window": 4}),
        ("gemma3", {"sliding_window": 4}),
        ("gpt-neo", {"window_size": 4}),
        ("falcon", {"alibi": True}),
    ],
)
def test_attention_that_ignores_a_mask_for_each_token(family, setting):
    kind, config, options = tiny_families.FAMILIES[family]
    module = tiny_models.randomise(kind(config(**options, **setting)))
    assert taken(module) == "by_stems"


NAMES = [[5], [6, 7], [6, 8, 3], [9, 4]]


@torch.no_grad()
def test_a_window_whose_effect_is_small_beside_the_log_probabilities():
    """A tolerance relative to the largest log probability accepts errors of tenths of a nat."""
    kind, config, options = tiny_families.FAMILIES["mistral"]
    module = tiny_models.randomise(kind(config(**options, sliding_window=4, tie_word_embeddings=False)))
    names = Continuations(make_reader(module), NAMES)
    for name, weight in module.named_parameters():
        if "o_proj" in name:
            weight *= 1e-4
    head = module.get_output_embeddings().weight
    head *= 100
    head *= 0.24 / names.tree_difference(TEXTS)
    difference = names.tree_difference(TEXTS)
    assert difference == pytest.approx(0.24, rel=0.1)
    assert difference < 1e-3 * names.by_stems(TEXTS, torch.arange(3)).abs().max()
    assert fastest(names, TEXTS) == names.by_stems


@pytest.mark.parametrize(
    ("dtype", "difference", "taken"),
    [
        (torch.float32, 5e-4, "by_tree"),
        (torch.float32, 2e-3, "by_stems"),
        (torch.float16, 0.01, "by_tree"),
        (torch.float16, 0.1, "by_stems"),
        (torch.bfloat16, 0.1, "by_tree"),
        (torch.bfloat16, 0.2, "by_stems"),
        (torch.float32, float("nan"), "by_stems"),
    ],
)
def test_how_far_the_tree_may_be_off(llama, monkeypatch, dtype, difference, taken):
    names = Continuations(make_reader(llama), NAMES)
    monkeypatch.setattr(type(llama), "dtype", dtype)
    monkeypatch.setattr(names, "tree_difference", lambda _: difference)
    assert fastest(names, TEXTS).__name__ == taken


def test_the_longest_and_the_shortest_text_are_tried(llama, monkeypatch):
    names, tried = Continuations(make_reader(llama), NAMES), []
    monkeypatch.setattr(names, "tree_difference", lambda texts: tried.extend(texts) or 0.0)
    fastest(names, TEXTS)
    assert tried == [TEXTS[2], TEXTS[1]]


@pytest.mark.parametrize("error", [AssertionError, IndexError, KeyError, TypeError, torch.OutOfMemoryError])
def test_errors_that_do_not_mean_another_mask_are_not_hidden(llama, monkeypatch, error):
    names = Continuations(make_reader(llama), NAMES)

    def fail(_):
        raise error

    monkeypatch.setattr(names, "_run", fail)
    with pytest.raises(error):
        fastest(names, TEXTS)


def test_a_mistake_in_laying_the_tree_out_is_not_hidden(llama, monkeypatch):
    names = Continuations(make_reader(llama), NAMES)
    monkeypatch.setattr(names, "_seen", lambda node: torch.ones(3)[node])
    with pytest.raises((IndexError, RuntimeError)):
        fastest(names, TEXTS)
