"""Neurons are edited row by row as their masks say: in every family, by every edit, at every position."""

import copy

import numpy as np
import pytest
import tiny_families
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_families import run, token_ids
from torch import nn

from emoscale.models.masking import ZERO, Edit, _unpacked, masking
from emoscale.models.sites.linear_inputs import LinearInput
from emoscale.models.sites.registry import find_sites

LAYERS, WIDTH = tiny_families.LAYERS, tiny_families.WIDTH
LENGTHS, MASKS = [5, 3, 1, 4, 5, 2], 4
WHICH, TAKEN = [3, 0, 2, 1, 3, 1], [1, 2, 0, 0, 2, 1]
CASES = [(family, site) for family in tiny_families.FAMILIES | tiny_families.SHARED for site in ("ffn", "attention")]
CASES += [
    (family, f"{stack}{kind}")
    for family in tiny_families.ENCODER_DECODERS
    for stack in ("encoder", "decoder")
    for kind in ("", " attention")
]


def edits(neurons):
    donors = 2 * torch.randn(3, neurons, generator=torch.Generator().manual_seed(5))
    return {"zero": ZERO, "scale": Edit("scale", 0.3), "replace": Edit("replace", donors=donors)}


def some_masks(neurons):
    """The first edits nothing, the last every neuron."""
    shares = torch.linspace(0, 1, MASKS)[:, None]
    return torch.rand(MASKS, neurons, generator=torch.Generator().manual_seed(1)) < shares


@pytest.fixture(scope="module")
def model():
    made = {}
    return lambda family: made.setdefault(family, tiny_families.make(family))


def edited_alone(model, sites, ids, off, edit, donor):
    """One row, one mask (neurons,), neuron by neuron, call by call."""
    start = dict(zip(sites, np.cumsum([0, *(site.width for site in sites)]), strict=False))
    by_call = {(site.path, site.call): site for site in sites}
    calls, handles = [], []

    def touch(name):
        def hook(_module, args):
            site = by_call[name, calls.count(name)]
            calls.append(name)
            values = args[0].clone()
            for unit in range(site.width):
                neuron = start[site] + unit
                if off[neuron]:
                    values[..., unit] = (
                        values[..., unit] * edit.factor if edit.donors is None else edit.donors[donor, neuron]
                    )
            return (values,)

        return hook

    for name in {site.path for site in sites}:
        handles.append(model.get_submodule(name).register_forward_pre_hook(touch(name)))
    with torch.no_grad():
        logits = run(model, ids[None]).logits[0]
    for handle in handles:
        handle.remove()
    return logits


@pytest.mark.parametrize(("family", "site"), CASES)
def test_a_mixed_batch_equals_a_plain_loop(model, family, site):
    model = model(family)
    sites = find_sites(model, site)
    neurons = sum(s.width for s in sites)
    off, which, taken = some_masks(neurons), torch.tensor(WHICH), torch.tensor(TAKEN)
    # Encoder-decoder models are given another row by `run`: padding would come first there.
    lengths = [5] * len(LENGTHS) if model.config.is_encoder_decoder else LENGTHS
    ids = token_ids(len(WHICH), 5)
    attention = (torch.arange(5) < torch.tensor(lengths)[:, None]).long()
    outcomes = []
    for edit in edits(neurons).values():
        with torch.no_grad(), masking(model, sites, off, edit=edit) as masked:
            masked.expect(which, taken)
            found = run(model, ids, attention_mask=attention).logits
        for row, length in enumerate(lengths):
            alone = edited_alone(model, sites, ids[row, :length], off[which[row]], edit, taken[row])
            assert torch.allclose(found[row, :length], alone, atol=2e-5), row
        outcomes.append(found)
    assert all((one - outcomes[0])[0, 0].abs().max() > 1e-3 for one in outcomes[1:])


