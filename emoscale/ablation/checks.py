"""Checks of the ablation's options that need the tasks and the edits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emoscale.ablation.edits import EDITS, EditKind
from emoscale.ablation.options import TWO_LEVEL, AblationOptions
from emoscale.errors import InputError
from emoscale.system.option_types import lookup
from emoscale.tasks.registry import TASKS
from emoscale.tasks.task import TaskKind


def check_used(options: AblationOptions) -> None:
    """Refuse options that the task and the edit ignore.

    Raises
    ------
    InputError
        Names every such option, and what would use it.
    """
    problems = _ignored(options, "task", TASKS) + _ignored(options, "edit", EDITS)
    if problems:
        raise InputError(problems)


def check_precision(options: AblationOptions, dtype: str, quantised: str | None) -> None:
    """Refuse a second level that corrects nothing, and its share without it.

    Parameters
    ----------
    options : AblationOptions
    dtype : str
        Of the weights.
    quantised : str or None
        The method by which they are.

    Raises
    ------
    InputError
    """
    if options.precision != TWO_LEVEL:
        if options.exact_share is not None:
            raise InputError(
                f"ablation.exact_share: precision {options.precision!r} does not use it; remove it, or set "
                f"ablation.precision to {TWO_LEVEL}"
            )
    elif dtype != "float32" or quantised:
        weights = f"quantised with {quantised}" if quantised else dtype
        raise InputError(
            f"ablation.precision {TWO_LEVEL!r}: the weights are {weights}, so there is nothing more exact to correct "
            "bfloat16 by; set ablation.precision to exact or bfloat16"
        )


def _ignored(options: AblationOptions, setting: str, registry: Mapping[str, TaskKind | EditKind]) -> list[str]:
    chosen: Any = lookup(f"ablation.{setting}", registry, getattr(options, setting))
    usual = AblationOptions()
    users: dict[str, list[str]] = {}
    for name, entry in registry.items():
        for option in entry.uses:
            users.setdefault(option, []).append(name)
    return [
        f"ablation.{option}: {setting} {chosen.name!r} does not use it; remove it, or set ablation.{setting} to "
        f"{' or '.join(names)}"
        for option, names in users.items()
        if option not in chosen.uses and getattr(options, option) != getattr(usual, option)
    ]
