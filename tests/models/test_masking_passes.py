"""Which passes masks are for: one after the other, complete ones, and of as many rows as are expected."""

import copy

import pytest
import tiny_families
import torch
from tiny_families import hooks_of, token_ids
from transformers import XLNetConfig, XLNetLMHeadModel

from emoscale.errors import StageError
from emoscale.models.capture import capturing
from emoscale.models.masking import Edit, masking
from emoscale.models.sites.linear_inputs import LinearInput
from emoscale.models.sites.registry import find_sites

NEURONS = tiny_families.LAYERS * tiny_families.WIDTH
OFF = torch.rand(3, NEURONS, generator=torch.Generator().manual_seed(1)) < torch.tensor([[0.0], [0.4], [0.8]])


@pytest.fixture
def bert():
    return tiny_families.make("bert")


def logits_of(model, masks, seed=0, **given):
    """One pass under masks, or none if None."""
    ids = token_ids(3, 4, seed)
    with torch.no_grad():
        if masks is None:
            return model(input_ids=ids, **given).logits
        with masking(model, find_sites(model), OFF) as masked:
            masked.expect(torch.tensor(masks))
            return model(input_ids=ids, **given).logits


def test_several_passes_after_one_expect(bert):
    expected = [logits_of(bert, [2, 0, 1], seed) for seed in (0, 1)]
    with torch.no_grad(), masking(bert, find_sites(bert), OFF) as masked:
        masked.expect(torch.tensor([2, 0, 1]))
        found = [bert(input_ids=token_ids(3, 4, seed)).logits for seed in (0, 1)]
    assert all(map(torch.equal, found, expected))
    assert not torch.equal(*found)


def test_each_expect_is_for_the_passes_after_it(bert):
    with torch.no_grad(), masking(bert, find_sites(bert), OFF) as masked:
        for masks in ([2, 0, 1], [0, 0, 0], [1, 1, 2]):
            masked.expect(torch.tensor(masks))
            assert torch.equal(bert(input_ids=token_ids(3, 4)).logits, logits_of_copy(bert, masks))


def logits_of_copy(model, masks):
    """By a model that other hooks are not on."""
    clean = tiny_families.make("bert")
    clean.load_state_dict(model.state_dict())
    return logits_of(clean, masks)


def test_the_base_model_alone_is_a_pass_too(bert):
    with torch.no_grad(), masking(bert, find_sites(bert), OFF) as masked:
        masked.expect(torch.tensor([2, 0, 1]))
        states = [bert.bert(input_ids=token_ids(3, 4)).last_hidden_state for _ in range(2)]
        logits = bert.cls(states[1])
    assert torch.equal(*states)
    assert torch.allclose(logits, logits_of(bert, [2, 0, 1]), atol=1e-6)


def test_a_part_of_the_model_called_twice_needs_two_expects(bert):
    embedded = bert.bert.embeddings(token_ids(3, 4))
    with torch.no_grad(), masking(bert, find_sites(bert), OFF) as masked:
        for _ in range(2):
            masked.expect(torch.tensor([2, 0, 1]))
            bert.bert.encoder(embedded)
        with pytest.raises(StageError, match="run forward passes one by one"):
            bert.bert.encoder(embedded)
        masked.expect(torch.tensor([0, 0, 0]))
        bert.bert.encoder(embedded)


def test_a_pass_without_expect(bert):
    with (
        torch.no_grad(),
        masking(bert, find_sites(bert), OFF),
        pytest.raises(StageError, match=r"before Masked\.expect"),
    ):
        bert(input_ids=token_ids(3, 4))
    assert not hooks_of(bert)


@pytest.mark.parametrize("when", ["in the pass", "in the next", "at the next expect", "at the end"])
def test_a_pass_that_leaves_a_site_out_stops_the_stage(bert, when):
    """Called by itself, a part of the model does not show that its pass is over: the next does."""
    embedded = bert.bert.embeddings(token_ids(3, 4))
    bert.bert.encoder.layer[1].forward = lambda hidden, *args, **kwargs: hidden

    def passes():
        with torch.no_grad(), masking(bert, find_sites(bert), OFF) as masked:
            masked.expect(torch.tensor([0, 1, 2]))
            if when == "in the pass":
                bert(input_ids=token_ids(3, 4))
                pytest.fail("it passed for masked")
            bert.bert.encoder(embedded)
            if when == "in the next":
                bert(input_ids=token_ids(3, 4))
                pytest.fail("it passed for masked")
            if when == "at the next expect":
                masked.expect(torch.tensor([0, 1, 2]))
                pytest.fail("it passed for masked")

    with pytest.raises(StageError, match=r"no activation seen at bert\.encoder\.layer\.1\.output\.dense;"):
        passes()
    assert not hooks_of(bert)


