"""Types of settings, from which the command line, the checks and the JSON schema are made.

An options class is a standard dataclass whose fields have these types. Functions take it without further checks;
pydantic checks it where it is read from a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StrictFloat,
    StrictInt,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import core_schema

from emoscale.errors import InputError, suggest

Entry = TypeVar("Entry")

OPTIONS = ConfigDict(extra="forbid", use_attribute_docstrings=True)
"""Pydantic's configuration of every options class: unknown keys are errors, and fields are described by the docstrings
below them."""

LARGEST = 2**63 - 1
"""The largest integer that the libraries beneath take."""

Count = Annotated[StrictInt, Field(ge=1, le=LARGEST)]
Seed = Annotated[StrictInt, Field(ge=0, le=LARGEST)]
LARGEST_NUMBER = 1e30
"""The largest of other numbers, whose products must not overflow."""
Number = Annotated[StrictFloat, Field(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)]
Rate = Annotated[StrictFloat, Field(gt=0, le=LARGEST_NUMBER)]
Share = Annotated[StrictFloat, Field(gt=0, lt=1)]
Precision = Literal["auto", "exact", "bfloat16"]


def _count_or_auto(value: object) -> object:
    if value != "auto" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError("give a number of 1 or more, or auto")
    return value


CountOrAuto = Annotated[Count | Literal["auto"], BeforeValidator(_count_or_auto)]


def _bytes(value: object) -> int:
    try:
        return int(TypeAdapter(ByteSize).validate_python(value))
    except ValidationError as error:
        raise ValueError("give a size such as 4 GB") from error


_SIZE: dict[str, Any] = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]}

Bytes = Annotated[StrictInt, BeforeValidator(_bytes), Field(ge=1, le=LARGEST), WithJsonSchema(_SIZE)]


def _without_duplicates(values: list[Any]) -> list[Any]:
    if doubled := sorted({value for value in values if values.count(value) > 1}):
        raise ValueError(f"list each once; repeated: {', '.join(map(str, doubled))}")
    return values


Distinct = AfterValidator(_without_duplicates)
"""Of a list: each value once."""


@dataclass(frozen=True)
class PathName:
    """Marks a setting as the name of a file or folder; a relative one belongs beside the file of settings.

    Parameters
    ----------
    names : tuple of str
        Values that are no paths.
    prefixes : tuple of str
        Beginnings of values that are no paths.
    remote : bool
        Whether what is not on this machine may be a name on the hub.

    Examples
    --------
    >>> from typing import Annotated
    >>> Table = Annotated[str, PathName(names=("emotions",))]
    """

    names: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    remote: bool = False


@dataclass(frozen=True)
class OneOf:
    """The name of an entry of a registry.

    The registry is imported when a value is checked, so that defaults cost no import.

    Parameters
    ----------
    registry : str
        ``"package.module:REGISTRY"``, a mapping by name.

    Examples
    --------
    >>> from typing import Annotated
    >>> MeasureName = Annotated[str, OneOf("emoscale.selectivity.measures:MEASURES")]
    """

    registry: str

    def names(self) -> list[str]:
        """Import the registry, and return the names of its entries."""
        module, _, name = self.registry.partition(":")
        return list(getattr(import_module(module), name))

    def check(self, value: str) -> str:
        """Raise ValueError, with the nearest name, unless there is such an entry."""
        known = self.names()
        if value not in known:
            raise ValueError(f"unknown{suggest(value, known)}; use one of {', '.join(known)}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "enum": self.names()}


def lookup(what: str, registry: Mapping[str, Entry], name: str | Entry) -> Entry:
    """Return an entry of a registry by its name; an entry itself is returned as it is.

    Parameters
    ----------
    what : str
        What the entries are, for the message.
    registry : mapping of str to entry
    name : str or entry

    Raises
    ------
    InputError
        If no entry has that name.
    """
    if not isinstance(name, str):
        return name
    if name not in registry:
        known = ", ".join(registry)
        raise InputError(f"{what} {name!r}{suggest(name, registry)}: unknown; use one of {known}")
    return registry[name]
