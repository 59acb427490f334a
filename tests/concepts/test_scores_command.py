import re
import sys

import numpy as np
import pandas as pd
import pytest

from emoscale.cli import main
from emoscale.system.user_tables import read_table


@pytest.fixture
def ratings(tmp_path):
    generator = np.random.default_rng(0)
    level = {"joy": 8, "anger": 2, "fear": 4, "pride": 6}
    rows = [(rater, concept, mean + generator.integers(-1, 2)) for rater in range(6) for concept, mean in level.items()]
    file = tmp_path / "valence.csv"
    pd.DataFrame(rows, columns=["rater", "concept", "valence"]).to_csv(file, index=False)
    return file


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["emoscale", "scores", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


def test_ratings_become_scores(monkeypatch, capsys, ratings, tmp_path):
    out = tmp_path / "scores.csv"
    assert call(monkeypatch, ratings, "--out", out) == 0
    scores = pd.read_csv(out, index_col="concept")["valence"]
    assert scores.idxmax() == "joy"
    assert scores["joy"] == 1
    assert scores["anger"] == 0
    assert "1 of 1 attributes are reliable" in capsys.readouterr().out


def test_only_reliable_attributes_are_counted(monkeypatch, capsys, ratings, tmp_path):
    """A rated attribute on which concepts do not differ is kept among the scores, and is not counted as reliable."""
    table = pd.read_csv(ratings)
    table["noise"] = np.random.default_rng(1).integers(1, 10, len(table))
    table.to_csv(ratings, index=False)
    out = tmp_path / "scores.csv"
    assert call(monkeypatch, ratings, "--out", out) == 0
    assert list(pd.read_csv(out)) == ["concept", "valence", "noise"]
    assert pd.read_csv(tmp_path / "scores_agreement.csv")["reliable"].tolist() == [True, False]
    assert "1 of 2 attributes are reliable" in capsys.readouterr().out


def test_names_that_look_like_formulas(monkeypatch, ratings, tmp_path):
    """No cell that is written begins as a formula does, and the names are read as they were."""
    names = {"joy": "=1+1", "anger": "@anger", "fear": "-fear", "pride": "'+pride"}
    table = pd.read_csv(ratings).replace({"concept": names}).rename(columns={"valence": "=valence"})
    table.to_csv(ratings, index=False)
    out = tmp_path / "scores.csv"
    assert call(monkeypatch, ratings, "--out", out) == 0
    written = ",".join(",".join(file.read_text().splitlines()) for file in tmp_path.glob("scores*.csv"))
    assert [cell for cell in written.split(",") if re.match(r"[=+@]|-\D", cell)] == []
    read = read_table(out)
    assert read.header == ["concept", "=valence"]
    # An apostrophe before a formula is how spreadsheets mark text, in people's tables too.
    assert [row[0] for _, row in read.rows] == ["=1+1", "@anger", "-fear", "+pride"]


def test_a_rating_beyond_the_scale_is_refused(monkeypatch, capsys, ratings, tmp_path):
    assert call(monkeypatch, ratings, "--out", tmp_path / "scores.csv", "--scale", "1", "5") == 2
    assert "valence.csv" in capsys.readouterr().err
    assert not (tmp_path / "scores.csv").exists()
