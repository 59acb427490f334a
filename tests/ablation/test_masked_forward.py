"""Many masks in one batch score what one mask and one text at a time score, whatever becomes of masked neurons."""

import copy

import numpy as np
import pytest
import tiny_models
import torch
from hypothesis import given
from hypothesis import strategies as st
from slow_twins import edited_scores
from torch import nn

from emoscale.ablation.edits import RowEdit
from emoscale.ablation.forward_options import ForwardOptions
from emoscale.ablation.masked_forward import passes, score, scored
from emoscale.errors import StageError
from emoscale.models.masking import ZERO, Edit
from emoscale.models.outline import encode_texts
from emoscale.models.prompt_files import TunedPrompts
from emoscale.models.prompted import PromptedModel
from emoscale.models.shortcuts import shareable
from emoscale.stimuli.prompt_texts import PromptTexts, Sample
from emoscale.tasks.soft_prompt import SoftPromptTask

LENGTH, MASKS = 3, 6
NEURONS = tiny_models.LAYERS * tiny_models.WIDTH
CASES = [
    ("bert-encoder", "prefix"),
    ("roberta", "mask-first"),
    ("bert", "prefix"),
    ("gpt2", "prefix"),
    ("llama", "prefix"),
]
TEXTS = [*tiny_models.TEXTS, "joy", "fear was dark and loud", "thanks my friend", "news that felt dark"]
DONORS = torch.randn(5, NEURONS, generator=torch.Generator().manual_seed(9))
EDITS = {
    "zero": ZERO,
    "scale": Edit("scale", 0.3),
    "mean": Edit("replace", donors=DONORS[:1]),
    "resample": Edit("replace", donors=DONORS),
}


class Setting:
    """A task of one prompt on a model, and masks: the first edits nothing.

    Of label words, or of the head's biases, those are taken under which the masks' answers differ most.
    """

    def __init__(self, model, layout):
        self.model = PromptedModel(model, layout, LENGTH, ["negative", "positive"])
        self.texts = encode_texts(model.outline, TEXTS, 20)
        generator = torch.Generator().manual_seed(0)
        self.labels = torch.randint(0, 2, (len(TEXTS),), generator=generator)
        self.prompt = torch.randn(LENGTH, tiny_models.HIDDEN, generator=generator)
        self.head = torch.randn(self.model.readout.new_head().shape, generator=generator)
        shares = torch.linspace(0, 0.4, MASKS)
        self.off = (torch.rand(MASKS, NEURONS, generator=generator) < shares[:, None]).numpy()
        read = read_plainly(self)
        if self.head.numel():
            lead = read @ (self.head[1] - self.head[0])[:-1] + (self.head[1] - self.head[0])[-1]
            ordered = lead.flatten().sort().values
            biases = -(ordered[1:] + ordered[:-1]) / 2
            best, lead = most_different([lead + bias for bias in biases])
            self.head[1, -1] += biases[best]
        else:
            best, lead = most_different([read[..., token] - read[..., 0] for token in range(read.shape[-1])])
            self.model.readout.words = [0, best]
        self.right = (lead > 0).long() == self.labels
        blank = torch.zeros(1, dtype=torch.float64)
        sample = Sample(np.arange(len(TEXTS)), self.labels.numpy())
        tuned = TunedPrompts(self.prompt[None], self.head[None], blank, blank, blank, blank.long(), blank.long())
        self.task = SoftPromptTask(self.model, self.texts, [PromptTexts("joy", 1, sample, sample)], tuned)

    def options(self, tokens_per_pass=100, precision="exact", edit="zero", shared=True):
        names = shareable(self.model.model.module, self.model.model.outline.sites) if shared else ()
        return ForwardOptions(RowEdit(EDITS[edit], seed=4), precision, tokens_per_pass, names)

    def items(self, texts=slice(None)):
        return np.arange(len(TEXTS))[texts]

    def count(self, *, texts=slice(None), masks=slice(None), advance=None, **given):
        items, numbers = self.items(texts), np.arange(MASKS)[masks]
        options = self.options(**given)
        advance = advance or (lambda rows: None)
        scores = score(self.model.model, self.task, items, self.off[masks], numbers, options, advance)
        return (scores.argmax(axis=2) == self.labels.numpy()[items, None]).sum(axis=0)

    def scores(self, *, texts=slice(None), masks=slice(None), **given):
        """Shape (texts, masks, 2)."""
        items, numbers = self.items(texts), np.arange(MASKS)[masks]
        found = torch.full((len(TEXTS), MASKS, 2), torch.nan)
        for one in scored(self.model.model, self.task, items, self.off[masks], numbers, self.options(**given)):
            found[one.item, numbers[one.mask]] = one.scores
        return found[items][:, numbers]


def most_different(leads):
    """Of leads of label 1 over label 0, (masks, texts) each: where the answers differ most, and none is close."""

    def patterns(lead):
        return len(set(map(tuple, (lead > 0).tolist()))) if lead.abs().min() > 1e-3 else 0

    best = max(range(len(leads)), key=lambda i: patterns(leads[i]))
    return best, leads[best]


