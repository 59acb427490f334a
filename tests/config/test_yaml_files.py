"""YAML that is faulty, or is no YAML at all: one line that says where, what it probably is, and the fix."""

import pytest

from emoscale.config import load_settings
from emoscale.config.fields import expanded
from emoscale.errors import InputError

MODEL = "model: {name: m}\n"


@pytest.fixture
def load(tmp_path):
    def call(text, *overrides, name="study.yaml"):
        file = tmp_path / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_settings(file, overrides)

    return call


@pytest.fixture
def told(load, tmp_path):
    """Give the single problem of a config, without the folder."""

    def call(text, *overrides, name="study.yaml"):
        with pytest.raises(InputError) as caught:
            load(text, *overrides, name=name)
        (problem,) = caught.value.problems
        assert "\n" not in problem
        return problem.removeprefix(f"{tmp_path}/")

    return call


def test_a_key_that_occurs_twice(told):
    text = MODEL + "masks:\n  k: [5]\n  draws: 3\n  k: [6]\n"
    assert told(text) == "study.yaml, line 5: 'k' is already in line 3; keep one of them"
    assert told(MODEL + "title: a\nmodel: {name: n}\n") == (
        "study.yaml, line 3: 'model' is already in line 1; keep one of them"
    )


def test_merged_keys_are_no_duplicates(load):
    settings = load(MODEL + "masks: &seed {seed: 3}\nselectivity: {<<: *seed}\nattribution: {<<: *seed, seed: 4}\n")
    assert (settings.masks.seed, settings.selectivity.seed, settings.attribution.seed) == (3, 3, 4)


@pytest.mark.parametrize("date", ["2024-01-31", "2024-13-45", "2024-01-31 25:61:00"])
def test_dates_are_text(load, date):
    assert load(f"{MODEL}title: {date}\n").title == date
    assert load(MODEL, f"title={date}").title == date


@pytest.mark.parametrize("number", ["9" * 5000, "0x" + "f" * 400, "1e400", "-" + "9" * 40])
@pytest.mark.parametrize("key", ["masks.seed", "tuning.epochs", "tuning.learning_rate", "machine.memory_limit"])
def test_numbers_that_no_machine_holds(told, key, number):
    section, name = key.split(".")
    problem = told(f"{MODEL}{section}:\n  {name}: {number}\n")
    assert problem.startswith("study.yaml")
    assert len(problem) < 200
    assert key in problem or "line 3" in problem


@pytest.mark.parametrize("number", ["9" * 5000, "["])
def test_such_numbers_on_the_command_line(told, number):
    assert told(MODEL, f"masks.seed={number}").endswith("the value is not YAML; quote it")


def test_a_tab(told):
    problem = told("model:\n\tname: m\n")
    assert problem.startswith("study.yaml, line 2: not YAML (begins with a tab: ")
    assert problem.endswith("indent with spaces")


@pytest.mark.parametrize(
    "text",
    [
        "concept,arousal,valence\njoy,0.1,0.2\nfear,0.3,0.4\n",
        "concept;arousal\njoy;0,1\nfear;0,3\n",
        "concept\tarousal\njoy\t0.1\n",
        'text,label\n"she said ""no""",joy\nwell,fear\n',
    ],
)
def test_a_table_in_place_of_the_config(told, text):
    said = "is a table, not a config; give the YAML file that names it (concepts or stimuli), or let "
    for name in ("ratings.csv", "ratings.yaml", "ratings.txt"):
        assert told(text, name=name).startswith(f"{name}: {said}")
    assert told(b"PK\x03\x04", name="ratings.xlsx").startswith(f"ratings.xlsx: {said}")


def test_a_folder_in_place_of_the_config(tmp_path):
    with pytest.raises(InputError, match=r"is a folder; give a YAML file$"):
        load_settings(tmp_path)
    (tmp_path / "config.yaml").write_text(MODEL)
    with pytest.raises(InputError, match=r"is a folder; give .*config.yaml, the settings of that run$"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    "text", ["[" * 5000, "a: *b", "? [1]\n: 2\n", "--- 1\n--- 2\n", "!!python/object:os.system {}", "a: \x07", "%x"]
)
def test_yaml_of_other_kinds(told, text):
    assert told(text).startswith("study.yaml")


def test_a_byte_order_mark(load):
    assert load("\ufeff" + MODEL).model.name == "m"


@pytest.mark.parametrize(("words", "place"), [("[no, yes]", "ablation.words.0"), ("[maybe, on]", "ablation.words.1")])
def test_words_that_yaml_takes_for_true_and_false(load, tmp_path, words, place):
    with pytest.raises(InputError) as caught:
        load(f"{MODEL}ablation: {{words: {words}}}\n")
    first = caught.value.problems[0]
    assert first.startswith(f"{tmp_path / 'study.yaml'}: {place}: ")
    assert "put the word in quotes" in first


def test_a_number_where_text_is_expected(told):
    assert told("model: {name: 7}\n") == "study.yaml: model.name: 7 cannot be used; it is text: put it in quotes"


def test_a_single_value_is_a_list_of_one(load):
    settings = load(
        MODEL
        + "masks: {k: 0.1, controls: permuted}\ntuning: {seeds: 3}\nextraction: {templates: 'I felt {concept}'}\n",
        "faithfulness.shares=0.5",
    )
    assert (settings.masks.k, settings.masks.controls, settings.tuning.seeds) == ([0.1], ["permuted"], [3])
    assert settings.extraction.templates == ["I felt {concept}"]
    assert settings.faithfulness.shares == [0.5]
    assert load(MODEL + "extraction: {templates: null}\n").extraction.templates is None


@pytest.mark.parametrize(("text", "number"), [("1e-3", 1e-3), ("2E5", 2e5), ("+.5e1", 5.0), ("1.e2", 100.0)])
def test_numbers_with_an_exponent_need_no_dot(load, text, number):
    assert load(MODEL + f"tuning: {{learning_rate: {text}}}\n").tuning.learning_rate == number


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("tuning: {learning_rate: true}", "tuning.learning_rate: True"),
        ("tuning: {learning_rate: 1e300}", "tuning.learning_rate: 1e+300"),
        ("tuning: {weight_decay: .inf}", "tuning.weight_decay: inf"),
        ("ablation: {factor: -1e308}", "ablation.factor: -1e+308"),
        ("ablation: {factor: .nan}", "ablation.factor: nan"),
        ("concepts: {scale: [1, 1e31]}", "concepts.scale.1: 1e+31"),
        ("tuning: {seeds: [18446744073709551616]}", "tuning.seeds.0: 18446744073709551616"),
    ],
)
def test_numbers_that_libraries_beneath_cannot_take(told, text, key):
    assert told(MODEL + text + "\n").startswith(f"study.yaml: {key} cannot be used; input should be ")


def test_half_a_character(told):
    assert told(r'title: "\ud800"' + "\n") == r"study.yaml, line 1: '\ud800' cannot be read; write another value"


@pytest.mark.parametrize(
    ("name", "said"), [("n" * 300, "File name too long"), ("bad\udcff", "not UTF-8"), ("a\0b", "no file can have")]
)
def test_names_that_no_file_can_have(name, said):
    with pytest.raises(InputError, match=said):
        expanded(name)


def test_a_link_that_leads_back_to_itself(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(InputError, match="symbolic links"):
        expanded(str(tmp_path / "a"))
