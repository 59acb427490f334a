"""A run is a folder: where each stage's files are, and the manifest that records what is done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoscale.errors import InputError, first_lines
from emoscale.system.csv_cells import from_cells, to_csv
from emoscale.system.files import replacing, write_text

if TYPE_CHECKING:
    import pandas as pd

TEXT_COLUMNS = (
    "control",
    "kind",
    "concept",
    "replicate",
    "attribute",
    "attribute_1",
    "attribute_2",
    "score",
    "answer",
    "normalization",
    "stratum",
    "ranking",
    "relation",
    "statistic",
    "question",
    "reason",
    "quantity",
    "item",
)
"""Columns of tables that hold text whatever it looks like: a concept may be called "1" or "None", an attribute "NA"."""

_LONGEST_NAME = 255
_KINDS: dict[type, str] = {dict: "mapping", list: "list", str: "text"}
_PARTS: dict[str, type] = {"model": dict, "versions": dict, "hardware": dict, "config": str}
_PARTS_OF_A_STAGE: dict[str, type] = {
    "state": str,
    "id": str,
    "settings": dict,
    "counts": dict,
    "outputs": list,
    "checksums": str,
}


def _as_text(manifest: dict[str, Any]) -> str:
    """Return the text of a manifest, which ends with the checksum of all else that it holds."""
    digest = hashlib.sha256(_as_json(manifest).encode("utf-8", "surrogatepass")).hexdigest()
    return _as_json(manifest | {"checksum": f"sha256:{digest}"})


def _as_json(manifest: dict[str, Any]) -> str:
    return json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"


def _wrong_types(manifest: dict[str, Any]) -> Iterator[str]:
    """Say what in a manifest is not of its type; what is not there is no matter."""
    places = [("", manifest, _PARTS)]
    for name, facts in manifest["stages"].items():
        if not isinstance(facts, dict):
            yield f"stages.{name} is no mapping"
            continue
        places.append((f"stages.{name}.", facts, _PARTS_OF_A_STAGE))
    for place, held, kinds in places:
        for key, kind in kinds.items():
            if key in held and not isinstance(held[key], kind):
                yield f"{place}{key} is no {_KINDS[kind]}"
                return
        if place and "state" not in held:
            yield f"{place}state is missing"
        if any(not isinstance(name, str) or len(name) > _LONGEST_NAME for name in held.get("outputs", [])):
            yield f"{place}outputs are no names"


@dataclass(frozen=True)
class RunFolder:
    """Paths inside one run's folder.

    Parameters
    ----------
    path : Path
    ablation : str
        Folder within the run's that holds its masks and their scores; the run's own by default.
    """

    path: Path
    ablation: str = ""

    @property
    def config(self) -> Path:
        """The settings as used, defaults filled in."""
        return self.path / "config.yaml"

    @property
    def manifest_file(self) -> Path:
        """What was done, with what, when."""
        return self.path / "manifest.json"

    @property
    def prompts(self) -> Path:
        """Folder of the tuned prompts, one safetensors file a group."""
        return self.path / "prompts"

    @property
    def prompt_table(self) -> Path:
        """One row a prompt: concept, replicate, accuracies."""
        return self.path / "prompts.parquet"

    @property
    def inputs(self) -> Path:
        """Store of what the model was given (token)."""
        return self.path / "inputs.zarr"

    @property
    def activations(self) -> Path:
        """Store of activations (observation, neuron)."""
        return self.path / "activations.zarr"

    @property
    def moments(self) -> Path:
        """Store of count, mean and spread (cell, neuron); in place of the activations if only these are kept."""
        return self.path / "moments.zarr"

    @property
    def moment_shards(self) -> Path:
        """Store of the moments of shards of the rows (shard, cell, neuron), until they are merged."""
        return self.path / "moment_shards.zarr"

    @property
    def selectivity(self) -> Path:
        """Store of tau, p, q and rank (neuron, attribute)."""
        return self.path / "selectivity.zarr"

    @property
    def row_measures(self) -> Path:
        """Store of the measures over single rows; there if some were asked for."""
        return self.path / "row_measures.zarr"

    @property
    def masks(self) -> Path:
        """Store of the masks (mask, neuron)."""
        return self.path / self.ablation / "masks.zarr"

    @property
    def scores(self) -> Path:
        """Store of the scores (item, mask, option)."""
        return self.path / self.ablation / "scores.zarr"

    @property
    def effects(self) -> Path:
        """Store of every item's estimated effects (item, neuron)."""
        return self.path / "effects.zarr"

    @property
    def effect_moments(self) -> Path:
        """Store of their count, mean and spread (cell, neuron); in place of the effects if only these are kept."""
        return self.path / "effect_moments.zarr"

    @property
    def effect_shards(self) -> Path:
        """Store of the moments of shards of the items (shard, cell, neuron), until they are merged."""
        return self.path / "effect_shards.zarr"

    @property
    def exact_effects(self) -> Path:
        """Store of the exact effects of the neurons with the largest estimates (item, sample)."""
        return self.path / "exact_effects.zarr"

    @property
    def effect_check(self) -> Path:
        """Store of estimated and exact effects of some neurons (item, sample)."""
        return self.path / "effect_check.zarr"

    @property
    def exact_checks(self) -> Path:
        """Folder of the exact ablations that effects are compared with, there until they are."""
        return self.path / "attribution"

    @property
    def relation(self) -> Path:
        """Store of how tau relates to the estimated effects, over neurons (order, attribute)."""
        return self.path / "relation.zarr"

    @property
    def faithfulness(self) -> Path:
        """Store of the outcome with only the first neurons of rankings kept (item, mask)."""
        return self.path / "faithfulness.zarr"

    @property
    def faithfulness_scores(self) -> Path:
        """Folder of the masks and scores that it comes from, there until it is finished."""
        return self.path / "faithfulness"

    def with_ablation(self, path: Path) -> RunFolder:
        """Return the same run with masks and scores in a folder of their own, which is within the run's."""
        return replace(self, ablation=str(path.relative_to(self.path)))

    @property
    def tables(self) -> Path:
        """Folder of the result tables (CSV)."""
        return self.path / "tables"

    @property
    def figures(self) -> Path:
        """Folder of the figures (PNG and SVG)."""
        return self.path / "figures"

    @property
    def report(self) -> Path:
        """The report, one self-contained file."""
        return self.path / "report.html"

    def checksums(self, stage: str) -> Path:
        """Return the list of the files that a finished stage has left, with the checksum and size of each."""
        return self.path / "checksums" / f"{stage}.txt"

    @property
    def replacement(self) -> RunFolder:
        """The folder in which stages are done again with other settings, until they replace those that are here."""
        return RunFolder(self.path / ".replacement")

    def commits(self, store: Path) -> Path:
        """Return the folder of a store's commit log."""
        return store.with_suffix(".commits")

    def manifest(self) -> dict[str, Any]:
        """Read the manifest; empty if there is none yet.

        Raises
        ------
        InputError
            If the file is there but is not a manifest.
        """
        return self._read_manifest()[0]

    def manifest_is_unchanged(self) -> bool:
        """Whether the manifest is what `write_manifest` wrote, to the last bit.

        Raises
        ------
        InputError
            As `manifest`.
        """
        manifest, text = self._read_manifest()
        with suppress(RecursionError):
            return text == _as_text(manifest)
        return False

    def _read_manifest(self) -> tuple[dict[str, Any], str]:
        """Return the manifest without its checksum, and the text of the file."""
        if not self.manifest_file.exists():
            return {}, ""
        try:
            text = self.manifest_file.read_text(encoding="utf-8")
            manifest = json.loads(text)
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(
                f"{self.manifest_file}: cannot be read ({first_lines(error)}); give another --out, or delete the folder"
            ) from error
        if not isinstance(manifest, dict) or not isinstance(manifest.get("stages"), dict):
            raise InputError(f"{self.manifest_file}: not an emoscale manifest; give another --out")
        if wrong := next(_wrong_types(manifest), None):
            raise InputError(f"{self.manifest_file}: damaged ({wrong}); give another --out, or delete the folder")
        manifest.pop("checksum", None)
        return manifest, text

    def stage(self, name: str) -> dict[str, Any]:
        """Read what the manifest records of a stage; empty if nothing."""
        recorded = self.manifest().get("stages", {}).get(name, {})
        return recorded if isinstance(recorded, dict) else {}

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Replace the manifest, whole or not at all, and add its checksum."""
        write_text(self.manifest_file, _as_text(manifest))

    def table(self, name: str, text: Collection[str] = ()) -> pd.DataFrame:
        """Read one of the result tables, e.g. ``"drop_by_attribute"``, as it was written.

        Parameters
        ----------
        name : str
        text : collection of str
            Columns that hold text whatever it looks like, besides `TEXT_COLUMNS`.

        Returns
        -------
        DataFrame
            Missing text is empty.
        """
        import pandas as pd  # takes half a second, which a run with nothing left to do should not cost

        names = [*TEXT_COLUMNS, *text]
        with (self.tables / f"{name}.csv").open("rb") as file:
            table = pd.read_csv(file, dtype=dict.fromkeys(names, str), keep_default_na=False, na_values=[""])
        table = from_cells(table)
        return table.fillna(dict.fromkeys([name for name in names if name in table], ""))

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write one result table as CSV; see `to_csv`."""
        with replacing(self.tables / f"{name}.csv") as unfinished:
            unfinished.write_bytes(to_csv(table).encode())
