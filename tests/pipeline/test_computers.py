"""Where selectivity is computed, as the command line says it."""

import shutil

import pytest
import yaml
from distributed import LocalCluster
from tiny_run import STAGES, contents, states, times


@pytest.fixture
def extracted(world, finished):
    """Give a copy of the finished run; its selectivity can be done anew."""
    shutil.copytree(finished.out, world.out)
    return world


def select(cli, finished, world, *options):
    return cli("select", finished.config, "--out", world.out, "--fresh", *options)


def test_select_on_a_running_cluster(cli, finished, extracted):
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=":0"
    ) as running:
        answer = select(cli, finished, extracted, "--set", f"machine.scheduler={running.scheduler_address}")
        assert (answer.code, answer.err) == (0, "")
        recorded = yaml.safe_load((extracted.out / "config.yaml").read_text())["machine"]
        assert recorded["scheduler"] == running.scheduler_address
    assert contents(extracted.out, "selectivity.zarr") == contents(finished.out, "selectivity.zarr")
    assert states(extracted.out) == dict.fromkeys(STAGES[:4], "done")
    # Nothing but where it is computed has changed, so the run goes on here.
    answer = cli("mask", finished.config, "--out", extracted.out, "--set", "machine.memory_limit=1GB")
    assert (answer.code, answer.err) == (0, "")


def test_permuted_masks_on_a_running_cluster(cli, finished, extracted):
    permuted = ("--out", extracted.out, "--set", "masks.controls=[permuted]", "--set", "masks.permutations=2")
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=":0"
    ) as running:
        cluster = ("--set", f"machine.scheduler={running.scheduler_address}")
        assert cli("mask", finished.config, *permuted, *cluster).code == 0
    there = contents(extracted.out, "masks.zarr")
    assert cli("mask", finished.config, *permuted, "--fresh").code == 0
    assert contents(extracted.out, "masks.zarr") == there != contents(finished.out, "masks.zarr")
    answer = cli("mask", finished.config, *permuted, "--fresh", "--set", "machine.scheduler=nonsense")
    assert "scheduler nonsense: no Dask scheduler answers" in answer.err
    assert contents(extracted.out, "masks.zarr") == there


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "machine.cluster=pbs"], "--set: machine.cluster: 'pbs' cannot be used; input should be 'slurm'"),
        (
            ["--set", "machine.cluster=slurm", "--set", "machine.scheduler=tcp://127.0.0.1:1"],
            "--set: machine: machine.scheduler and machine.cluster are both set; keep one of them",
        ),
        (
            ["--set", "machine.memory_limit=much"],
            "--set: machine.memory_limit: 'much' cannot be used; give a size such as 4 GB",
        ),
    ],
)
def test_mistakes_are_told_before_anything_is_changed(cli, finished, options, said):
    before = times(finished.out)
    answer = cli("select", finished.config, "--out", finished.out, "--fresh", *options)
    assert (answer.code, answer.out, answer.problems) == (2, "", [said])
    assert times(finished.out) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "machine.memory_limit=1kB"], "machine.memory_limit: 1,000 bytes do not hold 20 neurons"),
    ],
)
def test_computers_that_cannot_be_used(cli, finished, extracted, options, said):
    answer = select(cli, finished, extracted, *options)
    (told,) = answer.problems
    assert (answer.code, answer.out) == (2, "")
    assert told.startswith(said)
    assert not (extracted.out / "selectivity.zarr").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--set", "machine.scheduler=nonsense"],
            "scheduler nonsense: no Dask scheduler answers (missing port number in address",
        ),
        (["--set", "machine.cluster=slurm"], "cluster slurm: no sbatch"),
        (["--set", "machine.backend=cuda"], "machine.backend cuda: no GPU is available on "),
    ],
)
def test_computers_that_are_not_there_are_told_before_anything_is_changed(cli, finished, options, said, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("PATH", "")
    before = times(finished.out)
    answer = cli("run", finished.config, "--out", finished.out, "--fresh", *options)
    (told,) = answer.problems
    assert (answer.code, answer.out) == (2, "")
    assert told.startswith(said)
    assert times(finished.out) == before


@pytest.mark.parametrize(
    "damage", [lambda file: file.write_bytes(b"\0\0\0" + file.read_bytes()[3:]), lambda file: file.unlink()]
)
def test_a_spoilt_chunk_ends_the_run_with_its_name(cli, finished, extracted, damage):
    file = extracted.out / "activations.zarr" / "activations" / "c" / "1" / "0"
    damage(file)
    answer = select(cli, finished, extracted)
    (told,) = answer.problems
    assert (answer.code, answer.out) == (1, "")
    assert told.startswith(f"{file}: chunk is ")
    assert not (extracted.out / "selectivity.zarr").exists()
    assert states(extracted.out)["select"] == "running"


def test_memory_and_threads_may_change_in_a_finished_run(cli, finished):
    before = times(finished.out)
    options = ["machine.memory_limit=2GB", "machine.workers=9", "machine.cluster=slurm"]
    answer = cli("run", finished.config, "--out", finished.out, *(word for o in options for word in ("--set", o)))
    assert (answer.code, answer.err) == (0, "")
    assert times(finished.out) == before
