"""A model spread over two processes gives what it gives in one."""

import os
import socket
import subprocess
import sys

import numpy as np
import pandas as pd
import part_of_a_model
import pytest
import tiny_models
import torch
import yaml
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM

from emoscale.effect_schema import EFFECT_CHECK
from emoscale.errors import InputError
from emoscale.models.tensor_parallel import own_neurons
from emoscale.run.effects import mean_effects
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS, MASKS, MOMENTS, SCORES
from emoscale.store import create_store, open_store
from emoscale.system import ranks
from emoscale.system.ranks import Ranks, one_process

pytestmark = pytest.mark.slow

PARTS = 2
FAMILIES = {
    "llama": (LlamaForCausalLM, LlamaConfig, {"num_key_value_heads": 2}),
    "phi3": (Phi3ForCausalLM, Phi3Config, {"num_key_value_heads": 2, "pad_token_id": 1}),  # its second maps take all
    "neox": (GPTNeoXForCausalLM, GPTNeoXConfig, {}),
    "odd": (LlamaForCausalLM, LlamaConfig, {"num_key_value_heads": 1}),
}
CASES = [(family, site) for family in ("llama", "phi3", "neox") for site in ("ffn", "attention")]
CASES += [("llama", "residual")]


def save_model(folder, family):
    cls, config, options = FAMILIES[family]
    tokenizer = tiny_models.bpe_tokenizer("llama")
    size = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "tie_word_embeddings": False}
    model = cls(config(vocab_size=len(tokenizer), max_position_embeddings=64, **size, **ends, **options))
    tiny_models.randomise(model).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")