@pytest.mark.parametrize("expects", [True, False])
def test_a_pass_that_an_error_ended_is_forgotten(bert, expects):
    """Who runs out of memory may go on with fewer rows."""
    expected = logits_of(bert, [2, 0, 1])
    last = bert.bert.encoder.layer[1]
    whole = last.forward

    def fail(*_args, **_options):
        raise MemoryError

    with torch.no_grad(), masking(bert, find_sites(bert), OFF) as masked:
        masked.expect(torch.tensor([2, 0, 1]))
        last.forward = fail
        with pytest.raises(MemoryError):
            bert(input_ids=token_ids(3, 4))
        last.forward = whole
        if expects:
            masked.expect(torch.tensor([2, 0, 1]))
        assert torch.equal(bert(input_ids=token_ids(3, 4)).logits, expected)
        last.forward = fail
        with pytest.raises(MemoryError):
            bert(input_ids=token_ids(3, 4))


@pytest.mark.parametrize("rows", [1, 2, 3, 6])
def test_masks_of_another_number_of_rows_stop_the_stage(bert, rows):
    """Those of 2 rows of 6 tokens would fit 4 rows of 3."""
    masks = torch.zeros(rows, dtype=torch.int64)
    with torch.no_grad(), masking(bert, find_sites(bert), OFF) as masked:
        masked.expect(masks)
        with pytest.raises(StageError, match=rf"has 4 x 3 values .* {rows} x 3 \(rows x tokens\)"):
            bert(input_ids=token_ids(4, 3))


def test_a_family_that_keeps_rows_second_is_refused():
    """XLNet: what would be masked is a token of all rows."""
    config = XLNetConfig(vocab_size=40, d_model=16, n_layer=2, n_head=2, d_inner=24)
    model = tiny_families.tiny_models.randomise(XLNetLMHeadModel(config))
    sites = [LinearInput(n, f"transformer.layer.{n}.ff.layer_2", 24) for n in range(2)]
    with torch.no_grad(), masking(model, sites, OFF) as masked:
        masked.expect(torch.tensor([0, 1, 2]))
        with pytest.raises(StageError, match=r"XLNet.* has 4 x 3 values .* 3 x 4 .* another model\.site"):
            model(input_ids=token_ids(3, 4))


@pytest.mark.parametrize("edit", [Edit(), Edit("scale", 0.3), Edit("replace", donors=torch.ones(1, NEURONS))])
def test_values_that_another_hook_changes_stop_the_stage(bert, edit):
    site = bert.get_submodule(find_sites(bert)[1].path)
    handles = []

    def passes():
        with torch.no_grad(), masking(bert, find_sites(bert), OFF, edit=edit) as masked:
            handles.append(site.register_forward_pre_hook(lambda _m, args: (args[0] + 1e-3,)))
            masked.expect(torch.tensor([2, 0, 1]))
            bert(input_ids=token_ids(3, 4))

    with pytest.raises(StageError, match=r"layer\.1\.output\.dense: its masked neurons are not at their edited values"):
        passes()
    handles[0].remove()
    assert not hooks_of(bert)


@pytest.mark.parametrize("family", ["bert", "mixtral", "albert"])
def test_hooks_vanish_on_error(family):
    model = tiny_families.make(family)
    sites = find_sites(model)

    def fail():
        with masking(model, sites, torch.zeros(1, sum(site.width for site in sites), dtype=torch.bool)):
            assert hooks_of(model)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not hooks_of(model)
    assert not any("forward" in module.__dict__ for module in model.modules())


@pytest.mark.parametrize("first", ["masking", "capturing"])
def test_neurons_are_captured_as_they_are_after_the_hooks_before(bert, first):
    sites, which = find_sites(bert), torch.tensor([2, 0, 1])
    blocks = {"masking": lambda: masking(bert, sites, OFF), "capturing": lambda: capturing(bert, sites)}
    second = next(name for name in blocks if name != first)
    with torch.no_grad(), blocks[first]() as one, blocks[second]() as two:
        masked, captured = (one, two) if first == "masking" else (two, one)
        taken = []
        for seed in (0, 1, 2):
            masked.expect(which)
            captured.expect(3, 4, lambda values: values[:, 1])
            captured.run(lambda seed=seed: bert(input_ids=token_ids(3, 4, seed)))
            taken.append(captured.take())
    assert not hooks_of(bert)
    for values in taken:
        is_zero = values == 0
        assert torch.equal(is_zero, OFF[which]) if first == "masking" else not is_zero.any()
    # The first layer's neurons know of no mask before them.
    width = tiny_families.WIDTH
    with torch.no_grad(), capturing(bert, sites) as captured:
        captured.expect(3, 4, lambda values: values[:, 1])
        bert(input_ids=token_ids(3, 4, 2))
        plain = captured.take()
    kept = ~OFF[which] if first == "masking" else torch.ones_like(plain, dtype=torch.bool)
    assert torch.equal(taken[2][:, :width][kept[:, :width]], plain[:, :width][kept[:, :width]])
    assert not torch.allclose(taken[2][0, width:], plain[0, width:])


def test_the_model_is_left_as_it_was(bert):
    before = copy.deepcopy(bert.state_dict())
    plain = logits_of(bert, None)
    assert not torch.equal(logits_of(bert, [1, 1, 2]), plain)
    assert torch.equal(logits_of(bert, [0, 0, 0]), plain)
    assert torch.equal(logits_of(bert, None), plain)
    assert all(torch.equal(value, before[name]) for name, value in bert.state_dict().items())