@pytest.mark.parametrize(("family", "site"), [case for case in CASES if case[0] not in tiny_families.SHARED])
def test_masking_equals_zeroing_the_columns(model, family, site):
    model = model(family)
    sites = find_sites(model, site)
    off, ids = some_masks(sum(s.width for s in sites)), token_ids(1, 5)
    with torch.no_grad(), masking(model, sites, off) as masked:
        masked.expect(torch.arange(MASKS))
        found = run(model, ids.expand(MASKS, -1)).logits
    for mask, logits in zip(off, found, strict=True):
        zeroed = copy.deepcopy(model)
        for s, neurons in zip(sites, mask.split([s.width for s in sites]), strict=True):
            linear = zeroed.get_submodule(s.path)
            with torch.no_grad():
                (linear.weight.T if isinstance(linear, nn.Linear) else linear.weight)[neurons] = 0
        with torch.no_grad():
            assert torch.allclose(logits, run(zeroed, ids).logits[0], atol=2e-5)
    assert (found[1:] - found[:-1]).abs().amax(dim=(1, 2)).min() > 1e-3


@given(st.integers(1, 70), st.integers(1, 5), st.integers(0, 1000))
def test_masks_come_out_as_they_were_packed(width, rows, seed):
    bits = np.random.default_rng(seed).random((rows, width)) < 0.5
    packed = torch.from_numpy(np.packbits(bits, axis=1))
    assert np.array_equal(_unpacked(packed, width).numpy(), bits)


class Chain(nn.Module):
    """Maps of any widths, one after the other."""

    def __init__(self, widths):
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in zip(widths, [*widths[1:], 1], strict=True))

    def forward(self, values):
        for linear in self.maps:
            values = linear(values)
        return values

    def sites(self):
        return [LinearInput(n, f"maps.{n}", linear.in_features) for n, linear in enumerate(self.maps)]


def takings(model):
    """What every map takes, in the order of the maps, while hooks last; set before masking, seen after it."""
    taken = []
    return taken, [m.register_forward_hook(lambda _m, args, _out: taken.append(args[0].clone())) for m in model.maps]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.integers(1, 4), st.integers(0, 1000))
def test_sites_of_any_width_take_their_own_neurons(widths, masks, seed):
    generator = torch.Generator().manual_seed(seed)
    model = Chain(widths)
    off = torch.rand(masks, sum(widths), generator=generator) < 0.5
    which = torch.randint(0, masks, (3,), generator=generator)
    donors = 1000 + torch.arange(float(sum(widths)))[None]
    with torch.no_grad(), masking(model, model.sites(), off, edit=Edit("replace", donors=donors)) as masked:
        taken, _ = takings(model)
        masked.expect(which)
        model(torch.rand(3, 2, widths[0], generator=generator))
    values = torch.cat(taken, dim=2)
    for row, mask in enumerate(which):
        assert (values[row, :, off[mask]] == donors[0, off[mask]]).all()
        assert not torch.isin(values[row, :, ~off[mask]], donors).any()


@pytest.mark.parametrize("edit", ["zero", "scale", "replace"])
def test_maps_that_share_a_sites_input_keep_theirs(model, edit):
    llama = model("llama")
    sites = find_sites(llama, "model.layers.{layer}.mlp.gate_proj")
    off, taken = torch.ones(1, 32, dtype=torch.bool), {}
    mlp = llama.model.layers[0].mlp

    def see(module, args, _out):
        taken.setdefault(module, args[0].clone())

    handles = [m.register_forward_hook(see) for m in (mlp.gate_proj, mlp.up_proj)]
    with torch.no_grad():
        llama(input_ids=token_ids(2, 3))
        plain = dict(taken)
        taken.clear()
        with masking(llama, sites, off, edit=edits(32)[edit]) as masked:
            masked.expect(torch.tensor([0, 0]))
            llama(input_ids=token_ids(2, 3))
    for handle in handles:
        handle.remove()
    assert torch.equal(taken[mlp.up_proj], plain[mlp.up_proj])
    assert (taken[mlp.gate_proj] - plain[mlp.gate_proj]).abs().min() > 0


