"""What rows begin with, computed once for each mask: the same scores as with whole rows, in every family."""

import inspect
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tiny_families
import tiny_models
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emoscale.ablation.edits import RowEdit
from emoscale.ablation.forward_options import ForwardOptions
from emoscale.ablation.masked_forward import scored
from emoscale.models.masking import Edit
from emoscale.models.prefix import SHORTEST
from emoscale.models.prompt_files import TunedPrompts
from emoscale.models.prompted import PromptedModel
from emoscale.models.shortcuts import shareable
from emoscale.models.sites.registry import find_sites
from emoscale.stimuli.prompt_texts import PromptTexts, Sample
from emoscale.tasks.beginnings import shared_beginning
from emoscale.tasks.multiple_choice import MultipleChoiceItems, MultipleChoiceTask
from emoscale.tasks.soft_prompt import SoftPromptTask

pytestmark = pytest.mark.slow

NAMES = {"trees": [[5], [6, 7], [6, 8, 3], [9, 4]], "words": [[5], [6], [9]]}
BEGINNINGS = ([3, 9, 9, 4, 7, 5, 3, 4], [8, 8, 3, 4, 5, 6, 7, 8, 3, 9])
TEXTS = ([5, 6, 7, 8, 3], [4], [9, 9, 9, 4, 5, 6, 7, 8], [4, 5])
WINDOWS = {"mistral": {"sliding_window": 4}, "gemma3": {"sliding_window": 4}, "gemma2": {"sliding_window": 4}}
WINDOWS["gpt-neo"] = {"window_size": 4}
CAUSAL = [
    name for name, (kind, *_) in tiny_families.FAMILIES.items() if kind.__name__.endswith(("CausalLM", "LMHeadModel"))
]
CASES = [(name, {}) for name in [*CAUSAL, "mixtral", "deepseek", "jamba"]] + list(WINDOWS.items())
WITHOUT = {"jamba"}
"""Families that have another state beside keys and values."""


def make_model(family, setting):
    kind, config, options = (tiny_families.ALL | tiny_families.UNEQUAL)[family]
    module = tiny_models.randomise(kind(config(**options, **setting)))
    sites = find_sites(module)
    outline = SimpleNamespace(
        padding_leaks=False,
        name="tiny",
        kind="causal-lm",
        pad_id=0,
        sites=sites,
        first_position=0,
        takes_positions="position_ids" in inspect.signature(module.base_model.forward).parameters,
        neurons=sum(site.width for site in sites),
    )
    return SimpleNamespace(module=module, outline=outline, device=torch.device("cpu"), tp_rank=0, tp_size=1)


def make_task(model, names, rows):
    """A task of two templates."""
    length = np.array([len(row) for row in rows]) + len({tuple(n[:i]) for n in names for i in range(1, len(n))})
    per = len(rows) // 2
    table = pd.DataFrame({"replicate": ["0"] * per + ["1"] * per, "concept": "any", "label": 0, "tokens": length})
    options = tuple(map(str, range(len(names))))
    return MultipleChoiceTask(model, MultipleChoiceItems(table, rows, options, names))


def all_rows():
    return [[*beginning, *text] for beginning in BEGINNINGS for text in TEXTS]


def some_masks(model, count=5):
    off = np.random.default_rng(0).random((count, model.outline.neurons)) < 0.3
    off[0] = False
    return off


def edits(model):
    values = torch.randn(3, model.outline.neurons, generator=torch.Generator().manual_seed(1))
    return {
        "zero": RowEdit(),
        "scale": RowEdit(Edit("scale", 0.5)),
        "mean": RowEdit(Edit("replace", donors=values[:1])),
        "resample": RowEdit(Edit("replace", donors=values), seed=1),
    }


def score_all(model, task, edit, tokens_per_pass=60, shared=(), groups=("0", "1")):
    """Scores (items, masks, options); every group is a unit."""
    off = some_masks(model)
    result = torch.full((len(task.items), len(off), len(task.options)), torch.nan)
    options = ForwardOptions(edit, "exact", tokens_per_pass, shared)
    for group in groups:
        items = np.flatnonzero(task.items["replicate"] == group)
        for one in scored(model, task, items, off, np.arange(len(off)), options):
            result[one.item, one.mask] = one.scores
    return result


