"""Activations of tuned prompts in the store."""

import copy
import shutil

import numpy as np
import pandas as pd
import pytest
import tiny_models
import torch
from extracting import activations_of, extract_rows

from emoscale.errors import StageError
from emoscale.extraction.inputs import PromptRows
from emoscale.models.loading import LanguageModel
from emoscale.models.prompted import PromptedModel
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS
from emoscale.store import CommitLog, open_store
from emoscale.system.progress import Silent

LENGTH, ROWS, WIDTH = 3, 7, tiny_models.WIDTH
CASES = [
    ("roberta", "mask-first", 0),
    ("bert", "prefix", 0),
    ("gpt2", "prefix", LENGTH),
    ("llama", "prefix", LENGTH),
    ("bert-encoder", "prefix", -1),
]
TABLE = pd.DataFrame({"concept": [f"concept {i}" for i in range(ROWS)], "replicate": [str(i % 2) for i in range(ROWS)]})


def prompt_rows(model, layout, spoil=None):
    vectors = torch.randn(ROWS, LENGTH, tiny_models.HIDDEN, generator=torch.Generator().manual_seed(3))
    if spoil is not None:
        vectors[spoil] = float("nan")
    prompted = PromptedModel(model, layout, LENGTH, ["negative", "positive"])
    return PromptRows(prompted, vectors, TABLE, prompted.layout.read)


@pytest.fixture
def gpt2_rows(tiny_model):
    return prompt_rows(tiny_model("gpt2"), "prefix")


def run(path, rows, progress=None, **changes):
    settings = {
        "block_rows": 3,
        "batch_rows": 2,
        "chunk_neurons": 20,
        "dtype": "float32",
        "origin": {"model": "tiny"},
    } | changes
    return extract_rows(path, rows, progress, **settings)


def stored(path):
    store = activations_of(path)
    assert store.complete
    return store


