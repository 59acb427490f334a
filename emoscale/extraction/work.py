"""What fills a store row by row: its job, its rows, this process's neurons, and the blocks that rows are cut into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emoscale.errors import StageError
from emoscale.extraction.cutting import Cut, CutOptions, cut_store
from emoscale.models.sites.site import Site, neuron_coordinates
from emoscale.models.tensor_parallel import own_neurons
from emoscale.run.folder import RunFolder
from emoscale.schema import StoreSchema
from emoscale.store import CommitLog, Store
from emoscale.system.ranks import Ranks


class StoreOptions(CutOptions, Protocol):
    """The settings of what is written row by row, see `ExtractionOptions`."""

    @property
    def keep(self) -> str:
        """``moments``, or the name of the rows' own values."""


class RowTable(Protocol):
    """The rows of a store, and the inputs that they are of.

    Attributes
    ----------
    row_of : ndarray of int64, shape (inputs + 1,)
        First row of every input, and the number of rows.
    """

    row_of: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """Number of rows."""

    def labels(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return concept and replicate of every input."""

    def parts(self) -> dict[str, NDArray[np.int32]]:
        """Return what else moments are kept by: coordinates of the cells, by name, of every input."""

    def coordinates(self) -> dict[str, NDArray[Any]]:
        """Return the coordinates of every row, by name."""


@dataclass(frozen=True)
class Target:
    """Where rows are written, or their moments, and what is said of them.

    Attributes
    ----------
    rows, moments, shards : Path
        Stores of every row, of the moments, and of those of shards of the rows until they are merged.
    rows_schema, moments_schema, shards_schema : StoreSchema
        The first has one array of data, (row, neuron).
    setting, name, advice : str
        For messages: the settings' section, the values' name in the plural, how to avoid those that are not finite.
    stops : bool
        Whether a value that is not finite is an error.
    """

    rows: Path
    moments: Path
    shards: Path
    rows_schema: StoreSchema
    moments_schema: StoreSchema
    shards_schema: StoreSchema
    setting: str
    name: str
    advice: str
    stops: bool = True

    @property
    def array(self) -> str:
        """Name of the array of rows."""
        return self.rows_schema.data[0].name

    @property
    def dim(self) -> str:
        """Name of its first dimension."""
        return self.rows_schema.data[0].dims[0]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the values are computed for.

    Attributes
    ----------
    origin : dict
        Where they come from; stores of another origin are replaced.
    concepts : sequence of str
        Those whose moments are kept.
    writers : int
        Threads that write rows.
    repair : bool
        Check every chunk, and write missing and damaged ones again.
    """

    origin: dict[str, Any]
    concepts: Sequence[str]
    writers: int
    repair: bool = False


class FiniteCheck:
    """What is done about values that are not finite.

    Parameters
    ----------
    table : RowTable
        To name what a row represents.
    layer, expert : ndarray of int32, shape (neurons,)
        Of the neurons in the columns of the values. NaN in an expert's neuron means that its token was not routed to
        the expert.
    target : Target
    """

    def __init__(self, table: RowTable, layer: NDArray[np.int32], expert: NDArray[np.int32], target: Target) -> None:
        self._table, self._layer, self._target = table, layer, target
        self._may_be_absent = expert >= 0

    def count_absent(self, values: NDArray[Any], first_row: int) -> int:
        """Count the absent values of a block.

        Parameters
        ----------
        values : ndarray, shape (rows, neurons)
        first_row : int
            Row of the store that the block begins with.

        Raises
        ------
        StageError
            If other values are not finite. Names layer and row.
        """
        finite = np.isfinite(values)
        if finite.all():
            return 0
        absent = np.isnan(values) & self._may_be_absent
        wrong = ~(finite | absent)
        if self._target.stops and wrong.any():
            raise self._error(wrong, first_row, values.dtype)
        return int(absent.sum())

    def _error(self, wrong: NDArray[np.bool_], first_row: int, dtype: np.dtype[Any]) -> StageError:
        row, neuron = np.argwhere(wrong)[0]
        row += first_row
        item = int(np.searchsorted(self._table.row_of, row, side="right")) - 1
        concept, replicate = (names[item] for names in self._table.labels())
        where = f"layer {self._layer[neuron]}, row {row} ({concept}, {replicate})"
        return StageError(
            f"{wrong.sum()} {self._target.name} are not finite in {dtype}, first in {where}; {self._target.advice}"
        )


@dataclass(frozen=True)
class Work:
    """What a store is filled with, and where.

    Attributes
    ----------
    folder : RunFolder
    target : Target
    table : RowTable
    neurons : dict of ndarray
        Coordinates of all neurons.
    columns : sequence of slice
        This process's neurons, beside one another in the values it computes; all of them, unless several processes
        share the model.
    cut : Cut
    check : FiniteCheck
    options : StoreOptions
    job : Job
    ranks : Ranks
    """

    folder: RunFolder
    target: Target
    table: RowTable
    neurons: dict[str, NDArray[np.int32]]
    columns: Sequence[slice]
    cut: Cut
    check: FiniteCheck
    options: StoreOptions
    job: Job
    ranks: Ranks

    @property
    def width(self) -> int:
        """Number of this process's neurons."""
        return sum(columns.stop - columns.start for columns in self.columns)

    @property
    def blocks(self) -> int:
        """Number of row blocks."""
        return self.cut.blocks(self.table.rows)

    def rows(self, block: int) -> slice:
        """Return the rows of a block."""
        size = self.cut.block_rows
        return slice(block * size, min((block + 1) * size, self.table.rows))

    def write_columns(self, store: Store, name: str, values: NDArray[Any], **starts: int) -> None:
        """Write values whose last dimension is this process's neurons."""
        first = 0
        for columns in self.columns:
            width = columns.stop - columns.start
            store.write(name, values[..., first : first + width], neuron=columns.start, **starts)
            first += width

    def commit_logs(self, store: Store) -> list[CommitLog]:
        """Return the commit logs of a store, one for each part of the model: a block is done when all parts are."""
        folder = self.folder.commits(store.path)
        return [CommitLog(folder / f"tp-{part}", self.ranks.rank) for part in range(self.ranks.tp_size)]


def make_work(
    folder: RunFolder,
    target: Target,
    table: RowTable,
    sites: Sequence[Site],
    options: StoreOptions,
    job: Job,
    ranks: Ranks,
) -> Work:
    """Find out which neurons this process computes, and how they are chunked."""
    neurons, columns = neuron_coordinates(sites), own_neurons(sites, ranks.tp_rank, ranks.tp_size)
    own = np.concatenate([np.arange(chosen.start, chosen.stop) for chosen in columns])
    check = FiniteCheck(table, neurons["layer"][own], neurons["expert"][own], target)
    if ranks.tp_size == 1:
        columns = [slice(0, len(own))]
    cut = cut_store(options, table.rows, [site.width for site in sites], ranks.tp_size)
    return Work(folder, target, table, neurons, columns, cut, check, options, job, ranks)