@pytest.mark.parametrize("edit", ["zero", "scale", "replace"])
@pytest.mark.parametrize("grad", [True, False])
def test_gradients_flow_past_the_edited_neurons_alone(edit, grad):
    """Without gradients the values may be changed where they lie, which those that flow would not survive."""
    model = Chain([6, 5])
    off = torch.arange(11)[None] % 3 == 0
    first = torch.rand(2, 3, 6)
    given_values = first.clone().requires_grad_(grad)
    with torch.set_grad_enabled(grad), masking(model, model.sites(), off, edit=edits(11)[edit]) as masked:
        masked.expect(torch.tensor([0, 0]))
        out = model(given_values)
    factor = {"zero": 0.0, "scale": 0.3, "replace": 0.0}[edit]
    if grad:
        out.sum().backward()
        weight, last = (linear.weight.detach() for linear in model.maps)
        kept = torch.where(off[0], factor, 1.0)
        by_hand = kept[:6] * ((last[0] * kept[6:]) @ weight)
        assert torch.allclose(given_values.grad, by_hand.expand(2, 3, 6), atol=1e-6)
        assert torch.equal(given_values.detach(), first)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_models_in_half_precision(family, dtype):
    """A scale is rounded to the model's precision, and the check of the first pass knows it."""
    model = tiny_families.make(family).to(dtype)
    sites, ids = find_sites(model), token_ids(MASKS, 4)
    neurons = sum(s.width for s in sites)
    for edit in edits(neurons).values():
        with torch.no_grad(), masking(model, sites, some_masks(neurons), edit=edit) as masked:
            masked.expect(torch.arange(MASKS))
            logits = model(input_ids=ids).logits
        assert logits.dtype == dtype
        exact = copy.deepcopy(model).float()
        for row, mask in enumerate(some_masks(neurons)):
            alone = edited_alone(exact, sites, ids[row], mask, edit, 0)
            assert (logits[row].float() - alone).abs().max() < 0.05 * alone.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("edit", ["zero", "scale", "replace"])
def test_what_is_no_number_is_edited_and_kept_as_numbers_are(edit, dtype):
    """A product with 0 stays no number; a donor's value is one; neurons that are not masked are as before."""
    model, off = Chain([12]).to(dtype), torch.arange(12)[None] % 2 == 0
    values = torch.tensor([torch.nan, torch.nan, torch.inf, torch.inf, -torch.inf, -torch.inf, *range(6)], dtype=dtype)
    chosen = edits(12)[edit]
    with torch.no_grad(), masking(model, model.sites(), off, edit=chosen) as masked:
        taken, _ = takings(model)
        masked.expect(torch.tensor([0]))
        model(values.clone()[None, None])
    expected = [
        (float(value) * float(torch.tensor(chosen.factor, dtype=dtype)) if chosen.donors is None else donor)
        if is_off
        else value
        for value, donor, is_off in zip(values.tolist(), edits(12)["replace"].donors[0].tolist(), off[0], strict=True)
    ]
    assert torch.equal(taken[0][0, 0].nan_to_num(7e3), torch.tensor(expected).to(dtype).nan_to_num(7e3))


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_a_part_edits_its_own_neurons(parts):
    """Of the neurons of each site the part's own are seen, or all of them."""
    off = torch.rand(2, 24, generator=torch.Generator().manual_seed(3)) < 0.5
    edit = Edit("replace", donors=1000 + torch.arange(24.0)[None])
    sites = [LinearInput(0, "maps.0", 16), LinearInput(1, "maps.1", 8)]
    for part in range(parts):
        model = Chain([16 // parts, 8])
        with torch.no_grad(), masking(model, sites, off, part, parts, edit=edit) as masked:
            taken, _ = takings(model)
            masked.expect(torch.tensor([1, 0]))
            model(torch.rand(2, 3, 16 // parts))
        own = slice(part * 16 // parts, (part + 1) * 16 // parts)
        for row, mask in enumerate((1, 0)):
            for values, neurons in ((taken[0], own), (taken[1], slice(16, 24))):
                donors = torch.where(off[mask], edit.donors[0], torch.nan)[neurons].expand(3, -1)
                assert torch.equal(values[row] == donors, off[mask, neurons].expand(3, -1))
