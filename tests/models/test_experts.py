"""Mixture-of-experts models: a neuron exists for the tokens that are routed to its expert."""

import copy

import pytest
import tiny_families
import torch
from torch import nn
from torch.nn.functional import silu

from emoscale.errors import StageError
from emoscale.models.capture import capturing
from emoscale.models.masking import masking
from emoscale.models.sites.experts import attach_to_experts
from emoscale.models.sites.registry import find_sites
from emoscale.models.sites.site import neuron_coordinates

EXPERTS, ROUTED, WIDTH, LAYERS = tiny_families.EXPERTS, tiny_families.ROUTED, tiny_families.WIDTH, tiny_families.LAYERS
LAYER = EXPERTS * WIDTH
ROWS, TOKENS = 3, 5


@pytest.fixture(scope="module", params=tiny_families.MIXTURES)
def model(request):
    return tiny_families.make(request.param)


@pytest.fixture
def mixtral():
    return tiny_families.make("mixtral")


def token_ids(rows=ROWS, tokens=TOKENS):
    return torch.randint(3, tiny_families.VOCABULARY, (rows, tokens), generator=torch.Generator().manual_seed(0))


def experts_of(model):
    return [model.get_submodule(site.path) for site in find_sites(model)]


def is_as_made(model):
    return not any({"forward", "_old_forward"} & m.__dict__.keys() or m._forward_pre_hooks for m in model.modules())


@torch.no_grad()
def capture(model, ids, read):
    with capturing(model, find_sites(model)) as captured:
        captured.expect(*ids.shape, read)
        model(input_ids=ids)
        return captured.take().reshape(len(ids), -1, EXPERTS, WIDTH)


@torch.no_grad()
def routing(model, ids):
    """Which experts each token is routed to (layers, rows, tokens, experts), and what it gives them (..., hidden)."""
    seen = []
    handles = [m.register_forward_pre_hook(lambda _m, args: seen.append(args)) for m in experts_of(model)]
    model(input_ids=ids)
    for handle in handles:
        handle.remove()
    chosen = torch.stack([nn.functional.one_hot(index, EXPERTS).sum(dim=1).bool() for _, index, _ in seen])
    hidden = torch.stack([hidden for hidden, _, _ in seen])
    return chosen.reshape(len(seen), *ids.shape, -1), hidden.reshape(len(seen), *ids.shape, -1)


def by_hand(experts, expert, hidden):
    if experts.is_transposed:
        up = hidden @ experts.gate_up_proj[expert] + experts.gate_up_proj_bias[expert]
        gate, up = up[..., ::2].clamp(max=7.0), up[..., 1::2].clamp(-7.0, 7.0)
        return gate * torch.sigmoid(1.702 * gate) * (up + 1)
    up = hidden @ experts.gate_up_proj[expert].T
    return silu(up[..., :WIDTH]) * up[..., WIDTH:]


def test_sites_and_coordinates(model):
    sites = find_sites(model)
    assert [(s.layer, s.width, s.experts, s.call) for s in sites] == [(n, LAYER, EXPERTS, 0) for n in range(LAYERS)]
    coordinates = neuron_coordinates(sites)
    flat = (coordinates["layer"] * EXPERTS + coordinates["expert"]) * WIDTH + coordinates["unit"]
    assert flat.tolist() == list(range(LAYERS * LAYER))
    assert {str(values.dtype) for values in coordinates.values()} == {"int32"}


def test_values_equal_a_hand_computation_and_are_absent_where_not_routed(model):
    ids = token_ids()
    chosen, hidden = routing(model, ids)
    positions = torch.tensor([4, 0, 2])
    values = capture(model, ids, lambda v: v[torch.arange(ROWS), positions])
    assert torch.equal(
        ~values.isnan(), chosen[:, torch.arange(ROWS), positions].transpose(0, 1)[..., None].expand_as(values)
    )
    assert (~values.isnan()).sum() == ROWS * LAYERS * ROUTED * WIDTH
    for layer, experts in enumerate(experts_of(model)):
        for expert in range(EXPERTS):
            expected = by_hand(experts, expert, hidden[layer, torch.arange(ROWS), positions])
            there = chosen[layer, torch.arange(ROWS), positions, expert]
            assert torch.allclose(values[there, layer, expert], expected[there], atol=1e-5)
    assert is_as_made(model)


