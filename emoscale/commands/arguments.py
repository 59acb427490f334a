"""Arguments and options that commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emoscale.config import Settings, load_settings
from emoscale.config.examples import example
from emoscale.config.fields import expanded
from emoscale.config.loading import Reading, read_settings
from emoscale.errors import InputError
from emoscale.run.folder import RunFolder
from emoscale.system.addresses import place


def path(text: str | Path) -> Path:
    """Read a path, or a default; ``~`` is the home folder also where no shell has replaced it (``--out=~/runs``)."""
    return expanded(str(text))


def path_or_address(text: str | Path) -> Path:
    """Read a path, or the address of a folder on an object store."""
    return place(text) if "://" in str(text) else path(text)


Config = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="YAML file of settings, e.g. configs/demo.yaml.", parser=path)
]
ConfigOrExample = Annotated[
    Path | None,
    typer.Argument(metavar="CONFIG", help="YAML file of settings, e.g. configs/demo.yaml.", parser=path),
]
Example = Annotated[
    str | None,
    typer.Option("--example", metavar="NAME", help="A config that comes with emoscale in place of CONFIG, e.g. demo."),
]
Out = Annotated[
    Path | None, typer.Option(help="Run folder.", show_default="runs/NAME-OF-CONFIG", metavar="PATH", parser=path)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Another value for a setting, e.g. --set tuning.epochs=3."),
]


def example_of(command: str) -> str:
    """Return the line at the end of a command's help."""
    return f"Example: emoscale {command}"


def load(config: Path | None, name: str | None, overrides: list[str] | None) -> tuple[Settings, str]:
    """Read the settings of a config or of an example.

    Returns
    -------
    Settings
    str
        The config's name without its suffix.

    Raises
    ------
    InputError
        If none is given, or both are, or the settings cannot be used.
    """
    path, title, base = _source(config, name)
    return load_settings(path, overrides or [], base=base), title


def run_of(
    source: tuple[Path | None, str | None], out: Path | None, overrides: list[str] | None
) -> tuple[Settings, RunFolder]:
    """Read the settings of a run, and say which folder it is in.

    Parameters
    ----------
    source : tuple
        A config, or the name of an example.
    out : path or None
        By default a folder with the config's name.
    overrides : list of str or None

    Raises
    ------
    InputError
        As `load`.
    """
    settings, name = load(*source, overrides)
    return settings, RunFolder(out or Path("runs") / name)


def read(config: Path | None, name: str | None, overrides: list[str] | None) -> Reading:
    """Read the settings of a config or of an example as far as they can be used.

    Raises
    ------
    InputError
        If none is given, or both are, or the file holds no settings at all.
    """
    path, _, base = _source(config, name)
    return read_settings(path, overrides or [], base=base)


def _source(config: Path | None, name: str | None) -> tuple[Path, str, Path]:
    """Return the file, its name for people, and the folder that its relative paths start from."""
    if config is not None and name is None:
        return config, config.stem, config.parent
    if name is not None and config is None:
        return example(name), name, Path.cwd()  # the files that it names are the user's, such as data that were fetched
    raise InputError("give a CONFIG, or --example NAME in its place (see --help)")
