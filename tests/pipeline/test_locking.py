"""Of two runs in one folder the second is refused; a lock that a killed process left is not in the way for ever."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
from tiny_run import contents, times

from emoscale.errors import InputError
from emoscale.run import lock
from emoscale.run.lock import LOCK, locked

HOLD = """
import signal, sys, time
from pathlib import Path
from emoscale.run.lock import locked
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it, and so do its children
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def hold():
    """Start a process that holds the lock of a folder; return it."""
    processes = []

    def start(folder, seconds=600):
        command = [sys.executable, "-c", HOLD, str(folder), str(seconds)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def edit(folder, **said):
    file = folder / LOCK
    file.write_text(json.dumps(json.loads(file.read_text()) | said))


def leave(folder, hold):
    """Leave the lock of a process that was killed."""
    process = hold(folder)
    process.kill()
    process.wait()
    assert (folder / LOCK).exists()
    return process.pid


def test_the_lock_is_removed_at_the_end_and_on_error(tmp_path):
    with locked(tmp_path):
        assert [file.name for file in tmp_path.iterdir()] == [LOCK]
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt), locked(tmp_path):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_folders_that_stay_empty_are_not_left(tmp_path):
    with locked(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK).exists()
    assert not list(tmp_path.iterdir())
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "mine").touch()
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["mine"]


def test_the_second_is_refused_and_the_first_is_named(tmp_path, hold):
    process = hold(tmp_path)
    before = (tmp_path / LOCK).read_bytes()
    since = json.loads(before)["since"]
    with pytest.raises(InputError) as caught, locked(tmp_path):
        raise AssertionError("not reached")
    assert caught.value.problems == [
        f"{tmp_path}: in use by process {process.pid} on {socket.gethostname()} since {since}; "
        "wait until it ends, or choose another --out"
    ]
    assert (tmp_path / LOCK).read_bytes() == before


def test_also_within_one_process(tmp_path):
    with locked(tmp_path):
        with pytest.raises(InputError, match=f"in use by process {os.getpid()} "), locked(tmp_path):
            pass
        assert (tmp_path / LOCK).exists()


def test_a_killed_process_does_not_block(tmp_path, hold):
    leave(tmp_path, hold)
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert not (tmp_path / LOCK).exists()


def test_a_killed_process_that_nobody_has_waited_for(tmp_path, hold):
    process = hold(tmp_path)
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


def test_another_process_with_the_number_of_the_killed_one(tmp_path, hold):
    hold(tmp_path)
    edit(tmp_path, started=json.loads((tmp_path / LOCK).read_text())["started"] - 100)
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("elsewhere", [{"host": "node-7"}, {"namespace": "pid:[1]"}])
def test_a_lock_from_elsewhere_stays_and_the_file_to_delete_is_named(tmp_path, hold, elsewhere):
    pid = leave(tmp_path, hold)
    edit(tmp_path, **elsewhere)
    before = (tmp_path / LOCK).read_bytes()
    with pytest.raises(InputError) as caught, locked(tmp_path):
        pass
    (told,) = caught.value.problems
    assert told.startswith(
        f"{tmp_path}: in use by process {pid} on {elsewhere.get('host', socket.gethostname())} since"
    )
    assert told.endswith(f"if that process is gone, delete {tmp_path / LOCK}")
    assert (tmp_path / LOCK).read_bytes() == before


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 3}'])
def test_a_lock_that_says_nothing(tmp_path, monkeypatch, content):
    monkeypatch.setattr(lock, "_READ_PAUSE", 0.001)
    (tmp_path / LOCK).write_text(content)
    with (
        pytest.raises(InputError, match="does not say by what; if nothing works there, delete that file"),
        locked(tmp_path),
    ):
        pass
    assert (tmp_path / LOCK).read_text() == content


def test_a_lock_that_a_user_removed_and_another_run_took_is_not_removed(tmp_path):
    with locked(tmp_path):
        (tmp_path / LOCK).write_text("another's")
    assert (tmp_path / LOCK).read_text() == "another's"


def test_what_is_not_a_lock_is_named(tmp_path):
    (tmp_path / LOCK).symlink_to("nothing")
    with pytest.raises(InputError, match=rf"{LOCK} is not a lock, but .*; delete it$"), locked(tmp_path):
        pass
    (tmp_path / LOCK).unlink()
    (tmp_path / LOCK).mkdir()
    with pytest.raises(InputError, match=rf"{LOCK} is not a lock, but .*; delete it$"), locked(tmp_path):
        pass


TRY = """
import sys
from pathlib import Path
from emoscale.errors import InputError
from emoscale.run.lock import locked
for line in sys.stdin:
    try:
        with locked(Path(line.strip())):
            print("got it", flush=True)
            sys.stdin.readline()
    except InputError:
        print("refused", flush=True)
        sys.stdin.readline()
    print("left", flush=True)
"""


@pytest.mark.parametrize("left", [False, True])
def test_of_many_that_start_at_once_one_gets_it(tmp_path, hold, left):
    """Also where they all find the lock of a killed process."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen([sys.executable, "-c", TRY], **pipes) for _ in range(5)]
    for turn in range(5):
        folder = tmp_path / str(turn)
        if left:
            leave(folder, hold)
        for line, answers in [(f"{folder}\n", ["got it", *4 * ["refused"]]), ("\n", 5 * ["left"])]:
            for child in children:
                child.stdin.write(line)
                child.stdin.flush()
            assert sorted(child.stdout.readline().strip() for child in children) == answers
        assert not (folder / LOCK).exists()
    for child in children:
        child.communicate()


@pytest.mark.parametrize("command", ["run", "tune"])
@pytest.mark.parametrize("fresh", [[], ["--fresh"]])
def test_a_run_is_refused_and_nothing_changes(cli, world, hold, command, fresh):
    world.out.mkdir()
    process = hold(world.out)
    before = times(world.out)
    answer = cli(command, world.config, "--out", world.out, *fresh)
    assert (answer.code, answer.out) == (2, "")
    assert f"in use by process {process.pid} on " in answer.problems[0]
    assert times(world.out) == before
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    assert cli("tune", world.config, "--out", world.out).code == 0
    assert not (world.out / LOCK).exists()


def test_what_needs_no_lock(cli, world, finished, hold):
    shutil.copytree(finished.out, world.out)
    hold(world.out)
    before = contents(world.out)
    assert cli("inspect", world.out).code == 0
    assert "all stages are done" in cli("run", finished.config, "--out", world.out).out
    assert contents(world.out) == before


def test_a_reproduction_is_refused_too(cli, tmp_path, hold):
    out = tmp_path / "out"
    process = hold(out)
    answer = cli("reproduce", tmp_path / "none", "--out", out)
    assert answer.code == 2
    assert f"in use by process {process.pid} on " in answer.problems[0]


def test_a_run_that_is_refused_for_its_input_leaves_no_lock(cli, world):
    assert cli("run", world.write(masks={"k": [0]}), "--out", world.out).code == 2
    assert cli("run", world.write(model={"name": str(world.folder)}), "--out", world.out).code == 2
    assert not world.out.exists()
