"""The residual stream is what transformers returns as hidden states, and can be edited."""

import copy

import pytest
import tiny_families
import torch
from tiny_families import hooks_of, run, token_ids

from emoscale.errors import StageError
from emoscale.models.capture import capturing
from emoscale.models.masking import Edit, masking
from emoscale.models.shortcuts import narrowable, shareable
from emoscale.models.sites.registry import find_sites

HIDDEN, LAYERS = 16, tiny_families.LAYERS
NORMALISED_IN_THE_BLOCK = ["bert", "roberta", "xlm-roberta", "electra", "deberta", "mpnet", "distilbert", "albert"]
NORMALISED_AT_THE_END = ["gpt2", "gpt-neo", "gpt-neox", "gpt-j", "bloom", "falcon", "llama", "mistral", "gemma3"]
NORMALISED_AT_THE_END += ["phi", "mixtral", "qwen3-moe", "opt", "modernbert"]


@pytest.fixture(scope="module")
def model():
    made = {}
    return lambda family: made.setdefault(family, tiny_families.make(family))


@torch.no_grad()
def captured_states(model, ids, site="residual"):
    """Every token's units, (layers, rows, tokens, hidden)."""
    sites = find_sites(model, site)
    with capturing(model, sites) as captured:
        captured.expect(*ids.shape, lambda values: values.flatten(0, 1))
        run(model, ids)
        return captured.take().reshape(*ids.shape, len(sites), -1).movedim(2, 0)


@pytest.mark.parametrize("family", NORMALISED_IN_THE_BLOCK + NORMALISED_AT_THE_END)
def test_values_equal_transformers_hidden_states_bit_for_bit(model, family):
    model, ids = model(family), token_ids(3, 5)
    captured = captured_states(model, ids)
    with torch.no_grad():
        states = model(input_ids=ids, output_hidden_states=True).hidden_states
    assert len(captured) == len(states) - 1 == LAYERS
    for layer in range(LAYERS - 1):
        assert torch.equal(captured[layer], states[layer + 1])
    assert torch.equal(captured[-1], states[-1]) == (family in NORMALISED_IN_THE_BLOCK)


@pytest.mark.parametrize(("family", "final"), [("llama", "model.norm"), ("gpt2", "transformer.ln_f")])
def test_the_last_units_are_those_before_the_final_norm(model, family, final):
    model, ids = model(family), token_ids(3, 5)
    captured = captured_states(model, ids)
    with torch.no_grad():
        states = model(input_ids=ids, output_hidden_states=True).hidden_states
        assert torch.equal(model.get_submodule(final)(captured[-1]), states[-1])


@pytest.mark.parametrize("family", tiny_families.ENCODER_DECODERS)
@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_of_two_stacks_the_named_one(model, family, stack):
    model, ids = model(family), token_ids(2, 4)
    captured = captured_states(model, ids, f"{stack} residual")
    with torch.no_grad():
        states = run(model, ids, output_hidden_states=True)[f"{stack}_hidden_states"]
    assert torch.equal(captured[0], states[1])


def edited_alone(model, ids, off, edit, donor):
    """One row, one mask (neurons,), by hand."""
    calls, handles = [], []
    sites = find_sites(model, "residual")

    def hook(_module, _args, output):
        states = (output if isinstance(output, torch.Tensor) else output[0]).clone()
        own = slice(len(calls) * HIDDEN, (len(calls) + 1) * HIDDEN)
        calls.append(1)
        masked = off[own]
        states[..., masked] = (
            states[..., masked] * edit.factor if edit.donors is None else edit.donors[donor, own][masked]
        )
        return states if isinstance(output, torch.Tensor) else (states, *output[1:])

    for path in dict.fromkeys(site.path for site in sites):
        handles.append(model.get_submodule(path).register_forward_hook(hook))
    with torch.no_grad():
        logits = run(model, ids[None]).logits[0]
    for handle in handles:
        handle.remove()
    assert len(calls) == len(sites)
    return logits


DONORS = torch.randn(2, LAYERS * HIDDEN, generator=torch.Generator().manual_seed(2))


