"""A tree of continuations gives what a pass for each gives, in every family."""

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
from emoscale.tasks.continuations import Continuations, make_tree, quickest
from emoscale.tasks.reading import RowReader

TOKENS = st.lists(st.integers(3, 9), min_size=1, max_size=4)
CONTINUATIONS = st.lists(TOKENS, min_size=1, max_size=6, unique_by=tuple)
TEXTS = [[5, 6, 7, 8, 3], [4, 3], [9, 9, 9, 4, 5, 6, 7, 8]]
CAUSAL = [
    name for name, (kind, *_) in tiny_families.FAMILIES.items() if kind.__name__.endswith(("CausalLM", "LMHeadModel"))
]
WITHOUT_TREE = {"bloom"}
WAYS = [(name, kind) for name in CAUSAL for kind in ("sdpa", "eager") if (name, kind) != ("gemma2", "sdpa")]


def make_reader(module):
    outline = SimpleNamespace(
        name="tiny",
        tokenizer=SimpleNamespace(pad_token_id=0),
        sites=find_sites(module),
        first_position=0,
        takes_positions="position_ids" in inspect.signature(module.base_model.forward).parameters,
    )
    return RowReader(SimpleNamespace(module=module, outline=outline, device=torch.device("cpu"), parts=1))


def plainly(module, continuations, texts=TEXTS):
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
    reader = RowReader(
        SimpleNamespace(module=module, outline=SimpleNamespace(tokenizer=SimpleNamespace(pad_token_id=0)))
    )
    stems = [node.tokens for node in Continuations(reader, continuations).stems]
    wanted = {tuple(tokens[:-1]) for tokens in continuations}
    assert all(any(stem[: len(one)] == one for stem in stems) for one in wanted)
    assert not any(a != b and b[: len(a)] == a for a in stems for b in stems)
    assert len(set(stems)) == len(stems)
    assert set(stems) <= wanted


@pytest.fixture(scope="module")
def llama():
    return tiny_families.make("llama")


@settings(max_examples=25, deadline=None)
@given(CONTINUATIONS)
def test_both_ways_give_what_one_pass_for_each_gives(llama, continuations):
    names = Continuations(make_reader(llama), continuations)
    expected = plainly(llama, continuations)
    take = torch.tensor([2, 0, 1, 0])
    with torch.inference_mode():
        for way in (names.by_stems, names.by_tree):
            assert torch.allclose(way(TEXTS, take), expected[take], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("family", "attention"), WAYS)
def test_families(family, attention):
    module = tiny_families.make(family)
    module.set_attn_implementation(attention)
    assert quick_way(module) == ("by_stems" if family in WITHOUT_TREE else "by_tree")


def quick_way(module):
    """Name the way that is taken, after its outcome is found right."""
    continuations = [[5], [6, 7], [6, 7, 8], [6, 8, 3], [9, 4], [3, 3, 3]]
    names = Continuations(make_reader(module), continuations)
    way = quickest(names, [TEXTS[2], TEXTS[1]], 1e-3)
    with torch.inference_mode():
        found = way(TEXTS, torch.arange(3))
    assert torch.allclose(found, plainly(module, continuations), rtol=1e-4, atol=1e-4)
    return way.__name__


@pytest.mark.parametrize(
    ("family", "setting"),
    [("mistral", {"sliding_window": 4}), ("gpt-neo", {"window_size": 4}), ("falcon", {"alibi": True})],
)
def test_attention_that_a_tree_would_mislead(family, setting):
    kind, config, options = tiny_families.FAMILIES[family]
    module = tiny_models.randomise(kind(config(**options, **setting)))
    assert quick_way(module) == "by_stems"