def without_prefix(task, monkeypatch):
    monkeypatch.setattr(task, "prefix", lambda _: None)
    return task


@pytest.mark.parametrize(("family", "setting"), CASES)
@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_families(family, setting, names, monkeypatch):
    model = make_model(family, setting)
    rows = all_rows()
    task = make_task(model, names, rows)
    is_used = task.prefix(np.arange(4)) is not None
    assert is_used == (family not in WITHOUT)
    shared = shareable(model.module, model.outline.sites)
    for edit in edits(model).values():
        found = score_all(model, task, edit, shared=shared)
        with monkeypatch.context() as patch:
            whole = score_all(model, without_prefix(task, patch), edit)
        assert not found.isnan().any()
        assert torch.allclose(found, whole, rtol=1e-5, atol=1e-5 * float(whole.abs().max()))
    assert (whole[:, 1:] - whole[:, :1]).abs().max() > 0.01  # masks make a difference


TOKENS = st.lists(st.integers(3, 5), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def llama():
    return make_model("llama", {})


@settings(max_examples=25)
@given(
    TOKENS.map(lambda row: (row * SHORTEST)[: SHORTEST + len(row)]),
    st.lists(TOKENS, min_size=2, max_size=4),
    st.integers(1, 200),
)
def test_any_beginning_and_any_size_of_a_pass(llama, beginning, texts, tokens_per_pass):
    rows = [[*beginning, *text] for text in texts * 2]
    task = make_task(llama, NAMES["trees"], rows)
    found = score_all(llama, task, RowEdit(), tokens_per_pass)
    task.prefix = lambda _: None
    assert torch.allclose(found, score_all(llama, task, RowEdit()), rtol=1e-5, atol=1e-4)


def test_the_beginning_is_computed_once_for_each_mask(llama):
    task, off = make_task(llama, NAMES["words"], all_rows()), some_masks(llama)
    shapes = []
    hook = llama.module.get_input_embeddings().register_forward_hook(lambda *given: shapes.append(given[2].shape[:2]))
    with hook_removed(hook):
        score_all(llama, task, RowEdit(), 10**4, groups=["1"])
    rows, longest = len(TEXTS) * len(off), max(map(len, TEXTS))
    assert shapes == [(len(off), len(BEGINNINGS[1])), (rows, longest)]


def test_no_pass_has_more_tokens_than_allowed(llama):
    task, shapes = make_task(llama, NAMES["words"], all_rows()), []
    hook = llama.module.get_input_embeddings().register_forward_hook(lambda *given: shapes.append(given[2].shape[:2]))
    with hook_removed(hook):
        score_all(llama, task, RowEdit(), 20, groups=["1"])
    assert max(shape.numel() for shape in shapes) <= 20
    assert [shape[0] for shape in shapes if shape[1] == len(BEGINNINGS[1])] == [2, 2, 1]  # of five masks


def test_items_that_share_too_little(llama):
    task = make_task(llama, NAMES["words"], all_rows())
    assert task.prefix(np.array([2, 2, 2])) is None  # a single row
    assert task.prefix(np.array([0, 5])) is None  # of two templates
    assert task.prefix(np.array([4, 5])).length == len(BEGINNINGS[1])
    short = [[*range(3, 2 + SHORTEST), token, 3] for token in (30, 31, 32, 33)]
    assert make_task(llama, NAMES["words"], short).prefix(np.arange(2)) is None


@given(st.lists(TOKENS, min_size=1, max_size=4))
def test_what_rows_share_leaves_a_token_of_each(rows):
    common = shared_beginning(rows)
    assert all(row[: len(common)] == common and len(row) > len(common) for row in rows)
    more = {tuple(row[: len(common) + 1]) for row in rows}
    assert len(more) > 1 or any(len(row) == len(common) + 1 for row in rows)


def test_donors_that_depend_on_the_item_are_not_shared(llama, monkeypatch):
    task, asked = make_task(llama, NAMES["words"], all_rows()), []
    monkeypatch.setattr(task, "prefix", lambda items: asked.append(items))
    by_name = edits(llama)
    score_all(llama, task, by_name["resample"])
    assert asked == []
    score_all(llama, task, by_name["mean"])
    assert asked != []


@pytest.mark.parametrize("mistake", ["other", "refused", "code"])
def test_a_model_that_takes_no_beginning_reads_whole_rows(llama, monkeypatch, mistake):
    def wrong(layer, keys, values, *_args, **_options):
        if mistake == "refused":
            raise ValueError("no such cache")
        if mistake == "code":
            raise AttributeError("to_legacy_cache")
        begun = (one[:1].expand(len(keys), -1, -1, -1) for one in layer._begun)  # the first entry for all rows
        return tuple(torch.cat([one, own], dim=-2) for one, own in zip(begun, (keys, values), strict=True))

    monkeypatch.setattr("emoscale.models.prefix._Layer.update", wrong)
    task = make_task(llama, NAMES["words"], all_rows())
    assert task.prefix(np.arange(4)) is None
    assert task._beginnings._reader.prefix.tokens == 0


def test_too_little_memory_is_not_taken_for_another_cache(llama, monkeypatch):
    def fail(*_args, **_options):
        raise torch.OutOfMemoryError

    monkeypatch.setattr("emoscale.models.prefix._Layer.update", fail)
    with pytest.raises(torch.OutOfMemoryError):
        make_task(llama, NAMES["words"], all_rows())


def test_nothing_is_left_after_the_last_pass(llama):
    task = make_task(llama, NAMES["words"], all_rows())
    score_all(llama, task, RowEdit())
    assert task._beginnings._reader.prefix.tokens == task._beginnings._reader.prefix.length == 0
    rows = next(scored(llama, task, np.arange(4), some_masks(llama), np.arange(5), ForwardOptions(RowEdit(), "exact")))
    assert rows.scores.isfinite().all()
    assert task._beginnings._reader.prefix.tokens == 0  # a pass was the only one that was asked for


@pytest.mark.parametrize("name", tiny_models.CAUSAL)
def test_a_soft_prompt_is_computed_once_for_many_texts(tiny_model, name, monkeypatch):
    model = PromptedModel(tiny_model(name), "prefix", 9, ["negative", "positive"])
    texts = [[5, 6, 7, 8, 30], [40], [9, 90, 9, 4, 50, 6, 7, 8], [4, 5]]
    generator = torch.Generator().manual_seed(0)
    vectors, blank = torch.randn(2, 9, tiny_models.HIDDEN, generator=generator), torch.zeros(2)
    tuned = TunedPrompts(vectors, torch.empty(2, 0), blank, blank, blank, blank.long(), blank.long())
    sample = Sample(np.arange(4), np.arange(4) % 2)
    task = SoftPromptTask(model, texts, [PromptTexts(one, 1, sample, sample) for one in ("joy", "fear")], tuned)
    before = len(model.layout.before)
    assert task.rows[5] == [*model.layout.before, *[-1] * 9, 40]
    assert [len(row) for row in task.rows] == task.items["tokens"].tolist()
    assert task.items["text"].tolist() == [0, 1, 2, 3] * 2
    assert task.prefix(np.arange(4, 8)).length == 9 + before
    assert task.prefix(np.arange(3, 8)) is None  # of two prompts
    task.items["replicate"] = np.repeat(["0", "1"], 4)
    for edit in edits(model.model).values():
        found = score_all(model.model, task, edit)
        with monkeypatch.context() as patch:
            whole = score_all(model.model, without_prefix(task, patch), edit)
        assert torch.allclose(found, whole, rtol=1e-5, atol=1e-5 * float(whole.abs().max()))
    assert (whole[:, 1:] - whole[:, :1]).abs().max() > 0.01


def hook_removed(hook):
    return closing(SimpleNamespace(close=hook.remove))
