"""In mixtures of experts a token's neurons are those of its experts: they alone are edited, by its row's mask."""

import pytest
import tiny_families
import torch
from tiny_families import token_ids
from torch.nn.functional import silu

from emoscale.models.masking import ZERO, Edit, masking
from emoscale.models.sites.registry import find_sites

EXPERTS, WIDTH, LAYERS = tiny_families.EXPERTS, tiny_families.WIDTH, tiny_families.LAYERS
NEURONS = LAYERS * EXPERTS * WIDTH
DONORS = 2 * torch.randn(3, NEURONS, generator=torch.Generator().manual_seed(5))
EDITS = {"zero": ZERO, "scale": Edit("scale", 0.3), "replace": Edit("replace", donors=DONORS)}


@pytest.fixture(scope="module", params=tiny_families.MIXTURES)
def model(request):
    return tiny_families.make(request.param)


def units(experts, expert, hidden):
    if experts.is_transposed:
        up = hidden @ experts.gate_up_proj[expert] + experts.gate_up_proj_bias[expert]
        gate, up = up[::2].clamp(max=7.0), up[1::2].clamp(-7.0, 7.0)
        return gate * torch.sigmoid(1.702 * gate) * (up + 1)
    up = experts.gate_up_proj[expert] @ hidden
    return silu(up[:WIDTH]) * up[WIDTH:]


def plainly(experts, off, edit, donor):
    """An experts module's forward: one token and one neuron at a time; masks and donors (experts, units)."""

    def forward(hidden, index, weights):
        total = torch.zeros_like(hidden)
        for token, (chosen, shares) in enumerate(zip(index.tolist(), weights, strict=True)):
            for expert, share in zip(chosen, shares, strict=True):
                values = units(experts, expert, hidden[token])
                for unit in off[expert].nonzero()[:, 0].tolist():
                    values[unit] = values[unit] * edit.factor if donor is None else donor[expert, unit]
                down = experts.down_proj[expert]
                out = values @ down if experts.is_transposed else down @ values
                total[token] += share * (out + experts.down_proj_bias[expert] if experts.has_bias else out)
        return total

    return forward


@torch.no_grad()
def edited_alone(model, sites, ids, off, edit, donor):
    """One row, one mask (neurons,)."""
    shape = (LAYERS, EXPERTS, WIDTH)
    donors = [None] * LAYERS if edit.donors is None else edit.donors[donor].reshape(shape)
    modules = [model.get_submodule(site.path) for site in sites]
    for experts, neurons, values in zip(modules, off.reshape(shape), donors, strict=True):
        experts.forward = plainly(experts, neurons, edit, values)
    logits = model(input_ids=ids[None]).logits[0]
    for experts in modules:
        del experts.forward
    return logits


@pytest.mark.parametrize("edit", EDITS)
def test_a_mixed_batch_equals_a_plain_loop(model, edit):
    sites, edit, lengths = find_sites(model), EDITS[edit], torch.tensor([4, 2, 3, 4])
    off = torch.rand(3, NEURONS, generator=torch.Generator().manual_seed(1)) < torch.tensor([[0.0], [0.4], [1.0]])
    which, taken, ids = torch.tensor([2, 0, 1, 1]), torch.tensor([1, 0, 2, 0]), token_ids(4, 4)
    with torch.no_grad(), masking(model, sites, off, edit=edit) as masked:
        masked.expect(which, taken)
        found = model(input_ids=ids, attention_mask=(torch.arange(4) < lengths[:, None]).long()).logits
        plain = model(input_ids=ids).logits
    for row, length in enumerate(lengths):
        alone = edited_alone(model, sites, ids[row, :length], off[which[row]], edit, taken[row])
        assert torch.allclose(found[row, :length], alone, atol=2e-5), row
    assert not torch.equal(found[0], found[3])
    assert torch.allclose(found[1, :2], plain[1, :2], atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_the_values_keep_their_type(model, dtype):
    family = next(name for name in tiny_families.MIXTURES if isinstance(model, tiny_families.MIXTURES[name][0]))
    half, off = tiny_families.make(family).to(dtype), torch.ones(1, NEURONS, dtype=torch.bool)
    logits = {}
    for name, edit in EDITS.items():
        with torch.no_grad(), masking(half, find_sites(half), off, edit=edit) as masked:
            masked.expect(torch.zeros(2, dtype=torch.int64))
            logits[name] = half(input_ids=token_ids(2, 3)).logits
    assert {values.dtype for values in logits.values()} == {dtype}
    assert all(values.isfinite().all() for values in logits.values())
    assert not torch.equal(logits["scale"], logits["zero"])
    assert not torch.equal(logits["replace"], logits["zero"])
