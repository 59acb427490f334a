"""The command line: arguments in, one call out."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from json import dumps
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from emoscale import __version__
from emoscale.ablation.options import AblationOptions
from emoscale.commands import looking, running, setting_up
from emoscale.commands.arguments import ConfigOrExample, Example, Overrides, example_of, load
from emoscale.commands.arguments import path as to_path
from emoscale.commands.running import Output
from emoscale.commands.steer_options import SteerOptions, read_texts
from emoscale.concepts.options import ScoreOptions
from emoscale.errors import EmoscaleError, InputError, PreemptedError, shortened
from emoscale.run.lock import release_all
from emoscale.system.files import disk_is_full, mount_point, write_text
from emoscale.system.launcher import rank
from emoscale.system.output import result_is_lost, results_are_in_files, tolerate_failing_output
from emoscale.system.preemption import INTERRUPTED, STOPPED, end_on_sigterm, interrupt_on_sigint

# Torch, transformers and zarr take seconds to import; commands that need them import what they call, so that --help and
# a run with nothing left to do answer at once.

app = typer.Typer(
    help="Which neurons of a language model hold its emotion concepts, and does the model need them?",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_INTERRUPTED = 130

FreshStage = Annotated[bool, typer.Option("--fresh", help="Do this stage again, and undo those after it.")]


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


for group in (running, setting_up, looking):
    group.add_commands(app)


@app.command(epilog=example_of("scores affective.csv faces.csv --out scores.csv"))
def scores(
    ratings: Annotated[
        list[Path],
        typer.Argument(metavar="RATINGS...", help="Tables of ratings or event reports.", parser=to_path),
    ],
    out: Annotated[
        Path, typer.Option(help="CSV to write: a concept a row, an attribute a column, 0 to 1.", parser=to_path)
    ],
    scale: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Lowest and highest possible answer.", show_default="the usual scale that holds all"),
    ] = ScoreOptions.scale,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the parallel analysis.")] = ScoreOptions.seed,
) -> None:
    """Turn people's ratings into attribute scores of concepts, with their reliability.

    Layouts of a table, by its columns:

    rater,concept,valence,arousal: a row a rater and concept.

    rater,concept,attribute,rating: a row a rating.

    rater,joy_valence,joy_arousal,fear_valence: a row a rater; also with two header lines, or as Qualtrics exports it.

    concept,valence,arousal: means.

    event,concept,item01,item02: reports of events.
    """
    from emoscale.concepts.score_files import score_files

    results_are_in_files()
    result = score_files(ratings, out, ScoreOptions(scale=scale, seed=seed))
    for note in [*result.how, *result.notes]:
        typer.echo(note)
    reliable = f"{len(result.reliable)} of {len(result.tested)} attributes are reliable"
    if not result.tested:
        reliable = "the reliability of means is not known"
    typer.echo(f"{out}: {len(result.scores)} concepts; {reliable}; ICC, loadings and unscaled scores are beside it")


data = typer.Typer(help="Public data to fetch.", no_args_is_help=True)
app.add_typer(data, name="data")


@data.command("list", epilog=example_of("data list"))
def list_data() -> None:
    """Print what can be fetched."""
    from emoscale.commands.fetch import DATASETS

    for name, dataset in DATASETS.items():
        typer.echo(f"{name}: {dataset.about}")
        for url in dataset.urls:
            typer.echo(f"    {url}")


@data.command("fetch", epilog=example_of("data fetch goemotions"))
def fetch_data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of `emoscale data list`.")],
    out: Annotated[Path | None, typer.Option(help="Folder to make.", show_default="data/NAME", parser=to_path)] = None,
) -> None:
    """Download data, check every file's SHA-256 and put it into a folder."""
    from emoscale.commands.fetch import fetch

    results_are_in_files()
    folder, digest = fetch(name, out)
    archive = f" (the archive's SHA-256 was {digest})" if digest else ""
    typer.echo(f"{folder}: fetched, every checked file is as expected{archive}")


@app.command(epilog=example_of("plan configs/scale/llama-3.1-8b.yaml --ranks 8 --probe 0"))
def plan(
    config: ConfigOrExample = None,
    example: Example = None,
    overrides: Overrides = None,
    probe: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="How long to measure throughput here; 0 to skip."),
    ] = 30,
    ranks: Annotated[int, typer.Option(min=1, help="Processes of the run, each with such a device.")] = 1,
    tflops: Annotated[
        float | None,
        typer.Option(min=1e-3, help="Of another machine: 10^12 operations a second of a rank in forward passes."),
    ] = None,
    link: Annotated[
        float | None, typer.Option(min=1e-3, metavar="GB", help="GB a second from a rank's device to its host.")
    ] = None,
    disk: Annotated[
        float | None, typer.Option(min=1e-3, metavar="GB", help="GB a second that all ranks together can write.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the numbers to this file.", parser=to_path)
    ] = None,
) -> None:
    """Estimate what a run will cost: rows, disk, memory, time."""
    from emoscale.commands.plan import make_plan, plan_numbers, show_plan
    from emoscale.commands.scaling import Rates

    settings, _ = load(config, example, overrides)
    if json:
        results_are_in_files()
    given = [None if rate is None else rate * unit for rate, unit in ((tflops, 1e12), (link, 1e9), (disk, 1e9))]
    rates = Rates(*given) if any(rate is not None for rate in given) else None
    planned = make_plan(settings, measure_seconds=probe, ranks=ranks, rates=rates)
    show_plan(planned, Console())
    if json:
        write_text(json, dumps(plan_numbers(planned), indent=2) + "\n")


