"""What can become of masked neurons, as entries of a registry."""

import re
from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter

from emoscale.ablation.checks import check_used
from emoscale.ablation.edits import EDITS, EditKind, RowEdit, make_edit
from emoscale.ablation.options import AblationOptions
from emoscale.errors import InputError
from emoscale.models.masking import Edit
from emoscale.run.folder import RunFolder
from emoscale.schema import MOMENTS
from emoscale.store import create_store

USUAL = AblationOptions()


def test_the_settings_accept_every_edit_and_task():
    adapter = TypeAdapter(AblationOptions)
    for name in EDITS:
        assert adapter.validate_python({"edit": name}).edit == name
    for name in ("soft-prompt", "yes-no", "multiple-choice"):
        assert adapter.validate_python({"task": name}).task == name
    with pytest.raises(ValueError, match=re.escape("(nearest: 'zero')")):
        adapter.validate_python({"edit": "zeros"})


def test_an_edit_of_ones_own(tmp_path):
    def doubled(folder, options):
        assert folder.path == tmp_path
        return RowEdit(Edit("scale", 2.0), options.seed)

    own = EditKind("double", "twice its own value", doubled, "were doubled", "Twice is much.")
    made = make_edit(RunFolder(tmp_path), replace(USUAL, edit=own, seed=3))
    assert (made.of_neurons.factor, made.seed) == (2.0, 3)


def test_an_unknown_edit(tmp_path):
    with pytest.raises(InputError, match=r"'maen' .*nearest: 'mean'"):
        make_edit(RunFolder(tmp_path), replace(USUAL, edit="maen"))


def test_the_mean_over_rows_of_kept_moments(tmp_path):
    mean = np.array([[1.0, 2, np.nan], [4, 0, np.nan]])
    count = np.array([[1, 3, 0], [2, 1, 0]])
    cells, neurons = np.arange(2), np.arange(3)
    coordinates = {"concept": cells.astype(str), "replicate": cells.astype(str), "rows": cells + 3}
    store = create_store(
        RunFolder(tmp_path).moments,
        MOMENTS,
        coordinates | dict.fromkeys(("layer", "expert", "unit"), neurons),
        {"cell": 2, "neuron": 3},
    )
    for name, values in {"mean": mean, "m2": mean * 0, "count": count}.items():
        store.write(name, values)
    store.mark_complete()
    donors = make_edit(RunFolder(tmp_path), replace(USUAL, edit="mean")).of_neurons.donors
    assert donors.tolist() == [[3.0, 1.5, 0.0]]
    with pytest.raises(InputError, match=r"'resample'.*needs every row"):
        make_edit(RunFolder(tmp_path), replace(USUAL, edit="resample"))


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"templates": ["{text}"]}, {"templates": "yes-no or multiple-choice"}),
        ({"chat": True, "answer": "I"}, {"chat": "yes-no or multiple-choice", "answer": "yes-no or multiple-choice"}),
        ({"task": "yes-no", "scoring": "first-token"}, {"scoring": "multiple-choice"}),
        ({"task": "multiple-choice", "scoring": "first-token", "chat": True, "answer": "I"}, {}),
        ({"task": "multiple-choice", "templates": ["{text}"]}, {}),
        ({"task": "multiple-choice", "words": ["a", "b"]}, {"words": "yes-no"}),
        ({"task": "yes-no", "words": ["a", "b"], "templates": ["{text}"]}, {}),
        ({"factor": 0.3, "seed": 1}, {"factor": "scale", "seed": "resample"}),
        ({"edit": "scale", "factor": 0.3}, {}),
        ({"edit": "resample", "seed": 1}, {}),
        ({"task": "multiple-choice", "words": ["a", "b"], "factor": 0.3}, {"words": "yes-no", "factor": "scale"}),
    ],
)
def test_options_that_nothing_uses_are_refused(given, refused):
    options = replace(USUAL, **given)
    if not refused:
        check_used(options)
        return
    with pytest.raises(InputError) as caught:
        check_used(options)
    assert len(caught.value.problems) == len(refused)
    for problem, (option, users) in zip(caught.value.problems, refused.items(), strict=True):
        assert problem.startswith(f"ablation.{option}: ")
        assert problem.endswith(f" to {users}")