EDITS = {"zero": Edit(), "scale": Edit("scale", 0.3), "replace": Edit("replace", donors=DONORS)}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("family", ["bert", "gpt2", "gpt-neox", "llama", "opt", "falcon", "albert", "mixtral"])
def test_rows_are_edited_by_their_own_masks(model, family, edit):
    model, ids, edit = model(family), token_ids(4, 5), EDITS[edit]
    sites, hooks = find_sites(model, "residual"), hooks_of(model)
    shares = torch.tensor([[0.0], [0.4], [1.0]])
    off = torch.rand(3, LAYERS * HIDDEN, generator=torch.Generator().manual_seed(1)) < shares
    which, taken = torch.tensor([2, 0, 1, 1]), torch.tensor([1, 0, 0, 1])
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        plain = model(input_ids=ids).logits
        with masking(model, sites, off, edit=edit) as masked:
            masked.expect(which, taken)
            found = model(input_ids=ids).logits
    for row, mask in enumerate(which):
        alone = edited_alone(model, ids[row], off[mask], edit, taken[row] if edit.donors is not None else 0)
        assert torch.allclose(found[row], alone, atol=2e-5), row
    assert torch.allclose(found[1], plain[1], atol=1e-5)
    assert (found[2] - plain[2]).abs().max() > 1e-3
    assert hooks_of(model) == hooks  # transformers leaves those that collect hidden states
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_units_that_are_not_masked_stay_as_they_are(model):
    llama, ids = model("llama"), token_ids(2, 4)
    off = torch.zeros(1, LAYERS * HIDDEN, dtype=torch.bool)
    off[0, 3] = True
    with torch.no_grad():
        plain = llama(input_ids=ids, output_hidden_states=True).hidden_states
        with masking(llama, find_sites(llama, "residual"), off) as masked:
            masked.expect(torch.tensor([0, 0]))
            llama(input_ids=ids)
            states = captured_states(llama, ids)
    assert (states[0, ..., 3] == 0).all()
    kept = torch.arange(HIDDEN) != 3
    assert torch.equal(states[0][..., kept], plain[1][..., kept])


def test_a_hook_that_changes_edited_units_stops_the_stage(model):
    llama = model("llama")
    before = hooks_of(llama)
    off = torch.ones(1, LAYERS * HIDDEN, dtype=torch.bool)
    handles = []

    def masked_pass():
        with torch.no_grad(), masking(llama, find_sites(llama, "residual"), off) as masked:
            handles.append(llama.model.layers[0].register_forward_hook(lambda _m, _i, out: out + 1))
            masked.expect(torch.tensor([0, 0]))
            llama(input_ids=token_ids(2, 3))

    with pytest.raises(StageError, match=r"model\.layers\.0: .* not at their edited values"):
        masked_pass()
    handles[0].remove()
    assert hooks_of(llama) == before


def test_a_pass_ends_at_the_last_block(model):
    bert, ids = model("bert"), token_ids(2, 4)
    sites, ends = find_sites(bert, "residual"), []
    handle = bert.register_forward_hook(lambda *_: ends.append(1))
    taken = []
    with torch.inference_mode(), capturing(bert, sites) as captured:
        for _ in range(3):
            captured.expect(*ids.shape, lambda values: values[:, 1])
            captured.run(lambda: bert(input_ids=ids))
            taken.append(captured.take())
    handle.remove()
    assert len(ends) == 1
    assert torch.equal(taken[0], taken[1])
    assert torch.equal(taken[0], taken[2])


def test_no_part_of_a_block_is_left_out(model):
    for family in ("bert", "llama"):
        sites = find_sites(model(family), "residual")
        assert narrowable(model(family), sites) == shareable(model(family), sites) == ()


def test_a_block_that_returns_no_states_stops_the_stage(model):
    bert = copy.deepcopy(model("bert"))
    layer = bert.bert.encoder.layer[0]
    forward = layer.forward
    layer.forward = lambda *args, **options: {"states": forward(*args, **options)}
    with pytest.raises(StageError, match=r"layer\.0 returns dict, not hidden states; set another model\.site"):
        captured_states(bert, token_ids(2, 3))
