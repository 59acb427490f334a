"""The units of the residual stream through every stage."""

import numpy as np
import torch
from tiny_run import CONCEPTS, STAGES, states
from transformers import AutoModel, AutoTokenizer

from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS, MASKS, SCORES
from emoscale.store import open_store

HIDDEN, LAYERS = 16, 2
TEMPLATES = ["she felt {concept}", "a {concept} voice"]


@torch.no_grad()
def hidden_states(folder, concept, template):
    """What transformers returns for the last token of every block's output."""
    ids = AutoTokenizer.from_pretrained(folder)(template.format(concept=concept), return_tensors="pt")
    model = AutoModel.from_pretrained(folder).eval()
    return torch.cat([state[0, -1] for state in model(**ids, output_hidden_states=True).hidden_states[1:]]).numpy()


def test_residual_units_are_extracted_selected_masked_and_ablated(cli, world, tiny_folder):
    config = world.write(
        model={"name": str(tiny_folder("bert-encoder")), "site": "residual"},
        extraction={"rows": "templates", "templates": TEMPLATES, "pooling": "last"},
        masks={"k": [4, 12], "draws": 2},
    )
    answer = cli("run", config, "--out", world.out)
    assert (answer.code, answer.err) == (0, "")
    assert states(world.out) == dict.fromkeys(STAGES, "done")
    folder = RunFolder(world.out)
    store = open_store(folder.activations, ACTIVATIONS)
    values = store.read("activations")
    assert store.read("layer").tolist() == [0] * HIDDEN + [1] * HIDDEN
    assert values.shape == (len(CONCEPTS) * len(TEMPLATES), LAYERS * HIDDEN)
    for row, concept, template in zip(values, store.read("concept"), store.read("replicate"), strict=True):
        expected = hidden_states(tiny_folder("bert-encoder"), str(concept), str(template))
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-5)
    bits = np.unpackbits(open_store(folder.masks, MASKS).read("bits"), axis=1)[:, : LAYERS * HIDDEN]
    assert set(bits.sum(axis=1)) == {0, 4, 12}
    scores = open_store(folder.scores, SCORES).read("scores")
    assert scores.shape[1] == len(bits)
    assert np.ptp(scores, axis=1).max() > 0.01
