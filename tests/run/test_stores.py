"""Stores of earlier stages are opened when they are finished, and missing ones name the stage to run."""

import numpy as np
import pytest

from emoscale.errors import InputError, StageError
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_extraction, open_finished, require
from emoscale.schema import ACTIVATIONS, MASKS, MOMENTS
from emoscale.store import create_store


def make(path, schema, complete=True):
    zeros = np.zeros(2, dtype=int)
    coordinates = {a.name: zeros.astype(str) if a.dtype == "str" else zeros for a in schema.coordinates}
    store = create_store(path, schema, coordinates, {}, {"neuron_byte": 1})
    if complete:
        store.mark_complete()
    return store


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


@pytest.mark.parametrize(("exists", "state"), [(False, "missing"), (True, "not finished")])
def test_the_stage_to_run_is_named(folder, exists, state):
    if exists:
        make(folder.masks, MASKS, complete=False)
    with pytest.raises(StageError, match=rf"masks\.zarr: {state}.*`emoscale mask`"):
        open_finished(folder.masks, MASKS)


def test_a_missing_file_names_its_stage(folder):
    with pytest.raises(StageError, match="`emoscale tune`"):
        require(folder.prompt_table, "tune")
    folder.prompt_table.touch()
    assert require(folder.prompt_table, "tune") == folder.prompt_table


def test_activations_or_the_moments_kept_instead(folder):
    with pytest.raises(StageError, match="`emoscale extract`"):
        open_extraction(folder)
    make(folder.moments, MOMENTS)
    assert open_extraction(folder).schema.kind == MOMENTS.kind
    make(folder.activations, ACTIVATIONS)
    assert open_extraction(folder, needed_by="a measure").schema.kind == ACTIVATIONS.kind


def test_moments_are_refused_where_every_row_is_needed(folder):
    make(folder.moments, MOMENTS)
    with pytest.raises(InputError, match=r"ablation.edit 'resample'.*extraction.keep to activations"):
        open_extraction(folder, needed_by="ablation.edit 'resample'")


def test_an_unfinished_extraction_is_not_opened(folder):
    make(folder.activations, ACTIVATIONS, complete=False)
    with pytest.raises(StageError, match=r"activations.*not finished"):
        open_extraction(folder)
