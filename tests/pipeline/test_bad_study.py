"""Concepts, texts, masks and rows that cannot be used are told in one line a problem, and nothing is written."""

import pytest
from tiny_run import ATTRIBUTES, CONCEPTS, NEURONS, write_texts

pytestmark = pytest.mark.slow


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


# ---- masks


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
