"""`import emoscale as es` gives what the stages give, and errors name arguments."""

import doctest
import importlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import tiny_models
import torch
import xarray
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

import emoscale as es
from emoscale.concepts.loading import Concepts
from emoscale.extraction.extract import extract
from emoscale.extraction.inputs import TemplateRows
from emoscale.extraction.options import ExtractionOptions
from emoscale.extraction.work import Job
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.schema import ACTIVATIONS, SELECTIVITY
from emoscale.selectivity.options import SelectivityOptions
from emoscale.selectivity.select import select
from emoscale.stimuli.templates import render_templates
from emoscale.system.progress import Silent
from emoscale.system.ranks import one_process

CONCEPTS = ["joy", "fear", "sad", "anger"]
TEMPLATES = ["they felt {concept}", "she was full of {concept}"]


@pytest.fixture(scope="module")
def in_memory():
    module, tokenizer = tiny_models.MAKERS["gpt2"]()
    return tiny_models.randomise(module), tokenizer


@pytest.fixture(scope="module")
def model(in_memory):
    return es.load(in_memory[0], tokenizer=in_memory[1])


WITH_EXAMPLES = ("ablate", "activations", "arguments", "effects", "models", "neurons", "plot", "rdms", "searchlight")


@pytest.mark.parametrize("name", ["emoscale", *(f"emoscale.api.{name}" for name in WITH_EXAMPLES)])
def test_examples_run(name, model):
    module = importlib.import_module(name)
    names = {
        "es": es,
        "np": np,
        "model": model,
        "tokenizer": model.tokenizer,
        **vars(module),
        "InputError": es.InputError,
    }
    names["activations"] = None
    result = doctest.testmod(module, extraglobs=names)
    assert result.attempted > 0
    assert result.failed == 0


