"""The tasks that ``ablation.task`` can name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from emoscale.tasks.task import TaskKind


def _from(module: str, function: str) -> Callable[..., Any]:
    """Return a function that imports its module, and with it torch, when it is called."""

    def call(*arguments: Any) -> Any:
        return getattr(import_module(f"emoscale.tasks.{module}"), function)(*arguments)

    return call


TASKS: dict[str, TaskKind] = {
    task.name: task
    for task in (
        TaskKind(
            "soft-prompt",
            "whether held-out texts show a concept, with the concept's tuned prompts",
            make=_from("soft_prompt", "make_task"),
            check=_from("soft_prompt", "check"),
            facts=_from("soft_prompt", "facts"),
            uses_prompts=True,
            replicates="prompts",
        ),
        TaskKind(
            "yes-no",
            "whether held-out texts show a concept, in plain words",
            make=_from("yes_no", "make_task"),
            check=_from("yes_no", "check"),
            facts=_from("yes_no", "facts"),
            uses=("templates", "words", "chat", "answer"),
        ),
        TaskKind(
            "multiple-choice",
            "which of all concepts a text shows, by the probability of each one's name after it (causal models)",
            make=_from("multiple_choice", "make_task"),
            check=_from("multiple_choice", "check"),
            facts=_from("multiple_choice", "facts"),
            uses=("templates", "scoring", "chat", "answer"),
        ),
    )
}
