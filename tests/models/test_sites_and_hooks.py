"""Neurons are the inputs of the second feed-forward map in every family; reading and masking them."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_families
import torch
from tiny_families import hooks_of, run, token_ids
from torch import nn
from torch.nn.functional import gelu, relu, silu
from transformers import BertConfig, BertModel, Gemma3Config, Gemma3ForConditionalGeneration, LlamaForCausalLM

from emoscale.errors import InputError, StageError
from emoscale.models.capture import capturing
from emoscale.models.masking import masking
from emoscale.models.sites.attention import ATTENTION_MAPS
from emoscale.models.sites.feed_forward import SECOND_MAPS
from emoscale.models.sites.linear_inputs import LinearInput
from emoscale.models.sites.registry import find_sites
from emoscale.models.sites.site import neuron_coordinates
from emoscale.models.training_attention import attention_for_training

LAYERS, WIDTH = tiny_families.LAYERS, tiny_families.WIDTH


@pytest.fixture(scope="module")
def model():
    made = {}
    return lambda family: made.setdefault(family, tiny_families.make(family))


STACKS = [(family, stack) for family in tiny_families.ENCODER_DECODERS for stack in ("encoder", "decoder")]
FEED_FORWARDS = [(family, "ffn") for family in tiny_families.FAMILIES] + STACKS
ATTENTIONS = [(family, "attention") for family in tiny_families.FAMILIES] + [
    (family, f"{stack} attention") for family, stack in STACKS
]


def second_maps(model, site="ffn"):
    return [model.get_submodule(site.path) for site in find_sites(model, site)]


def read_at(*positions):
    return lambda values: values[torch.arange(len(values)), torch.tensor(positions)]


def capture(model, ids, read, sites=None):
    with torch.no_grad(), capturing(model, sites or find_sites(model)) as captured:
        captured.expect(*ids.shape, read)
        run(model, ids)
        return captured.take()


@torch.no_grad()
def outputs_of(modules, model, ids):
    outputs = []
    # Falcon adds the residual to the second map's output in place.
    handles = [m.register_forward_hook(lambda _m, _i, out: outputs.append(out.clone())) for m in modules]
    run(model, ids)
    for handle in handles:
        handle.remove()
    return outputs


@torch.no_grad()
def run_masked(model, sites):
    with masking(model, sites, torch.zeros(1, sum(site.width for site in sites), dtype=torch.bool)) as masked:
        masked.expect(torch.tensor([0]))
        model(input_ids=token_ids(1, 3))


@pytest.mark.parametrize(
    ("maps", "cases"),
    [
        (SECOND_MAPS, [*FEED_FORWARDS, ("albert", "ffn"), ("jamba", "ffn")]),
        (ATTENTION_MAPS, [*ATTENTIONS, ("albert", "attention")]),
    ],
)
def test_every_known_second_map_is_of_a_tested_family(model, maps, cases):
    known = [find_sites(model(family), site)[0].path for family, site in cases]
    assert all(any(path.endswith(f".{second}") for path in known) for second in maps)


@pytest.mark.parametrize(("family", "site"), FEED_FORWARDS + ATTENTIONS)
def test_captured_values_are_the_second_maps_input(model, family, site):
    model = model(family)
    sites = find_sites(model, site)
    width = WIDTH if (family, site) in FEED_FORWARDS else sites[0].width
    assert [(site.layer, site.width) for site in sites] == [(0, width), (1, width)]
    ids = token_ids(3, 5)
    outputs = outputs_of(second_maps(model, site), model, ids)
    values = capture(model, ids, read_at(4, 0, 2), sites)
    assert values.shape == (3, LAYERS * width)
    for layer, (linear, output) in enumerate(zip(second_maps(model, site), outputs, strict=True)):
        weight = linear.weight if isinstance(linear, nn.Linear) else linear.weight.T
        mapped = values[:, layer * width : (layer + 1) * width] @ weight.T
        read = output.reshape(3, 5, -1)[torch.arange(3), torch.tensor([4, 0, 2])]
        bias = 0 if linear.bias is None else linear.bias
        assert torch.allclose(mapped, read - bias, atol=1e-5)


def tanh_gelu(x):
    return gelu(x, approximate="tanh")


def gated(activation):
    return lambda gate, up: activation(gate) * up


def gated_halves(activation):
    return lambda x: activation(x[..., :WIDTH]) * x[..., WIDTH:]


TWO_MAPS = ["mlp.gate_proj", "mlp.up_proj"]
FIRST_MAPS = {
    **dict.fromkeys(["bert", "roberta", "xlm-roberta", "electra", "deberta", "mpnet"], (["intermediate.dense"], gelu)),
    "distilbert": (["ffn.lin1"], gelu),
    "modernbert": (["mlp.Wi"], gated_halves(gelu)),
    "gpt2": (["mlp.c_fc"], tanh_gelu),
    "gpt-neo": (["mlp.c_fc"], tanh_gelu),
    "gpt-neox": (["mlp.dense_h_to_4h"], gelu),
    "gpt-j": (["mlp.fc_in"], tanh_gelu),
    "opt": (["fc1"], relu),
    "bloom": (["mlp.dense_h_to_4h"], tanh_gelu),
    "falcon": (["mlp.dense_h_to_4h"], gelu),
    **dict.fromkeys(["llama", "mistral", "qwen2", "qwen3", "olmo2", "stablelm", "cohere"], (TWO_MAPS, gated(silu))),
    **dict.fromkeys(["gemma2", "gemma3"], (TWO_MAPS, gated(tanh_gelu))),
    "phi": (["mlp.fc1"], tanh_gelu),
    "phi-3": (["mlp.gate_up_proj"], gated_halves(silu)),
    "t5": (["layer.{}.DenseReluDense.wi"], relu),
    "t5-gated": (["layer.{}.DenseReluDense.wi_0", "layer.{}.DenseReluDense.wi_1"], gated(tanh_gelu)),
    "bart": (["fc1"], gelu),
}


@pytest.mark.parametrize(("family", "site"), FEED_FORWARDS)
def test_captured_values_are_the_first_map_and_the_activation(model, family, site):
    model = model(family)
    names, activation = FIRST_MAPS[family]
    sublayer = 2 if site == "decoder" else 1
    ids = token_ids(2, 4)
    sites = find_sites(model, site)
    values = capture(model, ids, read_at(1, 3), sites)
    for site in sites:
        block = next(site.path.removesuffix(s) for s in SECOND_MAPS if site.path.endswith(f".{s}"))
        outputs = outputs_of([model.get_submodule(block + name.format(sublayer)) for name in names], model, ids)
        by_hand = activation(*(read_at(1, 3)(out.reshape(2, 4, -1)) for out in outputs))
        assert torch.allclose(values[:, site.layer * WIDTH :][:, :WIDTH], by_hand, atol=1e-6)


def test_layers_of_unlike_width_keep_their_places():
    model = nn.Module()
    model.first, model.second = nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False)
    model.forward = lambda x: model.second(model.first(x))
    sites = [LinearInput(0, "first", 3), LinearInput(1, "second", 4)]
    x = torch.randn(2, 1, 3)
    off = torch.zeros(1, 7, dtype=torch.bool)
    off[0, [1, 3, 6]] = True
    with torch.no_grad(), masking(model, sites, off) as masked, capturing(model, sites) as captured:
        masked.expect(torch.tensor([0, 0]))
        captured.expect(2, 1, lambda values: values[:, 0])
        model.forward(x)
        values = captured.take()
    assert (values == 0).all(dim=0).tolist() == off[0].tolist()
    coordinates = neuron_coordinates(sites)
    assert coordinates["layer"].tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert coordinates["expert"].tolist() == [-1] * 7
    assert coordinates["unit"].tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert coordinates["unit"].dtype == np.int32


def test_custom_site(model):
    llama = model("llama")
    gate = find_sites(llama, "model.layers.{layer}.mlp.gate_proj")
    path = "model.layers.{layer}.mlp.gate_proj"
    assert gate == [LinearInput(layer, path.format(layer=layer), 16, shares_input=True) for layer in range(LAYERS)]
    same = [replace(site, shares_input=True) for site in find_sites(llama)]
    assert find_sites(llama, "model.layers.{layer}.mlp.down_proj") == same
    assert find_sites(llama, "lm_head") == [LinearInput(0, "lm_head", 16, shares_input=True)]
    assert capture(llama, token_ids(2, 3), read_at(0, 1), gate).shape == (2, 32)


def test_of_two_stacks_the_encoder_is_read_unless_the_decoder_is_named(model):
    for family in tiny_families.ENCODER_DECODERS:
        for kind in ("ffn", "attention"):
            stacks = {stack: find_sites(model(family), f"{stack} {kind}") for stack in ("encoder", "decoder")}
            assert find_sites(model(family), kind) == stacks["encoder"]
            assert {stack: {stack in site.path for site in sites} for stack, sites in stacks.items()} == {
                "encoder": {True},
                "decoder": {True},
            }
        assert find_sites(model(family), "decoder") == find_sites(model(family), "decoder ffn")


def test_of_a_model_that_sees_too_the_language_blocks_are_read():
    text = tiny_families.FAMILIES["gemma3"][2]
    vision = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
    with torch.device("meta"):
        model = Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision))
    assert [site.path for site in find_sites(model)] == [
        f"model.language_model.layers.{layer}.mlp.down_proj" for layer in range(LAYERS)
    ]


@pytest.mark.parametrize("family", ["bert", "opt", "llama"])
def test_a_stack_of_a_model_with_one_is_refused(model, family):
    with pytest.raises(InputError, match=r"has no encoder beside a decoder; remove 'decoder'"):
        find_sites(model(family), "decoder")


@pytest.mark.parametrize("family", tiny_families.ALL)
def test_sites_are_found_without_weights(model, family):
    cls, config, options = tiny_families.ALL[family]
    with torch.device("meta"):
        skeleton = cls(config(**options))
    assert find_sites(skeleton) == find_sites(model(family))
    assert find_sites(skeleton, "attention") == find_sites(model(family), "attention")


@pytest.mark.parametrize("site", ["model.layers.{layer}.mlp.no_proj", "model.layers.{layer}.mlp", "nothing"])
def test_a_custom_site_that_is_no_linear_map_is_refused(model, site):
    with pytest.raises(InputError, match=r"model\.layers\.\{layer\}\.mlp\.down_proj") as caught:
        find_sites(model("llama"), site)
    assert site in str(caught.value)
    assert isinstance(model("llama"), LlamaForCausalLM)


ALBERT_SITE = "albert.encoder.albert_layer_groups.{layer}.albert_layers.0.ffn_output"


@pytest.mark.parametrize("touch", [lambda *args: capture(args[0], token_ids(1, 3), read_at(0), args[1]), run_masked])
def test_a_site_passed_more_often_than_it_has_layers_stops_the_stage(model, touch):
    """A path given by hand is one layer a module; ALBERT passes it at every depth."""
    albert = model("albert")
    with pytest.raises(StageError, match=r"ffn_output is called more than once"):
        touch(albert, find_sites(albert, ALBERT_SITE))
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


def test_no_forward_pass_and_no_expectation(bert):
    sites = find_sites(bert)
    with capturing(bert, sites) as captured:
        captured.expect(1, 3, read_at(0))
        with pytest.raises(StageError, match=r"no activation seen at encoder\.layer\.0"):
            captured.take()
    with torch.no_grad(), pytest.raises(StageError, match="expect"), capturing(bert, sites):
        bert(input_ids=token_ids(1, 3))
    assert not hooks_of(bert)


def test_what_was_captured_holds_no_other_tokens(bert):
    """Of a long row one token is read: the rest must not stay in memory until the last layer is done."""
    sites = find_sites(bert)
    with torch.no_grad(), capturing(bert, sites) as captured:
        captured.expect(2, 9, lambda values: values[:, 0])
        bert(input_ids=token_ids(2, 9))
        assert {values.untyped_storage().nbytes() for values in captured._values.values()} == {2 * 24 * 4}


def test_each_take_is_of_its_own_forward_pass(bert):
    sites = find_sites(bert)
    with torch.no_grad(), capturing(bert, sites) as captured:
        taken = []
        for seed in (0, 1):
            captured.expect(2, 3, read_at(0, 1))
            bert(input_ids=token_ids(2, 3, seed))
            taken.append(captured.take())
    assert torch.equal(taken[1], capture(bert, token_ids(2, 3, 1), read_at(0, 1)))
    assert not torch.equal(*taken)


def test_hooks_vanish_on_error(bert):
    def fail():
        with capturing(bert, find_sites(bert)):
            assert hooks_of(bert)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
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
