"""Settings from YAML and back, and every mistake told at once."""

import shlex
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from emoscale.config import load_settings, make_settings, settings_mapping, settings_yaml
from emoscale.errors import InputError

CONFIGS = Path(__file__).parents[2] / "configs"
MASK_KEYS = "k, controls, disjoint, draws, permutations, seed, draw_width, most_draws"

# YAML's own line breaks and control characters aside, but for those that separate labels.
words = st.sampled_from(["1e5", "-2.5E-3", ".5e1"]) | st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], include_characters="\t\n"), max_size=12
)
seeds = st.integers(0, 2**40)
fractions = st.floats(0, 1, exclude_min=True, exclude_max=True)
unusual = st.fixed_dictionaries(
    {
        "title": words,
        "model": st.fixed_dictionaries({"name": words, "trust_remote_code": st.booleans()}),
        "concepts": st.fixed_dictionaries({"names": st.none() | st.lists(words)}),
        "stimuli": st.fixed_dictionaries({"label_separator": st.none() | words, "dev_fraction": fractions}),
        "tuning": st.fixed_dictionaries(
            {
                "seeds": st.lists(seeds, min_size=1, unique=True),
                "verbaliser": st.lists(words, min_size=2, max_size=2),
                "learning_rate": st.floats(1e-300, 1e30),
            }
        ),
        "extraction": st.fixed_dictionaries({"templates": st.none() | st.lists(words)}),
        "masks": st.fixed_dictionaries(
            {"k": st.lists(seeds | fractions, min_size=1), "draws": st.just("auto") | st.integers(1, 9)}
        ),
        "analysis": st.fixed_dictionaries({"outcome": st.sampled_from(["accuracy", "log-odds"])}),
    }
)


@pytest.fixture
def load(tmp_path):
    def call(text, *overrides):
        file = tmp_path / "study.yaml"
        file.write_text(text if isinstance(text, str) else yaml.safe_dump(text), encoding="utf-8")
        return load_settings(file, overrides)

    return call


@pytest.fixture
def problems(load, tmp_path):
    """Give the problems of a config, each without its file's name."""

    def call(text, *overrides):
        with pytest.raises(InputError) as caught:
            load(text, *overrides)
        assert caught.value.exit_code == 2
        return [problem.removeprefix(f"{tmp_path / 'study.yaml'}: ") for problem in caught.value.problems]

    return call


@given(unusual)
def test_settings_written_and_read_are_the_same(tmp_path_factory, given_settings):
    settings = make_settings(given_settings)
    file = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    file.write_text(settings_yaml(settings), encoding="utf-8")
    assert load_settings(file) == settings


def test_written_settings_hold_the_defaults(load):
    written = yaml.safe_load(settings_yaml(load("model: {name: m}")))
    assert written["tuning"]["prompt_length"] == 100
    assert written == settings_mapping(make_settings(written))


def test_defaults_are_the_published_study(load):
    settings = load("model: {name: roberta-base}")
    tuning = settings.tuning
    assert tuning.seeds == [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 42, 100]
    assert (tuning.layout, tuning.prompt_length, tuning.verbaliser) == ("mask-first", 100, ["negative", "positive"])
    assert (tuning.epochs, tuning.batch_size, tuning.learning_rate, tuning.weight_decay) == (2, 16, 2e-3, 0.01)
    assert settings.stimuli.max_tokens == 256
    assert settings.selectivity.alpha == 0.01
    assert settings.masks.k == [1500, 2000, 2500, 3000, 4000, 5000, 6000]


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.name)
def test_shipped_configs_load_and_begin_with_their_command(file):
    load_settings(file)
    first = file.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    program, command, config, *_ = shlex.split(first.removeprefix("# "))
    assert (program, config) == ("emoscale", f"configs/{file.name}")
    assert command in ("run", "tune", "extract")


