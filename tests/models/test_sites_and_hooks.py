"""Neurons are the inputs of the second feed-forward map in every family; reading and masking them."""

import copy

import numpy as np
import pytest
import tiny_families
import torch
from torch import nn
from torch.nn.functional import gelu, relu, silu
from transformers import AlbertConfig, AlbertModel, BertConfig, BertModel, LlamaForCausalLM

from emoscale.errors import InputError, StageError
from emoscale.models import Site, capturing, find_sites, masking
from emoscale.models.hooks import attention_for_training, reading
from emoscale.models.sites import SECOND_MAPS, neuron_coordinates

LAYERS, WIDTH = tiny_families.LAYERS, tiny_families.WIDTH


@pytest.fixture(scope="module")
def model():
    made = {}
    return lambda family: made.setdefault(family, tiny_families.make(family))


@pytest.fixture(params=tiny_families.FAMILIES)
def family(request):
    return request.param


def token_ids(rows, tokens, seed=0):
    return torch.randint(3, tiny_families.VOCABULARY, (rows, tokens), generator=torch.Generator().manual_seed(seed))


def second_maps(model):
    return [model.get_submodule(site.module) for site in find_sites(model)]


def read_at(*positions):
    return lambda values: values[torch.arange(len(values)), torch.tensor(positions)]


def capture(model, ids, read, sites=None):
    with torch.no_grad(), capturing(model, sites or find_sites(model)) as captured:
        captured.expect(len(ids), read)
        model(input_ids=ids)
        return captured.take()


@torch.no_grad()
def outputs_of(modules, model, ids):
    outputs = []
    # Falcon adds the residual to the second map's output in place.
    handles = [m.register_forward_hook(lambda _m, _i, out: outputs.append(out.clone())) for m in modules]
    model(input_ids=ids)
    for handle in handles:
        handle.remove()
    return outputs


@torch.no_grad()
def run_masked(model, sites):
    with masking(model, sites, torch.zeros(1, sum(site.width for site in sites), dtype=torch.bool)) as masked:
        masked.expect(torch.tensor([0]))
        model(input_ids=token_ids(1, 3))


def hooks_of(model):
    return [hook for m in model.modules() for hook in (*m._forward_pre_hooks.values(), *m._forward_hooks.values())]


def test_every_known_second_map_is_of_a_tested_family(model):
    known = [find_sites(model(name))[0].module for name in tiny_families.FAMILIES]
    assert all(any(path.endswith(f".{second}") for path in known) for second in SECOND_MAPS)


def test_captured_values_are_the_second_maps_input(model, family):
    model = model(family)
    sites = find_sites(model)
    assert [(site.layer, site.width) for site in sites] == [(0, WIDTH), (1, WIDTH)]
    ids = token_ids(3, 5)
    outputs = outputs_of(second_maps(model), model, ids)
    values = capture(model, ids, read_at(4, 0, 2))
    assert values.shape == (3, LAYERS * WIDTH)
    for layer, (linear, output) in enumerate(zip(second_maps(model), outputs, strict=True)):
        weight = linear.weight if isinstance(linear, nn.Linear) else linear.weight.T
        mapped = values[:, layer * WIDTH : (layer + 1) * WIDTH] @ weight.T
        read = output.reshape(3, 5, -1)[torch.arange(3), torch.tensor([4, 0, 2])]
        bias = 0 if linear.bias is None else linear.bias
        assert torch.allclose(mapped, read - bias, atol=1e-5)


def halves(x):
    return x[..., :WIDTH], x[..., WIDTH:]


FIRST_MAPS = {
    "bert": (["intermediate.dense"], gelu),
    "roberta": (["intermediate.dense"], gelu),
    "electra": (["intermediate.dense"], gelu),
    "distilbert": (["ffn.lin1"], gelu),
    "gpt2": (["mlp.c_fc"], lambda x: gelu(x, approximate="tanh")),
    "gpt-neox": (["mlp.dense_h_to_4h"], gelu),
    "opt": (["fc1"], relu),
    "llama": (["mlp.gate_proj", "mlp.up_proj"], lambda gate, up: silu(gate) * up),
    "phi-3": (["mlp.gate_up_proj"], lambda x: silu(halves(x)[0]) * halves(x)[1]),
    "modernbert": (["mlp.Wi"], lambda x: gelu(halves(x)[0]) * halves(x)[1]),
}


