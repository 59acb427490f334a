"""Several processes share a run out and leave what one process leaves, byte for byte."""

import os
import shutil
import socket
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from emoscale.config import load_settings
from emoscale.errors import InputError
from emoscale.pipeline.runner import Request, run
from emoscale.run.folder import RunFolder
from emoscale.system import ranks
from emoscale.system.ranks import Ranks, one_process, precision

pytestmark = pytest.mark.slow

CONCEPTS = ["joy", "fear", "anger", "sadness"]


@given(st.integers(0, 50), st.integers(1, 7))
def test_shares_cover_all_work_once(items, world):
    work = list(range(items))
    shares = [Ranks(rank, world, torch.device("cpu")).own(work) for rank in range(world)]
    assert sorted(item for share in shares for item in share) == work
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_process_alone():
    ranks = one_process()
    assert (ranks.rank, ranks.world, ranks.is_main, ranks.device) == (0, 1, True, torch.device("cpu"))
    assert not Ranks(1, 2, torch.device("cpu")).is_main
    ranks.wait()


@pytest.fixture
def threads():
    usual = torch.get_num_threads()
    yield
    torch.set_num_threads(usual)


@pytest.fixture
def environment(monkeypatch, threads):
    """Make the environment look as a launcher leaves it."""

    def set_variables(**variables):
        for name in (*os.environ, *variables):
            if name.startswith(("ACCELERATE", "MASTER", "WORLD", "LOCAL", "RANK")):
                monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_variables


def test_joining_alone(environment):
    environment()
    alone = ranks.join("cpu", threads=1)
    assert (alone.rank, alone.world, alone.device.type) == (0, 1, "cpu")
    assert torch.get_num_threads() == 1
    ranks.leave()


def test_cores_are_shared_out_among_a_machines_ranks(environment):
    environment(WORLD_SIZE="1", LOCAL_WORLD_SIZE="1")
    ranks.join("cpu")
    assert torch.get_num_threads() == ranks.cores()
    environment(WORLD_SIZE="1", LOCAL_WORLD_SIZE=str(2 * ranks.cores()))
    ranks.join("cpu")
    assert torch.get_num_threads() == 1


def test_fewer_processes_than_asked_for(environment, monkeypatch):
    environment(WORLD_SIZE="4", RANK="0", LOCAL_RANK="0")
    alone = SimpleNamespace(num_processes=1, process_index=0, device=torch.device("cpu"))
    monkeypatch.setattr(ranks, "Accelerator", lambda **options: alone)
    with pytest.raises(InputError, match=r"4 processes were requested and 1 started.*torchrun --nproc_per_node 4"):
        ranks.join("cpu")


def test_a_world_size_that_no_launcher_set(environment):
    environment(WORLD_SIZE="2")
    with pytest.raises(InputError, match=r"WORLD_SIZE is 2 and no launcher .*torchrun --nproc_per_node 2"):
        ranks.join("cpu")


def test_accelerate_launch_starts_one_process_on_cpus(environment):
    """What it leaves in the environment of `accelerate launch --cpu --num_processes 2`, and of one process."""
    environment(
        ACCELERATE_USE_CPU="True", ACCELERATE_MIXED_PRECISION="no", MASTER_ADDR="127.0.0.1", MASTER_PORT="29500"
    )
    with pytest.raises(InputError, match=r"one process instead of several.*torchrun"):
        ranks.join("cpu")
    environment(ACCELERATE_USE_CPU="True", ACCELERATE_MIXED_PRECISION="no")
    assert ranks.join("cpu").world == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_device_that_is_not_there():
    with pytest.raises(InputError, match=r"machine\.device 'cuda': no such device"):
        ranks.join("cuda")


def test_precision():
    cpu = torch.device("cpu")
    a = torch.randn(4, 4)
    for name, expected in [("float32", torch.float32), ("bfloat16", torch.bfloat16)]:
        with precision(name, cpu):
            assert (a @ a).dtype == expected
        assert (a @ a).dtype == torch.float32
    with precision("auto", cpu):
        fast = ranks.has_fast_bfloat16(cpu)
        assert (a @ a).dtype == (torch.bfloat16 if fast else torch.float32)


