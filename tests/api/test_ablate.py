"""What `es.ablate` takes, and what it refuses."""

import numpy as np
import pandas as pd
import pytest
import tiny_models
from transformers import MixtralConfig, MixtralForCausalLM

import emoscale as es

ITEMS = [("she won the game", "joy"), ("alone at home", "sad"), ("a gift", "joy"), ("he lost a dog", "sad")]
SHORT = {"templates": ["{text} I feel"]}


def loaded(name):
    module, tokenizer = tiny_models.MAKERS[name]()
    return es.load(tiny_models.randomise(module), tokenizer=tokenizer)


@pytest.fixture(scope="module")
def model():
    return loaded("gpt2")


@pytest.fixture(scope="module")
def activations(model):
    return es.activations(model, [text for text, _ in ITEMS], labels=[concept for _, concept in ITEMS])


def test_neurons_in_any_form_are_the_same(model):
    off = np.zeros(48, bool)
    off[[3, 30]] = True
    rows = pd.DataFrame({"layer": [0, 1], "unit": [3, 6], "tau": [0.5, 0.4]})
    forms = {
        "numbers": [3, 30],
        "places": [(0, 3), (1, 6)],
        "booleans": off,
        "rows": rows,
        "numbered": pd.DataFrame({"neuron": [3, 30]}),
    }
    found = es.ablate(model, forms, ITEMS)
    by_form = [found[found["mask"] == name].drop(columns="mask").reset_index(drop=True) for name in forms]
    for one in by_form[1:]:
        pd.testing.assert_frame_equal(one, by_form[0])
    alone = es.ablate(model, [3, 30], pd.DataFrame(ITEMS, columns=["text", "concept"]))
    np.testing.assert_array_equal(alone["log_odds"][4:], by_form[0]["log_odds"])
    assert alone["mask"].unique().tolist() == ["none", "neurons"]


def test_what_a_searchlight_found_is_a_mask_for_each_rdm(model):
    texts = ["she felt {concept}", "full of {concept}"]
    scores = pd.DataFrame({"a": [1.0, 0.3, 0.2], "b": [0.5, 1.0, 0.2]}, index=["joy", "fear", "sad"])
    found = es.searchlight(es.activations(model, texts, concepts=scores.index), scores, permutations=9)
    best = found.groupby("rdm", group_keys=False)[found.columns].apply(lambda rows: rows.nlargest(4, "tau"))
    table = es.ablate(model, best, ITEMS)
    assert table.groupby("mask", sort=False)["k"].first().to_dict() == {"none": 0, "a": 4, "b": 4}


def test_a_mask_is_its_neurons_set_to_zero_in_the_weights(model):
    """The second map's columns of these neurons, set to zero in a model of its own."""
    other = loaded("gpt2")
    second = other.module.transformer.h[1].mlp.c_proj.weight
    second.data[[4, 6]] = 0
    masked = es.ablate(model, [(1, 4), (1, 6)], ITEMS, normalization="none").query("kind == 'mask'")
    without = es.ablate(other, [(1, 4)], ITEMS, normalization="none").query("kind == 'none'")
    np.testing.assert_allclose(masked["log_odds"].to_numpy(), without["log_odds"].to_numpy(), rtol=1e-4)


def test_probability_and_log_odds_say_the_same(model):
    found = es.ablate(model, [3, 30], ITEMS, normalization="none")
    odds = np.log(found["probability"]) - np.log1p(-found["probability"])
    np.testing.assert_allclose(found["log_odds"], odds, rtol=1e-9)
    np.testing.assert_array_equal(found["accuracy"], found["answer"] == found["right"])
    assert found["text"].tolist() == [ITEMS[number][0] for number in found["item"]]
    assert found["right"].tolist() == [ITEMS[number][1] for number in found["item"]]


def test_controls_have_as_many_neurons_and_keep_layers(model, activations):
    controls = ["random", "random-by-layer", "random-by-activation"]
    found = es.ablate(model, {"low": range(8)}, ITEMS, controls=controls, draws=3, activations=activations)
    assert found["k"].unique().tolist() == [0, 8]
    assert found[["kind", "draw"]].drop_duplicates().groupby("kind").size().to_dict() == {
        "none": 1,
        "mask": 1,
        **dict.fromkeys(controls, 3),
    }
    again = es.ablate(model, {"low": range(8)}, ITEMS, controls=controls, draws=3, activations=activations.to_numpy())
    pd.testing.assert_frame_equal(found, again)
    # All of a layer's neurons can only be replaced by themselves.
    whole = es.ablate(model, {"layer": model.neurons["layer"] == 0}, ITEMS, controls="random-by-layer", draws=1)
    drops = whole.groupby("kind")["drop"].apply(list)
    assert drops["mask"] == drops["random-by-layer"]


def test_mean_and_resample_take_values_from_activations(model, activations):
    first = activations.isel(observation=[0])
    drops = {
        edit: es.ablate(model, [3, 30], ITEMS, edit=edit, activations=first)["drop"] for edit in ("mean", "resample")
    }
    # The mean of a single row is that row.
    np.testing.assert_allclose(drops["mean"], drops["resample"], rtol=1e-6)
    other = es.ablate(model, [3, 30], ITEMS, edit="mean", activations=activations)["drop"]
    assert not np.allclose(drops["mean"], other)
    doubled = es.ablate(model, [3, 30], ITEMS, edit="scale", factor=1.0)["drop"]
    np.testing.assert_allclose(doubled, 0, atol=1e-6)


