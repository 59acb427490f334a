"""What cannot be used is told in one line a problem, with the mend, and nothing is written."""

import shutil
from pathlib import Path

import pytest
from tiny_run import ATTRIBUTES, CONCEPTS, NEURONS, STAGES, contents, write_texts

from emoscale.config import load_settings
from emoscale.pipeline import stages

pytestmark = pytest.mark.slow


@pytest.fixture
def refused(cli, world):
    """Run the world's config with other values; return the problems once it is sure that nothing was written."""

    def call(*arguments, **sections):
        world.write(**sections)
        before = contents(world.folder)
        answer = cli(*(arguments or ("run", world.config, "--out", world.out)))
        assert answer.code == 2
        assert answer.out == ""
        assert contents(world.folder) == before
        assert not world.out.exists()
        return answer.problems

    return call


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


def test_a_number_of_draws_that_nothing_tells(refused):
    (told,) = refused(masks={"draws": "auto"}, attribution={"check_groups": []})
    assert told == (
        "masks.draws auto: needs random groups of neurons that are ablated exactly, 3 or more of a size; set "
        "attribution.check_groups and attribution.check_draws so, or masks.draws to a number"
    )


def test_masks_by_halves_of_what_cannot_be_cut(refused):
    (said,) = refused(masks={"controls": ["half", "random"]})
    assert said == "masks.controls 'half': is compared with 'permuted'; add that"
    (said,) = refused(masks={"controls": ["half", "permuted"]}, tuning={"seeds": [1]})
    assert said == (
        "masks.controls 'half': neurons are chosen on each half of the replicates, and there is only one; list two or "
        "more tuning.seeds (with extraction.rows prompts) or extraction.templates (with templates), or leave it out"
    )


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


# ---- concepts and attributes


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("sad,", "joy,", ", line 5: concept 'joy' is already in line 2; keep one of them"),
        ("sad,0.2,0.0,0.1\n", "", ": has no concept 'sad'; add its row or leave it out of the concepts"),
        ("0.9", "nan", ", line 3 (anger), column 'arousal': holds 'nan'; give a number"),
        ("0.9", "", ", line 3 (anger), column 'arousal': is empty; give a number"),
        ("0.9", "high", ", line 3 (anger), column 'arousal': holds 'high', which is not a number; write it in digits"),
        (
            "concept,",
            "notion,",
            ", line 1: no column 'concept'; name one so in the header "
            "(it has 'notion', 'arousal', 'valence', 'control')",
        ),
    ],
)
def test_bad_attributes(refused, world, old, new, said):
    assert ATTRIBUTES.count(old) == 1
    world.attributes.write_text(ATTRIBUTES.replace(old, new))
    told = refused(concepts={"names": list(CONCEPTS), "dissimilarity": None})
    assert any(line.startswith(f"{world.attributes}{said}") for line in told)
    assert all(line.startswith(str(world.attributes)) for line in told)


def test_dissimilarities_of_other_concepts(refused, world):
    world.attributes.write_text(ATTRIBUTES.replace("sad", "gladness"))
    told = refused()
    assert (
        f"{world.dissimilarity}, line 4 (joy, sad): no attribute score for concept 'sad'; correct or remove the line"
        in told
    )


def test_fewer_than_three_concepts(refused, world):
    assert refused(concepts={"names": ["joy", "fear"]}) == [
        f"{world.attributes}: 2 concept(s) to compare; give at least 3, since fewer have no pattern of differences"
    ]


def test_a_concept_that_no_text_has(refused, world):
    write_texts(world.texts, CONCEPTS[:3])
    assert refused() == [
        "concept 'sad': no train and no dev text carries it as a label; label some, or leave the concept out"
    ]


def test_no_such_text_file(refused, world):
    assert refused(stimuli={"path": str(world.folder / "none.csv")}) == [
        f"{world.folder / 'none.csv'}: no such file; check the path"
    ]


# ---- lengths, words, numbers


def test_verbaliser_of_several_tokens(refused, tiny_folder):
    told = refused(
        model={"name": str(tiny_folder("bert"))}, tuning={"verbaliser": ["surprise", "dog"], "layout": "mask-first"}
    )
    assert told == [
        f"tuning.verbaliser 'surprise': 3 tokens in {tiny_folder('bert')}; choose a word of one token",
    ]


@pytest.mark.parametrize(
    ("length", "mend"),
    [(59, "set stimuli.max_tokens to 3 or less"), (80, "set a smaller tuning.prompt_length")],
)
def test_prompt_and_text_longer_than_the_positions(refused, tiny_folder, length, mend):
    (told,) = refused(tuning={"prompt_length": length})
    assert told == (
        f"tuning.prompt_length {length} and the longest text (4 tokens) need {length + 6} positions, "
        f"{tiny_folder('bert-encoder')} has 64; {mend}"
    )


def test_the_mend_for_too_long_texts_works(cli, world):
    world.write(tuning={"prompt_length": 59, "seeds": [1]}, stimuli={"max_tokens": 3})
    assert cli("tune", world.config, "--out", world.out).code == 0


def test_template_longer_than_the_positions(refused):
    told = refused(extraction={"rows": "templates", "templates": ["home " * 64 + "{concept}", "a {concept}"]})
    assert len(told) == len(CONCEPTS)
    assert told[0].startswith("extraction.templates: 'home home ")
    assert "joy' is 67 tokens, " in told[0]
    assert told[0].endswith(" has 64 positions; shorten it")


