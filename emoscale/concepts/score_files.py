"""Files of attribute scores from files of ratings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from emoscale.concepts.options import ScoreOptions
from emoscale.concepts.ratings import EventReports, RaterRatings, read_ratings
from emoscale.concepts.scores import RatingScores, scores_from_ratings
from emoscale.errors import InputError, collect_problems
from emoscale.system.csv_cells import to_csv
from emoscale.system.files import write_text


def score_files(paths: Sequence[Path], out: Path, options: ScoreOptions) -> RatingScores:
    """Read files of ratings and write the concepts' attribute scores.

    Parameters
    ----------
    paths : sequence of Path
        Tables in the layouts of :func:`emoscale.concepts.ratings.read_ratings`.
    out : Path
        Gets the scores rescaled to 0..1 (`concept` and one column an attribute), ready to be a run's attributes. Beside
        it, with `_unscaled` and `_agreement` at the end of its name, are written the scores in their own units and the
        table of reliability; for each file of event reports, with the file's name before them, `_loadings` and
        `_eigenvalues`.
    options : ScoreOptions

    Returns
    -------
    RatingScores

    Raises
    ------
    InputError
        As `read_ratings` (with the problems of all files) and `scores_from_ratings` do; if a file to be written is one
        of those read or cannot be written.
    """
    result = scores_from_ratings(read_files(paths, options), options)
    _write(_files(result, out), paths)
    return result


def read_files(
    paths: Sequence[Path], options: ScoreOptions, names: Sequence[str] = ()
) -> list[RaterRatings | EventReports]:
    """Read files of ratings.

    Parameters
    ----------
    paths : sequence of Path
    options : ScoreOptions
    names : sequence of str
        Concepts of the study, as far as they are known.

    Raises
    ------
    InputError
        With the problems of all files.
    """
    if not paths:
        raise InputError("no file of ratings; give at least one CSV")
    tables: list[RaterRatings | EventReports] = []

    def read(path: Path) -> None:
        tables.append(read_ratings(path, options.scale, names))

    collect_problems(partial(read, path) for path in paths)
    return tables


def _files(result: RatingScores, out: Path) -> dict[Path, str]:
    def beside(ending: str) -> Path:
        return out.with_name(f"{out.stem}_{ending}.csv")

    texts = {
        out: to_csv(result.scores01.reset_index()),
        beside("unscaled"): to_csv(result.scores.reset_index()),
        beside("agreement"): to_csv(result.agreement),
    }
    for battery in result.batteries:
        texts[beside(f"{battery.source.stem}_loadings")] = to_csv(battery.loadings.reset_index())
        texts[beside(f"{battery.source.stem}_eigenvalues")] = to_csv(battery.eigenvalues)
    return texts


def _write(texts: Mapping[Path, str], read: Sequence[Path]) -> None:
    sources = {path.resolve() for path in read}
    if clash := [path for path in texts if path.resolve() in sources]:
        raise InputError(f"{clash[0]}: would be overwritten, but is read as ratings; choose another --out")
    for path, text in texts.items():
        try:
            write_text(path, text)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
