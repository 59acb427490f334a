"""A study from files opens no connection and asks for no address; only a name on the hub does."""

import os
import subprocess
import sys

import pytest

WATCHED = """
import sys
CALLS = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"}
def refuse(call, details):
    if call in CALLS and isinstance(details[0 if call.startswith("socket.get") else 1], (str, tuple)):
        print("tried:", call, details, file=sys.stderr)
        raise ConnectionRefusedError(call)
sys.addaudithook(refuse)
from emoscale.cli import main
main()
"""


def run(world, **environment):
    usual = {name: value for name, value in os.environ.items() if not name.startswith("HF_HUB_")}
    command = [sys.executable, "-c", WATCHED, "run", world.config, "--out", world.out]
    return subprocess.run(command, env={**usual, **environment}, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_a_study_from_files_sends_nothing_anywhere(world):
    done = run(world)
    assert done.returncode == 0, done.stderr
    assert "tried:" not in done.stderr
    assert (world.out / "report.html").exists()


@pytest.mark.slow
def test_a_model_on_the_hub_is_asked_for_there(world):
    world.write(model={"name": "somebody/some-model"})
    done = run(world, HF_HUB_ETAG_TIMEOUT="1")
    assert done.returncode != 0
    assert "tried: socket.getaddrinfo ('huggingface.co'" in done.stderr
    offline = run(world, HF_HUB_OFFLINE="1")
    assert offline.returncode != 0
    assert "tried:" not in offline.stderr


def test_what_is_asked_for_at_the_hub_says_nothing_of_this_machine():
    code = "import emoscale, huggingface_hub.constants as hub; print(hub.HF_HUB_DISABLE_TELEMETRY)"
    usual = {name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_TELEMETRY"}
    for given, expected in [({}, "True"), ({"HF_HUB_DISABLE_TELEMETRY": "0"}, "False")]:
        done = subprocess.run([sys.executable, "-c", code], env={**usual, **given}, capture_output=True, text=True)
        assert done.stdout.strip() == expected