def test_masked_models_are_asked_whether():
    found = es.ablate(loaded("bert"), [3, 30], ITEMS, words=["negative", "positive"])
    assert set(found["right"]) == {"other", "concept"}
    texts = found["text"].map(dict(ITEMS)) == found["concept"]
    assert ((found["right"] == "concept") == texts).all()


def test_neurons_of_experts_and_of_other_sites():
    tokenizer = tiny_models.bpe_tokenizer("llama")
    size = {"hidden_size": 16, "intermediate_size": 12, "num_hidden_layers": 2, "max_position_embeddings": 64}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "num_local_experts": 3}
    config = MixtralConfig(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=1, **size, **heads)
    module = tiny_models.randomise(MixtralForCausalLM(config))
    experts = es.load(module, tokenizer=tokenizer)
    places = [(0, 1, 3), (1, 2, 5)]
    numbers = [3 + 12, 36 + 2 * 12 + 5]
    found = es.ablate(experts, {"places": places, "numbers": numbers}, ITEMS, **SHORT)
    drops = found[found["kind"] == "mask"].groupby("mask")["drop"].apply(list)
    assert drops["places"] == drops["numbers"]
    assert np.abs(drops["places"]).max() > 0
    effects = es.effects(experts, ITEMS, **SHORT)
    assert effects.loc[numbers, ["layer", "expert", "unit"]].to_numpy().tolist() == [list(place) for place in places]
    with pytest.raises(es.InputError, match=r"^masks: int64 of shape \(1, 2\) given; .*\(layer, expert, unit\)"):
        es.ablate(experts, [(0, 1)], ITEMS, **SHORT)
    residual = es.load(module, tokenizer=tokenizer, site="residual")
    assert es.ablate(residual, [(1, 3)], ITEMS, **SHORT)["drop"].abs().max() > 0
    with pytest.raises(es.InputError, match=r"^site 'ffn': the model is loaded with site 'residual'"):
        es.effects(residual, ITEMS, site="ffn")


def test_a_model_in_memory_stays_as_it_is(model):
    module = model.module
    module.train()
    for weight in module.parameters():
        weight.requires_grad_(True)
    es.effects(model, ITEMS, exact=2)
    assert module.training
    assert all(weight.requires_grad and weight.grad is None for weight in module.parameters())
    module.eval()


@pytest.mark.parametrize(
    ("masks", "items", "options", "named"),
    [
        ([], ITEMS, {}, "masks: no neurons"),
        ([48], ITEMS, {}, "masks: no neuron 48; the model has 48"),
        ({"a": [(2, 0)]}, ITEMS, {}, "masks 'a': the model has no neuron layer 2, unit 0"),
        ({"a": [True, False]}, ITEMS, {}, "masks 'a': shape (2,) given for 48 neurons"),
        ({"a": [0.5]}, ITEMS, {}, "masks 'a': float64 of shape (1,) given"),
        ({"a": pd.DataFrame({"tau": [1.0]})}, ITEMS, {}, "masks 'a': lacks the column 'layer'"),
        ({"none": [1]}, ITEMS, {}, "masks 'none'"),
        ({}, ITEMS, {}, "masks: none given"),
        ([1], [], {}, "items: none given"),
        ([1], ["she won"], {}, "items: give pairs"),
        ([1], pd.DataFrame({"text": ["a"]}), {}, "items: lacks the column 'concept'"),
        ([1], [("she won", "joy"), ("home", None)], {}, "items: number 1 has no concept"),
        ([1], ITEMS[:1], {}, "items: all show 'joy'"),
        ([1], ITEMS, {"controls": "rand"}, "controls 'rand' (nearest: 'random')"),
        ([1], ITEMS, {"controls": "permuted"}, "controls 'permuted': chance does not draw"),
        ([1], ITEMS, {"controls": ["random-by-activation"]}, "controls 'random-by-activation': needs the neurons'"),
        ([1], ITEMS, {"draws": 0}, "draws: 0"),
        ([1], ITEMS, {"seed": -1}, "seed: -1"),
        ([1], ITEMS, {"edit": "mean"}, "edit 'mean': needs the activations"),
        ([1], ITEMS, {"activations": np.ones((2, 5))}, "activations: of 5 neurons"),
        ([1], ITEMS, {"edt": "mean"}, "edt: no such key; did you mean 'edit'?"),
        ([1], ITEMS, {"task": "soft-prompt"}, "task 'soft-prompt': needs tuned prompts"),
        ([1], ITEMS, {"templates": ["no field"]}, "templates 'no field': has no field"),
        ([1], ITEMS, {"words": ["a", "b"]}, "words: task 'multiple-choice' does not use it"),
        ([1], ITEMS, {"max_tokens": 0}, "max_tokens: 0"),
        ([1], ITEMS, {"normalization": "calibrate"}, "normalization 'calibrate' (nearest: 'calibrated')"),
    ],
)
def test_errors_name_the_argument(model, masks, items, options, named):
    with pytest.raises(es.InputError) as caught:
        es.ablate(model, masks, items, **options)
    assert str(caught.value).startswith(named), str(caught.value)
    assert "ablation." not in str(caught.value)


@pytest.mark.parametrize(("options", "named"), [({"exact": -1}, "exact: -1"), ({"steps": 0}, "steps: 0")])
def test_effects_name_the_argument(model, options, named):
    with pytest.raises(es.InputError) as caught:
        es.effects(model, ITEMS, **options)
    assert str(caught.value).startswith(named)


def test_single_answers_are_not_corrected(model):
    with pytest.raises(es.InputError, match=r"^precision 'two-level': corrects means over many texts"):
        es.ablate(model, [3], ITEMS, precision="two-level")
