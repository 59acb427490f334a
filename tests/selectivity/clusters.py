"""Selectivity on a cluster as tests call it, and ways to watch and disturb it."""

import hashlib
import time
from dataclasses import replace

import numpy as np
from selecting import executor, select

from emoscale.selectivity.measures import MEASURES
from emoscale.system.progress import Silent

CONCEPTS, ATTRIBUTES, REPLICATES, NEURONS, CHUNK = ["joy", "anger", "fear", "grief"], ["arousal", "valence"], 2, 48, 3
BLOCKS = NEURONS // CHUNK
SCORES = np.random.default_rng(1).random((len(CONCEPTS), len(ATTRIBUTES)))


def run(folder, progress=None, **machine):
    by = executor(block_neurons=CHUNK, **machine)
    return select(folder, SCORES, CONCEPTS, ATTRIBUTES, permutations=20, executor=by, progress=progress)


def digest(path):
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def by_worker(monkeypatch, inference):
    """Let the workers compute with another function, which is sent to them as it is."""
    permuted = lambda values, **prepared: inference(values, prepared)  # noqa: E731
    monkeypatch.setitem(MEASURES, "kendall", replace(MEASURES["kendall"], permuted=permuted))


class Recorder(Silent):
    """Progress that does something when the first block is done."""

    def __init__(self, first=lambda: None):
        self.first, self.steps = first, []

    def advance(self, amount=1):
        self.steps.append(amount)
        if len(self.steps) == 1:
            self.first()


def until(condition, patience=60):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.02)
