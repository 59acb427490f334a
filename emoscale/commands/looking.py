"""The commands that look at what runs have left: `inspect`, `top`, `compare` and `power`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from emoscale.commands.arguments import Config, Overrides, example_of, path_or_address, run_of
from emoscale.commands.arguments import path as to_path
from emoscale.commands.top_options import TopOptions
from emoscale.system.addresses import reading
from emoscale.system.output import results_are_in_files


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(epilog=example_of("inspect runs/demo --verify"))(inspect)
    app.command(epilog=example_of("top runs/demo --attribute valence"))(top)
    app.command(epilog=example_of("compare runs/small runs/large --out compare.html"))(compare)
    app.command(epilog=example_of("power configs/demo.yaml --out runs/pilot --texts 216 --draws 99"))(power)


def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|STORE", help="A run folder, or a store in it; also s3:// and gs://.", parser=path_or_address
        ),
    ],
    verify: Annotated[bool, typer.Option("--verify", help="Check every chunk of every store.")] = False,
) -> None:
    """Print what a run folder or a store holds."""
    from emoscale.commands.inspect import inspect_path

    with reading(path):
        inspect_path(path, verify, Console())


def top(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run folder; also s3:// and gs://.", parser=path_or_address)
    ],
    by: Annotated[
        str,
        typer.Option(help="effect: the largest estimated loss first; size: the largest effect; or an attribute, by τ."),
    ] = TopOptions.by,
    attribute: Annotated[
        str | None, typer.Option(help="Instead of --by: the attribute whose best neurons are printed.")
    ] = None,
    neuron: Annotated[
        str | None,
        typer.Option(metavar="LAYER:UNIT", help="Instead of both: one neuron, with its τ for all attributes."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many neurons.")] = TopOptions.count,
    texts: Annotated[
        int, typer.Option(min=0, help="Texts with the highest and with the lowest activation, of each neuron.")
    ] = TopOptions.texts,
) -> None:
    """Print the neurons that the model needs most, or that follow an attribute best, and what they respond to."""
    from emoscale.commands.top import show_top

    with reading(run):
        show_top(run, TopOptions(by, attribute, neuron, count, texts), Console())


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Run folders with finished analyses; also s3:// and gs://.", parser=path_or_address
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="HTML page to write.", parser=to_path)] = Path(
        "compare.html"
    ),
) -> None:
    """Put runs, such as those of several models, side by side in one page."""
    from emoscale.commands.compare import compare_runs

    results_are_in_files()
    compare_runs(runs, out, Console())


def power(
    config: Config,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run folder, also of a smaller run of the same kind.",
            show_default="runs/NAME-OF-CONFIG",
            parser=to_path,
        ),
    ] = None,
    overrides: Overrides = None,
    texts: Annotated[
        int | None, typer.Option(min=2, help="Texts to put to the model.", show_default="as the run")
    ] = None,
    draws: Annotated[
        int | None, typer.Option(min=1, help="Permuted masks of each attribute.", show_default="as the run")
    ] = None,
) -> None:
    """Say how small an effect a run would find, from how a finished one varies."""
    from emoscale.commands.power import show_power

    settings, folder = run_of((config, None), out, overrides)
    show_power(settings, folder, texts, draws, Console())
