"""Work goes on, and ends as it would, when nobody reads what it prints; without a terminal it says how far it is."""

import io
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from emoscale.errors import InputError
from emoscale.system import progress
from emoscale.system.logs import LOGGER, logging_to, logging_unless_routed
from emoscale.system.progress import stage_progress

ROOT = Path(__file__).parents[2]
WORK = """
import sys
from pathlib import Path
from rich.console import Console
from emoscale.system.output import tolerate_failing_output
from emoscale.system.progress import say
tolerate_failing_output()
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


NO_READER = pytest.mark.parametrize("way", ["| head -1", ">&-"])
FULL = "emoscale: standard output (/dev/full): No space left on device; "
NOT_SHOWN = f"{FULL}no more lines are shown; the work goes on, and its files are not affected\n"
LOST = f"{FULL}the result is not shown, or not all of it; print it to a place that has room\n"
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")


@NO_READER
def test_work_goes_on_when_nobody_reads(tmp_path, way):
    done = shell(f'"$@" {way}', "-c", WORK, tmp_path / "finished")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "finished").exists()


@NO_READER
def test_a_command_ends_as_it_would_when_nobody_reads(finished, way):
    done = shell(f'"$@" {way}', "-m", "emoscale", "run", finished.config, "--out", finished.out)
    assert (done.returncode, done.stderr) == (0, "")


@needs_full
def test_work_goes_on_when_nothing_can_be_printed(tmp_path):
    done = shell('"$@" > /dev/full', "-c", WORK, tmp_path / "finished")
    assert (done.returncode, done.stderr) == (0, LOST)
    assert (tmp_path / "finished").exists()


@needs_full
@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("run", "CONFIG", "--out", "OUT"), NOT_SHOWN, 0),
        (("select", "CONFIG", "--out", "OUT"), NOT_SHOWN, 0),
        (("init", "--example", "demo", "--out", "PAGE"), NOT_SHOWN, 0),
        (("inspect", "OUT"), LOST, 1),
        (("schema",), LOST, 1),
        (("schema", "--out", "PAGE"), "", 0),
        (("--help",), LOST, 1),
    ],
)
def test_what_only_prints_fails_when_nothing_can_be_printed(finished, tmp_path, arguments, said, code):
    places = {"CONFIG": finished.config, "OUT": finished.out, "PAGE": tmp_path / "page"}
    done = shell('"$@" > /dev/full', "-m", "emoscale", *(places.get(word, word) for word in arguments))
    assert (done.returncode, done.stderr) == (code, said)
    assert (tmp_path / "page").exists() == ("PAGE" in arguments)


@needs_full
def test_an_error_keeps_its_code_when_nothing_can_be_printed(tmp_path):
    done = shell('"$@" > /dev/full', "-m", "emoscale", "inspect", tmp_path)
    assert done.returncode == 2
    assert "neither a run folder nor a store" in done.stderr


def test_without_a_terminal_a_line_a_minute(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    file = io.StringIO()
    console = Console(file=file, width=40)
    with logging_to(console), stage_progress("extract", console) as shown:
        shown.start(1_000, "rows", done=200)
        for _ in range(20):  # 5 seconds each
            now[0] += 5
            shown.advance(10)
    assert file.getvalue().splitlines() == [
        "extract: 220 of 1,000 rows, 2.0 rows/s, 6.5 min left",
        "extract: 340 of 1,000 rows, 2.0 rows/s, 5.5 min left",
    ]


def said(level=logging.INFO, file=None):
    """What a console gets of three messages."""
    stream, log = io.StringIO(), logging.getLogger(f"{LOGGER}.somewhere")
    with logging_to(Console(file=stream, width=20), level, file):
        log.debug("a decision")
        log.info("runs/[mine] is a path that is longer than the console")
        log.warning("few texts")
    return stream.getvalue().splitlines()


def test_lines_by_importance():
    line = "runs/[mine] is a path that is longer than the console"
    assert said() == [line, "warning: few texts"]
    assert said(logging.WARNING) == ["warning: few texts"]
    assert said(logging.DEBUG) == ["a decision", line, "warning: few texts"]
    logger = logging.getLogger(LOGGER)
    assert (logger.handlers, logger.level) == ([], logging.NOTSET)


def test_a_log_file_has_every_line_and_is_added_to(tmp_path):
    file = tmp_path / "logs" / "run.log"
    for _ in range(2):
        said(logging.WARNING, file)
    lines = file.read_text().splitlines()
    assert len(lines) == 6
    assert lines[0].endswith("DEBUG   emoscale.somewhere: a decision")
    with pytest.raises(InputError, match=r"--log-file .*cannot be written"):
        said(file=tmp_path)


def test_an_exception_is_in_the_log_file(tmp_path):
    file = tmp_path / "run.log"
    with pytest.raises(ZeroDivisionError), logging_to(Console(quiet=True), file=file):
        1 / 0  # noqa: B018
    assert "ZeroDivisionError" in file.read_text()


def test_lines_go_where_a_program_has_routed_them(caplog):
    stream = io.StringIO()
    with caplog.at_level(logging.INFO, LOGGER), logging_unless_routed(Console(file=stream)):
        logging.getLogger(LOGGER).info("extract is done")
    assert (caplog.messages, stream.getvalue()) == (["extract is done"], "")


def test_a_notebook_with_widgets_shows_a_bar(monkeypatch):
    monkeypatch.setattr(progress, "find_spec", lambda name: name == "ipywidgets")
    monkeypatch.setattr(progress, "RichProgress", FakeBars)
    with stage_progress("extract", Console(file=io.StringIO(), force_jupyter=True)) as shown:
        assert isinstance(shown, progress._Line)
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    with stage_progress("extract", Console(file=io.StringIO(), force_jupyter=True)) as shown:
        assert isinstance(shown, progress._Lines)


class FakeBars:
    def __init__(self, *columns, console, transient):
        self.console = console

    def add_task(self, name, total, unit):
        return name

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


@pytest.mark.slow
def test_a_quiet_stage_prints_nothing_and_its_log_file_all(cli, finished, tmp_path):
    log, out = tmp_path / "run.log", tmp_path / "copy"
    shutil.copytree(finished.out, out)
    given = ["report", finished.config, "--out", out]
    assert cli(*given, "--fresh", "-q", "--log-file", log) == (0, "", "")
    assert " INFO    emoscale.run.manifest: report " in log.read_text()
    assert cli(*given, "-v") == (0, f"{out}: report is done; --fresh does it again\n", "")
    code, _, error = cli(*given, "-v", "-q")
    assert (code, error) == (2, "emoscale: --verbose and --quiet: one prints more, the other less; give one of them\n")
