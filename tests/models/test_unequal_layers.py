"""Blocks may differ: units keep the numbers of their blocks, and the blocks without are named."""

import pytest
import tiny_families
import torch
import transformers as tf
from tiny_families import token_ids

from emoscale.models.capture import capturing
from emoscale.models.masking import masking
from emoscale.models.shortcuts import narrowable
from emoscale.models.sites.registry import find_sites, site_notes
from emoscale.models.sites.site import neuron_coordinates


@pytest.fixture(scope="module")
def model():
    made = {}
    return lambda family: made.setdefault(family, tiny_families.make(family))


def layers(sites):
    return [(site.layer, site.path.rpartition("layers.")[2], site.experts) for site in sites]


BY_HAND = "model.layers.{layer}.feed_forward.down_proj"


@pytest.mark.parametrize(
    ("family", "site", "expected"),
    [
        ("jamba", BY_HAND, [(n, f"{n}.feed_forward.down_proj", 0) for n in (0, 2)]),
        ("jamba", "attention", [(n, f"{n}.self_attn.o_proj", 0) for n in (1, 3)]),
        (
            "jamba",
            "ffn",
            [(n, f"{n}.feed_forward.{'experts' if n % 2 else 'down_proj'}", 4 if n % 2 else 0) for n in range(4)],
        ),
        ("jamba", "residual", [(n, f"{n}", 0) for n in range(4)]),
        ("deepseek", "ffn", [(0, "0.mlp.down_proj", 0), (1, "1.mlp.experts", 4)]),
    ],
)
def test_every_block_that_has_units_is_taken_with_its_number(model, family, site, expected):
    sites = find_sites(model(family), site)
    assert layers(sites) == expected
    assert set(neuron_coordinates(sites)["layer"]) == {number for number, _, _ in expected}


@pytest.mark.parametrize(
    ("site", "lacking"), [(BY_HAND, "1, 3"), ("attention", "0, 2"), ("ffn", None), ("residual", None)]
)
def test_blocks_without_units_are_named(model, site, lacking):
    jamba = model("jamba")
    notes = site_notes(jamba, find_sites(jamba, site))
    assert [note.rpartition("without: ")[2] for note in notes if "without" in note] == ([lacking] if lacking else [])


def test_other_feed_forwards_of_a_block_are_named(model):
    deepseek = model("deepseek")
    (note,) = site_notes(deepseek, find_sites(deepseek, "ffn"))
    assert "model.layers.{layer}.mlp.shared_experts.down_proj" in note
    sizes = {"embedding_size": 8, "intra_bottleneck_size": 8, "true_hidden_size": 8, "intermediate_size": 24}
    with torch.device("meta"):
        mobile = tf.MobileBertModel(tf.MobileBertConfig(hidden_size=16, num_hidden_layers=2, **sizes))
    sites = find_sites(mobile, "ffn")
    assert [site.path for site in sites] == [f"encoder.layer.{n}.output.dense" for n in range(2)]
    (note,) = site_notes(mobile, sites)
    others = [f"encoder.layer.{{layer}}.ffn.{n}.output.dense" for n in range(3)]
    assert all(other in note for other in others)
    assert all(len(find_sites(mobile, other)) == 2 for other in others)


@pytest.mark.parametrize("family", tiny_families.ALL)
@pytest.mark.parametrize("site", ["ffn", "attention", "residual"])
def test_of_models_whose_blocks_are_the_same_there_is_nothing_to_note(model, family, site):
    assert site_notes(model(family), find_sites(model(family), site)) == ()


@torch.no_grad()
def test_units_of_some_blocks_are_read_and_edited(model):
    jamba, ids = model("jamba"), token_ids(2, 4)
    sites, seen = find_sites(jamba, BY_HAND), []
    maps = [jamba.get_submodule(site.path) for site in sites]
    handles = [m.register_forward_pre_hook(lambda _m, args: seen.append(args[0][:, 1])) for m in maps]
    off = torch.arange(48)[None] % 3 == 0
    with capturing(jamba, sites) as captured:
        captured.expect(*ids.shape, lambda values: values[:, 1])
        jamba(input_ids=ids, use_cache=False)
        assert torch.equal(captured.take(), torch.cat(seen, dim=1))
    for handle in handles:
        handle.remove()
    with masking(jamba, sites, off) as masked, capturing(jamba, sites) as captured:
        masked.expect(torch.tensor([0, 0]))
        captured.expect(*ids.shape, lambda values: values[:, 1])
        jamba(input_ids=ids, use_cache=False)
        assert torch.equal(captured.take() == 0, off.expand(2, -1))


def test_a_last_site_before_the_last_block_is_not_narrowed(model):
    """What comes after it needs all tokens."""
    llama = model("llama")
    sites = find_sites(llama, "attention")
    assert narrowable(llama, sites) != ()
    assert narrowable(llama, sites[:1]) == ()
