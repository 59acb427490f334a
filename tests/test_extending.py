"""One object, or one file, adds an entry of each kind: settings accept it, the stages use it, the report names it."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr
from pipeline.tiny_run import CONCEPTS, World, draw_few_figures
from pydantic import TypeAdapter
from registries import registries_restored
from rich.console import Console

from emoscale.config import load_settings, loading, settings_schema
from emoscale.config.settings import Settings
from emoscale.models.sites.feed_forward import SECOND_MAPS
from emoscale.pipeline import runner
from emoscale.pipeline.dependencies import dependency_values
from emoscale.pipeline.stage import fingerprints
from emoscale.pipeline.stages import STAGES
from emoscale.run.folder import RunFolder
from emoscale.selectivity.backends import choose_backend
from emoscale_kernels import torch_backend

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _registries():
    with registries_restored():
        yield


@pytest.fixture
def world(tmp_path, tiny_folder, monkeypatch):
    draw_few_figures(monkeypatch.setattr)
    return World(tmp_path, tiny_folder("bert-encoder"))


@pytest.fixture
def extended(world):
    """Import a module written for the test, and run everything with some settings; return folder and report."""

    def call(source, *overrides):
        file = world.folder / "mine.py"
        file.write_text(source, encoding="utf-8")
        exec(compile(source, str(file), "exec"), {"__name__": "mine"})
        folder = RunFolder(world.out)
        assert runner.run(load_settings(world.config, overrides), folder, Console(quiet=True))
        return folder, folder.report.read_text(encoding="utf-8")

    return call


def array(folder, store, name):
    return np.asarray(zarr.open_group(folder.path / f"{store}.zarr", mode="r")[name][...])


def test_a_selectivity_measure(extended):
    folder, report = extended(
        """
from dataclasses import replace

from emoscale.selectivity.measures import MEASURES

MEASURES["mine"] = replace(MEASURES["kendall"], name="mine", symbol="μ", meaning="my own agreement of RDMs")
""",
        "selectivity.measure=mine",
    )
    assert "μ: my own agreement of RDMs" in report
    written = json.loads((folder.selectivity / "zarr.json").read_text())["attributes"]["emoscale"]["origin"]
    assert (written["measure"], written["measure_symbol"]) == ("mine", "μ")


def test_a_row_measure(extended):
    folder, report = extended(
        """
from emoscale.selectivity.row_measures import ROW_MEASURES, RowMeasure


def largest(moments, scores):
    return moments.mean.max(axis=0)


ROW_MEASURES["mine"] = RowMeasure("mine", "moments", ("neuron",), "Largest mean over the concepts", largest)
""",
        "selectivity.row_measures=[mean, mine]",
    )
    assert "mine: Largest mean over the concepts" in report
    assert np.array_equal(array(folder, "row_measures", "mine"), array(folder, "row_measures", "mean").max(axis=1))


def test_a_model_family(extended):
    del SECOND_MAPS["output.dense"]  # otherwise BERT is known
    folder, report = extended(
        """
from emoscale.models.sites.feed_forward import SECOND_MAPS

SECOND_MAPS["intermediate.dense"] = "a family of mine"
"""
    )
    layers, width = 2, 16
    assert array(folder, "activations", "layer").tolist() == [layer for layer in range(layers) for _ in range(width)]
    assert f"{layers * width} in {layers} layers" in report


def test_an_inference_task(extended):
    _, report = extended(
        """
from dataclasses import replace

from emoscale.tasks.registry import TASKS

TASKS["mine"] = replace(
    TASKS["soft-prompt"], name="mine", meaning="mine", facts=lambda context: {"My task": "is it so?"}
)
""",
        "ablation.task=mine",
    )
    assert "My task" in report
    assert "is it so?" in report


def test_a_source_of_texts(extended):
    folder, report = extended(
        f"""
import pandas as pd

from emoscale.stimuli.sources import SOURCES, TextSource, pieces_of


