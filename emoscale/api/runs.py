"""What a run's folder holds, as xarray's arrays and pandas' tables; and making one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray
from numpy.typing import NDArray
from rich.console import Console

from emoscale.api.arguments import naming
from emoscale.api.labelled import NEURON
from emoscale.api.stores import open_activations, open_dataset, with_neurons
from emoscale.commands.top import one_neuron
from emoscale.config import Settings, load_settings
from emoscale.config.loading import make_settings
from emoscale.errors import InputError, suggest
from emoscale.pipeline import runner
from emoscale.run.compatibility import holds_run
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.run.verdicts import read_verdicts, verdict_table
from emoscale.schema import MASKS, SCORES, SELECTIVITY
from emoscale.system.addresses import place, reading
from emoscale.system.logs import logging_unless_routed


class Tables(Mapping[str, pd.DataFrame]):
    """A run's result tables by name, read when they are asked for."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in list(self):
            raise KeyError(f"{name!r}{suggest(name, self)}; this run has {', '.join(self) or 'no tables yet'}")
        return self._folder.table(name)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(file.stem for file in self._folder.tables.glob("*.csv")))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __repr__(self) -> str:
        return f"Tables({', '.join(self)})"


@dataclass(frozen=True)
class Run:
    """What is in a run's folder, see `open_run`.

    Everything is read when it is asked for. What a stage has not finished raises `EmoscaleError`, which says how to get
    it.

    Attributes
    ----------
    folder : RunFolder
        Where its files are.
    """

    folder: RunFolder

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.folder.path

    @cached_property
    def settings(self) -> Settings:
        """The settings as used, defaults filled in."""
        return load_settings(self.folder.config)

    @property
    def activations(self) -> xarray.DataArray:
        """Activations, dims (observation, neuron), read as they are needed (Dask); see `activations`."""
        return open_activations(self.folder)

    @property
    def selectivity(self) -> xarray.Dataset:
        """Tau, p, q and more of every neuron and attribute, as ``selectivity.tau.sel(attribute="joy")``."""
        return open_dataset(self.folder.selectivity, SELECTIVITY)

    @property
    def masks(self) -> xarray.DataArray:
        """Whether a mask edits a neuron, dims (mask, neuron), with ``kind``, ``attribute``, ``k`` and ``draw``."""
        bits = open_dataset(self.folder.masks, MASKS)["bits"]
        neurons = open_finished(self.folder.masks.resolve(), MASKS).attributes["origin"]["neurons"]
        masks = xarray.apply_ufunc(
            _unpack,
            bits,
            kwargs={"neurons": neurons},
            input_core_dims=[["neuron_byte"]],
            output_core_dims=[[NEURON]],
            dask="parallelized",
            dask_gufunc_kwargs={"output_sizes": {NEURON: neurons}, "allow_rechunk": True},
            output_dtypes=[np.bool_],
        ).rename("masks")
        found: xarray.DataArray = with_neurons(masks, open_finished(self.folder.selectivity.resolve(), SELECTIVITY))
        return found

    @property
    def scores(self) -> xarray.Dataset:
        """Score of every option of every item under every mask, as ``scores.scores``, and the token ids."""
        return open_dataset(self.folder.scores, SCORES)

    @property
    def tables(self) -> Tables:
        """The result tables by name, as ``tables["needed"]``; ``list(tables)`` has the names."""
        return Tables(self.folder)

    @property
    def verdicts(self) -> pd.DataFrame:
        """What the run answers to each of its questions, and on what grounds; a row a question."""
        return verdict_table(read_verdicts(self.folder).values())

    def neuron(self, layer: int, unit: int, expert: int | None = None) -> pd.DataFrame:
        """Return what is known of one neuron.

        Parameters
        ----------
        layer, unit : int
        expert : int, optional
            Of a mixture of experts.

        Returns
        -------
        DataFrame
            A row for each attribute, the largest tau first: ``neuron`` (its number), ``layer``, ``unit``, ``effect``
            where effects were estimated, ``attribute``, ``tau``, ``p``, ``q``.

        Raises
        ------
        InputError
            If the run has no such neuron.
        """
        place = ":".join(str(part) for part in (layer, expert, unit) if part is not None)
        with naming({"--neuron": NEURON}):
            return one_neuron(self.folder, place).rename_axis(NEURON).reset_index()

    def __repr__(self) -> str:
        done = [name for name, facts in self.folder.manifest()["stages"].items() if facts.get("state") == "done"]
        return f"Run({str(self.path)!r}, done: {', '.join(done) or 'nothing'})"


def open_run(path: str | Path) -> Run:
    """Open the folder of a run, finished or not.

    Parameters
    ----------
    path : path
        What ``--out`` named; or the address of such a folder, ``s3://BUCKET/PATH``, ``gs://BUCKET/PATH`` or
        ``file://``, from which only what is asked for is fetched (the extra ``remote``).

    Returns
    -------
    Run
        With ``activations``, ``selectivity``, ``masks``, ``scores`` (xarray, read as needed), ``tables``, ``verdicts``
        (pandas), ``settings``, and ``neuron(layer, unit)``.

    Raises
    ------
    InputError
        If `path` is not a run folder, or cannot be read.

    Examples
    --------
    >>> run = es.open_run(finished)
    >>> run.selectivity.tau.sel(layer=1, attribute="valence").shape
    (24,)
    >>> run.masks.sel(neuron=[0, 5]).dtype
    dtype('bool')
    """
    given = place(path).expanduser()
    folder = RunFolder(given)
    with naming({"--out": "path"}), reading(given):
        if not holds_run(folder):
            raise InputError(f"path {str(given)!r}: holds no run; give the folder that --out named")
    return Run(folder)


def run_study(settings_or_yaml: Any, out: str | Path, *, progress: bool = True) -> Run:
    """Do a whole study, or what is left of it, as ``emoscale run`` does.

    Parameters
    ----------
    settings_or_yaml : path, mapping or Settings
        A YAML file; or what such a file says, as nested mappings, whose relative paths start from the working
        directory; or the ``settings`` of a run.
    out : path
        Its folder. What is done there with the same settings is not done again.
    progress : bool
        Whether to say on stderr what is being done.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        If the settings cannot be used, with a line for every mistake, or the folder holds something else.

    Notes
    -----
    It is not called ``run`` since ``emoscale.run`` is a package.

    Examples
    --------
    >>> es.run_study({"model": {"nam": "gpt2"}}, out="runs/mine")
    Traceback (most recent call last):
        ...
    emoscale.errors.InputError: ...
    """
    if isinstance(settings_or_yaml, Settings):
        settings = settings_or_yaml
    elif isinstance(settings_or_yaml, Mapping):
        settings = make_settings(settings_or_yaml)
    elif isinstance(settings_or_yaml, (str, Path)):
        settings = load_settings(Path(settings_or_yaml).expanduser())
    else:
        kind = type(settings_or_yaml).__name__
        raise InputError(f"settings_or_yaml: {kind} given; give the path of a YAML file, a mapping or settings")
    folder = RunFolder(Path(out).expanduser())
    console = Console(stderr=True, quiet=not progress)
    with naming({"--out": "out"}), logging_unless_routed(console):
        runner.run(settings, folder, console)
    return open_run(folder.path)


def _unpack(bits: NDArray[np.uint8], neurons: int) -> NDArray[np.bool_]:
    return np.unpackbits(bits, axis=-1, count=neurons).view(np.bool_)
