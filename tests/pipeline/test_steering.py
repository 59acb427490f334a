"""`emoscale steer`: next words before and after an attribute's neurons are edited."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import xarray
from rich.console import Console
from tiny_run import NEURONS

from emoscale.ablation.options import AblationOptions
from emoscale.commands.steer import steer
from emoscale.commands.steer_options import SteerOptions
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
    steer(str(tiny_folder("gpt2")), SteerOptions([TEXT], "valence", 5, keep=folder), QUIET)
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
    options = SteerOptions([TEXT + " "], "arousal", k, 3, AblationOptions(edit=edit, factor=factor), run=folder)
    steered = steer(str(model), options, QUIET)
    assert (steered.edited, steered.neurons, steered.skipped) == (count, NEURONS, [])
    before = plain_probabilities(model, [], 1)
    after = plain_probabilities(model, selective(folder, "arousal", count), factor)
    (table,) = steered.words
    words = table.set_index("word")
    assert set(words.index) == set(before)
    for name in before:
        row = words.loc[name]
        assert row["before"] == pytest.approx(before[name], rel=1e-3)
        assert row["after"] == pytest.approx(after[name], rel=1e-3)
        assert row["ratio"] == pytest.approx(after[name] / before[name], rel=1e-3)
    assert table["before"].is_monotonic_decreasing
    assert (table["ratio"] - 1).abs().max() > 0.01


@pytest.mark.parametrize("edit", ["mean", "resample"])
def test_neurons_take_values_of_the_extraction(kept, edit):
    folder, model = kept
    found, zeroed = (
        steer(str(model), SteerOptions([TEXT], "arousal", 9, 0, AblationOptions(edit=one), run=folder), QUIET).words[0]
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
        steer(str(model), SteerOptions([TEXT], "valence", 5, keep=folder), QUIET).words[0],
        steer(str(model), SteerOptions([TEXT], "valence", 5), QUIET).words[0],
    )


def test_effects_stand_beside_those_of_random_masks(kept):
    """Each random mask's ratios are those of a model with changed weights; the interval holds the middle 95 %."""
    folder, model = kept
    options = SteerOptions([TEXT], "arousal", 6, 4, AblationOptions(seed=3), run=folder)
    words = steer(str(model), options, QUIET).words[0].set_index("word")
    before = plain_probabilities(model, [], 1)
    ratios = {name: [] for name in before}
    for draw in range(4):
        chosen = np.random.default_rng([3, 6, draw]).choice(np.arange(NEURONS), size=6, replace=False)
        for name, after in plain_probabilities(model, chosen.tolist(), 0.0).items():
            ratios[name].append(after / before[name])
    for name, own in ratios.items():
        low, middle, high = np.exp(np.quantile(np.log(own), [0.025, 0.5, 0.975]))
        found = words.loc[name, ["random_low", "random", "random_high"]].tolist()
        assert found == pytest.approx([low, middle, high], rel=1e-3)
    assert (words["random_high"] > words["random_low"]).all()
    other = AblationOptions(seed=4)
    changed = steer(str(model), SteerOptions([TEXT], "arousal", 6, 4, other, run=folder), QUIET).words[0]
    assert changed.set_index("word")["ratio"].to_dict() == pytest.approx(words["ratio"].to_dict())
    assert not np.allclose(changed.set_index("word").loc[words.index, "random"], words["random"])


def test_several_texts_are_averaged(kept):
    folder, model = kept
    texts = [TEXT, "she felt"]
    both = steer(str(model), SteerOptions(texts, "arousal", 6, 3, run=folder), QUIET)
    for text, words in zip(texts, both.words, strict=True):
        alone = steer(str(model), SteerOptions([text], "arousal", 6, 3, run=folder), QUIET)
        pd.testing.assert_frame_equal(words, alone.words[0])
        single = alone.overall.set_index("word").loc[words["word"]]
        assert single["ratio"].tolist() == pytest.approx(words["ratio"].tolist())
        assert single["random_high"].tolist() == pytest.approx(words["random_high"].tolist())
    first, second = (words.set_index("word")["ratio"] for words in both.words)
    overall = both.overall.set_index("word")
    assert overall["ratio"].to_dict() == pytest.approx(np.sqrt(first * second).to_dict())
    assert overall["ratio"].is_monotonic_decreasing
    assert (overall["random_low"] <= overall["random"]).all()


def test_one_json_object_has_everything(kept, cli, tmp_path):
    folder, model = kept
    file = tmp_path / "texts.txt"
    file.write_text("\ufeffshe felt [bold]\n\n  \nthey were full of\n", encoding="utf-8")
    arguments = ("--attribute", "valence", "--k", 5, "--run", folder)
    more = ("--text", TEXT, "--texts", file, "--draws", 3, "--seed", 2)
    answer = cli("steer", model, *arguments, *more, "--edit", "scale", "--json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    texts = [TEXT, "she felt [bold]", "they were full of"]
    options = SteerOptions(texts, "valence", 5, 3, AblationOptions(edit="scale", seed=2), run=folder)
    steered = steer(str(model), options, QUIET)
    assert [text["text"] for text in found["texts"]] == texts
    assert [text["words"] for text in found["texts"]] == [words.to_dict("records") for words in steered.words]
    assert found["overall"] == steered.overall.to_dict("records")
    about = {name: found[name] for name in ("edited", "neurons", "edit", "factor", "seed", "draws", "attribute")}
    assert about == {
        "edited": 5,
        "neurons": NEURONS,
        "edit": "scale",
        "factor": 0.5,
        "seed": 2,
        "draws": 3,
        "attribute": "valence",
    }
    shown = cli("steer", model, *arguments, *more).out
    assert "she felt [bold]" in shown
    assert "all 3 texts, geometric mean" in shown
    nothing = cli("steer", model, *arguments, "--text", TEXT, "--draws", 0, "--json")
    words = json.loads(nothing.out)["texts"][0]["words"]
    assert {(row["random"], row["random_low"], row["random_high"]) for row in words} == {(None, None, None)}


def test_nothing_is_said_to_be_significant(cli, tiny_folder):
    """Neurons of an untrained model: what the asymptotic test says of them is not worth a word."""
    answer = cli("steer", tiny_folder("gpt2"), "--text", TEXT, "--attribute", "valence", "--draws", 5)
    assert (answer.code, answer.err) == (0, "")
    assert "significant" not in answer.out
    assert "random: the middle 95 % of after / before over 5 masks of as many random neurons\n" in answer.out


def test_a_masked_model_predicts_words_of_one_token(cli, tiny_folder):
    answer = cli(
        "steer", tiny_folder("bert"), "--text", "she felt {mask} at home", "--attribute", "control", "--k", 0.1
    )
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0].startswith("extract  162 rows")
    assert lines[2] == "5 of 48 neurons, the most selective for control: zero"
    assert lines[3].startswith("random: the middle 95 % of after / before over 20 masks")
    assert {line.split()[0] for line in lines[5:-1]} == {"joy", "anger", "fear", "remorse"}
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
    assert cli("steer", tiny_folder("gpt2"), "--attribute", "valence").problems == [
        "--text: none given; give --text TEXT, as often as you like, or --texts FILE"
    ]
    assert "cannot be read" in problems("gpt2", "--texts", tmp_path)[0]
    (tmp_path / "empty.txt").write_text("\n \n")
    assert problems("gpt2", "--texts", tmp_path / "empty.txt") == [
        f"--texts {tmp_path / 'empty.txt'}: has no text; give one a line"
    ]
    assert problems("gpt2", "--text", " ") == ["text ' ': is empty; give a text to be continued"]
