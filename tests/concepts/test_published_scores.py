import os
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoscale.concepts.options import ScoreOptions
from emoscale.concepts.ratings import read_ratings
from emoscale.concepts.scores import STUDY_COMPONENTS, scores_from_ratings

RATINGS = [f"Data/ratings/{name}.csv" for name in ("affective", "faces", "appraisal")]
SCORES = "Data/preprocessed/emotional_features/score_emotional_PCs.csv"
DISTANCES = "Data/preprocessed/emotional_features/dist_emotional_PCs.csv"
ORDER = "Data/preprocessed/reordered_emotions.csv"
NEEDED = [*RATINGS, SCORES, DISTANCES, ORDER]

pytestmark = [
    pytest.mark.published,
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("EMOSCALE_PUBLISHED"), reason="EMOSCALE_PUBLISHED names no released files"),
]


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """The released tree, or the part of its archive that is needed here."""
    given = Path(os.environ["EMOSCALE_PUBLISHED"])
    if (given / "Data").is_dir():
        return given
    folder = tmp_path_factory.mktemp("released")
    with tarfile.open(given / "model-emotion.tar.xz") as archive:
        missing = set(NEEDED)
        for member in archive:
            for name in [name for name in missing if member.name.endswith(name)]:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.extractfile(member).read())
                missing.remove(name)
            if not missing:
                break
    assert not missing
    return folder


@pytest.fixture(scope="module")
def order(released):
    return (released / ORDER).read_text().split()[:27]


def recompute(released, order, **options):
    options = ScoreOptions(components=STUDY_COMPONENTS, **options)
    return scores_from_ratings([read_ratings(released / name, options.scale) for name in RATINGS], options, order)


def test_the_published_scores_are_reproduced(released, order):
    found = recompute(released, order)
    published = pd.read_csv(released / SCORES)
    assert list(found.scores01) == list(published)
    difference = np.abs(found.scores01.to_numpy() - published.to_numpy()).max(axis=0)
    assert (difference[:8] < 1e-14).all()
    assert (difference[8:] < 1e-12).all()
    i, j = np.triu_indices(27, 1)
    scores = found.scores.to_numpy()
    distances = np.abs(scores[i] - scores[j])
    np.testing.assert_allclose(distances, pd.read_csv(released / DISTANCES), atol=1e-12)


def test_what_the_published_scores_are_based_on(released, order):
    found = recompute(released, order)
    battery = found.batteries[0]
    assert (battery.excluded, battery.events) == (["e048"], 299)
    assert found.agreement["reliable"].all()
    assert battery.converged_r.min() == pytest.approx(0.9915, abs=1e-4)
    assert battery.converged_r[0] > 0.9999


def test_the_converged_loadings_are_those_published(released, order):
    # From the study's table of loadings, which (unlike its scores) comes from a rotation run to convergence.
    loadings = recompute(released, order, tolerance=1e-12).batteries[0].loadings
    published = {
        "item07": [0.763, 0.0, -0.056, -0.156, 0.213, -0.128],
        "item24": [0.013, 0.019, 0.085, 0.661, -0.006, -0.226],
        "item19": [-0.019, 0.144, -0.130, -0.017, 0.187, 0.623],
    }
    for item, expected in published.items():
        assert loadings.loc[item][list(STUDY_COMPONENTS)].tolist() == pytest.approx(expected, abs=0.001)
