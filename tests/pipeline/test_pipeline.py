"""Whole runs and stages by themselves."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
import tiny_gguf
import tiny_models
import xarray
from safetensors.numpy import load_file
from tiny_run import CONCEPTS, MASKS, NEURONS, RESULTS, STAGES, contents, manifest, states, times

from emoscale.analysis.mask_effects import mask_effects
from emoscale.config import load_settings
from emoscale.pipeline import stages
from emoscale.run.folder import RunFolder
from emoscale.schema import ALL_ATTRIBUTES
from emoscale.stimuli.templates import DEFAULT_TEMPLATES
from emoscale.store import open_store
from emoscale.system.files import sha256

pytestmark = pytest.mark.slow


def test_every_stage_comes_after_those_it_needs(finished):
    settings = load_settings(finished.config)
    assert tuple(stages.STAGES) == STAGES
    for number, stage in enumerate(stages.STAGES.values()):
        assert set(stage.needs(settings)) <= set(STAGES[:number])


def test_manifest_tells_what_was_done(finished):
    told = manifest(finished.out)
    assert list(told["stages"]) == list(STAGES)
    for facts in told["stages"].values():
        assert facts["state"] == "done"
        assert facts["wall_s"] >= 0
    assert told["stages"]["tune"]["counts"]["prompts"] == len(CONCEPTS) * 2
    assert told["stages"]["extract"]["counts"]["neurons"] == told["model"]["neurons"] == NEURONS
    assert told["stages"]["ablate"]["counts"]["masks"] == MASKS
    assert told["model"]["kind"] == "encoder"
    assert {len(told["model"][f"{part}_sha256"]) for part in ("weights", "config", "tokenizer")} == {64}
    assert {"python", "torch", "numpy"} <= told["versions"].keys()
    assert told["hardware"]["ranks"] == 1
    assert told["stages"]["tune"]["settings"]["stimuli.path"].startswith("sha256:")
    assert told["stages"]["select"]["settings"]["concepts.attributes"].startswith("sha256:")


def test_stores_open_in_xarray(finished):
    activations = xarray.open_zarr(finished.out / "activations.zarr", consolidated=False)
    assert dict(activations.sizes) == {"observation": 8, "neuron": NEURONS}
    assert activations["concept"].to_numpy().tolist() == [*CONCEPTS, *CONCEPTS]
    assert activations["replicate"].to_numpy().tolist() == ["1"] * 4 + ["3"] * 4
    selectivity = xarray.open_zarr(finished.out / "selectivity.zarr", consolidated=False)
    assert {"tau", "p", "q", "rank"} <= set(selectivity.data_vars)
    assert selectivity["tau"].dims == ("neuron", "attribute")
    assert selectivity["attribute"].to_numpy().tolist() == ["arousal", "valence", "control"]


def test_ablation_scores_every_prompt_under_every_mask(finished):
    scores = xarray.open_zarr(finished.out / "scores.zarr", consolidated=False).load()
    assert dict(scores.sizes)["item"] == 8 * 4  # two held-out texts of the concept and two others
    assert (scores.sizes["mask"], scores.sizes["option"]) == (MASKS, 2)
    assert scores["scores"].dims == ("item", "mask", "option")
    assert set(scores["kind"].to_numpy()) == {"none", "selective", "random"}
    assert scores["length"].sum() == scores.sizes["token"]
    report = " ".join((finished.out / "report.html").read_text(encoding="utf-8").split())
    (said,) = re.findall(r"are right in (\S+) of cases", report)
    asked = pd.read_csv(finished.out / "tables" / "unmasked.csv")["accuracy"].mean()
    np.testing.assert_allclose(float(said), asked, atol=0.006)
    assert "also chose each prompt" not in report
    prompts = pd.read_parquet(finished.out / "prompts.parquet")
    assert prompts["accuracy"].mean() != pytest.approx(asked, abs=0.02)  # on other texts
    assert (set(prompts["train"]), set(prompts["validation"]), set(prompts["dev"])) == ({12}, {4}, {4})


def unmasked_accuracy(folder):
    """Return the accuracy of every prompt on the texts that it is asked about, nothing switched off."""
    scores = xarray.open_zarr(folder / "scores.zarr", consolidated=False).load()
    items = pd.DataFrame({name: scores[name].to_numpy() for name in ("concept", "replicate", "right")})
    items["correct"] = scores["scores"].to_numpy()[:, 0].argmax(axis=1) == items["right"]
    return items.groupby(["concept", "replicate"])["correct"].mean()


def test_second_run_does_nothing_and_says_so(cli, finished):
    before = times(finished.out)
    answer = cli("run", finished.config, "--out", finished.out)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == f"{finished.out}: all stages are done; report: {finished.out / 'report.html'}\n"
    answer = cli("select", finished.config, "--out", finished.out)
    assert (answer.code, answer.out) == (0, f"{finished.out}: select is done; --fresh does it again\n")
    assert times(finished.out) == before


def test_stages_one_by_one_give_the_same(cli, world, finished):
    for stage in STAGES:
        answer = cli(stage, finished.config, "--out", world.out)
        assert (answer.code, answer.err) == (0, "")
        assert answer.out.startswith(stage)
        assert list(states(world.out)) == list(STAGES[: STAGES.index(stage) + 1])
    assert contents(world.out, *RESULTS) == contents(finished.out, *RESULTS)


def test_a_stage_done_anew_undoes_those_after_it(cli, world, finished):
    shutil.copytree(finished.out, world.out)
    kept = times(world.out / "prompts")
    answer = cli("extract", finished.config, "--out", world.out, "--fresh")
    assert (answer.code, answer.err) == (0, "")
    assert states(world.out) == {"tune": "done", "extract": "done"}
    assert {path.name for path in world.out.iterdir()} == {
        "config.yaml",
        "manifest.json",
        "prompts",
        "prompts.parquet",
        "activations.zarr",
        "inputs.zarr",
        "checksums",
    }
    assert cli("run", finished.config, "--out", world.out).code == 0
    assert contents(world.out, *RESULTS) == contents(finished.out, *RESULTS)
    assert times(world.out / "prompts") == kept


def test_selectivity_anew_keeps_the_activations(cli, world, finished):
    shutil.copytree(finished.out, world.out)
    kept = times(world.out / "activations.zarr")
    assert cli("select", finished.config, "--out", world.out, "--fresh").code == 0
    assert set(states(world.out)) == {"tune", "extract", "attribute-effects", "select"}
    assert times(world.out / "activations.zarr") == kept


@pytest.mark.parametrize("templates", [None, ["they felt {concept} at home", "the voice was full of {concept}"]])
def test_templates_are_the_replicates(cli, world, templates):
    world.write(extraction={"rows": "templates", "templates": templates}, tuning={"epochs": 1, "seeds": [1]})
    for stage in STAGES[:4]:
        answer = cli(stage, world.config, "--out", world.out)
        assert (answer.code, answer.err) == (0, "")
    rows = xarray.open_zarr(world.out / "activations.zarr", consolidated=False)
    expected = list(templates or DEFAULT_TEMPLATES)
    assert rows["replicate"].to_numpy().tolist() == expected * len(CONCEPTS)
    assert rows["concept"].to_numpy().tolist() == [concept for concept in CONCEPTS for _ in expected]
    if templates:
        # [CLS] they felt X, and [CLS] the voice was full of X
        assert rows["position"].to_numpy().tolist() == [3, 6] * len(CONCEPTS)


def test_masked_language_model_with_a_verbaliser(cli, world, tiny_folder):
    world.write(
        model={"name": str(tiny_folder("bert"))},
        tuning={"layout": "mask-first", "verbaliser": ["negative", "positive"], "validation": 0},
        stimuli={"train_texts": 3, "negatives": "any"},
    )
    answer = cli("run", world.config, "--out", world.out)
    assert (answer.code, answer.err) == (0, "")
    assert manifest(world.out)["model"]["kind"] == "masked-lm"
    assert load_file(world.out / "prompts" / "group-0000.safetensors")["heads"].size == 0
    prompts = pd.read_parquet(world.out / "prompts.parquet")
    assert prompts["train"].eq(6).all()
    # As published, the texts that are asked about chose each prompt's epoch.
    accuracy = unmasked_accuracy(world.out)
    np.testing.assert_allclose(accuracy, prompts.set_index(["concept", "replicate"])["accuracy"].loc[accuracy.index])
    assert "also chose each prompt" in (world.out / "report.html").read_text(encoding="utf-8")
    assert (
        xarray.open_zarr(world.out / "activations.zarr", consolidated=False)["position"].to_numpy().tolist() == [0] * 8
    )


def test_half_precision_store_holds_the_same_values(cli, world, finished):
    world.write(extraction={"dtype": "float16"})
    for stage in ("tune", "extract"):
        assert cli(stage, world.config, "--out", world.out).code == 0
    halves, whole = (
        xarray.open_zarr(folder / "activations.zarr", consolidated=False)["activations"].to_numpy()
        for folder in (world.out, finished.out)
    )
    assert halves.dtype == np.float16
    np.testing.assert_array_equal(halves, whole.astype(np.float16))


def test_a_run_without_human_data_has_no_human_tables(cli, world):
    world.write(concepts={"dissimilarity": None}, tuning={"epochs": 1, "batch_size": 4, "seeds": [1]})
    assert cli("run", world.config, "--out", world.out).code == 0
    assert not (world.out / "tables" / "importance.csv").exists()
    assert (world.out / "report.html").is_file()


def test_every_kind_of_control_in_a_run(cli, world):
    """Each stage finds what controls are matched by: layers with the selectivity, levels with the activations."""
    controls = ["random-by-layer", "random-by-activation", "random", "permuted", "lowest", "half"]
    masks = {"k": [5, 0.25], "draws": 2, "permutations": 3, "controls": controls}
    world.write(masks=masks, tuning={"epochs": 1, "batch_size": 4})
    for stage in ("tune", "extract", "select"):
        assert cli(stage, world.config, "--out", world.out).code == 0
    answer = cli("mask", world.config, "--out", world.out)
    assert answer.out.startswith("mask     6 selective masks, 64 controls  [")
    counts = {"none": 1, "selective": 6, "random-by-layer": 12, "random-by-activation": 12, "random": 4}
    counts |= {"permuted": 18, "lowest": 6, "half": 12}
    assert counts.items() <= manifest(world.out)["stages"]["mask"]["counts"].items()
    kinds = xarray.open_zarr(world.out / "masks.zarr", consolidated=False)["kind"].to_numpy().tolist()
    assert kinds == [kind for kind, count in counts.items() for _ in range(count)]


def test_masks_by_half_of_a_run(cli, world):
    """They are compared with the permuted ones in a table of their own, and are no control anywhere else."""
    masks = {"controls": ["half", "random", "permuted"], "permutations": 3, "disjoint": True, "k": [5]}
    world.write(masks=masks, tuning={"epochs": 1, "batch_size": 4}, faithfulness={"rankings": []})
    answer = cli("run", world.config, "--out", world.out)
    assert (answer.code, answer.err) == (0, "")
    folder = RunFolder(world.out)
    table = folder.table("held_out")
    assert table["attribute"].tolist() == [*open_store(folder.relation).read("attribute"), ALL_ATTRIBUTES]
    assert table["shared"].between(0, 1).all()
    assert np.isfinite(table[["drop_1", "drop_2", "ci_low_1", "ci_high_2"]]).all(axis=None)
    assert set(folder.table("drop_overall")["control"]) == {"random", "permuted"}
    page = (world.out / "report.html").read_text(encoding="utf-8")
    assert (
        "random (2 for each k and attribute), permuted (one for each k and attribute and each of 3 permutations of the "
        "concepts), none of them selective for the attribute; half (two for each k and attribute, each chosen on half "
        "of the replicates)"
    ) in page


def test_permuted_masks_of_a_run(cli, world):
    """From moments and on a cluster as from activations and here; the relation is of the masks' neurons."""
    masks = {"controls": ["permuted", "lowest"], "permutations": 4, "draws": "auto", "seed": 3}
    world.write(masks=masks, selectivity={"seed": 3}, tuning={"epochs": 1, "batch_size": 4, "seeds": [1]})
    answer = cli("run", world.config, "--out", world.out)
    assert (answer.code, answer.err) == (0, "")
    page = (world.out / "report.html").read_text(encoding="utf-8")
    assert "permuted (one for each k and attribute and each of 4 permutations of the concepts)" in page
    assert "lowest (one for each k and attribute)" in page
    folder = RunFolder(world.out)
    effects, relation = mask_effects(folder), open_store(folder.relation)
    sizes, attributes = relation.read("k").tolist(), relation.read("attribute").tolist()
    for row in effects[effects["kind"] != "lowest"].itertuples():
        order = row.draw + 1 if row.kind == "permuted" else 0
        expected = relation.read("effect")[order, attributes.index(row.attribute), sizes.index(row.k)]
        assert row.estimated == pytest.approx(expected, abs=1e-9)
    answer = cli("power", world.config, "--out", world.out, "--draws", 19, "--texts", 40)
    assert (answer.code, answer.err) == (0, "")
    assert "detectable" in answer.out
    answer = cli("power", world.config, "--out", world.out)
    assert answer.code == 2
    assert "--draws 4: a test by so few permutations cannot come to a conclusion" in answer.err
    bits = folder.masks.rename(world.folder / "from-activations")
    world.write(
        masks=masks,
        selectivity={"seed": 3},
        tuning={"epochs": 1, "batch_size": 4, "seeds": [1]},
        extraction={"keep": "moments"},
    )
    other = world.folder / "moments"
    for stage in ("tune", "extract", "select", "attribute-effects", "mask"):
        assert cli(stage, world.config, "--out", other).code == 0
    assert not RunFolder(other).activations.exists()
    np.testing.assert_array_equal(open_store(RunFolder(other).masks).read("bits"), open_store(bits).read("bits"))


