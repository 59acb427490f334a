"""The released files themselves, where EMOSCALE_PUBLISHED names their folder."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emoscale.run.folder import RunFolder

PUBLISHED = os.environ.get("EMOSCALE_PUBLISHED")
pytestmark = [
    pytest.mark.published,
    pytest.mark.slow,
    pytest.mark.skipif(not PUBLISHED, reason="EMOSCALE_PUBLISHED does not name the released files"),
]


MEASURE = """
import resource, subprocess, sys

subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A small process in between: a child's peak begins with the memory of the process that started it."""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "published")
    command = [sys.executable, "-m", "emoscale", "reproduce", PUBLISHED, "--out", str(folder.path)]
    measured = subprocess.run([sys.executable, "-c", MEASURE, *command], check=True, capture_output=True, text=True)
    assert int(measured.stdout.splitlines()[-1]) < 1.5 * 2**20  # KiB
    return folder


def test_ranks(done):
    ranks = done.table("rank_comparison")
    assert len(ranks) == 14
    assert (ranks["correlation"] >= 0.99999998).all()
    assert (ranks["equal"] == 1).all()
    assert (ranks["top_differing"] == 0).all()
    assert len(done.table("rank")) == 36_864


def test_every_published_figure(done):
    comparison = done.table("comparison")
    assert len(comparison) == 36
    assert comparison["agrees"].all(), comparison[~comparison["agrees"]]


def test_report_says_what_the_appraisal_scores_rest_on(done):
    assert "excluded 1 event(s)" in done.report.read_text(encoding="utf-8")


def test_human_comparison(done):
    row = done.table("human_comparison").set_index("k").loc[4000]
    np.testing.assert_allclose(row["mean_r"], 0.4736, rtol=0, atol=1e-4)
    assert set(done.table("human_comparison")["k"]) == {1500, 2000, 2500, 3000, 4000, 5000, 6000}


def test_scores(done):
    scores = done.table("score_comparison").set_index("attribute")
    rated = scores.iloc[:8]
    assert (rated["largest_difference"] < 1e-12).all()
    assert (scores["correlation"] >= 0.9999).all()


def test_fetched_copy_would_be_accepted(done, tmp_path):
    from emoscale.commands.fetch import DATASETS, verify
    from emoscale.commands.reproduce.released import released_files

    with released_files(Path(PUBLISHED)) as files:
        assert verify(files.root, DATASETS["model-emotion"].checks) == []


def test_permutation_is_the_stricter_test(done):
    table = done.table("inference")
    assert 60_000 < table["asymptotic"].sum() < 65_000  # 12 % of 36,864 x 14
    assert 0 < table["chosen"].sum() < table["asymptotic"].sum() / 2
    assert 0 < table["all_corrected"].sum() < table["attribute_corrected"].sum() < table["chosen"].sum()
    assert table["spread"].between(0.9, 2.3).all()


def test_tau_repeats_from_half_to_half(done):
    table = done.table("reliability")
    assert table["split_half"].between(0.1, 1).all()
    assert (table["reliability"] > table["split_half"]).all()