def write_masks(path, off):
    count = len(off)
    coordinates = {
        "kind": np.array(["random"] * count),
        "attribute": np.array([""] * count),
        "k": off.sum(axis=1),
        "draw": np.arange(count),
    }
    bits = np.packbits(off, axis=1)
    store = create_store(
        RunFolder(path).masks,
        MASKS,
        coordinates,
        {"mask": 2},
        sizes={"neuron_byte": bits.shape[1]},
        attributes={"neurons": off.shape[1]},
    )
    store.write("bits", bits)
    store.mark_complete()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models, what each process saw of them, and their ablations by two processes and by one."""
    folder = tmp_path_factory.mktemp("split")
    for family in FAMILIES:
        save_model(folder / family, family)
    for family, site in CASES:
        model = part_of_a_model.load(folder / family, site)
        for run in ("parts", "whole"):
            write_masks(folder / family / f"{site}-{run}", part_of_a_model.masks(model.outline.neurons))
        part_of_a_model.correct_answers(folder / family / f"{site}-whole", model, one_process())
        part_of_a_model.effects(folder / family / f"{site}-whole", model, one_process())
    torchrun(folder)
    return folder


def torchrun(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(PARTS), "--master_port"]
    cases = ["-".join(case) for case in CASES]
    done = subprocess.run(
        [*launcher, str(port), part_of_a_model.__file__, str(folder), *cases],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr


def seen(folder, family, site, part):
    return torch.load(folder / family / f"{site}-{part}.pt")


@pytest.mark.parametrize(("family", "site"), CASES)
def test_each_part_reads_its_own_neurons(folder, family, site):
    model = part_of_a_model.load(folder / family, site)
    expected = part_of_a_model.values(model)
    for part in range(PARTS):
        own = torch.cat([expected[:, neurons] for neurons in own_neurons(model.outline.sites, part, PARTS)], dim=1)
        assert own.shape == (4, model.outline.neurons // PARTS)
        assert torch.allclose(seen(folder, family, site, part)["values"], own, atol=1e-5)


@pytest.mark.parametrize(("family", "site"), CASES)
def test_every_part_gives_the_logits_of_the_masked_model(folder, family, site):
    expected = part_of_a_model.logits(part_of_a_model.load(folder / family, site))
    assert (expected[0] - expected[1]).abs().max() > 1e-2
    for part in range(PARTS):
        assert torch.allclose(seen(folder, family, site, part)["logits"], expected, atol=1e-5)


@pytest.mark.parametrize(("family", "site"), CASES)
def test_ablation_is_that_of_the_whole_model(folder, family, site):
    stores = [open_store(RunFolder(folder / family / f"{site}-{run}").scores, SCORES) for run in ("parts", "whole")]
    assert all(store.complete for store in stores)
    parts, whole = (store.read("scores") for store in stores)
    assert np.allclose(parts, whole, atol=1e-4)
    assert np.ptp(whole, axis=1).max() > 0.01


@pytest.mark.parametrize(("family", "site"), CASES)
def test_effects_are_those_of_the_whole_model(folder, family, site):
    runs = [RunFolder(folder / family / f"{site}-{run}") for run in ("parts", "whole")]
    parts, whole = (mean_effects(run).by_cell for run in runs)
    assert np.abs(whole).max() > 0.01
    assert np.allclose(parts, whole, atol=1e-4 * np.abs(whole).max())
    checks = [open_store(run.effect_check, EFFECT_CHECK) for run in runs]
    for name in ("neuron", "estimated", "exact", "change"):
        one, other = (check.read(name) for check in checks)
        assert np.allclose(one, other, atol=1e-4)


def test_all_parts_do_what_the_first_one_sees(folder):
    assert [seen(folder, "llama", "ffn", part)["agreed"] for part in range(PARTS)] == [0, 0]


def test_a_width_that_the_processes_do_not_divide(folder):
    for part in range(PARTS):
        refused = (folder / f"refused-{part}.txt").read_text()
        assert "2 processes do not divide the heads and neurons" in refused
        assert refused.endswith("start 1")


def test_parts_of_one_model_do_all_work_and_one_of_them_saves():
    parts = [Ranks(0, 1, torch.device("cpu"), tp_rank=part, tp_size=3) for part in range(3)]
    assert [ranks.own([1, 2, 3]) for ranks in parts] == [[1, 2, 3]] * 3
    assert [ranks.is_main for ranks in parts] == [ranks.saves for ranks in parts] == [True, False, False]
    assert {ranks.processes for ranks in parts} == {3}
    ranks = Ranks(1, 2, torch.device("cpu"))
    assert (ranks.is_main, ranks.saves, ranks.processes) == (False, True, 2)
    assert ranks.agree("mine") == "mine"


@pytest.fixture
def two_processes_with_gpus(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.mark.usefixtures("two_processes_with_gpus")
def test_processes_that_would_share_gpus():
    with pytest.raises(InputError, match=r"'layers': 2 processes on this machine would share its GPUs; start one"):
        ranks.join("auto", threads=1, split_model="layers")


@pytest.mark.usefixtures("two_processes_with_gpus")
def test_tensors_over_cpus_where_there_are_gpus():
    with pytest.raises(InputError, match=r"machine.device is 'cpu' and the tensors would go to GPUs"):
        ranks.join("cpu", threads=1, split_model="tensors")


def extract(config, out, *more, processes=1):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--master_port", str(port)]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "emoscale", "extract", str(config)]
    done = subprocess.run(
        [*command, "--out", str(out), *(word for setting in more for word in ("--set", setting))],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("keep", "rows"), [("activations", "tokens"), ("moments", "texts")])
def test_each_part_writes_its_own_neurons(folder, tmp_path, keep, rows):
    texts = [("she felt alone at home", "joy"), ("dark news", "fear"), ("a loud friend won", "joy"), ("lost", "anger")]
    pd.DataFrame(2 * texts, columns=["text", "label"]).to_csv(tmp_path / "texts.csv", index=False)
    settings = {
        "model": {"name": str(folder / "llama" / "model")},
        "concepts": {"names": ["joy", "fear", "anger"]},
        "stimuli": {"source": "file", "path": str(tmp_path / "texts.csv"), "max_tokens": 16},
        "extraction": {"rows": rows, "keep": keep, "split": "all", "block_rows": 3, "chunk_neurons": 10},
        "machine": {"device": "cpu"},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    extract(tmp_path / "config.yaml", tmp_path / "whole")
    extract(tmp_path / "config.yaml", tmp_path / "parts", "machine.split_model=tensors", processes=PARTS)
    schema, names = (ACTIVATIONS, ["activations"]) if keep == "activations" else (MOMENTS, ["mean", "m2", "count"])
    whole, parts = (open_store(getattr(RunFolder(tmp_path / run), keep), schema) for run in ("whole", "parts"))
    assert whole.complete
    assert parts.complete
    assert parts.verify() == []
    for name in names:
        assert parts.chunks(name)[-1] == 6  # two processes have 12 neurons each of every layer
        np.testing.assert_allclose(parts.read(name), whole.read(name), rtol=0, atol=1e-5)
    for coordinate in schema.coordinates:
        np.testing.assert_array_equal(parts.read(coordinate.name), whole.read(coordinate.name))
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == sorted(
        path.name for path in (tmp_path / "whole").iterdir()
    )
