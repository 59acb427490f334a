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
from emoscale.commands import setting_up
from emoscale.commands.arguments import Config, ConfigOrExample, Example, Out, Overrides, example_of, load
from emoscale.commands.arguments import path as to_path
from emoscale.commands.reproduce.options import ReproductionOptions
from emoscale.commands.steer_options import SteerOptions, read_texts
from emoscale.commands.top_options import TopOptions
from emoscale.concepts.options import ScoreOptions
from emoscale.config import Settings
from emoscale.errors import EmoscaleError, InputError, PreemptedError, shortened
from emoscale.pipeline import runner
from emoscale.pipeline.runner import Request
from emoscale.pipeline.stage import Stage
from emoscale.pipeline.stages import STAGES
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


@app.command(epilog=example_of("run configs/demo.yaml --set masks.k='[0.05, 0.2]'"))
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
            help="Reuse stages of another run where nothing they depend on differs.",
            parser=to_path,
        ),
    ] = None,
) -> None:
    """Do every stage of a run that is not done yet, or whose settings have changed."""
    _run((config, example), out, overrides, Request(fresh=fresh, source=source))


def _add_stage(stage: Stage) -> None:
    def command(config: Config, out: Out = None, overrides: Overrides = None, fresh: FreshStage = False) -> None:
        _run((config, None), out, overrides, Request(stage.name, fresh))

    chosen = _extract if stage.name == "extract" else command
    app.command(stage.name, help=stage.help, epilog=example_of(f"{stage.name} configs/demo.yaml"))(chosen)


def _extract(
    config: Config,
    out: Out = None,
    overrides: Overrides = None,
    fresh: FreshStage = False,
    repair: Annotated[bool, typer.Option("--repair", help="Write only missing and damaged chunks again.")] = False,
) -> None:
    if fresh and repair:
        raise InputError("--fresh and --repair: one writes everything, the other keeps what is valid; give one of them")
    if repair:
        settings, folder, console = _opened((config, None), out, overrides)
        runner.repair(settings, folder, console)
    else:
        _run((config, None), out, overrides, Request("extract", fresh))


for _stage in STAGES.values():
    _add_stage(_stage)
setting_up.add_commands(app)


@app.command(epilog=example_of("reproduce model-emotion --out runs/published"))
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
) -> None:
    """Compute the published study again from its released files, number by number."""
    from emoscale.commands.reproduce.reproduce import reproduce as reproduce_study

    reproduce_study(path, out, Console(), ReproductionOptions(as_published, permutations, seed, threads))


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
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the numbers to this file.", parser=to_path)
    ] = None,
) -> None:
    """Estimate what a run will cost: rows, disk, memory, time."""
    from emoscale.commands.plan import make_plan, plan_numbers, show_plan

    settings, _ = load(config, example, overrides)
    planned = make_plan(settings, measure_seconds=probe, ranks=ranks)
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
    steered = steering.steer(model, options, Console(stderr=as_json))
    if as_json:
        typer.echo(steering.as_json(steered, model, options))
    else:
        steering.show_steered(steered, options, Console())


def _number(k: str) -> int | float:
    try:
        return int(k) if k.strip().isdecimal() else float(k)
    except ValueError:
        raise InputError(f"--k {k!r}: not a number; give a count of neurons or a share below 1") from None


@app.command(epilog=example_of("inspect runs/demo --verify"))
def inspect(
    path: Annotated[Path, typer.Argument(metavar="RUN|STORE", help="A run folder, or a store in it.", parser=to_path)],
    verify: Annotated[bool, typer.Option("--verify", help="Check every chunk of every store.")] = False,
) -> None:
    """Print what a run folder or a store holds."""
    from emoscale.commands.inspect import inspect_path

    inspect_path(path, verify, Console())


@app.command(epilog=example_of("top runs/demo --attribute valence"))
def top(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", parser=to_path)],
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

    show_top(run, TopOptions(by, attribute, neuron, count, texts), Console())


@app.command(epilog=example_of("compare runs/small runs/large --out compare.html"))
def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders with finished analyses.", parser=to_path)
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="HTML page to write.", parser=to_path)] = Path(
        "compare.html"
    ),
) -> None:
    """Put runs, such as those of several models, side by side in one page."""
    from emoscale.commands.compare import compare_runs

    compare_runs(runs, out, Console())


@app.command(epilog=example_of("power configs/demo.yaml --out runs/pilot --texts 216 --draws 99"))
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

    settings, folder, console = _opened((config, None), out, overrides)
    show_power(settings, folder, texts, draws, console)


@app.command(epilog=example_of("doctor"))
def doctor() -> None:
    """Show what this machine offers, and what is missing."""
    from emoscale.commands.doctor import examine

    examine(Console())


Source = tuple[Path | None, str | None]
"""A config, or the name of an example."""


def _run(source: Source, out: Path | None, overrides: list[str] | None, request: Request) -> None:
    settings, folder, console = _opened(source, out, overrides)
    runner.run(settings, folder, console, request)


def _opened(source: Source, out: Path | None, overrides: list[str] | None) -> tuple[Settings, RunFolder, Console]:
    settings, name = load(*source, overrides)
    return settings, RunFolder(out or Path("runs") / name), Console(quiet=not runner.is_rank_0())


def main() -> None:
    """Run the command line and end the process with its exit code.

    0: done; 1: failed while running; 2: unusable input; 130: interrupted; 143: stopped by SIGTERM. After the last two
    the same command resumes.
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
        code = _fail(["interrupted; rerun the same command to resume"], _INTERRUPTED)
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
    sys.exit(code)


_failed: list[int] = []
"""The exit code, once a failure has been reported."""


def _fail(problems: list[str], code: int) -> int:
    _failed.append(code)
    # A rank reports what only its own work ran into; everything else happens to all ranks.
    if runner.is_rank_0() or code == 1:
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
    if runner.is_rank_0() and not _failed:
        os.write(sys.stderr.fileno(), f"emoscale: {STOPPED}\n".encode())
