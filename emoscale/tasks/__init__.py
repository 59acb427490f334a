"""Inference tasks: what a model is asked while its neurons are edited.

A further task is a class beside these (see `Task`) and a line in `emoscale.pipeline.stages`.
"""

from emoscale.tasks.multiple_choice import ChoiceTask
from emoscale.tasks.soft_prompt import PromptTask
from emoscale.tasks.task import Task
from emoscale.tasks.yes_no import WordsTask

__all__ = ["ChoiceTask", "PromptTask", "Task", "WordsTask"]