def test_a_mean_is_over_the_tokens_that_were_routed_there(model):
    ids = token_ids()
    real = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]).float()
    chosen, _ = routing(model, ids)

    def mean(values):
        return torch.einsum("rtu,rt->ru", values, real) / real.sum(dim=1, keepdim=True)

    values = capture(model, ids, mean)
    each = torch.stack([capture(model, ids, lambda v, t=t: v[:, t]) for t in range(TOKENS)])
    each[~real.T.bool()] = torch.nan
    expected = each.nanmean(dim=0)
    assert torch.allclose(values, expected, atol=1e-6, equal_nan=True)
    there = (chosen & real.bool()[None, :, :, None]).any(dim=2)
    assert 0 < (~there).sum() < there.numel()
    assert torch.equal(~values.isnan(), there.transpose(0, 1)[..., None].expand_as(values))


def test_showing_changes_nothing(model):
    """Our forward gives the very bits of the modules' own."""
    model = copy.deepcopy(model)
    model.set_experts_implementation("eager")
    for dtype in (torch.float32, torch.bfloat16):
        model.to(dtype)
        with torch.no_grad():
            own = model(input_ids=token_ids()).logits
            with capturing(model, find_sites(model)) as captured:
                captured.expect(ROWS, TOKENS, lambda values: values[:, 0])
                shown = model(input_ids=token_ids()).logits
                assert captured.take().dtype == dtype
        assert torch.equal(own, shown)


@pytest.mark.parametrize("implementation", ["grouped_mm", "batched_mm"])
def test_showing_agrees_with_the_faster_ways(model, implementation):
    model = copy.deepcopy(model)
    model.set_experts_implementation(implementation)
    with torch.no_grad():
        own = model(input_ids=token_ids()).logits
        with capturing(model, find_sites(model)) as captured:
            captured.expect(ROWS, TOKENS, lambda values: values[:, 0])
            assert torch.allclose(own, model(input_ids=token_ids()).logits, atol=1e-4)


def with_zeroed_columns(model, off):
    model = copy.deepcopy(model)
    with torch.no_grad():
        for experts, neurons in zip(experts_of(model), off.reshape(LAYERS, EXPERTS, WIDTH), strict=True):
            for weight, expert in zip(experts.down_proj, neurons, strict=True):
                (weight if experts.is_transposed else weight.T)[expert] = 0
    return model


@torch.no_grad()
def masked_logits(model, ids, off, which):
    with masking(model, find_sites(model), off) as masked:
        masked.expect(which)
        return model(input_ids=ids).logits


def test_masking_equals_zeroing_the_columns(model):
    ids = token_ids(1).expand(6, -1)
    which = torch.tensor([3, 0, 2, 1, 3, 0])
    chosen, _ = routing(model, ids[:1])
    first, last = chosen[0].any(dim=(0, 1)).nonzero()[0, 0], chosen[1].any(dim=(0, 1)).nonzero()[-1, 0]
    off = torch.zeros(4, LAYERS * LAYER, dtype=torch.bool)
    off[1, first * WIDTH + 5] = off[2, LAYER + last * WIDTH + 3] = True
    off[3] = torch.rand(LAYERS * LAYER, generator=torch.Generator().manual_seed(1)) < 0.5
    logits = masked_logits(model, ids, off, which)
    with torch.no_grad():
        expected = [with_zeroed_columns(model, mask)(input_ids=ids[:1]).logits[0] for mask in off]
    for row, mask in enumerate(which):
        assert torch.allclose(logits[row], expected[mask], atol=1e-4), row
    for mask in (1, 2, 3):
        assert (expected[mask] - expected[0]).abs().max() > 1e-3
    assert is_as_made(model)


def test_masks_leave_alone_what_was_not_routed_there(model):
    """Masking every neuron no token reaches is no mask at all."""
    ids = token_ids(1, 1)
    chosen, _ = routing(model, ids)
    off = (~chosen[:, 0, 0])[..., None].expand(-1, -1, WIDTH).reshape(1, -1)
    assert off.any()
    none = torch.zeros_like(off)
    which = torch.tensor([0])
    assert torch.equal(masked_logits(model, ids, off, which), masked_logits(model, ids, none, which))


