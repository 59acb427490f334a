"""What the how-tos add to registries does its work in a whole run, as a reader would use it."""

import html
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr
from pipeline.tiny_run import World, draw_few_figures
from registries import registries_restored
from rich.console import Console
from scipy.spatial.distance import pdist

from emoscale.config import load_settings
from emoscale.pipeline import runner
from emoscale.run.folder import RunFolder

pytestmark = pytest.mark.slow

HOWTOS = Path(__file__).parents[2] / "docs" / "howto"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def followed(tmp_path, tiny_folder, monkeypatch):
    """Execute a page's Python, and run a study with its settings that name what was added; return the run's folder."""
    draw_few_figures(monkeypatch.setattr)

    def call(page, model, *names):
        world = World(tmp_path, tiny_folder(model))
        space = {"__name__": "howto"}
        sections = {}
        for language, block in BLOCK.findall((HOWTOS / page).read_text(encoding="utf-8")):
            if language == "python":
                exec(compile(block, page, "exec"), space)
            elif language == "yaml" and any(name in block for name in names):
                for section, values in yaml.safe_load(block).items():
                    sections[section] = {**sections.get(section, {}), **values}
        world.write(**sections)
        folder = RunFolder(world.out)
        assert runner.run(load_settings(world.config), folder, Console(quiet=True))
        return folder

    with registries_restored():
        yield call


def array(folder, store, name):
    return np.asarray(zarr.open_group(folder.path / f"{store}.zarr", mode="r")[name][...])


def cells(folder):
    """Activations by replicate, concept and neuron, and the concepts' names."""
    store = zarr.open_group(folder.activations, mode="r")
    values, concept = np.asarray(store["activations"][...]), np.asarray(store["concept"][...]).astype(object)
    replicate = np.asarray(store["replicate"][...]).astype(object)
    names = list(dict.fromkeys(concept))
    by_cell = [[values[(replicate == r) & (concept == c)].mean(axis=0) for c in names] for r in np.unique(replicate)]
    return np.array(by_cell, dtype=np.float64), names


def test_measures(followed):
    folder = followed("measure.md", "bert-encoder", "spread_within", "pearson")
    report = html.unescape(folder.report.read_text(encoding="utf-8"))
    assert "r: Pearson's correlation of the neuron's and the attribute's RDM" in report
    values, names = cells(folder)
    settings = load_settings(folder.config)
    attributes = np.genfromtxt(settings.concepts.attributes, delimiter=",", names=True, dtype=None, encoding="utf-8")
    scores = {row["concept"]: [row[name] for name in attributes.dtype.names[1:]] for row in attributes}
    rdms = np.mean([[pdist(column[:, None]) for column in replicate.T] for replicate in values], axis=0)
    people = [pdist(np.array([[scores[name][a]] for name in names])) for a in range(3)]
    expected = [[np.corrcoef(rdm, other)[0, 1] for other in people] for rdm in rdms]
    assert array(folder, "selectivity", "tau") == pytest.approx(np.array(expected), abs=1e-5)
    assert array(folder, "selectivity", "p").min() >= 1 / 100
    spread = np.mean([values[:, c].std(axis=0) for c in range(len(names))], axis=0)
    assert array(folder, "row_measures", "spread_within") == pytest.approx(spread, abs=1e-6)


def test_a_task(followed):
    folder = followed("task.md", "gpt2", "task: pleasant")
    assert "whether what a text tells is pleasant" in folder.report.read_text(encoding="utf-8")
    assert array(folder, "scores", "option").astype(object).tolist() == ["negative", "positive"]
    right = dict(zip(array(folder, "scores", "concept").astype(object), array(folder, "scores", "right"), strict=True))
    assert right == {"joy": 1, "anger": 0, "fear": 0, "sad": 0}


def test_a_site(followed):
    folder = followed("site.md", "bert-encoder", "embeddings")
    assert "in 1 layers (output of the embeddings)" in folder.report.read_text(encoding="utf-8")
    assert array(folder, "activations", "unit").tolist() == list(range(16))
