"""Inference tasks: what a model is asked while its neurons are edited.

A further task is a class beside these (see `Task`) and a line in `emoscale.stages`.
"""

from emoscale.tasks.choice import ChoiceTask
from emoscale.tasks.prompts import PromptTask
from emoscale.tasks.task import Task
from emoscale.tasks.words import WordsTask

__all__ = ["ChoiceTask", "PromptTask", "Task", "WordsTask"]
