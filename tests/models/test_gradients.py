"""Estimated effects are derivatives: by finite differences of masked passes, and exact where a model is linear."""

import pytest
import tiny_families
import torch
from tiny_families import run, token_ids
from torch import nn

from emoscale.errors import StageError
from emoscale.models.capture import capturing
from emoscale.models.gradients import estimating
from emoscale.models.masking import ZERO, Edit, masking
from emoscale.models.passes import by_path
from emoscale.models.sites.linear_inputs import LinearInput
from emoscale.models.sites.registry import find_sites

ROWS, TOKENS = 2, 5
CASES = [(family, "ffn") for family in tiny_families.FAMILIES | tiny_families.SHARED | tiny_families.MIXTURES]
CASES += [(family, site) for family in ("bert", "llama", "opt", "albert") for site in ("attention", "residual")]
CASES += [(family, stack) for family in tiny_families.ENCODER_DECODERS for stack in ("encoder", "decoder")]


@pytest.fixture(scope="module")
def model():
    made = {}
    return lambda family: made.setdefault(family, tiny_families.make(family).double().requires_grad_(False))


def outcomes(model, ids):
    """One number a row, of all its logits."""
    logits = run(model, ids).logits
    weights = torch.randn(logits.shape[1:], generator=torch.Generator().manual_seed(3), dtype=logits.dtype)
    return (logits * weights).flatten(1).sum(dim=1)


def estimates(model, sites, ids, edit=ZERO, path=None):
    with estimating(model, sites, edit=edit) as estimated:
        estimated.expect(len(ids), path)
        return estimated.take(outcomes(model, ids).sum())


@torch.no_grad()
def masked(model, sites, ids, off, edit):
    """Outcomes of each row under each mask: (rows, masks)."""
    with masking(model, sites, off, edit=edit) as edited:
        edited.expect(torch.arange(len(off)).repeat(len(ids)))
        return outcomes(model, ids.repeat_interleave(len(off), dim=0)).reshape(len(ids), -1)


@pytest.mark.parametrize(("family", "site"), CASES)
def test_they_equal_finite_differences_of_every_neuron(model, family, site):
    model, ids = model(family), token_ids(ROWS, TOKENS)
    sites = find_sites(model, site)
    each = torch.eye(sum(site.width for site in sites), dtype=torch.bool)
    found = estimates(model, sites, ids).double().nan_to_num(0.0)

    def differ(step):
        """How far estimates are from a central difference of fourth order, as a share of the largest."""
        near, far = (
            masked(model, sites, ids, each, Edit("scale", 1 - size))
            - masked(model, sites, ids, each, Edit("scale", 1 + size))
            for size in (step, 2 * step)
        )
        expected = (8 * near - far) / (12 * step)
        return (found - expected).abs() / expected.abs().max()

    # Many families compute norms in float32 whatever their weights, which small steps would measure; large ones go over
    # the kinks of ReLU and from expert to expert.
    closest = torch.stack([differ(step) for step in (1e-4, 2e-3, 2e-2)]).min(dim=0).values
    assert closest.max() < 5e-3