def test_a_run_chooses_how_many_masks_it_draws(cli, world):
    """From the estimated effects, before the ablation; the mean over the drawn masks is adjusted by them."""
    controls = ["random", "random-by-layer"]
    world.write(masks={"draws": "auto", "draw_width": 0.02, "most_draws": 12, "controls": controls})
    for stage in ("tune", "extract", "select"):
        assert cli(stage, world.config, "--out", world.out).code == 0
    assert cli("mask", world.config, "--out", world.out).code
    assert not (world.out / "masks.zarr").exists()
    answer = cli("run", world.config, "--out", world.out)
    assert answer.code == 0
    store = xarray.open_zarr(world.out / "masks.zarr", consolidated=False)
    chosen = open_store(RunFolder(world.out).masks).attributes["origin"]["chosen_draws"]
    draws = {name: chosen[name]["draws"] for name in controls}
    kinds = store["kind"].to_numpy().tolist()
    assert [kinds.count(name) for name in controls] == [2 * draws["random"], 2 * 3 * draws["random-by-layer"]]
    said = f" controls, {draws['random']} draws of random, {draws['random-by-layer']} draws of random-by-layer  ["
    assert said in answer.out
    known = pd.read_csv(world.out / "tables" / "control_variates.csv").set_index(["control", "k"])
    assert (known["masks"] == [kinds.count(name) // 2 for name, _ in known.index]).all()
    effects = pd.read_csv(world.out / "tables" / "mask_effects.csv", keep_default_na=False)
    assert len(effects) == len(kinds) - 1
    drawn = effects[(effects["kind"] == "random") & (effects["k"] == 5)]
    np.testing.assert_allclose(known.loc["random", "exact"][5], drawn["exact"].mean())
    page = (world.out / "report.html").read_text(encoding="utf-8")
    assert f"random ({draws['random']} for each k, so that their mean was expected to be known to ±" in page
    assert "all stages are done" in cli("run", world.config, "--out", world.out).out


def test_a_model_in_a_gguf_file(cli, world, monkeypatch):
    """Converted in the first stage, found in the cache by the next, identified by its own hash."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(world.folder / "cache"))
    model, tokenizer = tiny_models.MAKERS["llama"]()
    file = tiny_gguf.write_gguf(world.folder / "m.gguf", tiny_models.randomise(model), tokenizer)
    others = {"extraction": {"rows": "texts"}, "stimuli": {"max_tokens": 32}}
    config = world.write(model={"name": str(file), "sha256": sha256(file)}, **others)
    first = cli("extract", config, "--out", world.out)
    assert first.code == 0
    assert first.problems == [f"converting {file}, once; a small model takes 10 to 20 s"]
    told = manifest(world.out)["model"]
    assert (told["kind"], told["neurons"], told["weights_sha256"]) == ("causal-lm", NEURONS, sha256(file))
    second = cli("select", config, "--out", world.out)
    assert (second.code, second.err) == (0, "")
    tiny_gguf.write_gguf(file, tiny_models.randomise(model, seed=1), tokenizer)
    world.write(model={"name": str(file)}, **others)
    (problem,) = [line for line in cli("mask", config, "--out", world.out).problems if "another model" in line]
    assert "the model's weights: " in problem
