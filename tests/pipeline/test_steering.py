"""`emoscale steer`: next words before and after an attribute's neurons are edited."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray
from rich.console import Console
from tiny_run import NEURONS

from emoscale.ablation.options import AblationOptions
from emoscale.commands.steer import SteerOptions, steer
from emoscale.concepts.loading import load_concepts
from emoscale.concepts.options import ConceptOptions
from emoscale.models.loading import load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import outline_model

TEXT = "my friend was full of"
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def kept(tmp_path_factory, tiny_folder):
    """Give a folder with the selectivity of a causal model's neurons, and the model's folder."""
    folder = tmp_path_factory.mktemp("steering") / "kept"
    steer(str(tiny_folder("gpt2")), SteerOptions(TEXT, "valence", 5, keep=folder), QUIET)
    return folder, tiny_folder("gpt2")


def selective(folder, attribute, k):
    found = xarray.open_zarr(folder / "selectivity.zarr", consolidated=False).sel(attribute=attribute)
    rank = np.where(np.isnan(found["tau"].to_numpy()), np.inf, found["rank"].to_numpy())
    return sorted(range(len(rank)), key=lambda neuron: (rank[neuron], neuron))[:k]


@torch.no_grad()
def plain_probabilities(folder, neurons, factor):
    """Of every concept's name after the text, with the columns of some neurons multiplied."""
    model = load_model(outline_model(ModelOptions(str(folder))))
    for neuron in neurons:
        site = model.outline.sites[neuron // 24]
        model.module.get_submodule(site.path).weight[neuron % 24] *= factor
    tokenizer, found = model.outline.tokenizer, {}
    start = len(tokenizer(TEXT)["input_ids"])
    for name in load_concepts(ConceptOptions()).names:
        ids = tokenizer(f"{TEXT} {name}")["input_ids"]
        logs = model.module(torch.tensor([ids])).logits[0].log_softmax(dim=-1)
        found[name] = float(sum(logs[at - 1, ids[at]] for at in range(start, len(ids))).exp())
    return found


@pytest.mark.parametrize(("edit", "factor"), [("zero", 0.0), ("scale", 3.0)])
@pytest.mark.parametrize(("k", "count"), [(7, 7), (0.25, 12)])
def test_probabilities_are_those_of_a_model_with_changed_weights(kept, edit, factor, k, count):
    folder, model = kept
    options = SteerOptions(TEXT + " ", "arousal", k, AblationOptions(edit=edit, factor=factor), run=folder)
    steered = steer(str(model), options, QUIET)
    assert (steered.edited, steered.neurons, steered.skipped) == (count, NEURONS, [])
    before = plain_probabilities(model, [], 1)
    after = plain_probabilities(model, selective(folder, "arousal", count), factor)
    words = steered.words.set_index("word")
    assert set(words.index) == set(before)
    for name in before:
        row = words.loc[name]
        assert row["before"] == pytest.approx(before[name], rel=1e-3)
        assert row["after"] == pytest.approx(after[name], rel=1e-3)
        assert row["ratio"] == pytest.approx(after[name] / before[name], rel=1e-3)
    assert steered.words["before"].is_monotonic_decreasing
    assert (steered.words["ratio"] - 1).abs().max() > 0.01


@pytest.mark.parametrize("edit", ["mean", "resample"])
def test_neurons_take_values_of_the_extraction(kept, edit):
    folder, model = kept
    found, zeroed = (
        steer(str(model), SteerOptions(TEXT, "arousal", 9, AblationOptions(edit=one), run=folder), QUIET).words
        for one in (edit, "zero")
    )
    assert found["before"].tolist() == pytest.approx(zeroed["before"].tolist())
    assert found["after"].tolist() != pytest.approx(zeroed["after"].tolist(), rel=1e-3)


def test_what_was_kept_is_found_again(kept, cli):
    folder, model = kept
    answer = cli("steer", model, "--text", TEXT, "--attribute", "valence", "--k", 5, "--keep", folder)
    assert (answer.code, answer.err) == (0, "")
    assert "extract" not in answer.out
    assert answer.out.startswith("5 of 48 neurons, the most selective for valence: zero\n")
    pd.testing.assert_frame_equal(
        steer(str(model), SteerOptions(TEXT, "valence", 5, keep=folder), QUIET).words,
        steer(str(model), SteerOptions(TEXT, "valence", 5), QUIET).words,
    )


def test_a_masked_model_predicts_words_of_one_token(cli, tiny_folder):
    answer = cli(
        "steer", tiny_folder("bert"), "--text", "she felt {mask} at home", "--attribute", "control", "--k", 0.1
    )
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0].startswith("extract  162 rows")
    assert lines[2] == "5 of 48 neurons, the most selective for control: zero"
    assert {line.split()[0] for line in lines[4:-1]} == {"joy", "anger", "fear", "remorse"}
    assert lines[-1].startswith("skipped, several tokens each: realization, surprise, ")


def test_a_run_of_ones_own(cli, finished, world, tiny_folder):
    problems = cli(
        "steer", tiny_folder("gpt2"), "--text", TEXT, "--attribute", "fairness", "--k", 5, "--run", finished.out
    ).problems
    assert problems == [
        "--attribute 'fairness': unknown; use one of arousal, valence, control",
        f"--run {finished.out}: was made with another model ({tiny_folder('bert-encoder')}) than "
        f"{tiny_folder('gpt2')}; give that one, or remove --run",
    ]


def test_everything_wrong_is_reported_together(cli, tiny_folder, tmp_path):
    def problems(model, *options, text=TEXT):
        return cli("steer", tiny_folder(model), "--text", text, "--attribute", "valence", *options).problems

    model = str(tiny_folder("bert"))
    assert cli("steer", model, "--text", TEXT, "--attribute", "valance", "--k", 2000, "--edit", "zeros").problems == [
        "--attribute 'valance' (nearest: 'valence'): unknown; use one of "
        + ", ".join(load_concepts(ConceptOptions()).attributes),
        "--edit 'zeros' (nearest: 'zero'): unknown; use one of zero, scale, mean, resample",
        "k = 2000: the model has 48 neurons; give that many or fewer",
        f"text {TEXT!r}: must have {{mask}} once, where {model} predicts the word",
    ]
    assert "has another mask" in problems("bert", text="[MASK] {mask}")[0]
    assert "predicts no words (encoder)" in problems("bert-encoder")[0]
    assert problems("gpt2", text="  ") == ["text '  ': is empty; give a text to be continued"]
    assert "64 positions" in problems("gpt2", text="loud " * 70)[0]
    assert problems("gpt2", "--k", "many") == ["--k 'many': not a number; give a count of neurons or a share below 1"]
    assert "is not a run folder" in problems("gpt2", "--run", tmp_path)[0]
    assert "give one of them" in problems("gpt2", "--run", tmp_path, "--keep", tmp_path)[0]