@pytest.mark.parametrize("family", FIRST_MAPS)
def test_captured_values_are_the_first_map_and_the_activation(model, family):
    model = model(family)
    names, activation = FIRST_MAPS[family]
    ids = token_ids(2, 4)
    values = capture(model, ids, read_at(1, 3))
    for site in find_sites(model):
        block = next(site.module.removesuffix(s) for s in SECOND_MAPS if site.module.endswith(f".{s}"))
        outputs = outputs_of([model.get_submodule(block + name) for name in names], model, ids)
        by_hand = activation(*(read_at(1, 3)(out.reshape(2, 4, -1)) for out in outputs))
        assert torch.allclose(values[:, site.layer * WIDTH :][:, :WIDTH], by_hand, atol=1e-6)


def with_zeroed_columns(model, off):
    """A copy whose second maps do not see the neurons in `off` (neurons,)."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for layer, linear in enumerate(second_maps(model)):
            neurons = off[layer * WIDTH : (layer + 1) * WIDTH]
            if isinstance(linear, nn.Linear):
                linear.weight[:, neurons] = 0
            else:
                linear.weight[neurons] = 0
    return model


def test_masking_equals_zeroing_the_columns(model, family):
    """Every row of one batch has its own mask."""
    model = model(family)
    off = torch.zeros(4, LAYERS * WIDTH, dtype=torch.bool)
    off[1, 5] = off[2, WIDTH + 7] = True
    off[3] = torch.rand(LAYERS * WIDTH, generator=torch.Generator().manual_seed(1)) < 0.5
    ids = token_ids(1, 5).expand(6, -1)
    which = torch.tensor([3, 0, 2, 1, 3, 0])
    with torch.no_grad():
        expected = [with_zeroed_columns(model, mask)(input_ids=ids[:1]).logits[0] for mask in off]
        with masking(model, find_sites(model), off) as masked:
            masked.expect(which)
            logits = model(input_ids=ids).logits
    for row, mask in enumerate(which):
        assert torch.allclose(logits[row], expected[mask], atol=1e-5), row
    for mask in (1, 2, 3):
        assert (expected[mask] - expected[0]).abs().max() > 1e-3


def test_reading_gives_the_full_heads_logits_at_that_position(model, family):
    model = model(family)
    ids = token_ids(3, 6)
    with torch.no_grad():
        embedded = model.get_input_embeddings()(ids)
        full = model(inputs_embeds=embedded).logits
        with reading(model, read_at(5, 0, 3)):
            read = model(inputs_embeds=embedded).logits
    assert read.shape == (3, 1, tiny_families.VOCABULARY)
    assert torch.allclose(read[:, 0], read_at(5, 0, 3)(full), atol=1e-5)
    assert not hooks_of(model)


def test_layers_of_unlike_width_keep_their_places():
    model = nn.Module()
    model.first, model.second = nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False)
    model.forward = lambda x: model.second(model.first(x))
    sites = [Site(0, "first", 3), Site(1, "second", 4)]
    x = torch.randn(2, 1, 3)
    off = torch.zeros(1, 7, dtype=torch.bool)
    off[0, [1, 3, 6]] = True
    with torch.no_grad(), masking(model, sites, off) as masked, capturing(model, sites) as captured:
        masked.expect(torch.tensor([0, 0]))
        captured.expect(2, lambda values: values[:, 0])
        model.forward(x)
        values = captured.take()
    assert (values == 0).all(dim=0).tolist() == off[0].tolist()
    coordinates = neuron_coordinates(sites)
    assert coordinates["layer"].tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert coordinates["unit"].tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert coordinates["unit"].dtype == np.int32


def test_custom_site(model):
    llama = model("llama")
    gate = find_sites(llama, "model.layers.{layer}.mlp.gate_proj")
    assert gate == [Site(layer, f"model.layers.{layer}.mlp.gate_proj", 16) for layer in range(LAYERS)]
    assert find_sites(llama, "model.layers.{layer}.mlp.down_proj") == find_sites(llama)
    assert find_sites(llama, "lm_head") == [Site(0, "lm_head", 16)]
    assert capture(llama, token_ids(2, 3), read_at(0, 1), gate).shape == (2, 32)


@pytest.mark.parametrize("site", ["model.layers.{layer}.mlp.no_proj", "model.layers.{layer}.mlp", "nothing"])
def test_a_custom_site_that_is_no_linear_map_is_refused(model, site):
    with pytest.raises(InputError, match=r"model\.layers\.\{layer\}\.mlp\.down_proj") as caught:
        find_sites(model("llama"), site)
    assert site in str(caught.value)
    assert isinstance(model("llama"), LlamaForCausalLM)


@pytest.fixture(scope="module")
def albert():
    """One block passed twice: a family that is not known."""
    config = AlbertConfig(
        vocab_size=40,
        embedding_size=8,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    return AlbertModel(config).eval()


ALBERT_SITE = "encoder.albert_layer_groups.{layer}.albert_layers.0.ffn_output"


def test_an_unknown_family_is_refused_naming_its_linear_maps(albert):
    with pytest.raises(InputError) as caught:
        find_sites(albert)
    message = str(caught.value)
    assert "AlbertModel" in message
    assert "encoder.albert_layer_groups.{layer}.albert_layers.{layer}.ffn_output" in message
    assert len(caught.value.problems) == 1


def test_a_site_passed_twice_stops_the_stage(albert):
    sites = find_sites(albert, ALBERT_SITE)
    with pytest.raises(StageError, match=r"ffn_output is passed more than once"):
        capture(albert, token_ids(1, 3), read_at(0), sites)
    assert not hooks_of(albert)


def test_a_site_passed_twice_is_not_masked_either(albert):
    with pytest.raises(StageError, match="more than once"):
        run_masked(albert, find_sites(albert, ALBERT_SITE))
    assert not hooks_of(albert)


@pytest.fixture
def bert():
    config = BertConfig(vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2)
    return BertModel(config).eval()


def test_a_skipped_block_stops_the_stage(bert):
    sites = find_sites(bert)
    skipped = bert.encoder.layer[1]
    skipped.forward = lambda hidden, *args, **kwargs: hidden
    with pytest.raises(StageError, match=r"no activation seen at encoder\.layer\.1\.output\.dense;"):
        capture(bert, token_ids(2, 3), read_at(0, 1), sites)
    assert not hooks_of(bert)


def test_a_skipped_block_is_not_taken_for_masked(bert):
    bert.encoder.layer[1].forward = lambda hidden, *args, **kwargs: hidden
    with pytest.raises(StageError, match=r"layer\.1\.output\.dense"):
        run_masked(bert, find_sites(bert))
    assert not hooks_of(bert)


def test_no_forward_pass_and_no_expectation(bert):
    sites = find_sites(bert)
    with capturing(bert, sites) as captured:
        captured.expect(1, read_at(0))
        with pytest.raises(StageError, match=r"no activation seen at encoder\.layer\.0"):
            captured.take()
    with torch.no_grad(), pytest.raises(StageError, match="expect"), capturing(bert, sites):
        bert(input_ids=token_ids(1, 3))
    assert not hooks_of(bert)


def test_what_was_captured_holds_no_other_tokens(bert):
    """Of a long row one token is read: the rest must not stay in memory until the last layer is done."""
    sites = find_sites(bert)
    with torch.no_grad(), capturing(bert, sites) as captured:
        captured.expect(2, lambda values: values[:, 0])
        bert(input_ids=token_ids(2, 9))
        assert {values.untyped_storage().nbytes() for values in captured._values.values()} == {2 * 24 * 4}


def test_each_take_is_of_its_own_forward_pass(bert):
    sites = find_sites(bert)
    with torch.no_grad(), capturing(bert, sites) as captured:
        taken = []
        for seed in (0, 1):
            captured.expect(2, read_at(0, 1))
            bert(input_ids=token_ids(2, 3, seed))
            taken.append(captured.take())
    assert torch.equal(taken[1], capture(bert, token_ids(2, 3, 1), read_at(0, 1)))
    assert not torch.equal(*taken)


@pytest.mark.parametrize(
    "block",
    [
        lambda bert: capturing(bert, find_sites(bert)),
        lambda bert: masking(bert, find_sites(bert), torch.zeros(1, 72, dtype=torch.bool)),
        lambda bert: reading(bert, read_at(0)),
    ],
)
def test_hooks_vanish_on_error(bert, block):
    seen = []

    def fail():
        with block(bert):
            seen.extend(hooks_of(bert))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen
    assert not hooks_of(bert)


def test_short_rows_train_with_plain_attention_and_get_their_own_back(bert):
    usual = bert.config._attn_implementation
    assert usual != "eager"
    with attention_for_training(bert, torch.device("cpu"), 20):
        assert bert.config._attn_implementation == "eager"
    with attention_for_training(bert, torch.device("cpu"), 4000):
        assert bert.config._attn_implementation == usual
    with pytest.raises(KeyError), attention_for_training(bert, torch.device("cpu"), 20):
        raise KeyError
    assert bert.config._attn_implementation == usual
