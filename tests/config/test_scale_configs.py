"""Configs for clusters: they load, and the script queues the job again when, and only when, its time is up."""

import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer.main
from accelerate.commands.config.config_args import ClusterConfig

from emoscale.cli import app
from emoscale.config import load_settings
from emoscale.pipeline.stage import stages_of_run
from emoscale.pipeline.stages import STAGES

if sys.platform == "win32":
    pytest.skip("SLURM's scripts need bash and signals", allow_module_level=True)

ROOT = Path(__file__).parents[2]
SCALE = ROOT / "configs" / "scale"
ACCELERATE = SCALE / "accelerate-8gpu.yaml"
SCRIPT, ON_CPUS, SUBMIT = (SCALE / name for name in ("gpu.sbatch", "cpu.sbatch", "submit.sh"))
MODELS = sorted(set(SCALE.glob("*.yaml")) - {ACCELERATE})


def comments(file):
    lines = file.read_text(encoding="utf-8").splitlines()
    found = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
    return [line for line in found if not line.startswith("yaml-language-server")]


def test_three_models():
    assert [file.stem for file in MODELS] == ["llama-3.1-8b", "mixtral-8x7b", "qwen3-32b"]


@pytest.mark.parametrize("file", MODELS, ids=lambda file: file.stem)
def test_config_loads_and_begins_with_its_commands(file):
    one_node, several = (shlex.split(line) for line in comments(file)[:2])
    name = str(file.relative_to(ROOT))
    program = one_node[one_node.index("emoscale") :]
    assert program[:3] == ["emoscale", "extract", name]
    assert several[:2] == ["sbatch", "--nodes=4"]
    arguments = several[several.index(str(SCRIPT.relative_to(ROOT))) + 1 :]
    assert arguments[:2] == ["extract", name]
    assert comments(file)[2].endswith(f"every stage: bash {SUBMIT.relative_to(ROOT)} {name}")
    for overrides in (program[3:], arguments[2:]):
        settings = load_settings(file, overrides[1::2])
        assert set(overrides[::2]) <= {"--set"}
        assert settings.model.dtype == "bfloat16"
        assert (settings.stimuli.source, settings.extraction.rows) == ("goemotions", "texts")


@pytest.mark.parametrize("file", MODELS, ids=lambda file: file.stem)
def test_settings_that_go_together(file):
    settings = load_settings(file)
    extraction = settings.extraction
    assert extraction.keep == "activations" or extraction.dtype == "float32"
    if settings.machine.split_model == "tensors":
        launched = ClusterConfig.from_yaml_file(str(ACCELERATE)).num_processes
        qwen_heads, qwen_width = 8, 25_600
        assert qwen_heads % launched == 0
        assert qwen_width // launched % extraction.chunk_neurons == 0


def test_accelerate_config():
    config = ClusterConfig.from_yaml_file(str(ACCELERATE))
    assert config.distributed_type.value == "MULTI_GPU"
    assert (config.num_machines, config.num_processes, config.mixed_precision) == (1, 8, "no")


@pytest.mark.parametrize("script", [SCRIPT, ON_CPUS, SUBMIT], ids=lambda file: file.name)
def test_script_is_bash(script):
    subprocess.run(["bash", "-n", script], check=True)
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/bin/bash"


