"""The units of the residual stream through every stage."""

import numpy as np
import pandas as pd
import torch
from tiny_run import STAGES, states
from transformers import AutoModel

from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS, MASKS
from emoscale.store import open_store

HIDDEN, LAYERS, ROWS = 16, 2, 4


def test_residual_units_are_extracted_selected_masked_and_ablated(cli, world, tiny_folder):
    config = world.write(
        model={"name": str(tiny_folder("bert")), "site": "residual"},
        extraction={"rows": "templates", "templates": ["she felt {concept}", "a {concept} voice"], "read": "last"},
        masks={"k": [4], "draws": 2},
    )
    answer = cli("run", config, "--out", world.out)
    assert (answer.code, answer.err) == (0, "")
    assert states(world.out) == dict.fromkeys(STAGES, "done")
    folder = RunFolder(world.out)
    store = open_store(folder.activations, ACTIVATIONS)
    values, layer = store.read("activations"), store.read("layer")
    assert layer.tolist() == [0] * HIDDEN + [1] * HIDDEN
    model = AutoModel.from_pretrained(tiny_folder("bert")).eval()
    assert values.shape == (8, LAYERS * HIDDEN)
    tokenizer = world_tokenizer(tiny_folder)
    found = []
    for template in ("she felt {concept}", "a {concept} voice"):
        for concept in ("joy", "anger", "fear", "sad"):
            ids = tokenizer(template.format(concept=concept), return_tensors="pt")
            with torch.no_grad():
                hidden = model(**ids, output_hidden_states=True).hidden_states
            found.append(torch.cat([state[0, -1] for state in hidden[1:]]).numpy())
    wanted = {row.round(4).tobytes() for row in np.stack(found).astype(np.float32)}
    assert len(wanted) == len(values)
    order = [int(np.abs(np.stack(found) - row).max(axis=1).argmin()) for row in values]
    assert sorted(order) == list(range(len(values)))
    np.testing.assert_allclose(values, np.stack(found)[order], rtol=0, atol=1e-5)
    bits = np.unpackbits(open_store(folder.masks, MASKS).read("bits"), axis=1)[:, : LAYERS * HIDDEN]
    assert set(bits.sum(axis=1)) == {0, 4}
    table = pd.read_parquet(world.out / "ablation.parquet")
    assert table["mask"].nunique() == len(bits)


def world_tokenizer(tiny_folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_folder("bert"))