def test_masked_neurons_are_captured_as_zero_and_absent_ones_as_absent(model):
    ids, sites = token_ids(), find_sites(model)
    off = torch.rand(2, LAYERS * LAYER, generator=torch.Generator().manual_seed(2)) < 0.5
    off[1, :LAYER] = False
    with torch.no_grad(), masking(model, sites, off) as masked, capturing(model, sites) as captured:
        masked.expect(torch.tensor([0, 1, 1]))
        captured.expect(ROWS, TOKENS, lambda values: values[:, 1])
        model(input_ids=ids)
        values = captured.take()
    there = ~values.isnan()
    is_off = off[torch.tensor([0, 1, 1])]
    assert (values[there & is_off] == 0).all()
    assert (values[there & ~is_off] != 0).any()
    assert there.sum() == ROWS * LAYERS * ROUTED * WIDTH
    assert is_as_made(model)


def test_layers_with_and_without_experts():
    cls, config, options = tiny_families.MIXTURES["qwen3-moe"]
    model = cls(config(**options | {"mlp_only_layers": [0], "intermediate_size": 20})).eval()
    sites = find_sites(model)
    assert [(s.path, s.width, s.experts) for s in sites] == [
        ("model.layers.0.mlp.down_proj", 20, 0),
        ("model.layers.1.mlp.experts", LAYER, EXPERTS),
    ]
    assert neuron_coordinates(sites)["expert"].tolist() == [-1] * 20 + [e for e in range(EXPERTS) for _ in range(WIDTH)]
    assert neuron_coordinates(sites)["unit"].tolist() == [*range(20), *(list(range(WIDTH)) * EXPERTS)]
    with torch.no_grad(), capturing(model, sites) as captured:
        captured.expect(ROWS, TOKENS, lambda values: values[:, 1])
        model(input_ids=token_ids())
        absent = captured.take().isnan().sum(dim=1)
    assert absent.tolist() == [(EXPERTS - ROUTED) * WIDTH] * ROWS


def test_a_skipped_layer_stops_the_stage(mixtral):
    mixtral.model.layers[1].mlp.experts.forward = lambda hidden, *_: hidden
    skipped = mixtral.model.layers[1].mlp
    skipped.forward = lambda hidden: hidden
    with pytest.raises(StageError, match=r"no activation seen at model\.layers\.1\.mlp\.experts;"):
        capture(mixtral, token_ids(), lambda values: values[:, 0])
    with pytest.raises(StageError, match=r"no activation seen at model\.layers\.1\.mlp\.experts;"):
        masked_logits(mixtral, token_ids(1), torch.zeros(1, LAYERS * LAYER, dtype=torch.bool), torch.tensor([0]))


def test_a_layer_passed_twice_stops_the_stage(mixtral):
    layer = mixtral.model.layers[1].mlp
    once = layer.forward
    layer.forward = lambda hidden: once(once(hidden))
    with pytest.raises(StageError, match=r"mlp\.experts is called more than once"):
        capture(mixtral, token_ids(), lambda values: values[:, 0])


def test_the_modules_own_forward_comes_back_on_error(mixtral):
    def fail():
        sites = find_sites(mixtral)
        off = torch.zeros(1, LAYERS * LAYER, dtype=torch.bool)
        with masking(mixtral, sites, off), capturing(mixtral, sites):
            assert not is_as_made(mixtral)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert is_as_made(mixtral)


def test_a_forward_that_accelerate_put_there_is_kept(mixtral):
    """It moves inputs to the module's device, and calls the module's own forward from beside it."""
    experts, moved = experts_of(mixtral)[0], []
    experts._old_forward = experts.forward

    def moving(*args):
        moved.append(len(args))
        return experts._old_forward(*args)

    experts.forward = moving
    own = experts._old_forward
    shown = []

    def touch(values):
        shown.append(values.tokens)
        return values

    with torch.no_grad():
        detach = attach_to_experts(experts, touch)
        mixtral(input_ids=token_ids())
        detach()
    assert moved == [3]
    assert shown == [ROWS * TOKENS]
    assert experts.forward is moving
    assert experts._old_forward is own
