"""SIGTERM, as schedulers send it: every stage ends soon with exit code 143, and leaves nothing that is in the way."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from tiny_run import STAGES, contents, states

from emoscale.cli import main
from emoscale.run.lock import LOCK

pytestmark = pytest.mark.slow

# Children come from a server that has the libraries imported and no threads yet, so that a run starts at once.
_CHILDREN = multiprocessing.get_context("forkserver")
_CHILDREN.set_forkserver_preload(
    ["emoscale.pipeline.context", "emoscale.pipeline.stages", "transformers.models.bert.modeling_bert"]
)
SOON = 30
"""Seconds: the limit is 10, but this machine may be busy."""
LONG = {
    "tune": {"tuning": {"epochs": 1_000_000}},
    "extract": {
        "extraction": {"rows": "templates", "batch_rows": 1, "templates": [f"{{concept}} {i}" for i in range(999)]}
    },
    "select": {"selectivity": {"inference": "permutation", "permutations": 100_000_000}},
    "ablate": {"masks": {"draws": 3000}},
}
"""Settings under which a stage takes far longer than the test."""


def wait_until(true):
    for _ in range(6000):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError("it does not come to that")


def is_running(out, stage):
    return (out / "manifest.json").is_file() and states(out).get(stage) == "running"


def call_main(arguments, stderr):
    sys.stderr = stderr.open("w", encoding="utf-8")
    sys.argv = ["emoscale", *map(str, arguments)]
    main()


@pytest.fixture
def start(world):
    """Start a command in a child."""
    children = []

    def call(*arguments, target=call_main):
        child = _CHILDREN.Process(target=target, args=(arguments, world.folder / "stderr.txt"))
        child.start()
        children.append(child)
        return child

    yield call
    for child in children:
        child.kill()
        child.join()


@pytest.mark.parametrize("stage", LONG)
def test_every_long_stage_ends_soon(cli, world, start, stage):
    world.write(**LONG[stage])
    for before in STAGES[: STAGES.index(stage)]:
        assert cli(before, world.config, "--out", world.out).code == 0
    done = contents(world.out) if world.out.exists() else {}
    child = start(stage, world.config, "--out", world.out)
    wait_until(lambda: is_running(world.out, stage))
    time.sleep(0.3)  # so that it is in the middle of it
    os.kill(child.pid, signal.SIGTERM)
    child.join(timeout=SOON)
    assert child.exitcode == 143
    told = (world.folder / "stderr.txt").read_text(encoding="utf-8")
    assert told == "emoscale: stopped by SIGTERM; rerun the same command to resume\n"
    assert states(world.out)[stage] == "running"
    assert not (world.out / LOCK).exists()
    now = contents(world.out)
    assert {name: now[name] for name in done if name != "manifest.json"} == {
        name: digest for name, digest in done.items() if name != "manifest.json"
    }


def deaf(arguments, stderr):
    """Run a stage whose main thread, in a library, executes no Python for long."""
    from emoscale.tuning.training import GroupTrainer

    def train(*_):
        mutex = ctypes.create_string_buffer(64)
        library = ctypes.CDLL(None)
        library.pthread_mutex_init(mutex, None)
        library.pthread_mutex_lock(mutex)
        library.pthread_mutex_lock(mutex)  # waits for itself, whatever signals come

    GroupTrainer.train = train
    call_main(arguments, stderr)


def test_a_process_that_hears_nothing_ends_soon(world, start):
    child = start("tune", world.config, "--out", world.out, target=deaf)
    wait_until(lambda: is_running(world.out, "tune"))
    time.sleep(0.3)
    os.kill(child.pid, signal.SIGTERM)
    child.join(timeout=SOON)
    assert child.exitcode == 143
    told = (world.folder / "stderr.txt").read_text(encoding="utf-8")
    assert told == "emoscale: stopped by SIGTERM; rerun the same command to resume\n"
    assert not (world.out / LOCK).exists()


def test_both_ranks_end(cli, world):
    """Rank 1 has nothing to do and waits for rank 0: of what it waits in, it executes no Python.

    As under SLURM all processes are told, and the launcher tells the ranks once more.
    """
    world.write(**LONG["extract"], machine={"device": "cpu"})
    one_block = ["--set", "extraction.block_rows=1000000"]
    assert cli("tune", world.config, "--out", world.out, *one_block).code == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "emoscale"]
    command += ["extract", str(world.config), "--out", str(world.out), *one_block]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    launcher = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_until(lambda: is_running(world.out, "extract"))
        time.sleep(1)
        ranks = psutil.Process(launcher.pid).children()
        assert len(ranks) == 2
        for process in [psutil.Process(launcher.pid), *ranks]:
            process.terminate()
        _, alive = psutil.wait_procs(ranks, timeout=SOON)
        assert not alive
        said = launcher.communicate(timeout=SOON)[0]
        assert said.count("emoscale: stopped by SIGTERM; rerun the same command to resume\n") == 1
        assert not (world.out / LOCK).exists()
        assert states(world.out) == {"tune": "done", "extract": "running"}
    finally:
        launcher.kill()
        launcher.communicate()


LOADING = """
import os, signal, sys
number, module = int(sys.argv.pop(1)), sys.argv.pop(1)


class Sending:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            try:
                exec("os.kill(os.getpid(), number)")
            except ImportError:
                pass


signal.signal(signal.SIGINT, signal.default_int_handler)
from emoscale.__main__ import main
sys.meta_path.insert(0, Sending())
main()
"""


@pytest.mark.parametrize("module", ["emoscale.cli", "pydantic", "numpy", "torch", "transformers"])
@pytest.mark.parametrize(
    ("sent", "code", "said"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "stopped by SIGTERM")],
)
def test_told_to_end_while_libraries_load(world, sent, code, said, module):
    arguments = [str(int(sent)), module, "tune", str(world.config), "--out", str(world.out)]
    done = subprocess.run([sys.executable, "-c", LOADING, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == f"emoscale: {said}; rerun the same command to resume\n"
    assert not world.out.exists()
