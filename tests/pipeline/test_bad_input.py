"""What cannot be used is told in one line a problem, with the mend, and nothing is written."""

import shutil
from pathlib import Path

import pytest
from tiny_run import STAGES

from emoscale.config import load_settings
from emoscale.pipeline import stages

pytestmark = pytest.mark.slow


def test_no_such_config(refused, world):
    assert refused("run", world.folder / "none.yaml", "--out", world.out) == [
        f"{world.folder / 'none.yaml'}: no such config; give a YAML file, e.g. configs/demo.yaml"
    ]


def test_mistakes_in_the_config_are_told_at_once(refused, world):
    told = refused(tuning={"epoch": 1, "seeds": "x"}, mask={})
    assert told == [
        f"{world.config}: tuning.seeds.0: 'x' cannot be used; input should be a valid integer",
        f"{world.config}: tuning.epoch: no such key; did you mean 'epochs'?",
        f"{world.config}: mask: no such key; did you mean 'masks'?",
    ]


def test_malformed_set(refused, world):
    told = refused("tune", world.config, "--out", world.out, "--set", "tuning.epochs", "--set", "masks.draw=1")
    assert told == [
        "--set 'tuning.epochs': write section.key=value, e.g. --set tuning.epochs=3",
        "--set: masks.draw: no such key; did you mean 'draws'?",
    ]


# ---- the model


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/no/such/folder", "/no/such/folder is not a folder; set a folder that save_pretrained wrote"),
        ("nobody/nothing", "not a local folder, and the download from the Hub failed (LocalEntryNotFoundError); set"),
        ("nothing", "not a local folder, and the download from the Hub failed (LocalEntryNotFoundError); set"),
        ("package:nonesuch/model", "package nonesuch is not installed; pip install nonesuch"),
        ("package:nonesuch.inner/model", "package nonesuch.inner is not installed; pip install nonesuch.inner"),
        ("package:yaml/model", "yaml/model is not a folder; set a folder that save_pretrained wrote"),
    ],
)
def test_no_such_model(refused, name, said):
    (told,) = refused(model={"name": name})
    assert told.startswith(f"model.name {name!r}: ")
    assert said in told


@pytest.fixture
def model(world, tiny_folder):
    """Give a copy of the model that may be spoilt."""
    return shutil.copytree(tiny_folder("bert-encoder"), world.folder / "model")


def test_wrong_checksum(refused, model, finished):
    (told,) = refused(model={"name": str(model), "sha256": "0" * 64})
    assert told.startswith(f"model.sha256: the weights in {model} hash to ")
    assert told.endswith(f", not {'0' * 64}; download them again, or correct model.sha256 if you trust them")


def test_weights_that_are_cut_short(refused, model):
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    (told,) = refused(model={"name": str(model)})
    assert told.startswith(f"{file}: incomplete safetensors file (")


def test_weights_of_another_model(refused, model, tiny_folder):
    shutil.copy(tiny_folder("gpt2") / "model.safetensors", model)
    (told,) = refused(model={"name": str(model)})
    assert told.startswith(f"model.name {str(model)!r}: ")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.safetensors", None, "no safetensors weights; convert them (pickled weights are not loaded)"),
        ("config.json", "{", "is not a valid JSON file.); set another"),
        ("tokenizer.json", "{", "transformers cannot read"),
    ],
)
def test_folders_that_hold_no_usable_model(refused, model, name, content, said):
    (model / name).unlink()
    if content:
        (model / name).write_text(content)
    (told,) = refused(model={"name": str(model)})
    assert str(model) in told
    assert said in told


def test_a_model_without_its_tokenizer(refused, model):
    # transformers would make an empty one, to which every text is the same.
    for file in model.glob("tokenizer*"):
        file.unlink()
    assert refused(model={"name": str(model)}) == [
        f"model.name {str(model)!r}: {model} has no tokenizer; save the model's own there"
    ]


def test_no_such_site(refused):
    (told,) = refused(model={"site": "layers.{layer}.mlp"})
    assert told.startswith("model.site 'layers.{layer}.mlp': no kind of unit, nor a linear map of BertModel")
    assert "encoder.layer.{layer}.output.dense" in told


# ---- the folder


@pytest.mark.parametrize("fresh", [[], ["--fresh"]])
def test_folder_that_cannot_be(refused, world, fresh):
    under_a_file = world.texts / "run"
    assert refused("run", world.config, "--out", under_a_file, *fresh) == [
        f"{under_a_file}: cannot be written (Not a directory); choose another --out"
    ]
    assert refused("run", world.config, "--out", world.texts, *fresh) == [
        f"{world.texts}: is a file; choose another --out"
    ]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write to")
def test_folder_that_is_not_writable(refused, world):
    (told,) = refused("run", world.config, "--out", "/proc/emoscale")
    assert told.startswith("/proc/emoscale: cannot be written (")
    assert told.endswith("; choose another --out")


@pytest.mark.parametrize("fresh", [[], ["--fresh"]])
@pytest.mark.parametrize("manifest", [None, '{"name": "a web page", "icons": []}', '{"stages": {}}', "{"])
def test_folder_with_other_files(refused, world, fresh, manifest):
    theirs = world.folder / "theirs"
    (theirs / "tables").mkdir(parents=True)
    (theirs / "tables" / "precious.csv").write_text("a")
    if manifest:
        (theirs / "manifest.json").write_text(manifest)
    (told,) = refused("run", world.config, "--out", theirs, *fresh)
    assert told.startswith(str(theirs))
    assert "choose an empty --out" in told or "give another --out" in told
    assert (theirs / "tables" / "precious.csv").read_text() == "a"


@pytest.mark.parametrize("stage", STAGES[1:])
def test_stage_that_lacks_what_it_needs(refused, world, stage):
    needs = stages.STAGES[stage].needs(load_settings(world.config))
    assert refused(stage, world.config, "--out", world.out) == [
        f"{world.out}: {stage} needs {' and '.join(needs)}; run emoscale {needs[0]} first, or emoscale run"
    ]


# ---- the command line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rum"], "No such command 'rum'. Did you mean 'run'? (see --help)"),
        (["run"], "give a CONFIG, or --example NAME in its place (see --help)"),
        (["tune"], "Missing argument 'CONFIG'. (see --help)"),
        (["run", "a.yaml", "--ouf", "x"], "No such option: --ouf"),
        (["run", "a.yaml", "--out"], "Option '--out' requires an argument. (see --help)"),
        (["inspect"], "Missing argument 'RUN|STORE'. (see --help)"),
        (["doctor", "x"], "Got unexpected extra argument"),
    ],
)
def test_command_lines_that_make_no_sense(refused, arguments, said):
    (told,) = refused(*arguments)
    assert told.startswith(said)
