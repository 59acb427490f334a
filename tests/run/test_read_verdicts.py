import pandas as pd
import pytest

from emoscale.errors import StageError
from emoscale.run.folder import RunFolder
from emoscale.run.verdicts import Answer, Question, Reason, Verdict, read_verdicts, verdict_table

TASK = Verdict(Question.TASK, Answer.YES, Reason.ABOVE_CHANCE, 0.8, 0.7, 0.9, 1 / 3)
NEED = Verdict(Question.NEED, Answer.NO, Reason.EQUIVALENT, 0.01, -0.02, 0.04, 0.1, 0.4, 4000, ("NA", "-1", "a, b"))


def written(path, *verdicts):
    folder = RunFolder(path)
    folder.tables.mkdir()
    verdict_table(verdicts).to_csv(folder.tables / "verdicts.csv", index=False)
    return folder


def test_verdicts_are_read_as_written_in_the_order_of_the_questions(tmp_path):
    read = read_verdicts(written(tmp_path, NEED, TASK))
    assert list(read) == [Question.TASK, Question.NEED]
    assert read[Question.NEED] == NEED
    assert repr(read[Question.TASK]) == repr(TASK)  # NaN is not equal to itself


def test_a_run_without_verdicts_has_none(tmp_path):
    assert read_verdicts(RunFolder(tmp_path)) == {}


@pytest.mark.parametrize("change", [{"reason": "felt-so"}, {"question": None}, {"answer": "maybe"}])
def test_unknown_words_are_refused(tmp_path, change):
    folder = written(tmp_path, TASK)
    file = folder.tables / "verdicts.csv"
    pd.read_csv(file).assign(**change).to_csv(file, index=False)
    with pytest.raises(StageError, match="analyze"):
        read_verdicts(folder)


def test_a_missing_column_is_refused(tmp_path):
    folder = written(tmp_path, TASK)
    file = folder.tables / "verdicts.csv"
    pd.read_csv(file).drop(columns="k").to_csv(file, index=False)
    with pytest.raises(StageError, match="'k'"):
        read_verdicts(folder)