def read(options):
    for concept in {CONCEPTS}:
        texts = [concept + " again" * number for number in range(5)]
        yield pd.DataFrame({{"text": texts, "labels": concept, "split": ["train"] * 4 + ["dev"]}})


SOURCES["mine"] = TextSource("mine", "texts that I made up", pieces_of(read))
""",
        "stimuli={source: mine}",
    )
    assert "texts that I made up: 16 to learn from, 4 held out" in report
    assert len(folder.table("accuracy"))


def test_a_control(extended):
    folder, report = extended(
        """
from dataclasses import replace

from emoscale.masks.controls import CONTROLS
from emoscale.masks.request import Mask


def draw(request):
    for k in request.k:
        for draw in range(request.draws):
            yield Mask(request.best_first[-k:, 0], draw=draw)


CONTROLS["mine"] = replace(
    CONTROLS["random"], name="mine", draw=draw, label="my neurons", neurons="my neurons", adjective="my own"
)
""",
        "masks.controls=[mine]",
    )
    assert set(array(folder, "masks", "kind")) == {"none", "selective", "mine"}
    assert "my own mask" in report
    assert "mine (2 for each k)" in report


def test_an_edit(extended):
    folder, report = extended(
        """
from dataclasses import replace

from emoscale.ablation.edits import EDITS

EDITS["mine"] = replace(EDITS["zero"], name="mine", done="were edited in my own manner")
""",
        "ablation.edit=mine",
    )
    assert "were edited in my own manner" in report
    assert folder.scores.exists()


def test_an_outcome(extended):
    folder, report = extended(
        """
import numpy as np

from emoscale.tasks.outcomes import OUTCOMES, Outcome


def lead(values, right):
    return 7.0 + 0 * np.take_along_axis(values, right, axis=2)


OUTCOMES["my-lead"] = Outcome("my-lead", "the lead that I mean", "points", lead)
""",
        "analysis.outcome=my-lead",
    )
    assert "the lead that I mean" in report
    assert (folder.table("control_draws")["value"] == 7).all()


def test_a_normalization(extended):
    folder, _ = extended(
        """
from emoscale.tasks.outcomes import NORMALIZATIONS, Normalization

NORMALIZATIONS["mine"] = Normalization("mine", "its opposite", lambda scores, _: -scores)
""",
        "analysis.normalization=mine",
    )
    opposite, unmasked = folder.table("unmasked")["accuracy"].mean(), array(folder, "scores", "scores")[:, 0]
    right = unmasked.argmin(axis=1) == array(folder, "scores", "right")
    assert opposite == right.mean()


def test_a_type_of_stored_values(extended):
    folder, report = extended(
        """
from dataclasses import replace

from emoscale.store.types import STORED_TYPES

STORED_TYPES["mine"] = replace(
    STORED_TYPES["float32"], name="mine", encode=lambda values: -values, decode=lambda values: -values
)
""",
        "extraction.dtype=mine",
    )
    assert "stored as mine" in report
    assert np.isfinite(array(folder, "activations", "activations")).all()


def test_a_table(extended):
    folder, _ = extended(
        """
import pandas as pd

from emoscale.analysis.tables import table


@table("mine", "How many masks were compared")
def count(inputs):
    return pd.DataFrame({"pairs": [len(inputs.paired)]})
"""
    )
    assert folder.table("mine")["pairs"].item() > 0
    assert folder.stage("analyze")["counts"]["tables"] == len(list(folder.tables.iterdir()))


def test_a_figure(extended):
    folder, report = extended(
        """
from emoscale.report import figures
from emoscale.report.style import Drawing, ReportFigure, new_figure