def test_bad_templates(refused):
    assert refused(extraction={"rows": "templates", "templates": ["nothing", "{concept}, {concept}"]}) == [
        "template 'nothing': has no field; it must have {concept}, once, and no other",
        "template '{concept}, {concept}': has {concept} and {concept}; it must have {concept}, once, and no other",
    ]


def test_k_that_cannot_be(refused):
    assert refused(masks={"k": [NEURONS + 1, 0, -3, 1.0, 1.5, 5]}) == [
        f"masks.k = {NEURONS + 1}: the model has {NEURONS} neurons; give that many or fewer",
        "masks.k = 0: not positive; give 1 or more",
        "masks.k = -3: not positive; give 1 or more",
        "masks.k = 1.0: a fraction lies between 0 and 1; for a count give a whole number",
        "masks.k = 1.5: a fraction lies between 0 and 1; for a count give a whole number",
    ]


def test_disjoint_controls_that_do_not_fit(refused):
    (told,) = refused(masks={"k": [24, 0.6], "disjoint": True})
    assert told == (
        "masks.k = 29: the model has 48 neurons, so 19 are left for a disjoint control of 29; "
        "give 24 or fewer, or set masks.disjoint to false"
    )


def test_layout_that_the_model_cannot_read(refused, tiny_folder):
    (told,) = refused(model={"name": str(tiny_folder("gpt2"))}, tuning={"layout": "mask-first"})
    assert told.startswith("tuning.layout 'mask-first': ")
    assert told.endswith("has no mask to read; set tuning.layout to 'prefix'")


def test_problems_of_all_kinds_are_told_at_once(refused, world):
    world.attributes.write_text(ATTRIBUTES.replace("0.9", "high").replace("1.0,0.2", "nan,0.2"))
    told = refused(
        masks={"k": [0]},
        tuning={"prompt_length": 80},
        model={"sha256": "f" * 64},
        stimuli={"text_column": "texts"},
    )
    assert len(told) == len(set(told)) == 5
    for words in ("(anger)", "(fear)", "no column 'texts'", "masks.k = 0", "model.sha256"):
        assert sum(words in line for line in told) == 1


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


# ---- what is extracted


@pytest.mark.parametrize(
    ("extraction", "words"),
    [
        ({"rows": "tokens", "pooling": "mean"}, ("extraction.pooling 'mean'", "set it to all", "texts")),
        ({"rows": "texts", "pooling": "concept-last"}, ("extraction.pooling 'concept-last'", "to templates")),
        ({"pooling": "concept-mean"}, ("extraction.pooling 'concept-mean'", "'prompts'", "to templates")),
        ({"pooling": "mena"}, ("extraction.pooling", "nearest: 'mean'")),
        ({"rows": "text"}, ("extraction.rows", "nearest: 'texts'")),
        ({"dtype": "float61"}, ("extraction.dtype", "nearest: 'float16'")),
        ({"keep": "moments", "dtype": "float16"}, ("extraction.dtype 'float16'", "float64", "remove it")),
    ],
)
def test_impossible_rows(refused, extraction, words):
    (problem,) = refused(extraction=extraction)
    assert all(word in problem for word in words), problem


def test_everything_that_moments_do_not_give(refused):
    problems = refused(
        extraction={"keep": "moments"},
        selectivity={"row_measures": ["mean", "auroc", "spearman"]},
        masks={"controls": ["random", "random-by-activation"]},
        ablation={"edit": "resample"},
        faithfulness={"edit": "resample"},
    )
    settings = [problem.partition(":")[0] for problem in problems]
    assert settings == [
        "selectivity.row_measures 'auroc'",
        "selectivity.row_measures 'spearman'",
        "masks.controls 'random-by-activation'",
        "ablation.edit 'resample'",
        "faithfulness.edit 'resample'",
    ]
    assert all("needs every row's activations" in problem for problem in problems)


def test_settings_that_the_task_and_the_edit_do_not_use(refused):
    problems = refused(ablation={"templates": ["{text}"], "words": ["bad", "good"], "factor": 0.3})
    assert [problem.split(":")[0] for problem in problems] == [
        "ablation.templates",
        "ablation.words",
        "ablation.factor",
    ]


def test_texts_longer_than_the_model_reads(refused, world):
    arguments = ("extract", world.config, "--out", world.out)
    (told,) = refused(*arguments, extraction={"rows": "texts"}, stimuli={"max_tokens": 1000})
    assert told.startswith("stimuli.max_tokens 1000: ")
    assert told.endswith(" positions; set 64 or less")


def test_texts_need_no_prompts(cli, world):
    """Nothing is asked of prompts and masks where activations of texts are all that is wanted."""
    world.write(
        extraction={"rows": "texts"}, stimuli={"max_tokens": 32}, tuning={"layout": "mask-first"}, masks={"k": [10**6]}
    )
    assert cli("extract", world.config, "--out", world.out).code == 0
    assert cli("select", world.config, "--out", world.out).code == 0


def test_moments_are_not_repaired(cli, world):
    world.write(extraction={"rows": "texts", "keep": "moments"}, stimuli={"max_tokens": 32})
    assert cli("extract", world.config, "--out", world.out).code == 0
    assert cli("select", world.config, "--out", world.out).code == 0
    answer = cli("extract", world.config, "--out", world.out, "--repair")
    assert answer.code == 2
    assert answer.problems == [f"{world.out}: moments cannot be repaired in parts; run emoscale extract --fresh"]
