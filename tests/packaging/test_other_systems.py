"""What Windows and macOS lack is not needed to import anything; what they have is in the lint's types."""

import subprocess
import sys

import pytest

IMPORT_ALL = """
import importlib, pkgutil, sys
import locket  # of distributed; where there is no fcntl it takes Windows' msvcrt
sys.modules["fcntl"] = None
import emoscale, emoscale_kernels
for package in (emoscale, emoscale_kernels):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            print(module.name)
"""


@pytest.mark.slow
def test_every_module_loads_without_fcntl():
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert {"emoscale.run.lock", "emoscale.cli", "emoscale_kernels.torch_backend"} <= set(done.stdout.split())
