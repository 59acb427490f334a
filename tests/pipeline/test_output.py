"""Work goes on, and ends as it would, when nobody reads what it prints; without a terminal it says how far it is."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from emoscale.system import progress
from emoscale.system.progress import stage_progress

ROOT = Path(__file__).parents[2]
WORK = """
import sys
from pathlib import Path
from rich.console import Console
from emoscale.system.output import tolerate_closed_output
from emoscale.system.progress import say
tolerate_closed_output()
console = Console()
for number in range(5_000):
    say(console, f"line {number}")
Path(sys.argv[1]).touch()
"""


def shell(line, *arguments):
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")]),
    }
    command = ["bash", "-c", f"set -o pipefail; {line}", "bash", sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


WAYS = pytest.mark.parametrize("way", ["| head -1", "> /dev/full", ">&-"])


@WAYS
def test_work_goes_on_when_nobody_reads(tmp_path, way):
    done = shell(f'"$@" {way}', "-c", WORK, tmp_path / "finished")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "finished").exists()


@WAYS
def test_a_command_ends_as_it_would_when_nobody_reads(finished, way):
    done = shell(f'"$@" {way}', "-m", "emoscale", "run", finished.config, "--out", finished.out)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_terminal_a_line_a_minute(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    file = io.StringIO()
    with stage_progress("extract", Console(file=file, width=40)) as shown:
        shown.start(1_000, "rows", done=200)
        for _ in range(20):  # 5 seconds each
            now[0] += 5
            shown.advance(10)
    assert file.getvalue().splitlines() == [
        "extract: 220 of 1,000 rows, 2.0 rows/s, 6.5 min left",
        "extract: 340 of 1,000 rows, 2.0 rows/s, 5.5 min left",
    ]


def test_the_command_line_loads_without_fcntl():
    code = "import sys; sys.modules.update(fcntl=None); import emoscale.cli, emoscale.run.lock"
    done = shell('"$@"', "-c", code)
    assert done.returncode == 0, done.stderr
