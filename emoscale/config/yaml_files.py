"""Reading the YAML of a config so that every fault is one line that says where it is and what to do."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from emoscale.errors import InputError, first_lines

_TABLES = (".csv", ".tsv", ".xlsx", ".xls", ".sav", ".parquet", ".jsonl", ".ods")
_MERGE = "tag:yaml.org,2002:merge"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_FLOAT = "tag:yaml.org,2002:float"
_EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+")
_FIRST_OF_NUMBERS = tuple("-+.0123456789")
_DEEPEST = "too deeply nested"


class _Loader(yaml.SafeLoader):
    """YAML without silent choices: a key may occur once, and a date stays the text that it is."""

    # Of PyYAML's resolvers all but the one of dates, which no setting takes; added are numbers such as 1e-3, which are
    # text in YAML 1.1.
    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own name)
        first: [
            *((tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP),
            *([(_FLOAT, _EXPONENT)] if first in _FIRST_OF_NUMBERS else []),
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Make a mapping; a key that occurs twice is an error that names both lines."""
        line_of: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if isinstance(key, Hashable) and line_of.setdefault(key, line) != line:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} is already in line {line_of[key]}; keep one of them", key_node.start_mark
                )
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Make a value; one that is none (thousands of digits, half a character) is an error with its line."""
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, str):
                value.encode()
            return value
        except (ValueError, OverflowError) as error:
            raise yaml.constructor.ConstructorError(
                None, None, f"{reprlib.repr(node.value)} cannot be read; write another value", node.start_mark
            ) from error


class Dumper(yaml.SafeDumper):
    """Writes what the loader reads: text such as "1e5", which is a number there, in quotes."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [*resolvers, *([(_FLOAT, _EXPONENT)] if first in _FIRST_OF_NUMBERS else [])]
        for first, resolvers in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file of settings.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict
        As YAML gives it, nothing checked.

    Raises
    ------
    InputError
        If there is no such file, it is something else than a YAML file of settings, or its YAML is faulty; in one line,
        which says what the file probably is.
    """
    if path.is_dir():
        inside = path / "config.yaml"
        fix = f"give {inside}, the settings of that run" if inside.is_file() else "give a YAML file"
        raise InputError(f"{path}: is a folder; {fix}")
    if not path.is_file():
        raise InputError(f"{path}: no such config; give a YAML file, e.g. configs/demo.yaml")
    if path.suffix.lower() in _TABLES:
        raise _is_a_table(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not YAML ({first_lines(error)}); give a YAML file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    given = _parsed(path, text)
    if isinstance(given, dict):
        return given
    if _looks_like_table(text):
        raise _is_a_table(path)
    raise InputError(f"{path}: holds no settings; write sections such as 'model:' (see configs/demo.yaml)")


def parse_value(text: str) -> Any:
    """Read the value of one setting, as it is given on the command line.

    Raises
    ------
    yaml.YAMLError
        If it is not YAML.

    Examples
    --------
    >>> parse_value("[0.05, 100]")
    [0.05, 100]
    """
    return yaml.load(text, _Loader)  # noqa: S506 (a subclass of the safe loader)


def _parsed(path: Path, text: str) -> Any:
    try:
        return parse_value(text)
    except RecursionError as error:
        raise InputError(f"{path}: not YAML ({_DEEPEST}); give a YAML file") from error
    except yaml.MarkedYAMLError as error:
        if _looks_like_table(text):
            raise _is_a_table(path) from error
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}, line {line}: {_what_is_wrong(error, text, line)}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())}); give a YAML file") from error


def _what_is_wrong(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    problem = error.problem or "faulty"
    if isinstance(error, yaml.constructor.ConstructorError) and ";" in problem:
        return problem  # one of ours, with its fix
    lines = text.splitlines()
    begins = lines[line - 1] if line <= len(lines) else ""
    if "\t" in begins[: len(begins) - len(begins.lstrip())]:
        return f"not YAML (begins with a tab: {problem}); indent with spaces"
    return f"not YAML ({problem}); fix the line"


def _looks_like_table(text: str) -> bool:
    """Whether the first lines have the same number of commas, semicolons or tabs, as those of a table have."""
    lines = [line for line in text.splitlines() if line.strip()][:5]
    if len(lines) < 2 or ":" in lines[0] or lines[0].startswith(("#", "[", "{", "-")):
        return False
    counts = [{line.count(separator) for line in lines} for separator in (",", ";", "\t")]
    return any(len(count) == 1 and count != {0} for count in counts)


def _is_a_table(path: Path) -> InputError:
    return InputError(
        f"{path}: is a table, not a config; give the YAML file that names it (concepts or stimuli), or let "
        "emoscale init --ratings RATINGS --texts TEXTS --model NAME write one"
    )
