"""The examples and the schema: one copy of each, in the repository and in a wheel, and up to date."""

import json
from pathlib import Path

import pytest
import yaml

from emoscale.config import load_settings, make_settings, settings_mapping, settings_schema
from emoscale.config.examples import SCHEMA_FILE, SCHEMA_LINE, example, example_names, examples_folder, with_schema
from emoscale.config.schema import schema_text
from emoscale.errors import InputError

ROOT = Path(__file__).parents[2]
CONFIGS = [
    file
    for file in sorted((ROOT / "configs").rglob("*.yaml"))
    if file.name not in ("accelerate-8gpu.yaml", "jobqueue.yaml")
]


def test_examples_are_the_repositorys_configs():
    assert examples_folder() == ROOT / "configs"
    assert example_names() == sorted(file.stem for file in (ROOT / "configs").glob("*.yaml"))
    assert load_settings(example("demo")).title == "Emotion concepts in SmolLM2"
    with pytest.raises(InputError, match=r"'dem': no such example \(nearest: 'demo'\); use one of demo, "):
        example("dem")


def test_the_schema_file_is_up_to_date():
    """If this fails: emoscale schema --out configs/schema.json."""
    assert (ROOT / "configs" / SCHEMA_FILE).read_text(encoding="utf-8") == schema_text()


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_every_config_names_the_schema(file):
    line = file.read_text(encoding="utf-8").splitlines()[1]
    assert line.startswith(SCHEMA_LINE)
    assert (file.parent / line.removeprefix(SCHEMA_LINE)).resolve() == ROOT / "configs" / SCHEMA_FILE


def test_the_schema_has_every_setting_with_a_description():
    schema, settings = settings_schema(), settings_mapping(make_settings({"model": {"name": "m"}}))
    assert list(schema["properties"]) == list(settings)
    for section, content in settings.items():
        if isinstance(content, dict):
            kind = schema["$defs"][schema["properties"][section]["$ref"].rpartition("/")[2]]
            assert list(kind["properties"]) == list(content)
            assert kind["additionalProperties"] is False
            assert kind["description"]
    assert schema["$defs"]["MaskOptions"]["properties"]["controls"]["anyOf"][0]["items"]["enum"][0] == "random"


def test_the_schema_takes_what_the_settings_take():
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json.loads(schema_text()))
    for file in CONFIGS:
        assert not list(validator.iter_errors(yaml.safe_load(file.read_text(encoding="utf-8")))), file
    taken = {"model": {"name": "m"}, "masks": {"k": 0.1, "draws": "auto"}, "machine": {"memory_limit": "4 GB"}}
    assert make_settings(taken)
    assert not list(validator.iter_errors(taken))
    for refused in ({**taken, "mask": {}}, {**taken, "masks": {"controls": ["randm"]}}, {}):
        assert list(validator.iter_errors(refused))


def test_a_config_gets_one_line_for_its_schema():
    text = "# emoscale run a.yaml\n# yaml-language-server: $schema=old.json\ntitle: x\n"
    found = with_schema(text, Path("/new.json"))
    assert found.splitlines() == ["# emoscale run a.yaml", f"{SCHEMA_LINE}/new.json", "title: x"]