def test_importing_emoscale_takes_no_library():
    code = (
        "import sys, emoscale as es; dir(es); "
        "print([n for n in ('torch', 'xarray', 'pandas', 'transformers', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert all(getattr(es, name) is not None for name in es.__all__)


def _extracted(folder, loaded):
    folder = RunFolder(folder)
    rows = TemplateRows(loaded.language_model, render_templates(TEMPLATES, CONCEPTS), "concept-last")
    job = Job(origin={}, concepts=CONCEPTS, writers=1)
    extract(folder, rows, ExtractionOptions(), job=job, ranks=one_process(), progress=Silent())
    return folder


@pytest.mark.parametrize("kept", [False, True])
def test_activations_are_those_of_the_stage(model, tmp_path, kept):
    stored = open_finished(_extracted(tmp_path / "stage", model).activations, ACTIVATIONS)
    out = tmp_path / "kept" if kept else None
    found = es.activations(model, TEMPLATES, concepts=CONCEPTS, out=out)
    np.testing.assert_array_equal(found.to_numpy(), stored.read("activations"))
    assert (found.chunks is not None) == kept
    layer_1 = found.sel(layer=1)
    assert layer_1.dims == ("observation", "neuron")
    np.testing.assert_array_equal(layer_1, found.to_numpy()[:, stored.read("layer") == 1])
    both = found.sel(layer=1, unit=[3, 5], concept="joy")
    np.testing.assert_array_equal(both, found.to_numpy()[:2, [27, 29]])
    assert found.text.to_numpy()[0] == "they felt joy"


def test_searchlight_is_the_stage_select(model, tmp_path):
    folder = _extracted(tmp_path, model)
    scores = pd.DataFrame({"a": [1.0, 0.3, 0.2, 0.1], "b": [0.5, 1.0, 0.2, 0.2]}, index=CONCEPTS)
    select(
        folder,
        Concepts(CONCEPTS, ["a", "b"], scores.to_numpy(), None),
        SelectivityOptions(permutations=99),
        progress=Silent(),
    )
    stored = open_finished(folder.selectivity, SELECTIVITY)
    found = es.searchlight(es.activations(model, TEMPLATES, concepts=CONCEPTS), scores, permutations=99)
    for name in ("tau", "p", "q", "p_all"):
        for column, attribute in enumerate("ab"):
            np.testing.assert_array_equal(found[found["rdm"] == attribute][name], stored.read(name)[:, column])


@given(
    st.lists(st.lists(st.integers(-2, 2), min_size=5, max_size=5), min_size=1, max_size=4),
    st.lists(st.integers(0, 3), min_size=10, max_size=10),
)
def test_tau_of_any_rdm_is_scipys(columns, rdm):
    rdm = np.array(rdm, float)
    if np.ptp(rdm) == 0:
        rdm[0] += 1
    values = np.array([*columns, [np.nan] * 5, [1] * 5], float).T
    square = np.zeros((5, 5))
    square[np.triu_indices(5, 1)] = rdm
    found = es.searchlight(values, {"square": square + square.T, "vector": rdm}, permutations=0, threads=1)
    pairs = np.triu_indices(5, 1)
    expected = [
        kendalltau(np.abs(v[pairs[0]] - v[pairs[1]]), rdm).statistic if np.isfinite(v).all() else np.nan
        for v in values.T
    ]
    for name in ("square", "vector"):
        np.testing.assert_allclose(found[found["rdm"] == name]["tau"], expected, rtol=1e-12, atol=1e-15)


def test_rows_of_a_label_are_averaged():
    values = np.random.default_rng(0).normal(size=(8, 3))
    labels = ["a", "b", "c", "d"] * 2
    scores = pd.Series([1.0, 4.0, 2.0, 0.0], index=list("abcd"), name="size")
    xr_values = xarray.DataArray(values, dims=("observation", "neuron"))
    found = es.searchlight(xr_values, scores, labels=labels, permutations=9)
    mean = es.searchlight((values[:4] + values[4:]) / 2, {"size": scores.to_numpy()}, permutations=9)
    pd.testing.assert_frame_equal(found, mean)


def test_a_model_in_memory_stays_as_it_is(in_memory):
    module, tokenizer = in_memory
    module.train()
    es.activations(module, "she won", tokenizer=tokenizer)
    assert module.training
    assert all(weight.requires_grad for weight in module.parameters())
    module.eval()


def test_a_folder_and_a_model_in_memory_give_the_same(in_memory, tmp_path):
    module, tokenizer = in_memory
    module.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    texts = ["she won the game", "he lost"]
    np.testing.assert_array_equal(es.activations(tmp_path, texts), es.activations(module, texts, tokenizer=tokenizer))


class Wrapped:
    """What is used of an nnsight.LanguageModel: its weights come when it is dispatched."""

    def __init__(self, module, tokenizer, dispatched):
        self.tokenizer, self.dispatched, self._whole = tokenizer, dispatched, module
        self._module = module if dispatched else type(module)(module.config).to("meta")

    def dispatch(self):
        self._module, self.dispatched = self._whole, True


@pytest.mark.parametrize("dispatched", [True, False])
def test_a_model_of_nnsight_is_the_one_it_wraps(in_memory, model, dispatched):
    module, tokenizer = in_memory
    wrapped = Wrapped(module, tokenizer, dispatched)
    found = es.load(wrapped)
    assert found.module is module
    assert wrapped.dispatched
    np.testing.assert_array_equal(es.activations(wrapped, ["she won"]), es.activations(model, ["she won"]))


def test_what_is_kept_of_other_texts_or_weights_is_replaced(in_memory, tmp_path):
    module, tokenizer = in_memory
    first = es.activations(module, ["she won"], tokenizer=tokenizer, out=tmp_path).to_numpy()
    assert not np.array_equal(first, es.activations(module, ["he lost"], tokenizer=tokenizer, out=tmp_path))
    with torch.no_grad():
        module.transformer.wte.weight += 1
    assert not np.array_equal(first, es.activations(module, ["she won"], tokenizer=tokenizer, out=tmp_path))
    with torch.no_grad():
        module.transformer.wte.weight -= 1


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda m: es.activations(m, ["a b"] * 5, labels=["x"] * 3), "labels: 3 given for 5 texts"),
        (lambda m: es.activations(m, ["glad"], pooling="mea"), "pooling 'mea' (nearest: 'mean')"),
        (lambda m: es.activations(m, ["glad"], pooling="concept-last"), "pooling 'concept-last'"),
        (lambda m: es.activations(m, []), "texts: none given"),
        (lambda m: es.activations(m, ["felt {concept}"]), "texts: some have {concept}"),
        (lambda m: es.activations(m, ["glad"], site="residual"), "site 'residual'"),
        (lambda m: es.activations(torch.nn.Linear(1, 1), ["glad"]), "model: Linear"),
        (lambda m: es.load(m.module), "tokenizer: none given"),
        (lambda m: es.load(m.module, tokenizer=m.tokenizer, site="ffm"), "site 'ffm'"),
        (lambda m: es.load("./no/such/folder"), "name_or_model './no/such/folder'"),
        (lambda m: es.searchlight(np.eye(4), {"a": np.ones((4, 4))}), "rdms 'a': all dissimilarities"),
        (lambda m: es.searchlight(np.eye(4), {"a": np.arange(16.0).reshape(4, 4)}), "rdms 'a': is not symmetric"),
        (lambda m: es.searchlight(np.eye(4), {"a": np.array([0.3, 0.1 + 0.2] * 3)}), "rdms 'a': all dissimilarities"),
        (
            lambda m: es.searchlight(np.eye(4), {"a": 1e-9 * np.arange(16.0).reshape(4, 4)}),
            "rdms 'a': is not symmetric",
        ),
        (lambda m: es.searchlight(np.eye(4), {"a": np.arange(5.0)}), "rdms 'a': shape (5,)"),
        (lambda m: es.searchlight(np.eye(4), np.eye(4), labels=["x"]), "labels: 1 given for 4 rows"),
        (lambda m: es.searchlight(np.eye(4), np.eye(4), permutations=-1), "permutations: -1"),
    ],
)
def test_errors_name_the_argument(model, call, named):
    with pytest.raises(es.InputError) as caught:
        call(model)
    assert str(caught.value).startswith(named), str(caught.value)
    assert "model.site" not in str(caught.value)
    assert "extraction." not in str(caught.value)