@app.command(epilog=example_of("steer gpt2 --attribute valence --k 2000 --text 'I opened the letter and felt'"))
def steer(  # twelve parameters: each is an option of the command line
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A causal or masked language model: folder or name.")],
    attribute: Annotated[str, typer.Option(help="Whose neurons are edited, e.g. valence.")],
    text: Annotated[
        list[str] | None,
        typer.Option(help="What the model continues; for masked models, with {mask}. May be given several times."),
    ] = None,
    texts: Annotated[Path | None, typer.Option(metavar="FILE", help="More texts, one a line.", parser=to_path)] = None,
    k: Annotated[
        str, typer.Option("--k", help="How many of its most selective neurons, or which share of all.")
    ] = "0.1",
    draws: Annotated[
        int, typer.Option(min=0, help="Masks of as many random neurons to compare with.")
    ] = SteerOptions.draws,
    edit: Annotated[str, typer.Option(help="What they become: zero, scale, mean, resample.")] = AblationOptions.edit,
    factor: Annotated[float, typer.Option(help="Of --edit scale; above 1 it strengthens.")] = AblationOptions.factor,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the random masks, and of --edit resample.")
    ] = AblationOptions.seed,
    run: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Run that knows the neurons; else they are found first.", parser=to_path),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where to keep what is found, for the next time.", parser=to_path),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead; progress goes to stderr.")
    ] = False,
) -> None:
    """Show which emotion words come next before and after an attribute's neurons are edited, beside random neurons."""
    from emoscale.commands import steer as steering

    ablation = AblationOptions(edit=edit, factor=factor, seed=seed)
    options = SteerOptions(read_texts(text or [], texts), attribute, _number(k), draws, ablation, run, keep)
    with Output(has_files=False).console(stderr=as_json) as console:
        steered = steering.steer(model, options, console)
    if as_json:
        typer.echo(steering.as_json(steered, model, options))
    else:
        steering.show_steered(steered, options, Console())


def _number(k: str) -> int | float:
    try:
        return int(k) if k.strip().isdecimal() else float(k)
    except ValueError:
        raise InputError(f"--k {k!r}: not a number; give a count of neurons or a share below 1") from None


@app.command(epilog=example_of("doctor"))
def doctor() -> None:
    """Show what this machine offers, and what is missing."""
    from emoscale.commands.doctor import examine

    examine(Console())


def main() -> None:
    """Run the command line and end the process with its exit code.

    0: done; 1: failed while running, or what is only printed could not be; 2: unusable input; 130: interrupted; 143:
    stopped by SIGTERM. After the last two the same command resumes.
    """
    tolerate_failing_output()
    end_on_sigterm(_leave_hastily)
    interrupt_on_sigint()
    code = 0
    try:
        code = app(standalone_mode=False) or 0
        if code == _INTERRUPTED:  # typer swallows Ctrl-C and returns its code
            raise KeyboardInterrupt
    except EmoscaleError as error:
        code = _fail(error.problems, error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = _fail([INTERRUPTED], _INTERRUPTED)
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
        code = _fail([f"{usage()} (see --help)"], InputError.exit_code)
    sys.exit(max(code, int(result_is_lost())))


_failed: list[int] = []
"""The exit code, once a failure has been reported."""


def _fail(problems: list[str], code: int) -> int:
    _failed.append(code)
    # A rank reports what only its own work ran into; everything else happens to all ranks.
    if rank() == 0 or code == 1:
        for problem in shortened(problems):
            print(f"emoscale: {problem}", file=sys.stderr)
    return code


def _refused(error: OSError) -> str:
    """Say what the disk has refused, where, and the fix."""
    if not disk_is_full(error) or not error.filename:
        return f"{error.filename or 'disk'}: {error.strerror}; fix it, then rerun the same command"
    mount = mount_point(Path(error.filename))
    free = f"{shutil.disk_usage(mount).free / 1e6:,.0f} MB free"
    return f"{error.filename}: {error.strerror} (file system {mount}, {free}); make room, then rerun the same command"


def _leave_hastily() -> None:
    release_all()
    if rank() == 0 and not _failed:
        os.write(sys.stderr.fileno(), f"emoscale: {STOPPED}\n".encode())
