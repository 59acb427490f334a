"""A run folder made of random numbers with a chosen effect, for the report to read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from control_words import CONTROLS
from made_scores import write_scores
from scipy import stats
from synthetic_answers import AT_CHANCE, PLANTED, TABLES, Truth, write_tables

from emoscale.analysis.analyze import analyze
from emoscale.analysis.inputs import AnalysisInputs
from emoscale.analysis.options import AnalysisOptions
from emoscale.concepts.loading import Concepts
from emoscale.pipeline.study import outcome_words
from emoscale.report.study import Design, EditWords, Study
from emoscale.run.folder import RunFolder
from emoscale.schema import SELECTIVITY
from emoscale.store import create_store
from emoscale.system.progress import Silent


def make_run(
    path: Path,
    concepts: list[str],
    attributes: list[str],
    *,
    replicates: int = 2,
    ks: tuple[int, ...] = (20, 60),
    controls: tuple[str, ...] = ("random",),
    draws: int = 3,
    layers: int = 3,
    width: int = 100,
    effect: float = 0.1,
    human: bool = True,
    permuted: bool = True,
    halves: bool = True,
    tuned: bool = True,
    choice: bool = False,
    truth: Truth | None = PLANTED,
    seed: int = 0,
) -> RunFolder:
    folder = RunFolder(path)
    path.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    scores = rng.random((len(concepts), len(attributes)))
    weights = np.linspace(1, 0, len(attributes))
    first, second = np.triu_indices(len(concepts), 1)
    rdms = np.abs(scores[first] - scores[second])
    dissimilarity = rdms @ weights + 0.2 * rng.random(len(first)) if human else None
    repeats = truth is None or truth.repeats
    _write_selectivity(folder, attributes, layers, width, rng, permuted, halves, repeats)
    chance = 1 / len(concepts) if choice else 0.5
    prompts = _prompts(concepts, replicates, rng, chance if truth is AT_CHANCE else None)
    if tuned:
        prompts.to_parquet(folder.prompt_table)
    masks = _masks(attributes, weights, ks, controls, draws, effect, rng)
    answers = _answers(prompts, masks, rng)
    write_answers(folder, _choose(answers, concepts, rng) if choice else answers, concepts if choice else None)
    analyze_run(folder, Concepts(concepts, attributes, scores, dissimilarity), truth=truth)
    return folder


COUNTS = AnalysisOptions(outcome="accuracy", normalization="none")


def analyze_run(
    folder: RunFolder,
    concepts: Concepts,
    alpha: float = 0.01,
    options: AnalysisOptions = COUNTS,
    truth: Truth | None = PLANTED,
) -> None:
    """Analyze, and put the answers to a chosen truth in the place of those that random numbers give, or none."""
    exchangeable = [kind for kind, words in CONTROLS.items() if words.exchangeable]
    analyze(AnalysisInputs(folder, concepts, alpha, options, exchangeable=exchangeable), Silent())
    for name in TABLES:
        (folder.tables / f"{name}.csv").unlink(missing_ok=True)
    if truth is not None:
        ks = sorted({int(k) for k in folder.table("drop_overall")["k"]})
        write_tables(folder, truth, concepts.attributes, ks, concepts.dissimilarity is not None)


def write_answers(folder: RunFolder, table: pd.DataFrame, options: list[str] | None = None) -> None:
    """Write the scores, and the counts that they come to."""
    table.to_parquet(folder.path / "counts.parquet")
    write_scores(folder, table, options)


def read_answers(folder: RunFolder) -> pd.DataFrame:
    return pd.read_parquet(folder.path / "counts.parquet")


def make_study(**options: object) -> Study:
    facts = {"Model": "a small one", "Texts": "few"}
    edit = EditWords("were set to zero", "It sets it to zero, a value it may never take.")
    usual = {"title": "A title", "facts": facts, "edit": edit, "outcome": outcome_words(COUNTS), "controls": CONTROLS}
    return Study(**{**usual, **options})


def make_design(**options: object) -> Design:
    usual = {
        "model": "a-model",
        "revision": "main-3",
        "neurons": 3456,
        "layers": 31,
        "site": "site of a layer",
        "concepts": 27,
        "attributes": 14,
        "replicates": 8,
        "represented_by": "its name in sentences",
        "raters": "30 a word",
        "icc": "0.71 to 0.98",
        "judges": "61 participants",
        "texts": (1234, 567),
        "task": "which concept a text shows",
        "items": "540 of them",
        "measure": "tau-b",
        "permutations": 999,
        "selectivity_seed": 17,
        "alpha": 0.01,
        "masks": "random (5 for each k)",
        "mask_seed": 23,
        "edit": "were set to zero",
        "smallest_effect": 0.15,
        "smallest_accuracy_effect": 0.025,
        "command": "emoscale run config.yaml",
        "version": "9.8.7",
        "created": "2031-02-03",
        "hashes": {"weights": "abcdef0123456789"},
    }
    return Design(**{**usual, **options})


def _write_selectivity(
    folder: RunFolder,
    attributes: list[str],
    layers: int,
    width: int,
    rng: np.random.Generator,
    permuted: bool,
    halves: bool,
    repeats: bool,
) -> None:
    n, a = layers * width, len(attributes)
    layer = np.repeat(np.arange(layers), width)
    strength = np.linspace(0.05, 0.12, layers)[layer][:, None]
    shared = rng.normal(size=(n, 1))
    tau = np.clip(strength * (rng.normal(size=(n, a)) + 0.6 * shared) + 0.02, -0.9, 0.9)
    tau[3] = np.nan
    p = stats.norm.sf(tau / 0.036)
    q = p * np.isfinite(p).sum() / stats.rankdata(p, nan_policy="omit", axis=None).reshape(p.shape)
    rank = stats.rankdata(np.where(np.isnan(tau), np.inf, -tau), axis=0)
    followers = rng.poisson(n / 1000, (1000 if permuted else 0, a))
    followers[:1] = 3 * n // 100
    coordinates = {
        "order": np.arange(len(followers)),
        "attribute": np.array(attributes, object),
        "layer": layer,
        "expert": np.full(n, -1),
        "unit": np.tile(np.arange(width), layers),
    }
    origin = {"inference": "permutation", "permutations": 999} if permuted else {"inference": "asymptotic"}
    store = create_store(folder.selectivity, SELECTIVITY, coordinates, {"neuron": 4096}, attributes=origin)
    arrays = {"tau": tau, "p": p, "q": q, "rank": rank, "p_asymptotic": p / 3}
    nothing = np.full(tau.shape, np.nan)
    arrays |= {"p_attribute": np.minimum(1, p * n), "p_all": np.minimum(1, p * tau.size)} if permuted else {}
    arrays |= {"null_spread": np.where(np.isnan(tau), np.nan, 1.5)} if permuted else {}
    odd = tau + 0.02 * rng.normal(size=tau.shape)
    arrays |= {"tau_odd": odd if repeats else odd[::-1], "tau_even": tau} if halves else {}
    store.write("followers", followers)
    by_neuron = [array.name for array in SELECTIVITY.data if "neuron" in array.dims]
    for name, values in (dict.fromkeys(by_neuron, nothing) | arrays).items():
        for start in range(0, n, store.chunks(name)[0]):
            store.write(name, values[start : start + store.chunks(name)[0]], neuron=start)
    store.mark_complete()


def _prompts(concepts: list[str], replicates: int, rng: np.random.Generator, chance: float | None) -> pd.DataFrame:
    rows = [
        {
            "concept": concept,
            "replicate": str(replicate),
            "accuracy": rng.integers(60, 96) / 100 if chance is None else chance + rng.integers(-1, 2) / 100,
            "epoch": 2,
            "accuracy_last": rng.integers(58, 92) / 100,
            "train": 40,
            "validation": 0,
            "dev": 20,
        }
        for concept in concepts
        for replicate in range(replicates)
    ]
    return pd.DataFrame(rows)


Mask = tuple[str, str, int, int, float]
"""Kind, attribute, k, draw and the accuracy lost to it."""


def _masks(
    attributes: list[str],
    weights: np.ndarray,
    ks: tuple[int, ...],
    controls: tuple[str, ...],
    draws: int,
    effect: float,
    rng: np.random.Generator,
) -> list[Mask]:
    masks: list[Mask] = [("none", "", 0, 0, 0.0)]
    for level, k in enumerate(ks, start=1):
        loss = 0.05 * level
        for attribute, weight in zip(attributes, weights, strict=True):
            masks.append(("selective", attribute, k, 0, loss + level * effect * (weight - 0.2)))
        for kind in controls:
            owners = [""] if CONTROLS[kind].exchangeable else attributes
            masks += [(kind, name, k, draw, loss + rng.normal(0, 0.02)) for name in owners for draw in range(draws)]
    return masks


def _answers(prompts: pd.DataFrame, masks: list[Mask], rng: np.random.Generator) -> pd.DataFrame:
    total = 400
    rows = [
        {
            "concept": prompt.concept,
            "replicate": prompt.replicate,
            "mask": number,
            "kind": kind,
            "attribute": attribute,
            "k": k,
            "draw": draw,
            "correct": int(np.clip(round(total * (prompt.accuracy - lost + rng.normal(0, 0.02))), 0, total)),
            "total": total,
        }
        for prompt in prompts.itertuples()
        for number, (kind, attribute, k, draw, lost) in enumerate(masks)
    ]
    return pd.DataFrame(rows)


def _choose(table: pd.DataFrame, concepts: list[str], rng: np.random.Generator) -> pd.DataFrame:
    """Make the answers those of a model that chose among all concepts; what is wrong is most often the next one."""
    chosen = []
    for concept, correct, total in zip(table["concept"], table["correct"], table["total"], strict=True):
        own = concepts.index(concept)
        shares = np.ones(len(concepts))
        shares[(own + 1) % len(concepts)], shares[own] = 5, 0
        counts = rng.multinomial(total - correct, shares / shares.sum())
        counts[own] = correct
        chosen.append(counts)
    # The right one of three is always among the first three.
    half = (table["total"] - table["correct"]) // 2
    return table.assign(top3=table["total"] if len(concepts) == 3 else table["correct"] + half, chosen=chosen)