def read_plainly(setting):
    """A model with zeroed columns for every mask, one text at a time; shape (masks, texts, vocabulary or hidden)."""
    language_model = setting.model.model
    by_mask = []
    for off in torch.from_numpy(setting.off):
        module = copy.deepcopy(language_model.module)
        for site in language_model.outline.sites:
            linear = module.get_submodule(site.path)
            neurons = off[site.layer * tiny_models.WIDTH :][: tiny_models.WIDTH]
            weight = linear.weight if isinstance(linear, nn.Linear) else linear.weight.T
            with torch.no_grad():
                weight[:, neurons] = 0
        model = copy.copy(setting.model)
        model.model = type(language_model)(language_model.outline, module)
        with torch.no_grad():
            by_mask.append(
                torch.cat([model.forward(model.batch([text]), setting.prompt[None]) for text in setting.texts])
            )
    return torch.stack(by_mask)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def setting(request, tiny_model):
    name, layout = request.param
    return Setting(tiny_model(name), layout)


def test_counts_equal_zeroed_weights_one_mask_and_one_text_at_a_time(setting):
    right = setting.right
    assert len(set(map(tuple, right.tolist()))) > 2  # masks make a difference
    correct = setting.count()
    assert correct.dtype == np.int64
    assert correct.tolist() == right.sum(dim=1).tolist()
    for i in range(len(setting.texts)):
        assert setting.count(texts=slice(i, i + 1)).tolist() == right[:, i].tolist()


@pytest.mark.parametrize("edit", EDITS)
def test_scores_equal_a_plain_loop(setting, edit):
    donors = RowEdit(EDITS[edit], seed=4).donors
    found = setting.scores(edit=edit)
    assert (found - setting.scores()).abs().max() > 0.01 or edit == "zero"
    for text in range(len(TEXTS)):
        for mask in range(MASKS):
            donor = int(donors(np.array([text]), np.array([mask]))[0])
            plain = edited_scores(setting.model, setting.texts[text], setting.prompt, setting.head,
                                  setting.off[mask], EDITS[edit], donor)  # fmt: skip
            assert torch.allclose(found[text, mask], plain, atol=1e-5)


@pytest.mark.parametrize("edit", ["zero", "resample"])
def test_a_row_of_a_mixed_batch_is_the_row_alone(setting, edit):
    mixed = setting.scores(tokens_per_pass=10_000, edit=edit)
    alone = torch.stack(
        [
            torch.cat(
                [setting.scores(texts=slice(t, t + 1), masks=slice(m, m + 1), edit=edit)[0] for m in range(MASKS)]
            )
            for t in range(len(TEXTS))
        ]
    )
    assert (mixed - alone).abs().max() < 1e-5
    assert torch.equal(mixed.argmax(dim=2), alone.argmax(dim=2))


@pytest.mark.parametrize("tokens_per_pass", [1, 40, 10_000])
@pytest.mark.parametrize("shared", [True, False])
def test_size_of_a_pass_and_shortcuts_do_not_matter(setting, tokens_per_pass, shared):
    assert np.array_equal(setting.count(tokens_per_pass=tokens_per_pass, shared=shared), setting.count())


def test_each_mask_alone(setting):
    alone = np.concatenate([setting.count(masks=slice(m, m + 1)) for m in range(MASKS)])
    assert np.array_equal(alone, setting.count())


def test_the_model_is_left_as_it_was(setting):
    module = setting.model.model.module
    before = {name: value.clone() for name, value in module.state_dict().items()}
    setting.count()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in module.modules())
    assert not any("forward" in m.__dict__ for m in module.modules())


def test_progress_counts_rows(setting):
    counted = []
    setting.count(tokens_per_pass=100, advance=counted.append)
    assert sum(counted) == MASKS * len(setting.texts)
    assert len(counted) > 1


def test_bfloat16_is_near(setting):
    exact, near = setting.scores(), setting.scores(precision="bfloat16")
    assert not torch.equal(exact, near)
    assert (near - exact).abs().max() < 0.2 * exact.abs().max()


def test_neurons_that_another_hook_changes_stop_the_stage(setting):
    """One that is set while masking is, so that it comes after masking's own."""
    module = setting.model.model.module
    site = module.get_submodule(setting.model.model.outline.sites[1].path)
    handles = []

    def meddle(*_):
        handles.append(site.register_forward_pre_hook(lambda _, args: (args[0] + 1,)))

    handles.append(module.register_forward_pre_hook(meddle))
    try:
        with pytest.raises(StageError, match="not at their edited values; remove other hooks"):
            setting.count()
    finally:
        for handle in handles:
            handle.remove()


def test_scores_that_overflow_stop_the_stage(setting):
    prompt = setting.prompt.clone()
    setting.task._vectors = torch.full_like(prompt, torch.inf)[None]
    try:
        with pytest.raises(StageError, match=r"not a finite number.*ablation\.precision"):
            setting.count()
    finally:
        setting.task._vectors = prompt[None]


@given(st.lists(st.integers(1, 50), max_size=20), st.integers(1, 7), st.integers(1, 300))
def test_passes_hold_every_pair_once_within_the_budget(lengths, masks, budget):
    lengths = np.array(lengths, np.int64)
    found, longest = [], 0
    for item, mask in passes(lengths, masks, budget):
        found += zip(item.tolist(), mask.tolist(), strict=True)
        assert len(item) == 1 or len(item) * lengths[item].max() <= budget
        assert lengths[item].min() >= longest
        longest = lengths[item].max()
    assert sorted(found) == [(q, m) for q in range(len(lengths)) for m in range(masks)]
