"""The commands that help to write a config: `check`, `init` and `schema`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from emoscale.commands.arguments import ConfigOrExample, Example, Overrides, example_of, read
from emoscale.commands.arguments import path as to_path
from emoscale.config.schema import schema_text
from emoscale.errors import InputError
from emoscale.system.files import write_text
from emoscale.system.output import results_are_in_files


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(epilog=example_of("check mine.yaml"))(check)
    app.command(epilog=example_of("init --ratings ratings.csv --texts texts.csv --model gpt2"))(init)
    app.command(epilog=example_of("schema --out schema.json"))(schema)


def check(
    config: ConfigOrExample = None,
    example: Example = None,
    overrides: Overrides = None,
    stage: Annotated[
        list[str] | None,
        typer.Option("--stage", metavar="STAGE", help="Only what this stage needs; by default all stages of a run."),
    ] = None,
) -> None:
    """Read every file that a config names and say all problems at once, without loading weights."""
    from emoscale.commands.check import check as check_settings
    from emoscale.commands.check import problems_of_files, show_findings

    reading = read(config, example, overrides)
    if reading.problems or reading.settings is None:
        raise InputError([*reading.problems, *problems_of_files(reading)])
    show_findings(check_settings(reading.settings, stage or ()), Console())


def init(
    ratings: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Scores of concepts: concept, then one column an attribute.", parser=to_path),
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Labelled texts: csv, tsv, parquet or jsonl.", parser=to_path),
    ] = None,
    model: Annotated[str | None, typer.Option(help="A folder, a GGUF file, or a name on the hub.")] = None,
    example: Annotated[
        str | None, typer.Option("--example", metavar="NAME", help="Write this example config instead, e.g. demo.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML to write.", show_default="study.yaml", parser=to_path),
    ] = None,
) -> None:
    """Look at ratings and texts, and write a commented config that runs."""
    from emoscale.commands.init import Sources, write_config, write_example

    results_are_in_files()
    if example is not None:
        if ratings or texts or model:
            raise InputError("--example: is complete already; leave out --ratings, --texts and --model, or --example")
        lines = write_example(example, out or Path(f"{example}.yaml"))
    elif ratings and texts and model:
        lines = write_config(Sources(ratings, texts, model), out or Path("study.yaml"))
    else:
        given = {"--ratings": ratings, "--texts": texts, "--model": model}
        missing = ", ".join(name for name, value in given.items() if not value)
        raise InputError(f"init: {missing} missing; give all three, or --example NAME")
    for line in lines:
        typer.echo(line)


def schema(
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it there instead of printing it.", parser=to_path)
    ] = None,
) -> None:
    """Print the JSON schema of a config, by which editors complete and check it."""
    if out:
        write_text(out, schema_text())
    else:
        sys.stdout.write(schema_text())
