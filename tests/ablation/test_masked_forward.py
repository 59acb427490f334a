"""Many masks in one batch count what one mask and one text at a time count."""

import copy

import pytest
import tiny_models
import torch
from torch import nn

from emoscale.ablation.masked_forward import count_correct
from emoscale.models import PromptedModel
from emoscale.models.loading import encode_texts

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


class Setting:
    """A prompted model, texts with labels, a prompt, its head, and masks: the first switches nothing off.

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
        self.off = torch.rand(MASKS, NEURONS, generator=generator) < shares[:, None]
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

    def count(self, *, texts=slice(None), masks=slice(None), rows_per_pass=7, precision="float32", advance=None):
        return count_correct(
            self.model,
            self.texts[texts],
            self.labels[texts],
            self.prompt,
            self.head,
            self.off[masks],
            rows_per_pass=rows_per_pass,
            precision_name=precision,
            advance=advance or (lambda rows: None),
        )


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
    for off in setting.off:
        module = copy.deepcopy(language_model.module)
        for site in language_model.outline.sites:
            linear = module.get_submodule(site.module)
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
    assert correct.dtype == torch.int64
    assert correct.tolist() == right.sum(dim=1).tolist()
    for i in range(len(setting.texts)):
        assert setting.count(texts=slice(i, i + 1)).tolist() == right[:, i].tolist()


@pytest.mark.parametrize("rows_per_pass", [1, 4, 1000])
def test_rows_of_a_pass_do_not_matter(setting, rows_per_pass):
    assert torch.equal(setting.count(rows_per_pass=rows_per_pass), setting.count())


def test_each_mask_alone(setting):
    alone = torch.cat([setting.count(masks=slice(m, m + 1)) for m in range(MASKS)])
    assert torch.equal(alone, setting.count())


def test_labels_turned_over(setting):
    turned = copy.copy(setting)
    turned.labels = 1 - setting.labels
    assert torch.equal(turned.count(), len(setting.texts) - setting.count())


def test_the_model_is_left_as_it_was(setting):
    module = setting.model.model.module
    before = {name: value.clone() for name, value in module.state_dict().items()}
    setting.count()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in module.modules())


def test_progress_counts_rows(setting):
    passes = []
    setting.count(rows_per_pass=7, advance=passes.append)
    assert sum(passes) == MASKS * len(setting.texts)
    assert max(passes) == 7


def test_bfloat16_runs(setting):
    correct = setting.count(precision="bfloat16")
    assert ((correct >= 0) & (correct <= len(setting.texts))).all()
