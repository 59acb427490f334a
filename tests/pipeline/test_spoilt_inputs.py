"""Two thousand spoilt inputs: each works, or is refused by errors of ours, each in one line.

What once did neither is kept under ``tests/data/spoilt``, one file a case, named ``KIND-anything``.
"""

from __future__ import annotations

import io
import json
import random
import shutil
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest
from mutations import mutated, mutated_json
from rich.console import Console

from emoscale.commands.inspect import inspect_path
from emoscale.commands.reproduce.released import unpack
from emoscale.concepts.loading import load_concepts
from emoscale.concepts.options import ConceptOptions, ScoreOptions
from emoscale.concepts.score_files import score_files
from emoscale.config import load_settings
from emoscale.errors import EmoscaleError
from emoscale.run.checksums import verify_files
from emoscale.run.folder import RunFolder
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.texts import load_texts
from emoscale.store import CommitLog, open_store

pytestmark = pytest.mark.slow

FOUND = Path(__file__).parents[1] / "data" / "spoilt"
EACH = 200
"""Inputs of each of the ten kinds."""

CONFIG = b"""title: "A study"
model: {name: some/model, dtype: float32, site: ffn}
concepts: {names: [joy, fear, 'sad'], alpha: 0.025}
stimuli:
  source: file
  path: texts.csv
  dev_fraction: .2
tuning:
  seeds: [1, 3, 5]
  learning_rate: 1e-3
  layout: prefix
masks: &m
  k: [0.05, 100]
  controls: [permuted, random]
machine: {memory_limit: 4 GB}
ablation: {edit: scale, factor: 0.5, words: ["no", "yes"]}
"""
RATINGS = b"rater,concept,valence,arousal\n" + b"".join(
    f"{rater},{concept},{(rater * 3 + i) % 9 + 1},{(rater + i) % 7 + 1}\n".encode()
    for rater in range(4)
    for i, concept in enumerate(("joy", "fear", "sad", "anger"))
)
SCORES = b"concept,valence,arousal\njoy,.9,.7\nfear,.2,1\nsad,0,.2\nanger,.1,.9\n"
TEXTS = b"text,label,split\n" + b"".join(
    f'"She felt {concept}, number {n}",{concept},{"dev" if n > 5 else "train"}\n'.encode()
    for concept in ("joy", "fear", "sad")
    for n in range(8)
)
LINES = b"".join(
    json.dumps({"text": f"He felt {concept} {n}", "label": concept}).encode() + b"\n"
    for concept in ("joy", "fear", "sad")
    for n in range(4)
)
LOG = b"\n0 0 6877288c\n\n1 12 5f14500a\n"


def _archive(kind: str) -> bytes:
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as zipped:
            zipped.writestr("a/Data/mask/one.txt", "1\n" * 50)
            zipped.writestr("a/Result/two.csv", "x,y\n1,2\n")
    else:
        with tarfile.open(fileobj=stream, mode="w:gz") as tarred:
            for name in ("a/Data/mask/one.txt", "a/Result/two.csv"):
                entry = tarfile.TarInfo(name)
                entry.size = 100
                tarred.addfile(entry, io.BytesIO(b"1\n" * 50))
    return stream.getvalue()


class Tried:
    """What is done with a spoilt input of each kind, in a folder of its own."""

    def __init__(self, folder: Path, run: Path) -> None:
        self.folder, self.run = folder, run

    def config(self, content: bytes) -> None:
        load_settings(self._file("study.yaml", content))

    def override(self, content: bytes) -> None:
        load_settings(self._file("good.yaml", CONFIG), [content.decode("utf-8", "surrogateescape")])

    def ratings(self, content: bytes) -> None:
        score_files([self._file("ratings.csv", content)], self.folder / "scores.csv", ScoreOptions())

    def scores(self, content: bytes) -> None:
        load_concepts(ConceptOptions(attributes=str(self._file("attributes.csv", content))))

    def texts(self, content: bytes) -> None:
        load_texts(StimuliOptions(source="file", path=str(self._file("texts.csv", content)), split_column="split"))

    def lines(self, content: bytes) -> None:
        load_texts(StimuliOptions(source="file", path=str(self._file("texts.jsonl", content))))

    def manifest(self, content: bytes) -> None:
        (self.run / "manifest.json").write_bytes(content)
        inspect_path(self.run, True, Console(quiet=True))

    def metadata(self, content: bytes) -> None:
        file = self.run / "selectivity.zarr" / "tau" / "zarr.json"
        file.write_bytes(content)
        store = open_store(file.parents[1])
        store.read("tau")
        store.verify()
        verify_files(RunFolder(self.run))

    def log(self, content: bytes) -> None:
        self._file("rank-0.log", content)
        assert CommitLog(self.folder).done().items() <= {0: 0, 1: 12}.items()

    def archive(self, content: bytes) -> None:
        unpack(self._file("archive", content), self.folder / "unpacked")

    def _file(self, name: str, content: bytes) -> Path:
        file = self.folder / name
        file.write_bytes(content)
        return file


def attempt(kind: str, content: bytes, folder: Path, run: Path) -> None:
    """Raise what is neither success nor an error of ours in lines."""
    for problem in _problems(kind, content, folder, run):
        assert problem == problem.strip()
        assert "\n" not in problem
        assert 0 < len(problem) < 2_000


def _problems(kind: str, content: bytes, folder: Path, run: Path) -> list[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            getattr(Tried(folder, run), kind)(content)
    except EmoscaleError as error:
        return error.problems or [""]
    return []


@pytest.fixture
def run(tmp_path, finished):
    return shutil.copytree(finished.out, tmp_path / "run")


def inputs(kind: str, run: Path, rng: random.Random) -> bytes:
    good = {
        "config": CONFIG,
        "override": rng.choice((b"masks.k=[0.05, 0.2]", b"tuning.epochs=3", b"ablation.words=[a, b]", b"title=a: b")),
        "ratings": RATINGS,
        "scores": SCORES,
        "texts": TEXTS,
        "lines": LINES,
        "log": LOG,
        "archive": _archive(rng.choice(("zip", "tar"))),
    }
    if kind in good:
        return mutated(good[kind], rng)
    file = {"manifest": run / "manifest.json", "metadata": run / "selectivity.zarr" / "tau" / "zarr.json"}[kind]
    return mutated_json(file.with_name(f"{file.name}.good").read_bytes(), rng)


KINDS = [name for name in vars(Tried) if not name.startswith("_")]


@pytest.mark.parametrize("kind", KINDS)
def test_spoilt_inputs_work_or_are_refused_in_lines(tmp_path, run, kind):
    for file in (run / "manifest.json", run / "selectivity.zarr" / "tau" / "zarr.json"):
        shutil.copy(file, file.with_name(f"{file.name}.good"))
    for seed in range(EACH):
        folder = tmp_path / str(seed)
        folder.mkdir()
        content = inputs(kind, run, random.Random(f"{kind} {seed}"))
        try:
            attempt(kind, content, folder, run)
        except Exception:
            kept = tmp_path / f"{kind}-{seed}"
            kept.write_bytes(content)
            print(f"keep it: cp {kept} {FOUND}")
            raise


@pytest.mark.parametrize("case", sorted(FOUND.glob("*-*")), ids=lambda file: file.name)
def test_what_was_found_stays_fixed(tmp_path, run, case):
    (tmp_path / "case").mkdir()
    attempt(case.name.split("-")[0], case.read_bytes(), tmp_path / "case", run)
