"""A pass ends where the last neurons are read, and gives what a complete pass gives."""

from types import SimpleNamespace

import pytest
import tiny_families
import torch

from emoscale.errors import StageError
from emoscale.models.capture import capturing
from emoscale.models.sites.linear_inputs import LinearInput
from emoscale.models.sites.registry import find_sites

FAMILIES = ["bert", "modernbert", "gpt2", "llama", "albert", "mixtral"]


@pytest.fixture(scope="module")
def model():
    made = {}
    return lambda family: made.setdefault(family, tiny_families.make(family))


def batches():
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(3, tiny_families.VOCABULARY, (2, 5), generator=generator) for _ in range(3)]


def last_token(values):
    return values[:, -1]


@torch.inference_mode()
def whole_passes(model, sites):
    taken = []
    for ids in batches():
        with capturing(model, sites) as captured:
            captured.expect(*ids.shape, last_token)
            model(input_ids=ids)
            taken.append(captured.take())
    return torch.stack(taken)


@torch.inference_mode()
def runs(model, sites, **parts):
    """What is taken from runs one after the other, and how often the model ran to its end."""
    taken, ends = [], []
    handle = model.register_forward_hook(lambda *_: ends.append(1))
    with capturing(model, sites, **parts) as captured:
        for ids in batches():
            captured.expect(*ids.shape, last_token)
            captured.run(lambda ids=ids: model(input_ids=ids))
            taken.append(captured.take())
    handle.remove()
    return torch.stack(taken), len(ends)


@pytest.mark.parametrize("family", FAMILIES)
def test_values_are_those_of_a_whole_pass(model, family):
    model = model(family)
    sites = find_sites(model)
    values, ends = runs(model, sites)
    assert torch.equal(values.nan_to_num(7), whole_passes(model, sites).nan_to_num(7))
    assert ends == 1  # the first shows whether a site is called more than once


def test_the_last_second_map_is_not_called(model):
    model = model("bert")
    sites = find_sites(model)
    called = []
    handles = [
        model.get_submodule(site.path).register_forward_hook(lambda _m, _i, _o, layer=site.layer: called.append(layer))
        for site in sites
    ]
    runs(model, sites)
    for handle in handles:
        handle.remove()
    assert called == [0, 1, 0, 0]


def test_the_model_runs_to_its_end_again_afterwards(model):
    model = model("llama")
    ids = batches()[0]
    with torch.inference_mode():
        before = model(input_ids=ids).logits
        runs(model, find_sites(model))
        assert torch.equal(model(input_ids=ids).logits, before)


def test_no_part_leaves_the_others_waiting(model):
    """They meet in every map to its end. Here one process takes all of the values, as where a map is not spread."""
    model = model("llama")
    sites = find_sites(model)
    values, ends = runs(model, sites, tp_rank=1, tp_size=2)
    half = tiny_families.WIDTH // 2
    whole = whole_passes(model, sites).unflatten(-1, (len(sites), tiny_families.WIDTH))
    assert torch.equal(values, whole[..., half:].flatten(-2))
    assert ends == len(batches())


def test_weights_that_come_for_the_pass_go_again(model):
    model = tiny_families.make("llama")
    model.lm_head._hf_hook = SimpleNamespace()
    assert runs(model, find_sites(model))[1] == len(batches())


def test_a_module_passed_more_than_once_is_still_found(model):
    model = model("albert")
    site = find_sites(model)[0]
    with pytest.raises(StageError, match="called more than once"):
        runs(model, [LinearInput(0, site.path, site.width)])


def test_errors_in_a_pass_are_raised(model):
    model = model("bert")
    with torch.inference_mode(), capturing(model, find_sites(model)) as captured:
        captured.expect(2, 5, last_token)
        for _ in range(2):
            with pytest.raises(IndexError):
                captured.run(lambda: model(input_ids=torch.full((2, 5), 10_000)))
