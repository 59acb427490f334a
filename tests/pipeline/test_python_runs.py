"""`es.open_run` shows what the stores and tables hold, `es.run_study` makes them."""

import doctest

import numpy as np
import pandas as pd
import pytest
import yaml

import emoscale as es
from emoscale.ablation.packed_masks import read_masks
from emoscale.api import runs
from emoscale.run.folder import RunFolder
from emoscale.schema import SCORES, SELECTIVITY
from emoscale.store import open_store


@pytest.fixture(scope="module")
def run(finished):
    return es.open_run(finished.out)


def test_examples_run(finished):
    result = doctest.testmod(runs, extraglobs={"es": es, "finished": finished.out}, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


def test_arrays_are_those_of_the_stores(run):
    table, packed = read_masks(run.folder)
    np.testing.assert_array_equal(run.masks, packed.off(np.arange(len(table))))
    assert run.masks.chunks is not None
    np.testing.assert_array_equal(run.masks["kind"], table["kind"])
    np.testing.assert_array_equal(
        run.masks.sel(layer=1).sum("neuron") + run.masks.sel(layer=0).sum("neuron"), table["k"]
    )
    np.testing.assert_array_equal(run.selectivity["tau"], open_store(run.folder.selectivity, SELECTIVITY).read("tau"))
    np.testing.assert_array_equal(run.scores["scores"], open_store(run.folder.scores, SCORES).read("scores"))
    assert run.activations.sel(concept="joy").sizes["neuron"] == run.masks.sizes["neuron"]


def test_one_neuron_is_found_by_layer_and_unit(run):
    found = run.neuron(1, 5)
    assert found["neuron"].unique().tolist() == [29]
    tau = run.selectivity["tau"].sel(layer=1, unit=5).to_numpy()[0]
    np.testing.assert_array_equal(found["tau"], -np.sort(-tau))


def test_tables_verdicts_and_settings(run, finished):
    assert set(run.tables) == {file.stem for file in (finished.out / "tables").glob("*.csv")}
    pd.testing.assert_frame_equal(run.tables["verdicts"], RunFolder(finished.out).table("verdicts"))
    assert run.verdicts["answer"].tolist() == run.tables["verdicts"]["answer"].tolist()
    assert run.settings.model.name == yaml.safe_load(finished.config.read_text())["model"]["name"]
    with pytest.raises(KeyError, match="nearest: 'verdicts'"):
        run.tables["verdict"]


def test_a_study_that_is_done_is_not_done_again(run, finished):
    before = (finished.out / "manifest.json").read_bytes()
    again = es.run_study(finished.config, finished.out, progress=False)
    assert again.path == run.path
    assert (finished.out / "manifest.json").read_bytes() == before


def test_a_study_of_settings_and_of_a_mapping_is_that_of_the_file(finished, world, run):
    out = world.out
    es.run_study(run.settings, out, progress=False)
    given = yaml.safe_load((finished.out / "config.yaml").read_text())
    assert es.run_study(given, out, progress=False).settings == run.settings
    pd.testing.assert_frame_equal(es.open_run(out).verdicts, run.verdicts)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda run, folder: es.open_run(folder / "none"), "path '"),
        (lambda run, folder: run.neuron(9, 0), "neuron '9:0': no such neuron"),
        (lambda run, folder: es.run_study(3, folder), "settings_or_yaml: int given"),
        (lambda run, folder: es.run_study({"model": {"nam": "x"}}, folder), "model.nam"),
    ],
)
def test_errors_name_the_argument(run, tmp_path, call, named):
    with pytest.raises(es.InputError) as caught:
        call(run, tmp_path)
    assert str(caught.value).startswith(named), str(caught.value)
