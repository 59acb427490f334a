"""Every token of a few texts, through every family, into a store."""

import copy

import numpy as np
import pytest
import tiny_families
import tiny_models
import torch
from extracting import activations_of, extract_rows

from emoscale.errors import StageError
from emoscale.extraction.inputs import InputBatch
from emoscale.extraction.pooling import POOLINGS
from emoscale.models.capture import capturing
from emoscale.models.forward import run_body
from emoscale.models.loading import LanguageModel, load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import outline_model
from emoscale.run.folder import RunFolder
from emoscale.schema import MOMENTS
from emoscale.store import open_store

pytestmark = pytest.mark.slow

LENGTHS = [5, 3, 9, 6, 1]
CASES = [(family, "ffn") for family in tiny_families.ALL if family not in tiny_families.ENCODER_DECODERS]
CASES += [(family, stack) for family in tiny_families.ENCODER_DECODERS for stack in ("encoder", "decoder")]
CASES += [("llama", "attention"), ("bert", "attention"), ("t5", "decoder attention")]


class TokenRows:
    """Random token ids, every token a row; all represent one concept."""

    pooling = POOLINGS["all"]

    def __init__(self, model):
        self.model = model
        rng = np.random.default_rng(0)
        self.ids = [rng.integers(3, tiny_families.VOCABULARY, length).tolist() for length in LENGTHS]

    def inputs(self):
        names = ["joy"] * len(self.ids)
        yield InputBatch(self.ids, names, names, [(0, len(own)) for own in self.ids])

    def run(self, numbers, ids, attention):
        run_body(self.model, ids, attention)


def load(tmp_path, family, site="ffn"):
    tiny_families.make(family).save_pretrained(tmp_path / "model")
    tiny_models.wordpiece_tokenizer().save_pretrained(tmp_path / "model")
    return load_model(outline_model(ModelOptions(str(tmp_path / "model"), site=site)))


def run(path, rows, **changes):
    options = {"block_rows": 10, "batch_rows": 2, "chunk_neurons": 64} | changes
    return extract_rows(path, rows, **options), activations_of(path)


@torch.no_grad()
def alone(model, ids):
    with capturing(model.module, model.outline.sites) as captured:
        captured.expect(1, len(ids), lambda values: values[0])
        run_body(model, torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.int64))
        return captured.take().numpy()


@pytest.mark.parametrize(("family", "site"), CASES)
def test_the_store_holds_what_a_text_gives_alone(tmp_path, family, site):
    model = load(tmp_path, family, site)
    rows = TokenRows(model)
    counts, store = run(tmp_path / "run", rows)
    values = store.read("activations")
    np.testing.assert_allclose(values, np.concatenate([alone(model, ids) for ids in rows.ids]), rtol=0, atol=1e-5)
    assert counts["neurons"] == model.outline.neurons
    assert ("absent" in counts) == (family in tiny_families.MIXTURES)


@pytest.mark.parametrize("family", tiny_families.MIXTURES)
def test_neurons_that_a_token_was_not_routed_to_are_absent_and_counted(tmp_path, family):
    rows = TokenRows(load(tmp_path, family))
    counts, store = run(tmp_path / "run", rows)
    values, layer, expert = (store.read(name) for name in ("activations", "layer", "expert"))
    present = ~np.isnan(values)
    for number in range(tiny_families.LAYERS):
        by_expert = np.stack([present[:, (layer == number) & (expert == e)] for e in range(tiny_families.EXPERTS)])
        assert (by_expert.all(axis=2) | ~by_expert.any(axis=2)).all()
        assert (by_expert.any(axis=2).sum(axis=0) == tiny_families.ROUTED).all()
    assert counts["absent"] == (~present).sum() > 0
    assert store.read("unit").max() == tiny_families.WIDTH - 1
    counted, _ = run(tmp_path / "moments", rows, keep="activations")
    assert counted == counts
    counts = extract_rows(tmp_path / "kept", rows, keep="moments", concepts=["joy"])
    kept = open_store(RunFolder(tmp_path / "kept").moments, MOMENTS)
    assert counts["absent"] == (~present).sum()
    np.testing.assert_array_equal(kept.read("count")[0], present.sum(axis=0))
    used = present.any(axis=0)
    np.testing.assert_allclose(kept.read("mean")[0, used], np.nanmean(values[:, used], axis=0), rtol=0, atol=1e-6)


def test_an_experts_overflow_does_not_pass_for_absence(tmp_path):
    model = load(tmp_path, "mixtral")
    module = copy.deepcopy(model.module)
    with torch.no_grad():
        module.model.layers[1].mlp.experts.gate_up_proj.fill_(torch.nan)
    with pytest.raises(StageError, match=r"activations are not finite in float32, first in layer 1, row 0"):
        run(tmp_path / "run", TokenRows(LanguageModel(model.outline, module)))
