"""A row gives the same values alone and padded, on either side, in every family."""

import pytest
import tiny_families
import tiny_models
import torch

from emoscale.errors import InputError
from emoscale.models.capture import capturing
from emoscale.models.forward import run_body
from emoscale.models.loading import load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import outline_model
from emoscale.models.sites.registry import find_sites

LENGTHS = [9, 3, 1, 6]
CASES = [(family, "ffn") for family in tiny_families.ALL if family not in tiny_families.ENCODER_DECODERS] + [
    (family, stack) for family in tiny_families.ENCODER_DECODERS for stack in ("encoder", "decoder")
]
NUMBERED_FROM_THE_EDGE = {"bart"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = {}

    def save(family):
        if family not in made:
            made[family] = tmp_path_factory.mktemp("families") / family
            tiny_families.make(family).save_pretrained(made[family])
            tiny_models.wordpiece_tokenizer().save_pretrained(made[family])
        return str(made[family])

    return save


@pytest.fixture(scope="module")
def model(folder):
    made = {}

    def load(family, site):
        if (family, site) not in made:
            made[family, site] = load_model(outline_model(ModelOptions(folder(family), site=site)))
        return made[family, site]

    return load


def rows_of_tokens():
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(3, tiny_families.VOCABULARY, (length,), generator=generator) for length in LENGTHS]


def packed(rows, side, pad):
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad)
    attention = torch.zeros_like(ids)
    for row, tokens in enumerate(rows):
        there = slice(0, len(tokens)) if side == "right" else slice(width - len(tokens), width)
        ids[row, there], attention[row, there] = tokens, 1
    return ids, attention


@torch.no_grad()
def values(model, rows, side):
    """Values of every token of every row, (tokens, neurons) each, and those of the padding."""
    ids, attention = packed(rows, side, model.outline.config.pad_token_id or 0)
    width = ids.shape[1]
    with capturing(model.module, model.outline.sites) as captured:
        captured.expect(len(ids), width, lambda v: v.flatten(0, 1))
        run_body(model, ids, attention)
        taken = captured.take().unflatten(0, (len(ids), width))
    there = attention.bool()
    return [row[own] for row, own in zip(taken, there, strict=True)], taken[~there]


@torch.no_grad()
def native_values(family, site, row):
    """Values of a row that the complete model takes alone; of its labels T5 and BART make the decoder's input."""
    model = tiny_families.make(family)
    sites = find_sites(model, site)
    labels = {"labels": row[None]} if family in tiny_families.ENCODER_DECODERS else {}
    with capturing(model, sites) as captured:
        captured.expect(1, len(row), lambda v: v[0])
        model(input_ids=row[None], **labels)
        return captured.take()


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("family", "site"), CASES)
def test_a_row_alone_equals_a_row_in_a_padded_batch(model, family, site, side):
    model = model(family, site)
    rows = rows_of_tokens()
    if side == "left" and family in NUMBERED_FROM_THE_EDGE:
        with pytest.raises(InputError, match=r"extraction.padding 'left'.*set it to 'right'"):
            values(model, rows, side)
        return
    together, padding = values(model, rows, side)
    for row, read in zip(rows, together, strict=True):
        alone = native_values(family, site, row)
        assert torch.allclose(read, alone, atol=1e-5, equal_nan=True)
        assert torch.equal(alone.isnan().any(dim=1), torch.full((len(row),), family in tiny_families.MIXTURES))
    # What weighs padding with 0 must not meet NaN.
    if family not in tiny_families.MIXTURES:
        assert padding.isfinite().all()


@pytest.mark.parametrize(("site", "stacks"), [("encoder", {"encoder"}), ("decoder", {"encoder", "decoder"})])
def test_a_decoder_without_neurons_does_not_run(model, site, stacks):
    model = model("bart", site)
    ran = set()
    handles = [
        getattr(model.module, stack).register_forward_hook(lambda _m, _i, _o, stack=stack: ran.add(stack))
        for stack in ("encoder", "decoder")
    ]
    with torch.no_grad():
        run_body(model, *packed(rows_of_tokens(), "right", 0))
    for handle in handles:
        handle.remove()
    assert ran == stacks


def test_nothing_is_cached_and_the_head_does_not_run(model):
    model = model("llama", "ffn")
    outputs = []
    handles = [
        model.module.base_model.register_forward_hook(lambda _m, _i, output: outputs.append(output)),
        model.module.lm_head.register_forward_hook(lambda _m, _i, _o: outputs.append("logits")),
    ]
    with torch.no_grad():
        run_body(model, *packed(rows_of_tokens(), "left", 0))
    for handle in handles:
        handle.remove()
    assert [output.past_key_values for output in outputs] == [None]
