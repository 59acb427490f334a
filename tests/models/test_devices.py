"""A model whose weights come to their device for the pass gives what it gives when they are all there."""

import pytest
import tiny_families
import tiny_models
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

from emoscale.models.capture import capturing
from emoscale.models.forward import run_body
from emoscale.models.loading import LanguageModel, load_model
from emoscale.models.masking import masking
from emoscale.models.options import ModelOptions
from emoscale.models.outline import outline_model
from emoscale.models.prompted import PromptedModel

LOADERS = {"causal-lm": AutoModelForCausalLM, "masked-lm": AutoModelForMaskedLM, "encoder-decoder": AutoModel}
HALF = {
    "model.embed_tokens": "cpu",
    "model.rotary_emb": "cpu",
    "model.layers.0": "cpu",
    "model.layers.1": "disk",
    "model.norm": "disk",
    "lm_head": "cpu",
}
ALL = {"": "disk"}
CASES = [
    ("llama", "ffn", HALF),
    ("llama", "attention", ALL),
    ("gpt2", "ffn", ALL),
    ("bert", "ffn", ALL),
    ("albert", "ffn", ALL),
    ("t5", "decoder", ALL),
    ("mixtral", "ffn", HALF),
    ("mixtral", "ffn", ALL),
]


class Models:
    """The same weights in memory and offloaded."""

    def __init__(self, folder, family, site, device_map):
        tiny_families.make(family).save_pretrained(folder / "model")
        tiny_models.wordpiece_tokenizer().save_pretrained(folder / "model")
        outline = outline_model(ModelOptions(str(folder / "model"), site=site))
        self.whole = load_model(outline)
        module = LOADERS[outline.kind].from_pretrained(
            folder / "model", device_map=device_map, offload_folder=folder / "offload"
        )
        self.offloaded = LanguageModel(outline, module.eval().requires_grad_(False))
        self.sites = outline.sites


@pytest.fixture(
    scope="module", params=CASES, ids=lambda case: "-".join([*case[:2], "half" if case[2] is HALF else "all"])
)
def models(request, tmp_path_factory):
    made = Models(tmp_path_factory.mktemp("model"), *request.param)
    assert any(parameter.is_meta for parameter in made.offloaded.module.parameters())
    return made


def rows():
    ids = torch.randint(3, tiny_families.VOCABULARY, (4, 6), generator=torch.Generator().manual_seed(0))
    attention = torch.ones_like(ids)
    attention[1, 2:] = 0
    return ids, attention


@torch.inference_mode()
def captured_twice(model, sites):
    first, attention = rows()
    taken = []
    with capturing(model.module, sites) as captured:
        for ids in (first, first.flip(0)):
            captured.expect(*ids.shape, lambda values: values[:, 1])
            captured.run(lambda ids=ids: run_body(model, ids, attention))
            taken.append(captured.take())
    return torch.stack(taken)


def test_captured_values(models):
    expected, found = (captured_twice(model, models.sites) for model in (models.whole, models.offloaded))
    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.allclose(found, expected, atol=1e-6, equal_nan=True)
    assert not torch.equal(expected[0], expected[1])


def test_weights_leave_the_device_after_the_pass(models):
    """Ending a pass early would leave those of the last block there."""
    before = {name: parameter.device for name, parameter in models.offloaded.module.named_parameters()}
    captured_twice(models.offloaded, models.sites)
    assert {name: parameter.device for name, parameter in models.offloaded.module.named_parameters()} == before


@torch.inference_mode()
def last_states(model, sites, off):
    ids, attention = (t[:1].expand(3, -1) for t in rows())
    states = []
    final = model.module.base_model.register_forward_hook(lambda _m, _i, out: states.append(out.last_hidden_state))
    with masking(model.module, sites, off) as masked:
        masked.expect(torch.tensor([2, 0, 1]))
        run_body(model, ids, attention)
    final.remove()
    return states[0]


def test_masked_states(models):
    neurons = sum(site.width for site in models.sites)
    off = torch.rand(3, neurons, generator=torch.Generator().manual_seed(1)) < torch.tensor([[0.0], [0.3], [0.6]])
    expected, found = (last_states(model, models.sites, off) for model in (models.whole, models.offloaded))
    assert torch.allclose(found, expected, atol=1e-5)
    assert (expected[1] - expected[2]).abs().max() > 1e-3


def test_the_device_is_where_embeddings_compute(models):
    assert models.offloaded.device == torch.device("cpu")


@torch.inference_mode()
def test_a_prompts_logits(models):
    if models.whole.outline.kind == "encoder-decoder":
        pytest.skip("has no prompt task")
    width = models.whole.module.get_input_embeddings().embedding_dim
    prompts = torch.randn(2, 2, width, generator=torch.Generator().manual_seed(2))
    read = []
    for model in (models.whole, models.offloaded):
        prompted = PromptedModel(model, "prefix", 2, ["negative", "positive"])
        read.append(prompted.forward(prompted.batch([[7, 8, 9], [7]]), prompts))
    assert torch.allclose(*read, atol=1e-5)
