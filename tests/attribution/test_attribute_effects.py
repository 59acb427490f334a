"""Effects are those of one item at a time, whatever the blocks, the passes and what is kept."""

import numpy as np
import pytest
import small_study
import torch
from small_study import NAMES, NEURONS, attribute, contents, same_values

from emoscale.ablation.edits import RowEdit
from emoscale.ablation.forward_options import ForwardOptions
from emoscale.ablation.masked_forward import score
from emoscale.attribution.estimate import Estimator
from emoscale.effect_schema import EFFECT_CHECK, EFFECT_MOMENTS
from emoscale.errors import StageError
from emoscale.models.masking import Edit
from emoscale.run.effects import effects_by_half, exact_neurons, mean_effects, open_effects
from emoscale.run.folder import RunFolder
from emoscale.store import open_store
from emoscale.tasks.halves import halves
from emoscale.tasks.outcomes import NORMALIZATIONS


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def model(request, tiny_model):
    return tiny_model(request.param)


@pytest.fixture(scope="module")
def task(model):
    return small_study.make_task(model)


def mean_log_odds(scores, right, question, normalization):
    """Scores (items, options) as a plain loop: calibrated by question, the right option against all others."""
    values = scores.astype(np.float64)
    if normalization == "calibrated":
        for number in set(question):
            values[question == number] -= values[question == number].mean(axis=0)
    odds = []
    for item, own in enumerate(right):
        others = np.delete(values[item], own)
        odds.append(values[item, own] - np.log(np.exp(others).sum()))
    return np.mean(odds)


def slowly(model, task, normalization, step=0.02):
    """Derivative of the mean log-odds by a share of every neuron taken away, by central differences of fourth order."""
    items, each = np.arange(len(task.items)), np.eye(NEURONS, dtype=bool)
    right = task.items["label"].to_numpy()
    question = task.items["replicate"].astype(int).to_numpy()

    def outcomes(share):
        forward = ForwardOptions(RowEdit(Edit("scale", 1 - share)), "exact", 4000)
        scores = score(model, task, items, each, np.arange(NEURONS), forward, lambda rows: None)
        return np.array([mean_log_odds(scores[:, n], right, question, normalization) for n in range(NEURONS)])

    return (8 * (outcomes(step) - outcomes(-step)) - (outcomes(2 * step) - outcomes(-2 * step))) / (12 * step)


