"""The wheel holds every file, and works where there is no repository."""

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import tiny_models

from emoscale import __version__

ROOT = Path(__file__).parents[2]
PARTS = {"emoscale": "emoscale", "kernels/emoscale_kernels": "emoscale_kernels", "configs": "emoscale/examples"}
"""Folders of the repository, and where the wheel has them."""
SOURCES = ["pyproject.toml", "setup.py", "README.md", "LICENSE", *PARTS]
"""What a build needs."""
REDUCED = {
    "model.sha256": "null",
    "tuning.seeds": "[1]",
    "tuning.epochs": "1",
    "tuning.batch_size": "2",
    "tuning.prompt_length": "2",
    "stimuli.train_texts": "4",
    "stimuli.dev_texts": "1",
    "attribution.check_neurons": "4",
    "attribution.check_draws": "2",
    "attribution.permutations": "19",
    "masks.k": "[0.1]",
    "masks.draws": "2",
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from the source distribution, and that from a copy: a build leaves things behind."""
    source, out = (tmp_path_factory.mktemp(name) for name in ("source", "dist"))
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "would be ignored" not in done.stdout + done.stderr
    (found,) = out.glob("*.whl")
    return found


def files(folder):
    return [
        file.relative_to(folder) for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts
    ]


def test_the_wheel_has_every_file_and_no_other(wheel):
    expected = {f"{there}/{file.as_posix()}" for part, there in PARTS.items() for file in files(ROOT / part)}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == expected
    assert {"emoscale/py.typed", "emoscale/report/page.js", "emoscale/examples/demo.yaml"} <= held


def _away():
    """Return an environment that does not lead to the repository, which would count as an installed emoscale."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Install the wheel where the packages that it needs can be seen, but not the repository; return its folder."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place / "venv", symlinks=os.name != "nt")
    python = next(path for path in place.glob("venv/*/python*") if path.stem == "python")
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=_away())
    assert done.returncode == 0, done.stderr
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    libraries = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    # A line of a .pth file is a folder in which no other .pth file is read, such as that of an editable install.
    others = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (Path(libraries) / "others.pth").write_text("\n".join(others), encoding="utf-8")
    return python.parent


@pytest.fixture
def emoscale(installed, tmp_path):
    def call(*arguments):
        command = [shutil.which("emoscale", path=str(installed)), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=_away(), capture_output=True, text=True, timeout=280)

    return call


def test_it_says_its_version_and_examines_the_machine(emoscale):
    assert emoscale("--version").stdout.strip() == __version__
    done = emoscale("doctor")
    assert done.returncode == 0, done.stderr
    assert re.search(rf"emoscale +{re.escape(__version__)} on Python", done.stdout)


def test_an_example_is_written(emoscale, tmp_path):
    done = emoscale("init", "--example", "demo")
    assert done.returncode == 0, done.stderr
    (schema,) = (line for line in (tmp_path / "demo.yaml").read_text().splitlines() if "$schema=" in line)
    assert str(ROOT) not in schema
    assert Path(schema.partition("=")[2]).is_file()


def test_a_study_runs(emoscale, tmp_path):
    model = tiny_models.save_tiny("bert-encoder", tmp_path / "model")
    settings = {"model.name": str(model), **REDUCED}
    changes = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    done = emoscale("run", "--example", "minilm-prompts", "--out", "run", *changes)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"report: {Path('run', 'report.html')}"
    assert emoscale("inspect", "run", "--verify").returncode == 0
