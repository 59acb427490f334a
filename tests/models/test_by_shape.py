"""Feed-forwards of unknown families: found by shape, or refused with what to choose from."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from emoscale.errors import InputError
from emoscale.models.capture import capturing
from emoscale.models.masking import masking
from emoscale.models.sites.linear_inputs import LinearInput
from emoscale.models.sites.registry import find_sites

HIDDEN, INNER = 8, 12


class Block(nn.Module):
    """Square maps with meaningful or meaningless names, then a feed-forward."""

    def __init__(self, attention="mixer", inner=INNER, heads=HIDDEN, gate=1):
        super().__init__()
        mixer = {"a": nn.Linear(HIDDEN, heads), "b": nn.Linear(heads, HIDDEN)}
        self.add_module(attention, nn.ModuleDict(mixer))
        self.mixer_name = attention
        self.think = nn.ModuleDict({"up": nn.Linear(HIDDEN, gate * inner), "down": nn.Linear(inner, HIDDEN)})

    def forward(self, x):
        mixer = getattr(self, self.mixer_name)
        x = x + mixer["b"](mixer["a"](x))
        up = self.think["up"](x)
        width = self.think["down"].in_features
        up = nn.functional.gelu(up) if up.shape[-1] == width else nn.functional.gelu(up[..., :width]) * up[..., width:]
        return x + self.think["down"](up)


class Model(nn.Module):
    def __init__(self, make=Block, blocks=3, config=None):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(20, HIDDEN)
        self.towers = nn.ModuleDict({"only": nn.ModuleList([make() for _ in range(blocks)])})
        self.head = nn.Linear(HIDDEN, 20)
        if config:
            self.config = config

    def forward(self, ids):
        x = self.words(ids)
        for block in self.towers["only"]:
            x = block(x)
        return self.head(x)


SITES = [LinearInput(layer, f"towers.only.{layer}.think.down", INNER) for layer in range(3)]


@pytest.mark.parametrize(
    "make",
    [
        Block,
        lambda: Block(gate=2),
        lambda: Block("attention", heads=10),
        lambda: Block("SelfAttn", heads=INNER),
    ],
    ids=["plain", "gate and up in one", "wider attention", "attention as wide as the feed-forward"],
)
def test_found_by_shape(make):
    model = Model(make)
    assert find_sites(model) == SITES
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    off = torch.zeros(2, 3 * INNER, dtype=torch.bool)
    off[1, INNER + 4] = True
    with torch.no_grad(), capturing(model, SITES) as captured, masking(model, SITES, off) as masked:
        captured.expect(2, 3, lambda values: values[:, 1])
        masked.expect(torch.tensor([0, 1]))
        logits = model(ids)
        values = captured.take()
    with torch.no_grad():
        plain = model(ids)
        model.towers["only"][1].think["down"].weight[:, 4] = 0
        zeroed = model(ids)
    assert values.shape == (2, 3 * INNER)
    assert torch.allclose(logits[0], plain[0], atol=1e-6)
    assert torch.allclose(logits[1], zeroed[1], atol=1e-6)
    assert not torch.allclose(plain[1], zeroed[1], atol=1e-6)


def test_the_hidden_size_of_the_config_goes_before_the_embeddings():
    """Some families embed words in fewer dimensions than they think in."""
    model = Model()
    model.words = nn.Embedding(20, 3)
    with pytest.raises(InputError):
        find_sites(model)
    model.config = SimpleNamespace(hidden_size=HIDDEN)
    assert find_sites(model) == SITES


class TwoFeedForwards(Block):
    def __init__(self):
        super().__init__()
        self.again = nn.ModuleDict({"up": nn.Linear(HIDDEN, 16), "down": nn.Linear(16, HIDDEN)})


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList([Block() for _ in range(4)])


class FusedExperts(Block):
    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(4, INNER, HIDDEN))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (TwoFeedForwards, "towers.only.{layer}.again.down"),
        (lambda: Block(inner=HIDDEN), "towers.only.{layer}.think.down"),
        (lambda: Block(heads=10), "towers.only.{layer}.mixer.b"),
        (FusedExperts, "towers.only.{layer}.think.down"),
        (Experts, "towers.only.{layer}.experts.3.think.down"),
        (lambda: nn.ModuleDict({"attention": Block("attention").attention}), "towers.only.{layer}.attention.a"),
    ],
    ids=["two", "square", "attention by no name", "fused experts", "experts apart", "none"],
)
def test_what_shape_does_not_show_is_refused_with_paths_that_work(make, named):
    model = Model(make)
    with pytest.raises(InputError, match=r"model.site 'ffn': no .*feed-forward.* found in Model") as caught:
        find_sites(model)
    (problem,) = caught.value.problems
    choices = problem.partition("one of: ")[2].split(", ")
    assert named in choices
    assert len(find_sites(model, named)) == 3
    for choice in choices:
        assert find_sites(model, choice)


def test_experts_of_a_single_block_are_not_taken_for_its_layers():
    with pytest.raises(InputError, match=r"\{layer\}\.experts\.3\.think\.down"):
        find_sites(Model(Experts, blocks=1))


def test_two_stacks_of_blocks_are_refused():
    model = Model()
    model.towers["other"] = nn.ModuleList([Block() for _ in range(2)])
    with pytest.raises(InputError, match=r"towers\.other\.\{layer\}\.think\.down"):
        find_sites(model)


def test_of_an_unknown_encoder_decoder_the_named_stack_is_found():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = Model(), Model(blocks=2)
            self.config = SimpleNamespace(is_encoder_decoder=True, hidden_size=HIDDEN)

    model = Both()
    assert [s.path for s in find_sites(model)] == [f"encoder.{site.path}" for site in SITES]
    assert [s.path for s in find_sites(model, "decoder")] == [f"decoder.{site.path}" for site in SITES[:2]]


def test_attention_is_not_guessed():
    with pytest.raises(InputError, match=r"no .*attention.* found in Model; .*towers\.only\.\{layer\}\.mixer\.b"):
        find_sites(Model(), "attention")
