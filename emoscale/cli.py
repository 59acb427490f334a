"""The command line: arguments in, one call out."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from json import dumps
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from emoscale import __version__
from emoscale.config import Settings, load_settings
from emoscale.errors import EmoscaleError, InputError, PreemptedError
from emoscale.pipeline import runner
from emoscale.run.folder import RunFolder
from emoscale.run.lock import release_all
from emoscale.system.files import disk_is_full, mount_point, write_text
from emoscale.system.preemption import STOPPED, end_on_sigterm

# Torch, transformers and zarr take seconds to import; commands that need them import what they call, so that --help and
# a run with nothing left to do answer at once.

app = typer.Typer(
    help="Which neurons of a language model hold its emotion concepts, and does the model need them?",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_INTERRUPTED = 130

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of settings, e.g. configs/demo.yaml.")]
Out = Annotated[Path | None, typer.Option(help="Run folder.  [default: runs/NAME-OF-CONFIG]", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Another value for a setting, e.g. --set tuning.epochs=3."),
]
FreshStage = Annotated[bool, typer.Option("--fresh", help="Do this stage, and later those after it, anew.")]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Select on a running Dask cluster; for --set machine.scheduler=ADDRESS."),
]
Inference = Annotated[
    str | None,
    typer.Option(
        metavar="KIND", help="Where p come from: permutation, asymptotic; for --set selectivity.inference=KIND."
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(metavar="KIND", help="Select on a cluster that is started: slurm; for --set machine.cluster=KIND."),
]


@app.callback(invoke_without_command=True)
def _without_command(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def run(
    config: Config,
    out: Out = None,
    overrides: Overrides = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the run in the folder and start anew.")] = False,
    inference: Inference = None,
    scheduler: Scheduler = None,
    cluster: Cluster = None,
) -> None:
    """Do every stage of a run that is not done yet."""
    _run(config, out, [*(overrides or []), *_selecting(inference, scheduler, cluster)], fresh, only=None)


def _add_stage(name: str, purpose: str) -> None:
    def command(config: Config, out: Out = None, overrides: Overrides = None, fresh: FreshStage = False) -> None:
        _run(config, out, overrides, fresh, only=name)

    with_more: dict[str, Callable[..., None]] = {"select": _select, "extract": _extract}
    app.command(name, help=purpose)(with_more.get(name, command))


def _extract(
    config: Config,
    out: Out = None,
    overrides: Overrides = None,
    fresh: FreshStage = False,
    repair: Annotated[bool, typer.Option("--repair", help="Write only missing and damaged chunks anew.")] = False,
) -> None:
    if fresh and repair:
        raise InputError("--fresh and --repair: one writes all, the other keeps what is whole; give one of them")
    if repair:
        settings, folder, console = _opened(config, out, overrides)
        runner.repair(settings, folder, console)
    else:
        _run(config, out, overrides, fresh, only="extract")


def _select(
    config: Config,
    out: Out = None,
    overrides: Overrides = None,
    fresh: FreshStage = False,
    inference: Inference = None,
    scheduler: Scheduler = None,
    cluster: Cluster = None,
) -> None:
    _run(config, out, [*(overrides or []), *_selecting(inference, scheduler, cluster)], fresh, only="select")


_STAGES = {
    "tune": "Train the soft prompts (stage 1).",
    "extract": "Write the neurons' activations to a store (stage 2).",
    "select": "Compute every neuron's selectivity for every attribute (stage 3).",
    "mask": "Choose the neurons to switch off, and random controls (stage 4).",
    "ablate": "Judge texts with neurons switched off (stage 5).",
    "analyze": "Compute the statistics (stage 6).",
    "report": "Draw the figures and write report.html (stage 7).",
}
for _name, _purpose in _STAGES.items():
    _add_stage(_name, _purpose)


@app.command()
def reproduce(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A clone of thunlp/Model_Emotion, or an archive of it.")],
    out: Annotated[Path, typer.Option(help="Run folder.")],
    as_published: Annotated[
        bool,
        typer.Option("--as-published/--exact", help="Round neurons' distances to 15 digits, as the study's files did."),
    ] = True,
    permutations: Annotated[
        int, typer.Option(help="Permutations of the concepts, for p that hold; the published p are kept beside them.")
    ] = 999,
    seed: Annotated[int, typer.Option(help="Of the permutations.")] = 0,
    threads: Annotated[int | None, typer.Option(help="Threads that compute.  [default: one a core]")] = None,
) -> None:
    """Compute the published study again from its released files, number by number."""
    from emoscale.commands.reproduce import reproduce as reproduce_study

    reproduce_study(
        path, out, Console(), as_published=as_published, permutations=permutations, seed=seed, threads=threads
    )


@app.command()
def scores(
    ratings: Annotated[list[Path], typer.Argument(metavar="RATINGS...", help="CSV files of ratings or event reports.")],
    out: Annotated[Path, typer.Option(help="CSV to write: a concept a row, an attribute a column, 0 to 1.")],
    scale: Annotated[tuple[float, float], typer.Option(help="Lowest and highest answer there is.")] = (1, 9),
    seed: Annotated[int, typer.Option(min=0, help="Of the parallel analysis.")] = 0,
) -> None:
    """Turn people's ratings into attribute scores of concepts, with their reliability."""
    from emoscale.concepts.options import ScoreOptions
    from emoscale.concepts.score_files import score_files

    result = score_files(ratings, out, ScoreOptions(scale=scale, seed=seed))
    for note in result.notes:
        typer.echo(note)
    reliable = f"{len(result.reliable)} of {len(result.agreement)} attributes are reliable"
    typer.echo(f"{out}: {len(result.scores)} concepts; {reliable}; ICC, loadings and unscaled scores are beside it")