def test_overrides_win_over_the_file(load):
    settings = load(
        "model: {name: m}\ntuning: {epochs: 3, seeds: [1]}",
        "tuning.epochs=5",
        "masks.k=[0.1, 20]",
        "title=a = b",
        "concepts.dissimilarity=null",
        "model.name=other/model",
    )
    assert (settings.tuning.epochs, settings.tuning.seeds) == (5, [1])
    assert settings.masks.k == [0.1, 20]
    assert settings.title == "a = b"
    assert settings.concepts.dissimilarity is None
    assert settings.model.name == "other/model"


def test_numbers_that_yaml_takes_for_text(load):
    # YAML 1.1 wants a dot in a mantissa.
    assert load("model: {name: m}\ntuning: {learning_rate: 2e-4}").tuning.learning_rate == 2e-4


@pytest.mark.parametrize(
    ("text", "size"),
    [("4 GB", 4_000_000_000), ("4GiB", 2**32), ("1.5 gb", 1_500_000_000), ("4096", 4096), ("null", None)],
)
def test_sizes_in_bytes(load, text, size):
    settings = load("model: {name: m}", f"machine.memory_limit={text}")
    assert settings.machine.memory_limit == size
    assert load(settings_yaml(settings)) == settings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tuning: {epoch: 3}", "tuning.epoch: no such key; did you mean 'epochs'?"),
        ("tunning: {epochs: 3}", "tunning: no such key; did you mean 'tuning'?"),
        (
            "masks: {wherefore: 3}",
            f"masks.wherefore: no such key; known keys: {MASK_KEYS}",
        ),
        ("tuning: {epochs: many}", "tuning.epochs: 'many' cannot be used; input should be a valid integer"),
        (
            "ablation: {precision: two-levl}",
            "ablation.precision: 'two-levl' cannot be used; input should be 'auto', 'exact', 'bfloat16' or 'two-level'",
        ),
        ("tuning: {epochs: 2.5}", "tuning.epochs: 2.5 cannot be used; input should be a valid integer"),
        ("tuning: {epochs: true}", "tuning.epochs: True cannot be used; input should be a valid integer"),
        ("tuning: {epochs: 0}", "tuning.epochs: 0 cannot be used; input should be greater than or equal to 1"),
        ("tuning: {learning_rate: 0}", "tuning.learning_rate: 0 cannot be used; input should be greater than 0"),
        ("tuning: {layout: first}", "tuning.layout: 'first' cannot be used; input should be 'mask-first' or 'prefix'"),
        ("tuning: {seeds: {}}", "tuning.seeds: {} cannot be used; input should be a valid list"),
        ("tuning: {seeds: []}", "tuning.seeds: [] cannot be used; list should have at least 1 item, not 0"),
        (
            "tuning: {seeds: [1, 2, 1]}",
            "tuning.seeds: [1, 2, 1] cannot be used; list each once; repeated: 1",
        ),
        ("tuning: {seeds: [1, -2]}", "tuning.seeds.1: -2 cannot be used; input should be greater than or equal to 0"),
        ("stimuli: {seed: -1}", "stimuli.seed: -1 cannot be used; input should be greater than or equal to 0"),
        ("masks: {k: [many]}", "masks.k.0: 'many' cannot be used; input should be a valid number"),
        ("masks: {controls: []}", "masks.controls: [] cannot be used; list should have at least 1 item, not 0"),
        (
            "masks: {controls: [random, random]}",
            "masks.controls: ['random', 'random'] cannot be used; list each once; repeated: random",
        ),
        (
            "masks: {controls: [randm]}",
            "masks.controls.0: 'randm' cannot be used; unknown (nearest: 'random'); "
            "use one of random, random-by-layer, random-by-activation, permuted, lowest, half, largest-loss, "
            "largest-effect",
        ),
        (
            "masks: {permutations: 0}",
            "masks.permutations: 0 cannot be used; input should be greater than or equal to 1",
        ),
        ("masks: {disjoint: 1}", "masks.disjoint: 1 cannot be used; input should be a valid boolean"),
        ("masks: {k: [true]}", "masks.k.0: True cannot be used; input should be a valid number"),
        (
            "masks: 3",
            f"masks: 3 cannot be used; write a section with keys {MASK_KEYS}, or leave it out",
        ),
        (
            "masks:",
            f"masks: is empty; write a section with keys {MASK_KEYS}, or leave it out",
        ),
        ("title: [1]", "title: [1] cannot be used; input should be a valid string"),
        ("stimuli: {dev_fraction: 1}", "stimuli.dev_fraction: 1 cannot be used; input should be less than 1"),
        ("3: x", "3: 3 cannot be used; keys should be strings"),
        ("machine: {memory_limit: much}", "machine.memory_limit: 'much' cannot be used; give a size such as 4 GB"),
        ("machine: {memory_limit: 4 gigs}", "machine.memory_limit: '4 gigs' cannot be used; give a size such as 4 GB"),
        ("machine: {memory_limit: -1}", "machine.memory_limit: -1 cannot be used; give a size such as 4 GB"),
        (
            "machine: {memory_limit: 0}",
            "machine.memory_limit: 0 cannot be used; input should be greater than or equal to 1",
        ),
        ("machine: {cluster: pbs}", "machine.cluster: 'pbs' cannot be used; input should be 'slurm'"),
        (
            "machine: {cluster: slurm, scheduler: 'tcp://127.0.0.1:1'}",
            "machine: machine.scheduler and machine.cluster are both set; keep one of them",
        ),
    ],
)
def test_a_mistake_is_named_with_its_mend(problems, text, said):
    assert problems(f"model: {{name: m}}\n{text}") == [said]


