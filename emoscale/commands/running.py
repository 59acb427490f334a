"""The commands that do the work: `run`, the stages one by one, and `reproduce`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from emoscale.commands.arguments import (
    Config,
    ConfigOrExample,
    Example,
    Out,
    Overrides,
    example_of,
    path_or_address,
    run_of,
)
from emoscale.commands.arguments import path as to_path
from emoscale.commands.reproduce.options import UNPACK_LIMIT, ReproductionOptions
from emoscale.errors import InputError
from emoscale.pipeline import runner
from emoscale.pipeline.repair import repair as repair_run
from emoscale.pipeline.runner import Request
from emoscale.pipeline.stage import Stage
from emoscale.pipeline.stages import STAGES
from emoscale.system.launcher import rank
from emoscale.system.logs import logging_to
from emoscale.system.output import results_are_in_files

_log = logging.getLogger(__name__)

FreshStage = Annotated[bool, typer.Option("--fresh", help="Do this stage again, and undo those after it.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Also say what the work decides as it goes.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but warnings and errors.")]
LogFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Also add every line, with its time, to this file.", parser=to_path),
]


@dataclass(frozen=True)
class Output:
    """What is printed while a command works.

    Parameters
    ----------
    verbose, quiet : bool
    log_file : path, optional
        Gets everything, whatever is printed. Each further rank has a file of its own beside it.
    has_files : bool
        Whether the command's results are in files; if not, they are only printed.
    """

    verbose: bool = False
    quiet: bool = False
    log_file: Path | None = None
    has_files: bool = True

    @contextmanager
    def console(self, stderr: bool = False) -> Iterator[Console]:
        """Send lines where they are wanted while the block runs; yield where bars are drawn.

        Raises
        ------
        InputError
            If more and less are asked for, or the file cannot be written.
        """
        if self.verbose and self.quiet:
            raise InputError("--verbose and --quiet: one prints more, the other less; give one of them")
        if self.has_files:
            results_are_in_files()
        is_seen = rank() == 0
        level = logging.DEBUG if self.verbose else logging.WARNING if self.quiet else logging.INFO
        file = self.log_file
        if file is not None and not is_seen:
            file = file.with_name(f"{file.stem}.rank{rank()}{file.suffix}")
        with logging_to(Console(stderr=stderr, quiet=not is_seen), level, file):
            yield Console(stderr=stderr, quiet=self.quiet or not is_seen)


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(epilog=example_of("run configs/demo.yaml --set masks.k='[0.05, 0.2]'"))(run)
    for stage in STAGES.values():
        command = extract if stage.name == "extract" else _command_of(stage)
        app.command(stage.name, help=stage.help, epilog=example_of(f"{stage.name} configs/demo.yaml"))(command)
    app.command(epilog=example_of("reproduce model-emotion --out runs/published"))(reproduce)


def run(
    config: ConfigOrExample = None,
    example: Example = None,
    out: Out = None,
    overrides: Overrides = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the run in the folder and start again.")] = False,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Reuse stages of another run where nothing they depend on differs; s3:// and gs:// are copied.",
            parser=path_or_address,
        ),
    ] = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
    log_file: LogFile = None,
) -> None:
    """Do every stage of a run that is not done yet, or whose settings have changed."""
    settings, folder = run_of((config, example), out, overrides)
    with Output(verbose, quiet, log_file).console() as console:
        if not runner.run(settings, folder, console, Request(fresh=fresh, source=source)):
            _log.info(f"{folder.path}: all stages are done; report: {folder.report}")


def _command_of(stage: Stage) -> Callable[..., None]:
    def command(
        config: Config,
        out: Out = None,
        overrides: Overrides = None,
        fresh: FreshStage = False,
        verbose: Verbose = False,
        quiet: Quiet = False,
        log_file: LogFile = None,
    ) -> None:
        _do_stage(stage.name, (config, out, overrides), fresh, Output(verbose, quiet, log_file))

    return command


def _do_stage(name: str, given: tuple[Path, Path | None, list[str] | None], fresh: bool, output: Output) -> None:
    config, out, overrides = given
    settings, folder = run_of((config, None), out, overrides)
    with output.console() as console:
        if not runner.run(settings, folder, console, Request(name, fresh)):
            _log.info(f"{folder.path}: {name} is done; --fresh does it again")


def extract(
    config: Config,
    out: Out = None,
    overrides: Overrides = None,
    fresh: FreshStage = False,
    repair: Annotated[bool, typer.Option("--repair", help="Write only missing and damaged chunks again.")] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    log_file: LogFile = None,
) -> None:
    """Write the neurons' activations to a store."""
    if fresh and repair:
        raise InputError("--fresh and --repair: one writes everything, the other keeps what is valid; give one of them")
    output = Output(verbose, quiet, log_file)
    if not repair:
        _do_stage("extract", (config, out, overrides), fresh, output)
        return
    settings, folder = run_of((config, None), out, overrides)
    with output.console() as console:
        repair_run(settings, folder, console)


def reproduce(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A clone of thunlp/Model_Emotion, or an archive of it.", parser=to_path),
    ],
    out: Annotated[Path, typer.Option(help="Run folder.", parser=to_path)],
    as_published: Annotated[
        bool,
        typer.Option("--as-published/--exact", help="Round neurons' distances to 15 digits, as the study's files did."),
    ] = ReproductionOptions.as_published,
    permutations: Annotated[
        int, typer.Option(min=1, help="Permutations of the concepts, for valid p; the published p are kept beside.")
    ] = ReproductionOptions.permutations,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the permutations.")] = ReproductionOptions.seed,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads that compute.", show_default="one a core")
    ] = ReproductionOptions.threads,
    unpack_limit: Annotated[
        int, typer.Option(min=1, metavar="BYTES", help="What an archive may unpack to.")
    ] = UNPACK_LIMIT,
    verbose: Verbose = False,
    quiet: Quiet = False,
    log_file: LogFile = None,
) -> None:
    """Compute the published study again from its released files, number by number."""
    from emoscale.commands.reproduce.reproduce import reproduce as reproduce_study

    options = ReproductionOptions(as_published, permutations, seed, threads)
    with Output(verbose, quiet, log_file).console() as console:
        reproduce_study(path, out, console, options, unpack_limit)