data = typer.Typer(help="Public data to fetch.", no_args_is_help=True)
app.add_typer(data, name="data")


@data.command("list")
def list_data() -> None:
    """Print what can be fetched."""
    from emoscale.commands.fetch import DATASETS

    for name, dataset in DATASETS.items():
        typer.echo(f"{name}: {dataset.about}")
        for url in dataset.urls:
            typer.echo(f"    {url}")


@data.command("fetch")
def fetch_data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of `emoscale data list`.")],
    out: Annotated[Path | None, typer.Option(help="Folder to make.  [default: data/NAME]", show_default=False)] = None,
) -> None:
    """Download data, check every file's SHA-256 and put it into a folder."""
    from emoscale.commands.fetch import fetch

    folder, digest = fetch(name, out)
    archive = f" (the archive's SHA-256 was {digest})" if digest else ""
    typer.echo(f"{folder}: fetched, every checked file is as expected{archive}")


@app.command()
def plan(
    config: Config,
    overrides: Overrides = None,
    probe: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long to try the extraction here; 0 for not at all.")
    ] = 30,
    ranks: Annotated[int, typer.Option(min=1, help="Processes of the run, each with a device like this one.")] = 1,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the numbers there as well.")] = None,
) -> None:
    """Say what an extraction will cost before it starts: rows, disk, memory, hours."""
    from emoscale.commands.plan import make_plan, plan_numbers, show_plan

    planned = make_plan(load_settings(config, overrides or []), probe_seconds=probe, ranks=ranks)
    show_plan(planned, Console())
    if json:
        write_text(json, dumps(plan_numbers(planned), indent=2) + "\n")


@app.command()
def steer(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A causal or masked language model: folder or name.")],
    text: Annotated[str, typer.Option(help="What the model continues; for masked models, with {mask}.")],
    attribute: Annotated[str, typer.Option(help="Whose neurons are edited, e.g. valence.")],
    k: Annotated[
        str, typer.Option("--k", help="How many of its most selective neurons, or which share of all.")
    ] = "0.1",
    edit: Annotated[str, typer.Option(help="What they become: zero, scale, mean, resample.")] = "zero",
    factor: Annotated[float, typer.Option(help="Of --edit scale; above 1 it strengthens.")] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Of --edit resample.")] = 0,
    run: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Run that knows the neurons; else they are found first.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to keep what is found, for the next time.")
    ] = None,
) -> None:
    """Tell which emotion words come next before and after an attribute's neurons are edited."""
    from emoscale.commands.steer import show_steered, steer

    console = Console()
    steered = steer(
        model, text, attribute, _number(k), console, edit=edit, factor=factor, seed=seed, run=run, keep=keep
    )
    show_steered(steered, attribute, edit, console)