@pytest.mark.parametrize(("family", "site"), [case for case in CASES if case[0] not in tiny_families.MIXTURES])
def test_they_equal_autograd_by_hand(model, family, site):
    model, ids = model(family), token_ids(ROWS, TOKENS)
    sites, added, values = find_sites(model, site), [], []

    def touch(own):
        values.append(own.detach().clone())
        added.append(torch.zeros_like(own, requires_grad=True))
        return own + added[-1]

    handles = [site.attach(model, touch) for site in by_path(sites).values()]
    by_hand = torch.autograd.grad(outcomes(model, ids).sum(), added)
    for detach in handles:
        detach()
    products = [-own * gradient for own, gradient in zip(values, by_hand, strict=True)]
    expected = torch.cat([product.reshape(ROWS, TOKENS, -1).sum(dim=1) for product in products], dim=1)
    torch.testing.assert_close(estimates(model, sites, ids).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", tiny_families.MIXTURES)
def test_neurons_that_no_token_is_routed_to_stay_absent(model, family):
    model, ids = model(family), token_ids(4, 2)
    sites = find_sites(model, "ffn")
    with torch.no_grad(), capturing(model, sites) as captured:
        captured.expect(4, 2, lambda values: values.mean(dim=1))
        run(model, ids)
        absent = captured.take().isnan()
    assert absent.any()
    assert torch.equal(estimates(model, sites, ids).isnan(), absent)


@pytest.mark.parametrize("family", ["bert", "gpt2", "mixtral"])
def test_rows_are_estimated_apart_from_each_other(model, family):
    model, ids = model(family), token_ids(3, TOKENS)
    sites = find_sites(model, "ffn")
    together = estimates(model, sites, ids)
    alone = torch.cat([estimates(model, sites, row[None]) for row in ids])
    torch.testing.assert_close(together, alone, equal_nan=True)


@pytest.mark.parametrize("edit", ["zero", "scale", "replace"])
def test_they_equal_ablation_where_the_model_is_linear_in_a_neuron(edit):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 7), nn.Linear(7, 4)).double().requires_grad_(False)
    sites = [LinearInput(0, "2", 8), LinearInput(1, "3", 7)]
    chosen = {"zero": ZERO, "scale": Edit("scale", 0.3), "replace": Edit("replace", donors=torch.randn(1, 15))}[edit]
    inputs, weights = torch.randn(3, 5, 6, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)

    def plainly(neuron):
        hidden = model[1](model[0](inputs))
        values = [hidden.clone(), None]
        for layer, (start, last) in enumerate([(0, model[2]), (8, model[3])]):
            unit = neuron - start
            if 0 <= unit < values[layer].shape[-1]:
                own = values[layer][..., unit]
                values[layer][..., unit] = own * chosen.factor if chosen.donors is None else chosen.donors[0, neuron]
            out = last(values[layer])
            if layer == 0:
                values[1] = out.clone()
        return (out * weights).sum(dim=(1, 2))

    unedited = plainly(-1)
    expected = torch.stack([plainly(neuron) - unedited for neuron in range(15)], dim=1)
    with estimating(model, sites, edit=chosen) as estimated:
        estimated.expect(3)
        found = estimated.take((model(inputs) * weights).sum())
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("edit", [ZERO, Edit("replace", donors=torch.full((1, 48), 0.5))])
def test_along_the_path_they_add_up_to_the_change_of_editing_a_whole_site(model, edit):
    model, ids = model("llama"), token_ids(ROWS, TOKENS)
    sites = find_sites(model, "ffn")
    steps = 64
    for number in range(len(sites)):
        whole = torch.zeros(2, 48, dtype=torch.bool)
        whole[1, 24 * number : 24 * (number + 1)] = True
        before, after = masked(model, sites, ids, whole, edit).T
        path = [estimates(model, sites, ids, edit, (number, (step + 0.5) / steps)) for step in range(steps)]
        total = torch.stack(path).mean(dim=0)
        assert total.shape == (ROWS, 24)
        torch.testing.assert_close(total.double().sum(dim=1), after - before, rtol=1e-3, atol=1e-3)


def test_several_donors_give_the_mean_of_their_effects(model):
    model, ids = model("gpt2"), token_ids(ROWS, TOKENS)
    sites = find_sites(model, "ffn")
    donors = torch.randn(3, 48, generator=torch.Generator().manual_seed(1))
    each = [estimates(model, sites, ids, Edit("replace", donors=donor[None])) for donor in donors]
    found = estimates(model, sites, ids, Edit("replace", donors=donors))
    torch.testing.assert_close(found, torch.stack(each).mean(dim=0), rtol=1e-4, atol=1e-4)


def test_passes_of_the_same_rows_are_added(model):
    model, ids = model("gpt2"), token_ids(ROWS, TOKENS)
    sites, other = find_sites(model, "ffn"), token_ids(ROWS, TOKENS - 1, seed=4)
    with estimating(model, sites) as estimated:
        estimated.expect(ROWS)
        both = estimated.take(outcomes(model, ids).sum() + outcomes(model, other).sum())
    torch.testing.assert_close(both, estimates(model, sites, ids) + estimates(model, sites, other))


def test_nothing_is_left_behind(model):
    model, ids = model("gpt2"), token_ids(ROWS, TOKENS)
    before, hooks = outcomes(model, ids), tiny_families.hooks_of(model)
    estimates(model, find_sites(model, "ffn"), ids)
    assert torch.equal(outcomes(model, ids), before)
    assert tiny_families.hooks_of(model) == hooks
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_pass_without_its_number_of_rows_is_refused(model):
    model = model("gpt2")
    with (
        pytest.raises(StageError, match=r"before Estimated\.expect"),
        estimating(model, find_sites(model, "ffn")),
    ):
        outcomes(model, token_ids(1, 3))
