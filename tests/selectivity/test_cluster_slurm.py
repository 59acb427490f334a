"""A cluster of SLURM jobs, with substitutes of SLURM's commands."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import dask
import pytest
from clusters import by_worker, digest, run

from emoscale.errors import InputError
from emoscale.selectivity import cluster
from emoscale.selectivity.measures import MEASURES

pytestmark = pytest.mark.slow


ROOT = Path(__file__).parents[2]
JOBS = ROOT / "configs" / "cluster" / "jobqueue.yaml"

SBATCH = """#!/bin/sh
if [ "$1" = --test-only ]; then
    [ ! -e "{folder}/refuse" ] || {{ echo "sbatch: error: invalid partition" >&2; exit 1; }}
    exit 0
fi
cp "$1" "{folder}/job-$$.sh"
setsid sh "{folder}/job-$$.sh" >"{folder}/job-$$.log" 2>&1 &
echo "$!" >>"{folder}/submitted"
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
echo "$1" >>"{folder}/cancelled"
kill -KILL "-$1"
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Give a folder with `sbatch` and `scancel`, which run jobs here, each as a group of processes."""
    pytest.importorskip("dask_jobqueue")
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, script in {"sbatch": SBATCH, "scancel": SCANCEL}.items():
        (folder / name).write_text(script.format(folder=folder))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    small = {"cores": 1, "memory": "2 GB", "processes": 1, "local-directory": str(folder / "scratch")}
    with dask.config.set({f"jobqueue.slurm.{key}": value for key, value in small.items()}):
        yield folder


def test_slurm_jobs_are_submitted_again_and_cancelled_in_the_end(folder, expected, slurm, monkeypatch):
    monkeypatch.setattr(cluster, "_LOOK_AFTER", 0.5)
    usual, lost = MEASURES["kendall"].permuted, slurm / "lost"

    def inference(values, prepared):
        if not lost.exists():
            lost.touch()
            os.killpg(os.getpgrp(), signal.SIGKILL)
        return usual(values, **prepared)

    by_worker(monkeypatch, inference)
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "0.2s"}):
        run(folder, cluster="slurm", workers=1)
    assert digest(folder.selectivity) == expected
    submitted = (slurm / "submitted").read_text().split()
    assert len(submitted) == 2
    assert set(submitted) == set((slurm / "cancelled").read_text().split())


def test_slurm_refuses_the_job(folder, slurm):
    (slurm / "refuse").touch()
    with pytest.raises(InputError, match=r"refuses the jobs \(sbatch: error: invalid partition\); correct .*jobqueue"):
        run(folder, cluster="slurm")
    assert not (slurm / "submitted").exists()
    assert not folder.selectivity.exists()


def test_slurm_jobs_that_nobody_described(folder, slurm):
    with dask.config.set({"jobqueue.slurm.cores": None}), pytest.raises(InputError) as caught:
        run(folder, cluster="slurm")
    (problem,) = caught.value.problems
    assert problem.startswith("cluster slurm: dask-jobqueue cannot describe a job (You must specify how much cores")
    assert problem.endswith("write ~/.config/dask/jobqueue.yaml, configs/cluster/jobqueue.yaml shows how")


def test_what_slurm_lacks_is_named(folder, slurm, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "dask_jobqueue.slurm", None)
        with pytest.raises(InputError, match=r"needs dask-jobqueue; pip install 'emoscale\[cluster\]'"):
            run(folder, cluster="slurm")
    monkeypatch.setenv("PATH", str(folder.path))
    with pytest.raises(InputError, match="no sbatch"):
        run(folder, cluster="slurm")


def test_the_config_that_is_shown_describes_a_job():
    pytest.importorskip("dask_jobqueue")
    first = JOBS.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(f"# DASK_CONFIG={JOBS.relative_to(ROOT)} emoscale run configs/demo.yaml --set ")
    code = "from emoscale.selectivity.cluster import make_slurm\nwith make_slurm() as jobs: print(jobs.job_script())"
    environment = {**os.environ, "DASK_CONFIG": str(JOBS)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    script = done.stdout.splitlines()
    for line in ("-J emoscale", "-p compute", "--cpus-per-task=16", "--mem=30G", "-t 04:00:00"):
        assert f"#SBATCH {line}" in script
    (command,) = (line for line in script if "dask_worker" in line)
    assert command.startswith(f"{sys.executable} -m distributed.cli.dask_worker tcp://")
    assert "--nthreads 16 --memory-limit 29.80GiB" in command
