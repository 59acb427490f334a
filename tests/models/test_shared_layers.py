"""ALBERT passes the same modules at every depth: a neuron belongs to a depth, not to a module."""

import copy

import pytest
import tiny_families
import torch
from torch.nn.functional import gelu

from emoscale.errors import StageError
from emoscale.models.capture import capturing
from emoscale.models.masking import masking
from emoscale.models.sites.linear_inputs import LinearInput
from emoscale.models.sites.registry import find_sites

WIDTH, HIDDEN = tiny_families.WIDTH, 16
GROUPS = "albert.encoder.albert_layer_groups"
KINDS = {"ffn": "ffn_output", "attention": "attention.dense"}


@pytest.fixture(scope="module", params=tiny_families.SHARED)
def albert(request):
    return tiny_families.make(request.param)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def token_ids(rows, tokens):
    return torch.randint(3, tiny_families.VOCABULARY, (rows, tokens), generator=torch.Generator().manual_seed(0))


def hooks_of(model):
    return [hook for m in model.modules() for hook in m._forward_pre_hooks.values()]


@torch.no_grad()
def inputs_by_depth(model, sites, ids):
    """What every depth's second map was given, in the order of the calls."""
    seen = []
    handles = [
        model.get_submodule(path).register_forward_pre_hook(lambda _m, args: seen.append(args[0].clone()))
        for path in {site.path for site in sites}
    ]
    model(input_ids=ids)
    for handle in handles:
        handle.remove()
    return seen


def test_depths_are_numbered_as_they_are_passed():
    grouped = find_sites(tiny_families.make("albert-groups"))
    path = f"{GROUPS}.{{}}.albert_layers.{{}}.ffn_output".format
    places = [(g, inner, call) for g in (0, 1) for call in (0, 1, 2) for inner in (0, 1)]
    assert grouped == [LinearInput(depth, path(g, i), WIDTH, call) for depth, (g, i, call) in enumerate(places)]
    assert find_sites(tiny_families.make("albert")) == [LinearInput(d, path(0, 0), WIDTH, d) for d in (0, 1)]


def test_each_depth_has_its_own_values(albert, kind):
    sites, ids = find_sites(albert, kind), token_ids(3, 5)
    with torch.no_grad(), capturing(albert, sites) as captured:
        for _ in range(2):
            captured.expect(3, 5, lambda values: values[:, 2])
            albert(input_ids=ids)
            values = captured.take()
    seen = inputs_by_depth(albert, sites, ids)
    assert len(seen) == len(sites)
    assert torch.equal(values, torch.cat([depth[:, 2] for depth in seen], dim=1))
    assert not hooks_of(albert)


@torch.no_grad()
def first_tokens(model, sites, ids):
    with capturing(model, sites) as captured:
        captured.expect(*ids.shape, lambda values: values[:, 0])
        model(input_ids=ids)
        return captured.take()


def test_feed_forward_values_equal_a_hand_computation(albert):
    sites, ids, by_hand = find_sites(albert), token_ids(2, 4), []
    firsts = {albert.get_submodule(site.path.removesuffix("_output")) for site in sites}
    handles = [
        first.register_forward_hook(
            lambda m, args, _out: by_hand.append(gelu(args[0] @ m.weight.T + m.bias, approximate="tanh")[:, 0])
        )
        for first in firsts
    ]
    values = first_tokens(albert, sites, ids)
    for handle in handles:
        handle.remove()
    assert torch.allclose(values, torch.cat(by_hand, dim=1), atol=1e-5)


@torch.no_grad()
def masked_logits(model, sites, ids, off):
    with masking(model, sites, off[None]) as masked:
        masked.expect(torch.zeros(len(ids), dtype=torch.int64))
        return model(input_ids=ids).logits


def test_masking_a_neuron_at_all_its_depths_equals_zeroing_its_column(albert, kind):
    sites, ids = find_sites(albert, kind), token_ids(2, 5)
    path, unit = sites[0].path, 5
    off = torch.cat([(torch.arange(s.width) == unit) & (s.path == path) for s in sites])
    zeroed = copy.deepcopy(albert)
    with torch.no_grad():
        zeroed.get_submodule(path).weight[:, unit] = 0
        expected, unmasked = zeroed(input_ids=ids).logits, albert(input_ids=ids).logits
    assert torch.allclose(masked_logits(albert, sites, ids, off), expected, atol=1e-5)
    assert (expected - unmasked).abs().max() > 1e-3


def test_masking_one_depth_leaves_the_others(albert, kind):
    sites, ids = find_sites(albert, kind), token_ids(2, 5)
    depth, unit = len(sites) - 1, 5
    off = torch.zeros(sum(s.width for s in sites), dtype=torch.bool)
    off[sites[0].width * depth + unit] = True
    calls = []

    def zero_at_the_last_call(_module, args):
        calls.append(0)
        if len(calls) == sites[depth].call + 1:
            values = args[0].clone()
            values[..., unit] = 0
            return (values,)
        return None

    handle = albert.get_submodule(sites[depth].path).register_forward_pre_hook(zero_at_the_last_call)
    with torch.no_grad():
        expected = albert(input_ids=ids).logits
        handle.remove()
        unmasked = albert(input_ids=ids).logits
    assert torch.equal(masked_logits(albert, sites, ids, off), expected)
    assert (expected - unmasked).abs().max() > 1e-4
    everywhere = torch.cat([torch.arange(s.width) == unit for s in sites])
    assert not torch.allclose(masked_logits(albert, sites, ids, everywhere), expected, atol=1e-4)


def test_a_depth_too_few_or_too_many_stops_the_stage(albert):
    sites, ids = find_sites(albert), token_ids(1, 3)
    one_more = [*sites, LinearInput(len(sites), sites[-1].path, WIDTH, sites[-1].call + 1)]
    for wrong, message in ((one_more, "no activation seen at"), (sites[:-1], "is called more than")):
        off = torch.zeros(WIDTH * len(wrong), dtype=torch.bool)
        with pytest.raises(StageError, match=message):
            masked_logits(albert, wrong, ids, off)
        with pytest.raises(StageError, match=message):
            first_tokens(albert, wrong, ids)
        assert not hooks_of(albert)
