"""Activations of texts and of templates that name concepts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import xarray

from emoscale.api.arguments import naming
from emoscale.api.labelled import OBSERVATION
from emoscale.api.models import Model, as_model
from emoscale.api.progress import shown
from emoscale.api.stores import open_activations
from emoscale.api.texts import as_concepts, as_labels, as_texts, check_no_templates
from emoscale.errors import InputError
from emoscale.extraction.extract import extract
from emoscale.extraction.inputs import Rows, TemplateRows, TextRows
from emoscale.extraction.options import ExtractionOptions
from emoscale.extraction.pooling import POOLINGS
from emoscale.extraction.rows import ROW_SOURCES
from emoscale.extraction.work import Job
from emoscale.models.in_memory import weights_digest
from emoscale.models.loading import LanguageModel
from emoscale.models.outline import ModelOutline
from emoscale.run.folder import RunFolder
from emoscale.stimuli.templates import render_templates
from emoscale.system.option_types import lookup
from emoscale.system.options import MachineOptions
from emoscale.system.ranks import one_process

_NAMES = {
    "extraction.pooling": "pooling",
    "extraction.rows 'templates'": "concepts",
    "extraction.batch_rows": "batch_rows",
    "extraction.dtype": "dtype",
    "templates": "texts",
}


def activations(
    model: Any,
    texts: str | Sequence[str],
    labels: Sequence[str] | None = None,
    *,
    concepts: Sequence[str] | None = None,
    pooling: str | None = None,
    out: str | Path | None = None,
    site: str | None = None,
    tokenizer: Any = None,
    max_tokens: int | None = None,
    dtype: str = ExtractionOptions.dtype,
    batch_rows: int = ExtractionOptions.batch_rows,
) -> xarray.DataArray:
    """Return the activation of every neuron for texts, or for sentences that name concepts.

    The numbers are those that ``emoscale extract`` writes.

    Parameters
    ----------
    model : Model, or what `load` takes
    texts : sequence of str
        Texts; or, if `concepts` are given, templates with ``{concept}``.
    labels : sequence of str, optional
        What each text represents: its concept. Texts without a label (None, NaN) belong to no concept.
    concepts : sequence of str, optional
        What to put into the templates.
    pooling : str, optional
        The tokens whose activations make a row: ``"first"``, ``"last"``, ``"mask"``, their ``"mean"`` (the default for
        texts), ``"all"``, every token a row of its own; of templates also the last of the concept's tokens,
        ``"concept-last"`` (the default there), or their mean, ``"concept-mean"``.
    out : path, optional
        A folder to keep the activations in. They are then read as they are needed (Dask), so they may be larger than
        memory; a call that was interrupted continues there, and the same call again reads what is there;
        what other texts or models left is replaced.
    site, tokenizer
        As in `load`, if the model is not loaded yet.
    max_tokens : int, optional
        Longer texts are cut; by default to as many tokens as the model takes.
    dtype : {"float32", "float16", "bfloat16"}
        Type in which they are kept.
    batch_rows : int
        The most texts of one forward pass.

    Returns
    -------
    DataArray, dims (observation, neuron)
        Observations can be selected by ``concept``, ``replicate`` (the template), ``item`` (number of the text) and
        ``position`` (number of the token, -1 for a mean), neurons by ``neuron`` (number), ``layer``, ``unit`` and, in
        mixtures of experts, ``expert``; several at once, by labels, lists and ranges. NaN where no token was routed to
        the neuron's expert.

    Raises
    ------
    InputError
        Says which argument cannot be used.

    Examples
    --------
    >>> found = es.activations(model, ["she won", "he lost a dog", "glad"], labels=["joy", "sad", "joy"])
    >>> found.sizes
    Frozen({'observation': 3, 'neuron': 48})
    >>> found.sel(concept="joy", layer=1).shape
    (2, 24)
    >>> es.activations(model, ["they felt {concept}"], concepts=["joy", "fear"]).concept.values.tolist()
    ['joy', 'fear']
    """
    given = as_texts(texts)
    loaded = as_model(model, site, tokenizer)
    if not isinstance(batch_rows, int) or batch_rows < 1:
        raise InputError(f"batch_rows: {batch_rows!r} given; give a number of 1 or more")
    options = ExtractionOptions(dtype=dtype, batch_rows=batch_rows)
    with naming(_NAMES), loaded.evaluating() as ready:
        if concepts is None:
            rows, named = _text_rows(ready, given, labels, pooling, max_tokens)
        else:
            _check_only_of_texts(labels, max_tokens)
            rows, named = _template_rows(ready, given, as_concepts(concepts), pooling)
        with TemporaryDirectory() if out is None else nullcontext(out) as place:
            folder = _folder(Path(place))
            _extract(folder, loaded, rows, options, named)
            found = open_activations(folder, lazy=out is not None)
    sentences = named["text"].to_numpy(object)
    found.attrs |= {"model": loaded.name, "site": loaded.site, "pooling": rows.pooling.name}
    return found.assign_coords(text=(OBSERVATION, sentences[found["item"].to_numpy()]))


def _check_only_of_texts(labels: Sequence[str] | None, max_tokens: int | None) -> None:
    if labels is not None:
        raise InputError("labels: templates are labelled with their concepts; leave labels out")
    if max_tokens is not None:
        raise InputError("max_tokens: sentences made of templates are not cut; leave it out")


def _template_rows(
    model: LanguageModel, templates: list[str], concepts: list[str], pooling: str | None
) -> tuple[Rows, pd.DataFrame]:
    """Return the rows of templates, and a table with every sentence and its concept."""
    sentences = render_templates(templates, concepts)
    _check_lengths(model.outline, sentences["text"].tolist())
    return TemplateRows(model, sentences, _pooling(pooling, "templates", "concept-last")), sentences


def _text_rows(
    model: LanguageModel,
    texts: list[str],
    labels: Sequence[str] | None,
    pooling: str | None,
    max_tokens: int | None,
) -> tuple[Rows, pd.DataFrame]:
    """Return the rows of texts, and a table with every text and what it represents."""
    if labels is None:
        check_no_templates(texts)
    limit = _limit(model.outline)
    if max_tokens is not None and (max_tokens < 1 or max_tokens > (limit or max_tokens)):
        most = "" if limit is None else f" to {limit}"
        raise InputError(f"max_tokens: {max_tokens} given; give a number from 1{most}")
    table = pd.DataFrame({"text": texts, "concept": as_labels(labels, len(texts))})
    table["labels"] = [(label,) if label else () for label in table["concept"]]
    chosen = _pooling(pooling, "texts", "mean")
    return TextRows(model, [table], chosen, max_tokens or limit or _NO_LIMIT), table


_NO_LIMIT = 2**30
"""Tokens of a text where the model sets no limit."""


def _pooling(name: str | None, source: str, default: str) -> str:
    if name is None:
        return default
    lookup("pooling", POOLINGS, name)
    possible = ROW_SOURCES[source].poolings()
    if name not in possible:
        raise InputError(f"pooling {name!r}: is of templates with concepts=[...]; use one of {', '.join(possible)}")
    return name


def _limit(outline: ModelOutline) -> int | None:
    """Return how many tokens a text may have."""
    return None if outline.positions is None else outline.positions - outline.first_position


def _check_lengths(outline: ModelOutline, sentences: list[str]) -> None:
    limit = _limit(outline)
    for sentence, ids in zip(sentences, outline.tokenizer(sentences)["input_ids"], strict=True):
        if limit is not None and len(ids) > limit:
            raise InputError(f"texts: {sentence!r} is {len(ids)} tokens, {outline.name} takes {limit}; shorten it")


def _folder(path: Path) -> RunFolder:
    """Return a folder for activations alone: those of a run must not be replaced."""
    folder = RunFolder(path.expanduser())
    if folder.manifest_file.exists():
        raise InputError(f"out {path}: holds a run; give another folder")
    if path.exists() and not path.is_dir():
        raise InputError(f"out {path}: is not a folder; give one, which may be new")
    return folder


def _extract(folder: RunFolder, model: Model, rows: Rows, options: ExtractionOptions, named: pd.DataFrame) -> None:
    origin = {
        "model": model.name,
        "model_sha256": weights_digest(model.module),
        "site": model.site,
        "pooling": rows.pooling.name,
        "inputs_sha256": hashlib.sha256(named.to_json().encode()).hexdigest(),
        "dtype": options.dtype,
    }
    job = Job(origin=origin, concepts=(), writers=MachineOptions().writers)
    ranks = one_process(str(model.language_model.device))
    with shown("activations") as progress:
        extract(folder, rows, options, job=job, ranks=ranks, progress=progress)