def _number(k: str) -> int | float:
    try:
        return int(k) if k.strip().isdecimal() else float(k)
    except ValueError:
        raise InputError(f"--k {k!r}: not a number; give a count of neurons or a share below 1") from None


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(metavar="RUN|STORE", help="A run folder, or a store in it.")],
    verify: Annotated[bool, typer.Option("--verify", help="Check every chunk of every store.")] = False,
) -> None:
    """Print what a run folder or a store holds."""
    from emoscale.commands.inspect import inspect_path

    inspect_path(path, verify, Console())


@app.command()
def doctor() -> None:
    """Say what this machine offers, and what is missing."""
    from emoscale.commands.doctor import examine

    examine(Console())


def _run(config: Path, out: Path | None, overrides: list[str] | None, fresh: bool, only: str | None) -> None:
    settings, folder, console = _opened(config, out, overrides)
    runner.run(settings, folder, console, only=only, fresh=fresh)


def _opened(config: Path, out: Path | None, overrides: list[str] | None) -> tuple[Settings, RunFolder, Console]:
    settings = load_settings(config, overrides or [])
    return settings, RunFolder(out or Path("runs") / config.stem), Console(quiet=not runner.is_rank_0())


def _selecting(inference: str | None, scheduler: str | None, cluster: str | None) -> list[str]:
    given = {"selectivity.inference": inference, "machine.scheduler": scheduler, "machine.cluster": cluster}
    return [f"{key}={value}" for key, value in given.items() if value is not None]


def main() -> None:
    """Run the command line and end the process with its exit code.

    0: done; 1: failed while running; 2: unusable input; 130: interrupted; 143: told to end. The last two can be
    continued with the same command.
    """
    end_on_sigterm(_leave_hastily)
    code = 0
    try:
        code = app(standalone_mode=False) or 0
        if code == _INTERRUPTED:  # typer swallows Ctrl-C and returns its code
            raise KeyboardInterrupt
    except EmoscaleError as error:
        code = _fail(error.problems, error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = _fail(["interrupted; the same command continues"], _INTERRUPTED)
    except PreemptedError as error:
        code = _fail([str(error)], error.exit_code)
    except OSError as error:
        if not disk_is_full(error) and error.errno not in (errno.EACCES, errno.EROFS):
            raise
        code = _fail([_refused(error)], 1)
    except Exception as error:
        usage = getattr(error, "format_message", None)
        if usage is None:
            raise
        code = _fail([f"{usage()} (--help says more)"], InputError.exit_code)
    sys.exit(code)


_failed: list[int] = []
"""The exit code, once a failure has been told."""


def _fail(problems: list[str], code: int) -> int:
    _failed.append(code)
    # What one rank's own work ran into is told by that rank; everything else happens to all alike.
    if runner.is_rank_0() or code == 1:
        for problem in problems:
            print(f"emoscale: {problem}", file=sys.stderr)
    return code


def _refused(error: OSError) -> str:
    """Tell what the disk has refused, where, and the mend."""
    if not disk_is_full(error) or not error.filename:
        return f"{error.filename or 'disk'}: {error.strerror}; mend it, then the same command continues"
    mount = mount_point(Path(error.filename))
    free = f"{shutil.disk_usage(mount).free / 1e6:,.0f} MB free"
    return (
        f"{error.filename}: {error.strerror} (file system {mount}, {free}); make room, then the same command continues"
    )


def _leave_hastily() -> None:
    release_all()
    if runner.is_rank_0() and not _failed:
        os.write(sys.stderr.fileno(), f"emoscale: {STOPPED}\n".encode())