def write_inputs(folder, model):
    rng = np.random.default_rng(0)
    words = ["she", "felt", "alone", "at", "home", "news", "gift", "dark", "loud", "friend", "won", "lost"]
    texts = [(" ".join(rng.choice(words, rng.integers(2, 6))), CONCEPTS[i % 4]) for i in range(40)]
    pd.DataFrame(texts, columns=["text", "label"]).to_csv(folder / "texts.csv", index=False)
    settings = {
        "model": {"name": str(model)},
        "concepts": {"names": CONCEPTS},
        "stimuli": {"source": "file", "path": str(folder / "texts.csv"), "max_tokens": 8, "dev_fraction": 0.4},
        "tuning": {
            "seeds": [1, 3],
            "layout": "prefix",
            "prompt_length": 3,
            "epochs": 1,
            "batch_size": 4,
            "prompts_per_group": 3,
        },
        "extraction": {"block_rows": 3, "batch_rows": 2, "chunk_neurons": 16},
        "attribution": {
            "check_neurons": 6,
            "check_groups": [0.25],
            "check_draws": 3,
            "block_rows": 4,
            "reduction_shards": 5,
            "tokens_per_pass": 60,
        },
        "faithfulness": {"rankings": ["effect", "random"], "shares": [0.1, 0.5], "draws": 2},
        "masks": {"k": [5, 0.5], "draws": 2},
        "ablation": {"masks_per_unit": 7, "tokens_per_pass": 300},
        "machine": {"device": "cpu", "threads": 1},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder / "config.yaml"


@pytest.fixture(scope="module")
def config(tmp_path_factory, tiny_folder):
    return write_inputs(tmp_path_factory.mktemp("inputs"), tiny_folder("bert-encoder"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory, config):
    """One process's run, and copies of it before extraction and before ablation."""
    folder = tmp_path_factory.mktemp("runs")
    usual = torch.get_num_threads()
    for stage in ("tune", "extract", "attribute-effects", "measure-faithfulness", "select", "mask", "ablate"):
        if stage in ("extract", "attribute-effects", "measure-faithfulness", "ablate"):
            shutil.copytree(folder / "one", folder / stage)
        run(load_settings(config), RunFolder(folder / "one"), Console(quiet=True), Request(stage))
    torch.set_num_threads(usual)
    return folder


def files_of(path):
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {file.relative_to(path.parent): file.read_bytes() for file in files}


def torchrun(stage, config, out, *more, processes=2):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--master_port", str(port)]
    command += ["--nproc_per_node", str(processes)]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [*command, "-m", "emoscale", stage, str(config), "--out", str(out), *more],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_three_processes_leave_the_effects_that_one_leaves(runs, config):
    torchrun("attribute-effects", config, runs / "attribute-effects", processes=3)
    for result in ("effect_moments.zarr", "effect_check.zarr"):
        expected = files_of(runs / "one" / result)
        assert expected
        assert files_of(runs / "attribute-effects" / result) == expected


@pytest.mark.parametrize(
    ("stage", "result"),
    [
        ("extract", "activations.zarr"),
        ("measure-faithfulness", "faithfulness.zarr"),
        ("ablate", "scores.zarr"),
    ],
)
def test_two_processes_leave_what_one_leaves(runs, config, stage, result):
    said = torchrun(stage, config, runs / stage)
    assert said.count(f"{stage} ") == 1  # rank 1 keeps quiet
    expected = files_of(runs / "one" / result)
    assert expected
    assert files_of(runs / stage / result) == expected
    manifest = RunFolder(runs / stage).manifest()
    assert manifest["hardware"]["ranks"] == 2
    assert manifest["stages"][stage]["state"] == "done"
    assert not list((runs / stage).glob("*.commits"))


def test_two_processes_share_the_prompts_out(runs, config):
    """With as many threads in each: backward sums in another order on more, which shows in the last bits."""
    threads = ["--set", "machine.threads=1"]
    usual = torch.get_num_threads()
    run(load_settings(config, threads[1:]), RunFolder(runs / "tuned-1"), Console(quiet=True), Request("tune"))
    torch.set_num_threads(usual)
    said = torchrun("tune", config, runs / "tuned-2", *threads)
    assert said.count("tune ") == 1
    assert len(files_of(runs / "tuned-1" / "prompts")) == 3
    for result in ("prompts", "prompts.parquet"):
        assert files_of(runs / "tuned-2" / result) == files_of(runs / "tuned-1" / result)
    assert RunFolder(runs / "tuned-2").manifest()["hardware"]["ranks"] == 2


ROWS = {
    "texts": ["extraction.rows=texts", "extraction.split=all", "extraction.dtype=float16"],
    "tokens": ["extraction.rows=tokens", "extraction.block_rows=7", "extraction.dtype=bfloat16"],
    "templates": ["extraction.rows=templates", "extraction.pooling=concept-mean"],
    "moments": [
        "extraction.rows=tokens",
        "extraction.split=all",
        "extraction.keep=moments",
        "extraction.reduction_shards=5",
    ],
}


@pytest.mark.parametrize(
    ("kind", "processes"),
    [("texts", 3), ("tokens", 2), ("tokens", 3), ("templates", 3), ("moments", 2), ("moments", 3)],
)
def test_any_number_of_processes_leave_the_same_stores(runs, config, kind, processes):
    chosen = [word for setting in (*ROWS[kind], "machine.threads=1") for word in ("--set", setting)]
    alone, together = runs / f"{kind}-1", runs / f"{kind}-{processes}"
    usual = torch.get_num_threads()
    if not alone.exists():
        run(
            load_settings(config, [*ROWS[kind], "machine.threads=1"]),
            RunFolder(alone),
            Console(quiet=True),
            Request("extract"),
        )
    torch.set_num_threads(usual)
    torchrun("extract", config, together, *chosen, processes=processes)
    stores = ["inputs.zarr", "moments.zarr" if kind == "moments" else "activations.zarr"]
    assert sorted(path.name for path in together.glob("*.zarr")) == sorted(stores)
    for store in stores:
        expected = files_of(alone / store)
        assert expected
        assert files_of(together / store) == expected
