"""`es.plot` draws what the report draws, on any axes."""

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import tiny_models
from matplotlib import pyplot
from matplotlib.figure import Figure

import emoscale as es
from emoscale.report.phrasing import number

ITEMS = [("she won the game", "joy"), ("alone at home", "sad"), ("a gift", "joy"), ("he lost a dog", "sad")]
CONCEPTS = ["joy", "fear", "sad", "anger"]


@pytest.fixture(autouse=True)
def _closed():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def model():
    module, tokenizer = tiny_models.MAKERS["gpt2"]()
    return es.load(tiny_models.randomise(module), tokenizer=tokenizer)


@pytest.fixture(scope="module")
def found(model):
    scores = pd.DataFrame({"a": [1.0, 0.3, 0.2, 0.1], "b": [0.5, 1.0, 0.2, 0.2]}, index=CONCEPTS)
    activations = es.activations(model, ["they felt {concept}", "full of {concept}"], concepts=CONCEPTS)
    return es.searchlight(activations, scores, permutations=23)


def test_importing_the_package_imports_no_figures():
    code = (
        "import sys, emoscale as es; dir(es); es.InputError; print('matplotlib' in sys.modules); "
        "es.plot.rdm; print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_map_shows_each_layer_and_colours_what_is_significant(found):
    axes = es.plot.selectivity(found, alpha=0.9)
    grey, coloured = (image.get_array() for image in axes.images)
    by_rdm = found.pivot_table("tau", "rdm", "neuron").to_numpy()
    np.testing.assert_allclose(grey, by_rdm)
    q = found.pivot_table("q", "rdm", "neuron").to_numpy()
    np.testing.assert_array_equal(np.ma.getmaskarray(coloured), ~(q < 0.9))
    assert 0 < (q < 0.9).sum() < q.size
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1"]


def test_counts_of_layers(found):
    axes = es.plot.layers(found, alpha=0.9)
    counts = found.assign(passed=found["q"] < 0.9).pivot_table("passed", "rdm", "layer", aggfunc="sum")
    np.testing.assert_array_equal(axes.images[0].get_array().filled(0), counts.to_numpy())


def test_drops_are_means_with_intervals_over_texts(model):
    found = es.ablate(model, {"x": [3, 30, 7], "y": [1, 2]}, ITEMS, controls="random", draws=4)
    axes = es.plot.drops(found)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["y", "x"]
    dots = next(line for line in axes.lines if line.get_marker() == "o").get_xdata()
    means = found[found["kind"] == "mask"].groupby("mask")["drop"].mean()
    np.testing.assert_allclose(dots, means[["y", "x"]])
    ticks = [line.get_xdata() for line in axes.lines if line.get_marker() == "|"]
    drawn = found[found["kind"] == "random"].groupby(["mask", "draw"])["drop"].mean()
    np.testing.assert_allclose(ticks[1], drawn["x"])
    (low, _), (high, _) = axes.collections[0].get_segments()[1]
    one = found[(found["kind"] == "mask") & (found["mask"] == "x")]["drop"]
    half = 3.182446305284263 * one.std() / np.sqrt(4)  # t(3), .975
    np.testing.assert_allclose([low, high], [one.mean() - half, one.mean() + half])


def test_a_matrix_and_its_triangle_are_the_same():
    rows = pd.DataFrame([[0, 1, 2], [1, 0, 3], [2, 3, 0]], index=list("abc"), columns=list("abc"))
    of_matrix, of_triangle = es.plot.rdm(rows), es.plot.rdm([1, 2, 3], list("abc"))
    for axes in (of_matrix, of_triangle):
        np.testing.assert_array_equal(axes.images[0].get_array(), rows)
        assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    assert [text.get_text() for text in of_matrix.texts][:3] == [number(value) for value in (0, 1, 2)]


def test_figures_are_made_as_a_notebook_has_set_it(monkeypatch):
    """IPython shows figures that were made while pyplot was interactive, which the report's style is not."""
    make, were_interactive = pyplot.figure, []

    def recorded(**options):
        were_interactive.append(mpl.is_interactive())
        return make(**options)

    monkeypatch.setattr(pyplot, "figure", recorded)
    monkeypatch.setitem(mpl.rcParams, "interactive", True)
    for _ in range(2):
        es.plot.rdm([1.0, 2.0, 3.0])
    assert were_interactive == [True, True]


def test_axes_of_ones_own_are_drawn_on(found):
    before = dict(mpl.rcParams)
    figure = Figure()
    top, bottom = figure.subplots(2)
    assert es.plot.selectivity(found, ax=top) is top
    assert es.plot.rdm([1.0, 2.0, 3.0], ax=bottom) is bottom
    assert bottom.images
    assert pyplot.get_fignums() == []
    es.plot.rdm([1.0, 2.0, 3.0])
    assert len(pyplot.get_fignums()) == 1
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda found: es.plot.selectivity([1]), "found: list given"),
        (lambda found: es.plot.selectivity(found.drop(columns="layer")), "found: lacks the column 'layer'"),
        (lambda found: es.plot.selectivity(found.assign(tau=np.nan)), "found: no neuron has a tau"),
        (lambda found: es.plot.drops(found), "found: lacks the column 'mask'"),
        (lambda found: es.plot.rdm(np.ones((2, 3))), "dissimilarities: shape (2, 3)"),
        (lambda found: es.plot.rdm(np.ones(4)), "dissimilarities: shape (4,)"),
        (lambda found: es.plot.rdm(np.ones(3), ["a"]), "names: 1 given for 3 rows"),
        (lambda found: es.plot.forest(found), "table: lacks the column 'attribute'"),
        (lambda found: es.plot.followers(found), "table: lacks the column 'attribute'"),
    ],
)
def test_errors_name_the_argument(found, call, named):
    with pytest.raises(es.InputError) as caught:
        call(found)
    assert str(caught.value).startswith(named)