@pytest.mark.parametrize("script", [SCRIPT, ON_CPUS], ids=lambda file: file.name)
def test_options_of_sbatch_come_first(script):
    lines = script.read_text().splitlines()
    # sbatch reads no option after the first command.
    options = [number for number, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert all(line.startswith("#") for line in lines[: options[-1]])


@pytest.fixture
def job(tmp_path):
    """Start the script with stand-ins for SLURM's programs; `srun` runs the lines given."""
    programs = tmp_path / "bin"
    programs.mkdir()

    def install(name, *lines):
        file = programs / name
        file.write_text("\n".join(["#!/bin/bash", *lines]) + "\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    started = []

    def start(*srun, stages="extract", options=()):
        install("scontrol", f'echo "$@" >> {tmp_path}/scontrol', '[[ $1 == show ]] && printf "node1\\nnode2\\n"')
        install("srun", f"touch {tmp_path}/srun", *srun)
        install("accelerate", f'printf "%s\\n" "$@" > {tmp_path}/accelerate')
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "SLURM_JOB_NODELIST": "node[1-2]",
            "SLURM_JOB_ID": "77",
            "SLURM_NNODES": "2",
            "SLURM_NODEID": "1",
        }
        command = ["bash", SCRIPT, stages, *(options or ["my.yaml"])]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
        started.append(process)
        return process

    def asked(process, *signals):
        for number in signals:
            process.send_signal(number)
            time.sleep(0.1)
        code = process.wait(timeout=20)
        return code, "requeue 77" in (tmp_path / "scontrol").read_text().splitlines()

    yield start, asked, tmp_path
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def runs_until_told(tmp_path, code):
    """Return lines that wait for SIGTERM and end with a code, and say that they are ready for it."""
    return [
        f"trap 'touch {tmp_path}/ended; exit {code}' TERM",
        f"touch {tmp_path}/ready",
        "while :; do sleep 0.05; done",
    ]


def wait_for(file):
    for _ in range(200):
        if file.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{file.name} did not appear")


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
@pytest.mark.parametrize("code", [143, 1])
def test_job_is_queued_again_when_its_time_is_up(job, number, code):
    start, asked, tmp_path = job
    process = start(*runs_until_told(tmp_path, code))
    wait_for(tmp_path / "ready")
    assert asked(process, number) == (code, True)
    assert (tmp_path / "ended").exists()


def test_told_twice(job):
    start, asked, tmp_path = job
    lines = [f"trap 'sleep 0.5; touch {tmp_path}/ended; exit 143' TERM", *runs_until_told(tmp_path, 143)[1:]]
    process = start(*lines)
    wait_for(tmp_path / "ready")
    assert asked(process, signal.SIGUSR1, signal.SIGUSR1) == (143, True)
    assert (tmp_path / "ended").exists()


@pytest.mark.parametrize("code", [0, 1, 2, 143])
def test_what_ends_by_itself_is_not_repeated(job, code):
    start, asked, _ = job
    assert asked(start(f"exit {code}")) == (code, False)


def test_what_is_done_in_time_is_not_repeated(job):
    start, asked, tmp_path = job
    process = start(*runs_until_told(tmp_path, 0))
    wait_for(tmp_path / "ready")
    assert asked(process, signal.SIGUSR1) == (0, False)


def test_command_of_each_node(job):
    start, asked, tmp_path = job
    options = ["my.yaml", "--set", "title=two words"]
    assert asked(start('exec "$@"', options=options)) == (0, False)
    given = (tmp_path / "accelerate").read_text().splitlines()
    assert given[:3] == ["launch", "--config_file", str(ACCELERATE.relative_to(ROOT))]
    pairs = dict(zip(given[3:13:2], given[4:13:2], strict=True))
    assert pairs == {
        "--num_machines": "2",
        "--machine_rank": "1",
        "--num_processes": "16",
        "--main_process_ip": "node1",
        "--main_process_port": "29500",
    }
    assert given[13:] == ["-m", "emoscale", "extract", *options]


def test_several_stages_one_after_the_other(job):
    start, asked, tmp_path = job
    lines = [f'echo "${{@: -2:1}}" >> {tmp_path}/done', f"[[ $(wc -l < {tmp_path}/done) -lt 3 ]]"]
    assert asked(start(*lines, stages="tune extract")) == (0, False)
    assert (tmp_path / "done").read_text().split() == ["tune", "extract"]
    assert asked(start(*lines, stages="attribute-effects ablate")) == (1, False)
    assert (tmp_path / "done").read_text().split()[2:] == ["attribute-effects"]


def test_a_stage_that_ends_in_time_leaves_the_next_to_the_next_turn(job):
    start, asked, tmp_path = job
    process = start(*runs_until_told(tmp_path, 0), stages="tune extract")
    wait_for(tmp_path / "ready")
    assert asked(process, signal.SIGUSR1) == (143, True)


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """Stand-ins for SLURM's programs and emoscale that write down their arguments; ``recorded(name)`` gives them."""
    for name in ("sbatch", "srun", "emoscale"):
        file = tmp_path / name
        lines = [f'printf "%s\\0" "$@" >> {tmp_path}/{name}.calls', f"echo >> {tmp_path}/{name}.calls"]
        number = f'echo "$((100 + $(wc -l < {tmp_path}/sbatch.calls)));here"' if name == "sbatch" else ""
        file.write_text("\n".join(["#!/bin/bash", *lines, number]) + "\n")
        file.chmod(0o755)
    programs = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    monkeypatch.setenv("PATH", programs)

    def calls(name):
        return [line.split("\0")[:-1] for line in (tmp_path / f"{name}.calls").read_text().splitlines()]

    return calls


def is_command(words):
    """Whether a command of emoscale has these options."""
    command = typer.main.get_command(app).commands[words[0]]
    known = {name for parameter in command.params for name in parameter.opts}
    return {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("file", MODELS, ids=lambda file: file.stem)
def test_a_whole_run_is_queued_in_order(recorded, file):
    given = [str(file.relative_to(ROOT)), "--set", "title=two words"]
    done = subprocess.run(["bash", SUBMIT, *given], cwd=ROOT, capture_output=True, text=True, check=True)
    assert recorded("emoscale") == [["check", *given]]
    queued, names = [], []
    for number, call in enumerate(recorded("sbatch"), 100):
        script = next(word for word in call if word.endswith(".sbatch"))
        options, (stages, *arguments) = call[: call.index(script)], call[call.index(script) + 1 :]
        assert arguments == given
        after = [f"--dependency=afterok:{number}", "--kill-on-invalid-dep=yes"] if names else []
        is_gpu = script == str(SCRIPT.relative_to(ROOT))
        assert options == ["--parsable", *(["--nodes=1"] if is_gpu else []), *after]
        assert is_gpu or script == str(ON_CPUS.relative_to(ROOT))
        assert all(STAGES[name].loads_model == is_gpu and is_command([name, *given]) for name in stages.split())
        queued.append(f"job {number + 1}: {stages}")
        names += stages.split()
    assert done.stdout.splitlines() == queued
    assert names == stages_of_run(STAGES, load_settings(file, given[2:]))


def test_nothing_is_queued_of_a_config_with_mistakes(recorded, tmp_path):
    (tmp_path / "emoscale").write_text("#!/bin/bash\nexit 2\n")
    assert subprocess.run(["bash", SUBMIT, "wrong.yaml"], cwd=ROOT).returncode == 2
    assert not (tmp_path / "sbatch.calls").exists()


def test_stages_on_cpus(recorded):
    given = ["my.yaml", "--set", "title=two words"]
    environment = {**os.environ, "SLURM_CPUS_PER_TASK": "32"}
    subprocess.run(["bash", ON_CPUS, "analyze report", *given], env=environment, check=True)
    for (options, program, *words), stage in zip(recorded("srun"), ("analyze", "report"), strict=True):
        assert (options, program) == ("--cpus-per-task=32", "emoscale")
        assert words == [stage, *given, "--set", "machine.device=cpu"]
        assert is_command(words)
