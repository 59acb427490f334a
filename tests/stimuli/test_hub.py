"""Data sets: with the real package where it is installed, and with a stand-in that has its shape."""

import sys
import types

import pytest
from stand_in_dataset import StandInLabel, split_of
from text_files import load

from emoscale.errors import InputError


def test_package_missing_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"pip install 'emoscale\[hub\]'"):
        load("dataset", path="owner/name")


def test_validation_is_dev_and_test_is_not_used(stand_in):
    stand_in({name: split_of(name, ["joy", "fear"]) for name in ("test", "validation", "train")})
    texts = load("dataset", path="owner/name")
    assert texts["text"].tolist() == ["train 0", "train 1", "validation 0", "validation 1"]
    assert texts["split"].tolist() == ["train", "train", "dev", "dev"]


@pytest.mark.parametrize("splits", [("train",), ("everything",), ("train", "unlabelled")])
def test_split_is_drawn_where_there_is_none(stand_in, splits):
    stand_in({name: split_of(name, ["joy"] * 10) for name in splits})
    texts = load("dataset", path="owner/name", dev_fraction=0.3, seed=4)
    assert len(texts) == 10
    assert (texts["split"] == "dev").sum() == 3


def test_class_labels_become_names(stand_in):
    names = StandInLabel(["joy", "fear"])
    stand_in({"train": split_of("train", [1, 0], {"label": names}), "test": split_of("test", [1], {"label": names})})
    assert load("dataset", path="owner/name")["labels"].tolist() == [("fear",), ("joy",), ("fear",)]


def test_lists_of_class_labels_become_names(stand_in):
    names = types.SimpleNamespace(feature=StandInLabel(["joy", "fear"]))
    stand_in({"train": split_of("train", [[1, 0], [], [0]], {"label": names})})
    assert load("dataset", path="owner/name")["labels"].tolist() == [("fear", "joy"), (), ("joy",)]


def test_unlabelled_rows_are_reported(stand_in):
    names = StandInLabel(["joy", "fear"])
    stand_in({"train": split_of("train", [1, -1, 0], {"label": names})})
    with pytest.raises(InputError, match=r"split 'train', column 'label': 1 of 3 labels are empty, the first in row 2"):
        load("dataset", path="owner/name")


def test_missing_column_gets_the_nearest(stand_in):
    stand_in({"train": split_of("train", ["joy"])})
    with pytest.raises(InputError, match=r"no column 'labels' \(nearest: 'label'\)"):
        load("dataset", path="owner/name", label_column="labels")


def test_texts_to_ask_about_alone(stand_in):
    stand_in({name: split_of(name, ["joy"]) for name in ("test", "validation")})
    texts = load("dataset", path="owner/name")
    assert texts["split"].tolist() == ["dev"]
    assert texts["text"].tolist() == ["validation 0"]


def test_no_known_split(stand_in):
    stand_in({name: split_of(name, ["joy"]) for name in ("first", "second")})
    with pytest.raises(InputError, match="none of them train"):
        load("dataset", path="owner/name")


@pytest.mark.parametrize("error", [FileNotFoundError("no\nsuch"), ConnectionError("offline"), ValueError("config")])
def test_cannot_be_loaded(stand_in, error):
    stand_in(error)
    with pytest.raises(InputError, match=r"^owner/name: cannot be loaded \([a-z ]+\)") as caught:
        load("dataset", path="owner/name")
    assert "\n" not in str(caught.value)


def test_real_package_round_trip(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "labels": datasets.List(datasets.ClassLabel(names=["joy", "fear"]))}
    )
    columns = {"text": ["a", "b", "c"], "labels": [[0], [], [1, 0]]}
    part = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict({"train": part, "validation": part}).save_to_disk(tmp_path / "both")
    texts = load("dataset", path=str(tmp_path / "both"), label_column="labels")
    assert texts["labels"].tolist() == [("joy",), (), ("fear", "joy")] * 2
    assert texts["split"].tolist() == ["train"] * 3 + ["dev"] * 3
    part.with_format("numpy").save_to_disk(tmp_path / "one")
    one = load("dataset", path=str(tmp_path / "one"), label_column="labels", dev_fraction=0.3)
    assert one["labels"].tolist() == [("joy",), (), ("fear", "joy")]
    assert sorted(one["split"]) == ["dev", "train", "train"]
