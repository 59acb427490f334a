"""The tasks that ``ablation.task`` can name."""

from __future__ import annotations

from emoscale.tasks.multiple_choice import MULTIPLE_CHOICE
from emoscale.tasks.soft_prompt import SOFT_PROMPT
from emoscale.tasks.task import TaskKind
from emoscale.tasks.yes_no import YES_NO

TASKS: dict[str, TaskKind] = {kind.name: kind for kind in (SOFT_PROMPT, YES_NO, MULTIPLE_CHOICE)}
