"""The configs that come with the package."""

from __future__ import annotations

from pathlib import Path

from emoscale.errors import InputError, suggest

SCHEMA_FILE = "schema.json"
SCHEMA_LINE = "# yaml-language-server: $schema="
"""How editors find the schema of a YAML file."""


def examples_folder() -> Path:
    """Return the folder of the example configs: the repository's ``configs``, or the installed copy of it."""
    package = Path(__file__).parents[1]
    installed = package / "examples"
    return installed if installed.is_dir() else package.parent / "configs"


def example_names() -> list[str]:
    """Return the names of the examples.

    Examples
    --------
    >>> "demo" in example_names()
    True
    """
    return sorted(file.stem for file in examples_folder().glob("*.yaml"))


def example(name: str) -> Path:
    """Return the file of an example config.

    Parameters
    ----------
    name : str
        One of `example_names`.

    Raises
    ------
    InputError
        If there is no such example.

    Examples
    --------
    >>> example("demo").name
    'demo.yaml'
    """
    known = example_names()
    if name not in known:
        raise InputError(f"--example {name!r}: no such example{suggest(name, known)}; use one of {', '.join(known)}")
    return examples_folder() / f"{name}.yaml"


def with_schema(text: str, schema: Path) -> str:
    """Return the text of a config whose second line names a schema for editors, whether it had one or not.

    Parameters
    ----------
    text : str
        Its first line stays the first.
    schema : Path
    """
    first, *others = text.splitlines()
    rest = [line for line in others if not line.startswith(SCHEMA_LINE)]
    return "\n".join([first, f"{SCHEMA_LINE}{schema}", *rest]) + "\n"