@pytest.mark.parametrize("normalization", ["none", "calibrated"])
def test_they_are_derivatives_of_the_mean_outcome(tmp_path, model, task, normalization):
    counts = attribute(tmp_path, model, task, normalization=normalization)
    assert counts == {"items": 24, "neurons": NEURONS}
    expected = slowly(model, task, normalization)
    np.testing.assert_allclose(mean_effects(RunFolder(tmp_path)).overall, expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("keep", ["moments", "items"])
def test_largest_effects_are_those_of_exact_ablation(tmp_path, model, task, keep):
    attribute(tmp_path, model, task, exact_neurons=3, keep=keep, normalization="none")
    folder = RunFolder(tmp_path)
    estimated, used = (mean_effects(folder, estimates_alone=alone) for alone in (True, False))
    attribute(tmp_path / "items", model, task, keep="items", normalization="none")
    items = open_effects(RunFolder(tmp_path / "items")).read("effects").astype(np.float64)
    largest = np.argsort(-np.sqrt((items**2).mean(axis=0)), kind="stable")[:3]
    np.testing.assert_array_equal(exact_neurons(folder), largest)
    others = np.delete(np.arange(NEURONS), largest)
    np.testing.assert_array_equal(used.by_cell[:, others], estimated.by_cell[:, others])
    off = np.zeros((4, NEURONS), bool)
    off[np.arange(1, 4), largest] = True
    forward = ForwardOptions(RowEdit(Edit("zero")), "exact", 4000)
    scores = score(model, task, np.arange(24), off, np.arange(4), forward, lambda rows: None).astype(np.float64)
    right, unmasked = task.items["label"].to_numpy(), scores[:, 0]
    others = np.where(np.eye(len(NAMES), dtype=bool)[right], -np.inf, unmasked)
    weights = np.eye(len(NAMES))[right] - np.exp(others - np.logaddexp.reduce(others, axis=1)[:, None])
    changes = ((scores[:, 1:] - unmasked[:, None]) * weights[:, None]).sum(axis=2)
    np.testing.assert_allclose(used.overall[largest], changes.mean(axis=0), rtol=1e-4, atol=1e-6)
    for (concept, replicate), own in task.items.groupby(["concept", "replicate"]).groups.items():
        cell = (used.cells["concept"].eq(concept) & used.cells["replicate"].eq(replicate)).to_numpy()
        np.testing.assert_allclose(used.by_cell[cell][0, largest], changes[own].mean(axis=0), rtol=1e-4, atol=1e-6)


def test_moments_are_those_of_the_items(tmp_path, model, task):
    attribute(tmp_path / "items", model, task, keep="items")
    attribute(tmp_path / "moments", model, task)
    items, moments = (open_effects(RunFolder(tmp_path / kind)) for kind in ("items", "moments"))
    assert moments.schema.kind == EFFECT_MOMENTS.kind
    effects = items.read("effects").astype(np.float64)
    assert items.read("concept").tolist() == task.items["concept"].tolist()
    assert items.read("right").tolist() == task.items["label"].tolist()
    half = items.read("half")
    assert half.tolist() == halves(task.items.rename(columns={"label": "right"})).tolist()
    cells = list(zip(*(moments.read(name) for name in ("concept", "replicate", "half")), strict=True))
    assert len(cells) == len(set(cells)) == len(NAMES) * 2 * 2
    for cell, (concept, replicate, part) in enumerate(cells):
        chosen = (task.items["concept"] == concept) & (task.items["replicate"] == replicate) & (half == part)
        own = effects[chosen.to_numpy()]
        assert moments.read("rows")[cell] == len(own) in (1, 2)
        np.testing.assert_allclose(moments.read("mean")[cell], own.mean(axis=0), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(moments.read("m2")[cell], own.var(axis=0) * len(own), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("by", [["concept", "replicate"], ["half"], ["concept", "half"]])
def test_means_are_those_of_the_items_whatever_is_kept(tmp_path, model, task, by):
    attribute(tmp_path / "items", model, task, keep="items")
    attribute(tmp_path / "moments", model, task)
    store = open_effects(RunFolder(tmp_path / "items"))
    effects = store.read("effects").astype(np.float64)
    labels = [store.read(name).tolist() for name in by]
    own_cell = list(zip(*labels, strict=True))
    for kind in ("items", "moments"):
        found = mean_effects(RunFolder(tmp_path / kind), by)
        np.testing.assert_allclose(found.overall, effects.mean(axis=0), rtol=1e-10, atol=1e-12)
        cells = list(found.cells[by].itertuples(index=False, name=None))
        assert set(cells) == set(own_cell)
        for cell, items, mean in zip(cells, found.cells["items"], found.by_cell, strict=True):
            own = effects[[one == cell for one in own_cell]]
            assert items == len(own)
            np.testing.assert_allclose(mean, own.mean(axis=0), rtol=1e-10, atol=1e-12)
        both = effects_by_half(RunFolder(tmp_path / kind))
        expected = [effects[store.read("half") == half].mean(axis=0) for half in (0, 1)]
        np.testing.assert_allclose(both, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "options", [{"tokens_per_pass": 1}, {"tokens_per_pass": 900}, {"block_rows": 5}, {"block_rows": 1}]
)
def test_blocks_and_passes_do_not_matter(tmp_path, model, task, options):
    attribute(tmp_path / "one", model, task, keep="items")
    attribute(tmp_path / "other", model, task, keep="items", **options)
    one, other = (open_effects(RunFolder(tmp_path / name)).read("effects") for name in ("one", "other"))
    same_values(one, other)


def test_several_steps_estimate_what_a_whole_layer_changes(tmp_path, model, task):
    attribute(tmp_path, model, task, keep="items", steps=24, normalization="none", tokens_per_pass=900)
    effects = open_effects(RunFolder(tmp_path)).read("effects")
    items, off = np.arange(len(task.items)), np.zeros((3, NEURONS), bool)
    off[1, :24] = off[2, 24:] = True
    scores = score(model, task, items, off, np.arange(3), ForwardOptions(RowEdit(), "exact", 4000), lambda rows: None)
    weights_at = torch.from_numpy(scores[:, 0].astype(np.float64))
    right = torch.from_numpy(task.items["label"].to_numpy())
    others = weights_at.clone()
    others[torch.arange(24), right] = -torch.inf
    weights = torch.nn.functional.one_hot(right, len(NAMES)) - others.softmax(dim=1)
    for layer in range(2):
        change = ((scores[:, 1 + layer] - scores[:, 0]) * weights.numpy()).sum(axis=1)
        found = effects[:, 24 * layer : 24 * (layer + 1)].sum(axis=1)
        np.testing.assert_allclose(found, change, atol=0.02 * np.abs(change).max())


def test_an_interrupted_stage_goes_on_and_gives_the_same(tmp_path, model, task):
    attribute(tmp_path / "whole", model, task, check_neurons=8, check_groups=[0.25], check_draws=3, block_rows=5)
    before = contents(tmp_path / "whole")

    class StopError(Exception):
        pass

    class Stopping:
        def __init__(self, advances):
            self.left = advances

        def start(self, *_args, **_options):
            pass

        def advance(self, *_args):
            self.left -= 1
            if self.left < 0:
                raise StopError

    for advances in (0, 2, 3, 5, 9, 20):
        path = tmp_path / f"stopped-{advances}"
        asked = {"check_neurons": 8, "check_groups": [0.25], "check_draws": 3, "block_rows": 5}
        with pytest.raises(StopError):
            attribute(path, model, task, progress=Stopping(advances), **asked)
        attribute(path, model, task, **asked)
        assert contents(path) == before


def test_effects_of_something_else_are_replaced(tmp_path, model, task):
    attribute(tmp_path / "one", model, task, origin={"model": "other"})
    attribute(tmp_path / "one", model, task, normalization="none")
    attribute(tmp_path / "one", model, task)
    attribute(tmp_path / "two", model, task)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


NEARLY = {"edit": "scale", "factor": 0.95}
"""An edit so small that effects are linear in it."""


def test_the_comparison_is_with_exact_ablation(tmp_path, model, task):
    asked = {"check_neurons": 12, "check_groups": [0.1, 0.5], "check_draws": 4, "check_items": 24}
    counts = attribute(tmp_path, model, task, edit=NEARLY, **asked)
    store = open_store(RunFolder(tmp_path).effect_check, EFFECT_CHECK)
    assert store.complete
    neurons, k = store.read("neuron"), store.read("k")
    assert k.tolist() == [1] * 12 + [5] * 4 + [24] * 4
    assert (neurons[12:] == -1).all()
    assert len(set(neurons[:12]) - {-1}) == 12
    estimated, overall = store.read("estimated"), mean_effects(RunFolder(tmp_path)).overall
    np.testing.assert_allclose(estimated[:, :12].mean(axis=0), overall[neurons[:12]], rtol=1e-4, atol=1e-6)
    off = np.zeros((13, NEURONS), bool)
    off[1 + np.arange(12), neurons[:12]] = True
    forward = ForwardOptions(RowEdit(Edit("scale", NEARLY["factor"])), "exact", 4000)
    scores = score(model, task, np.arange(len(task.items)), off, np.arange(13), forward, lambda rows: None)
    right, question = task.items["label"].to_numpy(), task.items["replicate"].astype(int).to_numpy()
    odds = [mean_log_odds(scores[:, mask], right, question, "calibrated") for mask in range(13)]
    change = np.array(odds[1:]) - odds[0]
    np.testing.assert_allclose(store.read("change")[:12], change, atol=1e-5)
    np.testing.assert_allclose(store.read("exact")[:, :12].mean(axis=0), change, atol=0.05 * np.abs(change).max())
    assert counts["single_r"] > 0.99
    assert counts["group_r"] > 0.95
    assert not RunFolder(tmp_path).exact_checks.exists()


@pytest.mark.parametrize("normalization", list(NORMALIZATIONS))
def test_every_normalization_can_be_attributed(tmp_path, model, task, normalization):
    attribute(tmp_path, model, task, normalization=normalization)
    assert np.isfinite(mean_effects(RunFolder(tmp_path)).overall).all()


def test_effects_are_needed_finished(tmp_path):
    with pytest.raises(StageError, match="run `emoscale attribute-effects` first"):
        mean_effects(RunFolder(tmp_path))


def test_too_large_passes_say_what_to_do(tmp_path, model, task, monkeypatch):
    def block(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Estimator, "block", block)
    with pytest.raises(StageError, match=r"of 60 tokens; set attribution\.tokens_per_pass to fewer"):
        attribute(tmp_path, model, task)
