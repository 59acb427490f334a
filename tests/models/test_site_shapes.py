"""A site must see the rows and tokens of the batch: what a model pads, shortens or unpads inside is refused."""

import pytest
import tiny_families
import torch
import transformers as tf
from tiny_families import hooks_of, token_ids
from torch import nn

from emoscale.errors import StageError
from emoscale.models.capture import capturing
from emoscale.models.masking import masking
from emoscale.models.sites.linear_inputs import LinearInput
from emoscale.models.sites.registry import find_sites

WINDOW = 4


@pytest.fixture(scope="module")
def longformer():
    """Pads rows to a multiple of its attention window."""
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = tf.LongformerConfig(vocab_size=40, attention_window=WINDOW, max_position_embeddings=34, **sizes)
    return tiny_families.tiny_models.randomise(tf.LongformerModel(config))


@torch.no_grad()
def capture(model, sites, ids, batch=None):
    with capturing(model, sites) as captured:
        captured.expect(*(batch or ids.shape), lambda values: values.flatten(0, 1))
        model(input_ids=ids)
        return captured.take()


@torch.no_grad()
def mask(model, sites, ids):
    with masking(model, sites, torch.ones(1, sum(site.width for site in sites), dtype=torch.bool)) as masked:
        masked.expect(torch.zeros(len(ids), dtype=torch.int64))
        return model(input_ids=ids)


@pytest.mark.parametrize("site", ["ffn", "attention", "residual"])
@pytest.mark.parametrize("touch", [capture, mask])
def test_a_model_that_pads_rows_inside_is_refused(longformer, touch, site):
    sites = find_sites(longformer, site)
    with pytest.raises(StageError, match=r"LongformerModel: .* 2 x 8 .* 2 x 6 .* set another model\.site") as caught:
        touch(longformer, sites, token_ids(2, 6))
    assert len(str(caught.value).splitlines()) == 1
    assert not hooks_of(longformer)


def test_rows_that_it_need_not_pad_are_read(longformer):
    ids = token_ids(2, 2 * WINDOW)
    values = capture(longformer, find_sites(longformer, "residual"), ids)
    with torch.no_grad():
        states = longformer(input_ids=ids, output_hidden_states=True).hidden_states
    assert torch.equal(values[:, :16], states[1].flatten(0, 1))


class Inside(nn.Module):
    """A map behind something that happens to the rows and tokens."""

    def __init__(self, change):
        super().__init__()
        self.change, self.words, self.map = change, nn.Embedding(40, 6), nn.Linear(6, 6)

    def forward(self, input_ids):
        return self.map(self.change(self.words(input_ids)))


CHANGES = {
    "shortened": lambda values: values[:, ::2],
    "unpadded": lambda values: values.flatten(0, 1)[:-3],
    "unpadded to one row": lambda values: values.flatten(0, 1)[None, :-3],
    "rows second": lambda values: values.transpose(0, 1),
    "unpadded, of as many tokens as fit": lambda values: values.flatten(0, 1)[:-4],
}
SITE = LinearInput(0, "map", 6)


@pytest.mark.parametrize("change", CHANGES)
def test_other_rows_or_tokens_are_not_read(change):
    with pytest.raises(StageError, match=r"Inside: map has .* 4 x 6 \(rows x tokens\)"):
        capture(Inside(CHANGES[change]), [SITE], token_ids(4, 6))


@pytest.mark.parametrize("change", [change for change in CHANGES if change != "shortened"])
def test_other_rows_are_not_edited(change):
    with pytest.raises(StageError, match=r"Inside: map has .* 4 x 6 \(rows x tokens\)"):
        mask(Inside(CHANGES[change]), [SITE], token_ids(4, 6))


@torch.no_grad()
@pytest.mark.parametrize("shape", ["rows x tokens", "flattened"])
def test_rows_side_by_side_or_flattened_are_the_same(shape):
    model = Inside(lambda values: values.flatten(0, 1) if shape == "flattened" else values)
    ids = token_ids(4, 6)
    assert torch.equal(capture(model, [SITE], ids), model.words(ids).flatten(0, 1))
    off = torch.eye(6, dtype=torch.bool)[:4]
    with masking(model, [SITE], off) as masked, capturing(model, [SITE]) as captured:
        masked.expect(torch.tensor([3, 0, 1, 1]))
        captured.expect(4, 6, lambda values: values[:, 5])
        model(input_ids=ids)
        assert torch.equal(captured.take() == 0, off[torch.tensor([3, 0, 1, 1])])


@torch.no_grad()
def test_one_position_of_each_row_is_edited_as_all_are():
    """Where a row is read at one position, maps are given that alone."""
    for change in (lambda values: values[:, -1:], lambda values: values[:, -1]):
        model, off = Inside(change), torch.eye(6, dtype=torch.bool)[:2]
        taken = []
        with masking(model, [SITE], off) as masked:
            model.map.register_forward_hook(lambda _m, args, _out, taken=taken: taken.append(args[0].reshape(-1, 6)))
            masked.expect(torch.tensor([1, 0, 1]))
            model(input_ids=token_ids(3, 4))
        assert torch.equal(taken[0] == 0, off[torch.tensor([1, 0, 1])])


def test_experts_of_another_batch_are_refused():
    mixtral = tiny_families.make("mixtral")
    sites, ids = find_sites(mixtral), token_ids(3, 4)
    with pytest.raises(StageError, match=r"MixtralForCausalLM: .*experts has 12 values .* 3 x 5"):
        capture(mixtral, sites, ids, batch=(3, 5))
    off = torch.zeros(1, sum(site.width for site in sites), dtype=torch.bool)
    with torch.no_grad(), masking(mixtral, sites, off) as masked:
        masked.expect(torch.zeros(6, dtype=torch.int64))
        with pytest.raises(StageError, match=r"MixtralForCausalLM: .*experts has 12 values .* 6 x 4"):
            mixtral(input_ids=ids)
