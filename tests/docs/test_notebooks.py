"""The notebooks of the documentation run, and give what they show; when the pages are built they run in a kernel."""

import ast
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "notebooks"
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(page, names):
    """Run the cells of a page one after the other; give the value of the last line of each that has one."""
    for number, source in enumerate(CELL.findall(page.read_text(encoding="utf-8"))):
        tree = ast.parse(source, f"{page.name}, cell {number}")
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, page.name, "exec"), names)
        if last is not None:
            yield eval(compile(ast.Expression(last.value), page.name, "eval"), names)


@pytest.fixture(autouse=True)
def _figures_are_closed(monkeypatch):
    monkeypatch.setitem(mpl.rcParams, "backend", "agg")
    yield
    pyplot.close("all")


def test_from_a_model_to_its_neurons_and_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "notebook"}
    shown = [value for value in run(FOLDER / "interpretability.md", names) if value is not None]
    assert len([value for value in shown if isinstance(value, pyplot.Axes)]) == 4
    found, ablated, effects, check = (names[name] for name in ("found", "ablated", "effects", "check"))
    assert found["rdm"].unique().tolist() == ["valence", "arousal", "social"]
    # The page says that the model has learned its world, and that it needs the neurons with the largest effects.
    assert ablated.query("mask == 'none'")["accuracy"].mean() > 0.9
    assert found.query("rdm == 'valence'")["tau"].max() > 0.4
    drops = check.groupby(["kind", "draw"])["drop"].mean()
    assert drops["mask"][0] > drops["random"].max()
    assert np.isfinite(effects["effect"]).all()
    assert not list(tmp_path.iterdir())


def test_every_notebook_is_tested():
    assert [page.name for page in FOLDER.glob("*.md")] == ["interpretability.md"]
