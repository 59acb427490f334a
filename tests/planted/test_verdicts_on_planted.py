"""What a whole run concludes where the truth is known, and how well measures find the neurons."""

import numpy as np
import pytest
from planted_runs import K, finished_run

from benchmarks.planted_models import Kind, PlantedOptions, draw_model
from benchmarks.planted_record import Measured, auroc, precision_at_k
from benchmarks.planted_twin import with_drop
from emoscale.run.verdicts import Answer, Question, Reason, read_verdicts
from emoscale.schema import ALL_ATTRIBUTES

pytestmark = pytest.mark.slow

OPTIONS = PlantedOptions(seed=7)
MASKED = PlantedOptions(seed=1, family="bert", strength=(2.5,) * 4)


@pytest.fixture(scope="module")
def needed(tmp_path_factory):
    model = with_drop(draw_model(OPTIONS), K, 0.3)
    return model, finished_run(model, tmp_path_factory.mktemp("needed"))


@pytest.fixture(scope="module")
def unread(tmp_path_factory):
    return finished_run(draw_model(OPTIONS.all_unread()), tmp_path_factory.mktemp("unread"))


@pytest.fixture(scope="module")
def null(tmp_path_factory):
    return finished_run(draw_model(OPTIONS.without_followers()), tmp_path_factory.mktemp("null"))


def test_neurons_that_are_needed(needed):
    _, run = needed
    verdicts = read_verdicts(run.folder)
    assert verdicts[Question.TASK].answer is Answer.YES
    assert verdicts[Question.FOLLOWERS].answer is Answer.YES
    assert verdicts[Question.NEED].answer is Answer.YES
    assert verdicts[Question.NEED].value > 0.1


def test_followers_that_nothing_reads(unread):
    verdicts = read_verdicts(unread.folder)
    assert verdicts[Question.FOLLOWERS].answer is Answer.YES
    assert verdicts[Question.NEED].answer is Answer.NO
    assert verdicts[Question.NEED].reason is Reason.EQUIVALENT


def test_no_followers(null):
    verdicts = read_verdicts(null.folder)
    assert verdicts[Question.TASK].answer is Answer.YES
    assert verdicts[Question.FOLLOWERS].answer is Answer.NO
    assert verdicts[Question.NEED].reason is Reason.FOLLOWERS_NOT_SHOWN
    assert np.isnan(verdicts[Question.PEOPLE].value)
    rows = null.folder.table("needed").set_index("attribute")
    assert rows.loc[ALL_ATTRIBUTES, "p_corrected"] > 0.05
    assert (rows["answer"] != Answer.YES.value).all()


def test_measures_find_the_neurons_that_they_are_for(needed):
    model, run = needed
    measured = Measured(run, model)
    found = {
        (measure, kind): auroc(values, wanted)
        for measure, values in measured.by_measure.items()
        for kind, wanted in measured.by_kind.items()
    }
    assert found["tau", "selective"] > 0.95
    assert found["size_by_concept", "causal"] > 0.95
    assert found["size_by_concept", "both"] > 0.8
    # What follows an attribute is not what matters, nor the other way round.
    assert found["tau", "causal"] < 0.8
    assert found["size", "selective"] < 0.8


def test_auroc_and_precision():
    values, positive = np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, False, True, False])
    assert auroc(values, positive) == 0.75
    assert precision_at_k(values, positive) == 0.5
    assert auroc(np.zeros(4), positive) == 0.5


def test_kinds_are_numbered_as_they_are_drawn():
    kinds = np.bincount(draw_model(OPTIONS).kind, minlength=len(Kind))
    assert kinds.tolist() == [sum(OPTIONS.selective), sum(OPTIONS.unread), OPTIONS.unselective, OPTIONS.idle]


@pytest.mark.parametrize(
    ("options", "need"), [(MASKED, Answer.YES), (MASKED.all_unread(), Answer.NO)], ids=["needed", "unread"]
)
def test_masked_models(tmp_path, options, need):
    model = draw_model(options)
    run = finished_run(model, tmp_path)
    verdicts = read_verdicts(run.folder)
    assert verdicts[Question.TASK].answer is Answer.YES
    assert verdicts[Question.FOLLOWERS].answer is Answer.YES
    assert verdicts[Question.NEED].answer is need
    measured = Measured(run, model)
    assert auroc(measured.by_measure["tau"], measured.by_kind["selective"]) > 0.85
    assert auroc(measured.by_measure["size_by_concept"], measured.by_kind["causal"]) > 0.95