def files_of(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def second_maps(module):
    ends = ("output.dense", "c_proj", "down_proj")
    return [m for n, m in module.named_modules() if n.endswith(ends) and "attention" not in n and "attn" not in n]


@torch.no_grad()
def directly(model, layout, prompt):
    """One prompt alone; the inputs of the second maps at the position that is read."""
    module, tokenizer, kind = model.module, model.outline.tokenizer, model.outline.kind
    embed = module.get_input_embeddings().weight
    if layout == "mask-first":
        tokens = [embed[tokenizer.mask_token_id], *prompt, embed[tokenizer.cls_token_id]]
    else:
        start = tokenizer.bos_token_id if kind == "causal-lm" else tokenizer.cls_token_id
        tokens = [embed[start], *prompt]
    options = {"position_ids": torch.arange(len(tokens))[None]} if layout == "mask-first" else {}
    seen = []
    maps = second_maps(module)
    assert len(maps) == tiny_models.LAYERS
    handles = [
        m.register_forward_pre_hook(lambda _m, args: seen.append(args[0].reshape(len(tokens), -1))) for m in maps
    ]
    module(inputs_embeds=torch.stack(tokens)[None], **options)
    for handle in handles:
        handle.remove()
    values = torch.cat(seen, dim=1)
    read = {"causal-lm": values[-1], "encoder": values.mean(dim=0)}.get(kind, values[0])
    return read.numpy()


@pytest.mark.parametrize(("name", "layout", "position"), CASES)
def test_the_store_equals_a_direct_computation(tmp_path, tiny_model, name, layout, position):
    model = tiny_model(name)
    rows = prompt_rows(model, layout)
    assert run(tmp_path, rows) == {"rows": ROWS, "neurons": 2 * WIDTH}
    store = stored(tmp_path)
    expected = np.stack([directly(model, layout, prompt) for prompt in rows._vectors])
    assert np.allclose(store.read("activations"), expected, atol=1e-5)
    assert np.abs(expected[0] - expected[1]).max() > 1e-2
    assert store.read("concept").tolist() == TABLE["concept"].tolist()
    assert store.read("replicate").tolist() == TABLE["replicate"].tolist()
    assert store.read("item").tolist() == list(range(ROWS))
    assert store.read("position").tolist() == ROWS * [position]
    assert store.read("layer").tolist() == WIDTH * [0] + WIDTH * [1]
    assert store.read("unit").tolist() == 2 * list(range(WIDTH))
    assert store.attributes["origin"] == {"model": "tiny"}
    assert store.chunks("activations") == (3, 20)
    assert store.verify() == []
    assert not RunFolder(tmp_path).commits(RunFolder(tmp_path).activations).exists()


@pytest.mark.parametrize(("block_rows", "batch_rows"), [(1, 1), (2, 5), (3, 2), (7, 3), (100, 100)])
def test_blocks_and_batches_do_not_matter(tmp_path, gpt2_rows, block_rows, batch_rows):
    run(tmp_path / "whole", gpt2_rows, block_rows=ROWS, batch_rows=ROWS)
    run(tmp_path / "cut", gpt2_rows, block_rows=block_rows, batch_rows=batch_rows)
    whole, cut = (stored(tmp_path / name).read("activations") for name in ("whole", "cut"))
    assert np.allclose(whole, cut, atol=1e-6)


def test_half_precision_store(tmp_path, gpt2_rows):
    run(tmp_path / "full", gpt2_rows)
    run(tmp_path / "half", gpt2_rows, dtype="float16")
    full, half = (stored(tmp_path / name).read("activations") for name in ("full", "half"))
    assert half.dtype == np.float16
    assert np.array_equal(half, full.astype(np.float16))


class StopAfter(Silent):
    """Progress that interrupts after a number of blocks."""

    def __init__(self, blocks):
        self.left = blocks

    def start(self, total, unit, done=0):
        self.total, self.done, self.unit = total, done, unit

    def advance(self, amount=1):
        self.left -= self.unit == "rows"
        if not self.left:
            raise KeyboardInterrupt


class Counting(PromptRows):
    """Rows that count how many of them were computed."""

    def __init__(self, rows):
        self.__dict__ = dict(vars(rows))
        self.computed = 0

    def run(self, numbers, ids, attention):
        self.computed += len(numbers)
        super().run(numbers, ids, attention)


def interrupted(path, rows, blocks):
    """Stop when that many blocks of two rows are written; blocks that are queued then may be written, too."""
    with pytest.raises(KeyboardInterrupt):
        run(path, rows, StopAfter(blocks), block_rows=2)
    folder = RunFolder(path)
    assert not open_store(folder.activations, ACTIVATIONS).complete
    return folder


def rows_committed(folder):
    done = CommitLog(folder.commits(folder.activations) / "tp-0").done()
    return sum(min(2, ROWS - 2 * block) for block in done)


def test_an_interrupted_extraction_continues(tmp_path, gpt2_rows):
    run(tmp_path / "whole", gpt2_rows, block_rows=2)
    folder = interrupted(tmp_path / "part", gpt2_rows, 2)
    committed = rows_committed(folder)
    assert committed >= 4
    rows, progress = Counting(gpt2_rows), StopAfter(99)
    run(tmp_path / "part", rows, progress, block_rows=2)
    assert rows.computed == ROWS - committed
    assert (progress.total, progress.done, progress.unit) == (ROWS, committed, "rows")
    assert files_of(tmp_path / "part") == files_of(tmp_path / "whole")
    assert not folder.commits(folder.activations).exists()


def test_a_block_that_was_not_committed_is_written_again(tmp_path, gpt2_rows):
    """Killed while it wrote a block: the chunk is torn, and so is the line of the commit log."""
    run(tmp_path / "whole", gpt2_rows, block_rows=2)
    folder = interrupted(tmp_path / "part", gpt2_rows, 3)
    log = folder.commits(folder.activations) / "tp-0" / "rank-0.log"
    last = int(log.read_text().split()[-3])
    log.write_bytes(log.read_bytes()[:-2])
    chunk = folder.activations / "activations" / "c" / str(last) / "0"
    chunk.write_bytes(chunk.read_bytes()[:5])
    committed = rows_committed(folder)
    rows = Counting(gpt2_rows)
    run(tmp_path / "part", rows, block_rows=2)
    assert rows.computed == ROWS - committed > 0
    assert files_of(tmp_path / "part") == files_of(tmp_path / "whole")


def test_a_finished_store_is_kept(tmp_path, gpt2_rows):
    run(tmp_path, gpt2_rows)
    before = files_of(tmp_path)
    rows, progress = Counting(gpt2_rows), StopAfter(99)
    assert run(tmp_path, rows, progress) == {"rows": ROWS, "neurons": 2 * WIDTH}
    assert rows.computed == 0
    assert progress.done == progress.total == ROWS
    assert files_of(tmp_path) == before


def test_a_store_of_another_origin_is_replaced(tmp_path, gpt2_rows, tiny_model):
    interrupted(tmp_path, gpt2_rows, 2)
    other = prompt_rows(tiny_model("llama"), "prefix")
    run(tmp_path, other, origin={"model": "other"})
    run(tmp_path / "alone", other, origin={"model": "other"})
    assert np.array_equal(stored(tmp_path).read("activations"), stored(tmp_path / "alone").read("activations"))
    shutil.rmtree(tmp_path / "alone")
    assert {path.name for path in tmp_path.iterdir()} == {"activations.zarr", "inputs.zarr"}


def test_a_store_that_was_lost_is_not_taken_for_done(tmp_path, gpt2_rows):
    folder = interrupted(tmp_path, gpt2_rows, 3)
    shutil.rmtree(folder.activations)
    rows = Counting(gpt2_rows)
    run(tmp_path, rows, block_rows=2)
    assert rows.computed == ROWS
    assert stored(tmp_path).verify() == []


def test_an_activation_that_is_not_finite_stops_the_stage(tmp_path, tiny_model):
    rows = prompt_rows(tiny_model("gpt2"), "prefix", spoil=5)
    with pytest.raises(StageError, match=r"48 activations are not finite .*layer 0, row 5 \(concept 5, 1\)"):
        run(tmp_path, rows)
    assert not open_store(RunFolder(tmp_path).activations, ACTIVATIONS).complete
    assert run(tmp_path, rows, non_finite="keep")["rows"] == ROWS
    assert np.isnan(stored(tmp_path).read("activations")).sum(axis=1).tolist() == [
        48 if r == 5 else 0 for r in range(ROWS)
    ]


@pytest.mark.filterwarnings("error")
def test_an_overflow_of_the_stored_type_stops_the_stage(tmp_path, tiny_model):
    model = tiny_model("gpt2")
    module = copy.deepcopy(model.module)
    with torch.no_grad():
        module.transformer.h[1].mlp.c_fc.bias[3] = 1e5
    rows = prompt_rows(LanguageModel(model.outline, module), "prefix")
    run(tmp_path / "full", rows)
    with pytest.raises(StageError, match=r"float16, first in layer 1, row 0 \(concept 0, 0\); set extraction.dtype"):
        run(tmp_path / "half", rows, dtype="float16")