figures.FIGURES["c9_mine"] = ReportFigure(
    "c9_mine",
    "A figure of mine?",
    "tables/accuracy.csv",
    lambda findings: Drawing(new_figure(1.0), "nothing", caption="It is empty."),
)
"""
    )
    assert (folder.figures / "c9_mine.png").exists()
    assert "A figure of mine?" in report
    assert "It is empty." in report


def test_an_option(world, monkeypatch):
    """A field of an options class: ``--set`` takes it, the schema describes it, and its stage depends on it."""

    @dataclasses.dataclass(frozen=True)
    class Masks(type(load_settings(world.config).masks)):
        mine: int = 3
        """An option of mine."""

    masks = dataclasses.field(default_factory=Masks)
    extended = dataclasses.make_dataclass(
        "Extended", [("masks", Masks, masks)], bases=(Settings,), frozen=True, kw_only=True
    )
    monkeypatch.setattr(loading, "ADAPTER", TypeAdapter(extended))
    settings = load_settings(world.config, ["masks.mine=4"])
    assert settings.masks.mine == 4
    assert yaml.safe_load(loading.settings_yaml(settings))["masks"]["mine"] == 4
    assert "An option of mine." in json.dumps(settings_schema())
    plain = load_settings(world.config)
    before, after = (fingerprints(STAGES, s, dependency_values(s)) for s in (plain, settings))
    changed = [name for name in STAGES if before[name] != after[name]]
    assert changed == ["mask", "ablate", "analyze", "report"]


STAGE = """
from emoscale.pipeline.stage import Stage
from emoscale.pipeline.stages import STAGES


def count(context, folder, progress):
    folder.write_table("of_mine", folder.table("accuracy").head(2))
    return {"lines": 2}


STAGES["mine"] = Stage(
    name="mine",
    help="Do something of my own.",
    summary="{lines} lines",
    run=count,
    outputs=lambda folder: {folder.tables / "of_mine.csv": "two lines of mine"},
    needs=lambda settings: ("analyze",),
    depends_on=lambda settings: ("machine.threads",),
)
"""


def test_a_stage(extended, world):
    folder, _ = extended(STAGE)
    assert folder.stage("mine")["counts"] == {"lines": 2}
    again = load_settings(world.config, ["machine.threads=2"])
    assert runner.run(again, folder, Console(quiet=True))
    assert folder.stage("mine")["settings"] == {"machine.threads": 2}
    # The command line reads the same table.
    code = f"import sys; sys.argv[1:] = ['mine', '--help']\n{STAGE}\nfrom emoscale.cli import main\nmain()"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Do something of my own." in done.stdout


def test_the_gpu_twin_of_a_kernel(extended, monkeypatch):
    monkeypatch.setattr(torch_backend, "available", lambda: True)
    monkeypatch.setattr(torch_backend, "null_counts", None)
    choose_backend.cache_clear()
    called = []
    monkeypatch.setattr(torch_backend, "called", called, raising=False)
    try:
        folder, _ = extended(
            """
from emoscale_kernels import numba_backend, torch_backend


def null_counts(rdms, patterns, orders):
    torch_backend.called.append(len(orders))
    return numba_backend.null_counts(rdms, patterns, orders)


torch_backend.null_counts = null_counts
""",
            "machine.backend=cuda",
            "selectivity.permutations=9",
        )
    finally:
        choose_backend.cache_clear()
    assert set(called) == {9}
    assert folder.selectivity.exists()


def test_a_second_kind_of_unit(extended):
    folder, report = extended(
        """
from dataclasses import dataclass

from emoscale.models.sites.registry import SITES, SiteKind
from emoscale.models.sites.site import Site


@dataclass(frozen=True)
class Embeddings(Site):
    def attach(self, model, touch):
        module = model.get_submodule(self.path)
        return module.register_forward_hook(lambda _module, _args, output: touch(output)).remove


def find(model, stack):
    path = next(name for name, module in model.named_modules() if name.endswith("embeddings.LayerNorm"))
    return [Embeddings(0, path, model.get_submodule(path).normalized_shape[0])]


SITES["mine"] = SiteKind("mine", "output of the embeddings", find)
""",
        "model.site=mine",
    )
    assert "in 1 layers (output of the embeddings)" in report
    assert array(folder, "activations", "unit").tolist() == list(range(16))
