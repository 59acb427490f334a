"""What the types of the settings say of a value before it is checked: which are paths, and which are lists."""

from __future__ import annotations

import errno
import os
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from emoscale.config.settings import Settings
from emoscale.errors import InputError
from emoscale.system.option_types import PathName


def path_settings() -> dict[str, PathName]:
    """Return which settings name files, by ``section.key``."""
    return {
        key: mark for key, hint in _hints() for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, PathName)
    }


def locate_paths(given: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Return settings whose paths are absolute.

    Parameters
    ----------
    given : mapping
        Nested, as YAML gives it; nothing is checked.
    base : Path
        The folder that relative paths start from. What is not there but in the working directory is taken from there.

    Returns
    -------
    dict
    """
    marks = path_settings()
    return _changed(given, lambda key, value: _located(value, base, marks[key]) if key in marks else value)


def single_values_as_lists(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which a single value, where a list is expected, is a list of one."""
    lists = {key for key, hint in _hints() if _is_list(hint)}

    def listed(key: str, value: Any) -> Any:
        return [value] if key in lists and isinstance(value, str | int | float) else value

    return _changed(given, listed)


def _hints() -> Iterator[tuple[str, Any]]:
    for section, kind in get_type_hints(Settings).items():
        if is_dataclass(kind):
            yield from ((f"{section}.{name}", hint) for name, hint in get_type_hints(kind, include_extras=True).items())


def _is_list(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        return _is_list(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return any(map(_is_list, get_args(hint)))
    return get_origin(hint) is list


def _changed(given: Mapping[str, Any], change: Callable[[str, Any], Any]) -> dict[str, Any]:
    """Change the values of the settings in sections; what is no section stays."""
    return {
        section: {name: change(f"{section}.{name}", value) for name, value in content.items()}
        if isinstance(content, dict)
        else content
        for section, content in given.items()
    }


def _located(value: Any, base: Path, mark: PathName) -> Any:
    if isinstance(value, list):
        return [_located(one, base, mark) for one in value]
    if not isinstance(value, str) or not value or value in mark.names or value.startswith(mark.prefixes):
        return value
    path = expanded(value)
    if path.is_absolute():
        return str(path)
    beside, here = (Path(os.path.abspath(folder / path)) for folder in (base, Path.cwd()))
    found = next((candidate for candidate in (beside, here) if candidate.exists()), None)
    if found is None and mark.remote and not value.startswith("."):
        return value  # a name on the hub
    return str(found or beside)


def expanded(name: str) -> Path:
    """Return a path with ``~`` replaced by the home folder; as it is if there is no such user.

    Raises
    ------
    InputError
        If no file can have that name: it is too long, not UTF-8, or a link that leads back to itself.

    Examples
    --------
    >>> expanded("~/runs").is_absolute()
    True
    """
    path = Path(name)
    try:
        name.encode()
        path = path.expanduser()
        path.stat()
    except UnicodeEncodeError:
        raise InputError(f"{name!r}: the name is not UTF-8; rename it") from None
    except ValueError:
        raise InputError(f"{name!r}: no file can have this name; give another") from None
    except RuntimeError:  # there is no such user
        return path
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise InputError(f"{reprlib.repr(name)}: {error.strerror}; give another path") from None
    return path
