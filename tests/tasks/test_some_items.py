"""Which items of a task are taken, in order and so that calibration has something to subtract."""

import numpy as np
import pandas as pd
import pytest

from emoscale.tasks.some_items import comparable_items, some_items


class Prompts:
    """Items of soft prompts: some texts for each of many questions, whose options are the same two words."""

    def __init__(self, texts, questions=20):
        concept = np.repeat([f"c{number}" for number in range(questions)], texts)
        self.items = pd.DataFrame({"concept": concept, "replicate": "1"})
        self.options = ["no", "yes"]
        self.rows, self.option_ids = [[1]] * len(self.items), [[0], [1]]


def counts(task):
    return task.items["concept"].value_counts()


def test_items_come_from_all_over():
    found = some_items(Prompts(3), 20)
    assert len(found.items) == 20
    assert found.items["concept"].nunique() == 20


@pytest.mark.parametrize("count", [2, 3, 10, 20, 39, 60])
def test_calibrated_items_share_their_questions(count):
    found = comparable_items(Prompts(3), count, "calibrated")
    assert 2 <= len(found.items) <= count
    assert counts(found).min() >= 2
    assert found.items["concept"].tolist() == sorted(found.items["concept"], key=lambda name: int(name[1:]))


def test_others_need_not():
    plain = comparable_items(Prompts(3), 20, "none")
    assert plain.items.equals(some_items(Prompts(3), 20).items)


def test_questions_about_a_single_text_are_left_as_they_are():
    found = comparable_items(Prompts(1), 10, "calibrated")
    assert found.items.equals(some_items(Prompts(1), 10).items)


def test_a_question_about_a_single_text_is_not_taken():
    task = Prompts(2)
    task.items = task.items.drop(index=[1]).reset_index(drop=True)
    task.rows = task.rows[1:]
    assert counts(comparable_items(task, 12, "calibrated")).min() == 2