def test_all_mistakes_at_once(problems):
    told = problems(
        {"tuning": {"epoch": 3, "seeds": "one"}, "extraction": {"dtype": "int8"}, "mask": {}},
        "masks.draws=none",
        "tuning.epochs",
        "masks.k=[",
    )
    assert told == [
        "--set 'tuning.epochs': write section.key=value, e.g. --set tuning.epochs=3",
        "--set 'masks.k=[': the value is not YAML; quote it",
        "model: missing; add it",
        "tuning.seeds.0: 'one' cannot be used; input should be a valid integer",
        "tuning.epoch: no such key; did you mean 'epochs'?",
        "extraction.dtype: 'int8' cannot be used; unknown; use one of float32, float16, bfloat16",
        "--set: masks.draws: 'none' cannot be used; give a number of 1 or more, or auto",
        "mask: no such key; did you mean 'masks'?",
    ]


@pytest.mark.parametrize("override", ["tuning.epochs", "=3", ".epochs=3", "tuning.=3", "tuning..epochs=3", ""])
def test_overrides_that_are_none(problems, override):
    assert problems("model: {name: m}", override) == [
        f"--set {override!r}: write section.key=value, e.g. --set tuning.epochs=3"
    ]


def test_an_override_below_a_plain_value(problems):
    assert problems("model: {name: m}", "tuning.epochs.x=1") == [
        "--set: tuning.epochs: {'x': 1} cannot be used; input should be a valid integer"
    ]


@pytest.mark.parametrize("text", ["", "- model\n- tuning\n", "just words", "3"])
def test_yaml_without_sections(problems, text):
    assert problems(text) == ["holds no settings; write sections such as 'model:' (see configs/demo.yaml)"]


def test_malformed_yaml_names_the_line(load, tmp_path):
    with pytest.raises(InputError, match=r"study\.yaml, line 3: not YAML .*; fix the line$"):
        load("model: {name: m}\ntuning: [3\nmasks: 3\n")
    with pytest.raises(InputError, match=r"line 2: not YAML .*\\t"):
        load("model:\n\tname: m\n")
    file = tmp_path / "binary.yaml"
    file.write_bytes(b"\xff\x00model")
    with pytest.raises(InputError, match=r"binary\.yaml: not YAML .*; give a YAML file$"):
        load_settings(file)


def test_no_such_config(tmp_path):
    for path, said in ((tmp_path / "none.yaml", "no such config; give a YAML file"), (tmp_path, "is a folder")):
        with pytest.raises(InputError, match=said):
            load_settings(path)
