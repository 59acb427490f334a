import json
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from released_tree import ATTRIBUTES, CONCEPTS, KS, NEURONS, SEEDS, make_release, write
from rich.console import Console
from scipy import stats

from emoscale.commands.reproduce import released
from emoscale.commands.reproduce.comparison import PUBLISHED, as_printed
from emoscale.commands.reproduce.reproduce import reproduce
from emoscale.commands.reproduce.stages import ReproductionOptions
from emoscale.errors import InputError
from emoscale.run.folder import RunFolder

pytestmark = pytest.mark.slow


def run(path, out, **options):
    reproduce(path, out, Console(quiet=True), ReproductionOptions(**{"permutations": 7, "threads": 1, **options}))
    return RunFolder(out)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_release(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module")
def done(root, tmp_path_factory):
    return run(root, tmp_path_factory.mktemp("runs") / "r")


def test_ranks_are_those_of_scipy(root, done):
    rdms = pd.read_csv(root / released.RDMS)
    first, second = np.triu_indices(len(CONCEPTS), 1)
    files = [[pd.read_csv(root / released.ACTIVATIONS / f"{c}-{s}.csv").to_numpy()[0] for c in CONCEPTS] for s in SEEDS]
    values = np.array(files)
    distances = np.abs(values[:, first] - values[:, second]).mean(axis=0)
    tau = np.array([[stats.kendalltau(d, rdms[a]).statistic for a in ATTRIBUTES] for d in distances.T])
    table = done.table("rank")
    assert list(table) == ["neuron", "layer", "unit", *ATTRIBUTES]
    np.testing.assert_array_equal(table[ATTRIBUTES], stats.rankdata(-tau.round(12), axis=0))


def test_tables_have_their_columns(done):
    columns = {
        "scores": ["concept", *ATTRIBUTES],
        "importance": ["attribute", "tau", "ci_low", "ci_high", "p", "p_corrected", "q", "p_published", "q_published"],
        "drop_by_attribute": ["control", "k", "attribute", "drop", "t", "df", "p", "q", "ci_low", "ci_high"],
        "drop_by_concept": ["control", "k", "concept", "drop"],
        "drop_by_concept_attribute": ["control", "k", "concept", "attribute", "drop"],
        "human_comparison": ["control", "k", "mean_r", "t", "df", "p", "ci_low", "ci_high"],
        "unimodality": ["control", "k", "attribute", "dip", "p"],
        "comparison": ["quantity", "k", "item", "published", "ours", "difference", "agrees"],
    }
    for name, expected in columns.items():
        assert set(expected) <= set(done.table(name)), name
    assert set(done.table("drop_by_attribute")["k"]) == set(KS)
    assert set(done.table("drop_by_attribute")["control"]) == {"random"}


def test_the_codebook_has_every_column(done):
    book = done.table("codebook").fillna("")
    assert (book["meaning"] != "").all()
    for file in done.tables.iterdir():
        if file.stem != "codebook":
            own = book[book["table"] == file.stem]["column"].tolist()
            columns = pd.read_parquet(file) if file.suffix == ".parquet" else done.table(file.stem)
            assert own == ["", *columns], file.stem


def test_the_published_test_is_called_that(done):
    book = done.table("codebook").fillna("").set_index(["table", "column"])
    assert "asymptotic" in book.loc[("importance", "p_published"), "test"]
    assert "permutations" in book.loc[("importance", "p"), "test"]
    assert "published" in book.loc[("human_comparison", "p"), "test"]
    importance = done.table("importance")
    assert (importance["p"] >= 1e-4).all()
    assert (importance["q"] <= 1).all()


def test_drop_is_that_of_the_masks_of_one_attribute(root, done):
    rows = done.table("drop_by_attribute").set_index(["k", "attribute"])
    differences = []
    for concept, seed in product(CONCEPTS, SEEDS):
        pair = [
            json.loads((root / f / f"{concept}-{seed}.json").read_text()) for f in (released.SELECTIVE, released.RANDOM)
        ]
        differences.append(pair[0]["happy_top9"] - pair[1]["happy_random9"])
    test = stats.ttest_1samp([-d for d in differences], 0, alternative="greater")
    row = rows.loc[9, "happy-face"]
    np.testing.assert_allclose([row["drop"], row["t"], row["p"]], [-np.mean(differences), test.statistic, test.pvalue])


def test_manifest_lists_every_stage(done):
    stages = done.manifest()["stages"]
    assert list(stages) == ["import", "scores", "select", "analyze", "report"]
    assert all(stage["state"] == "done" and stage["wall_s"] >= 0 for stage in stages.values())


def test_report_begins_with_the_comparison(done):
    page = done.report.read_text(encoding="utf-8")
    assert page.index("The published figures and ours") < page.index("Results</h2>")
    assert "nan" not in page.split("<style>")[1].split("</style>")[1].split("data:image")[0].lower()


def test_released_ranks_are_compared(root, done, tmp_path):
    copy = shutil.copytree(root, tmp_path / "release")
    (copy / "Result/search_light_analysis").mkdir()
    ours = done.table("rank")[ATTRIBUTES].to_numpy()[: NEURONS // 2].copy()
    ours[3, 1] += 2
    write(copy / released.RANKS[1], ours, ATTRIBUTES)
    comparison = run(copy, tmp_path / "r").table("rank_comparison").set_index("attribute")
    assert comparison.loc["valence", "largest_shift"] == 2
    assert comparison.loc["valence", "equal"] == 1 - 1 / (NEURONS // 2)
    assert (comparison.drop(index="valence")["equal"] == 1).all()


def test_done_again_gives_the_same_tables(root, done, tmp_path):
    again = run(root, tmp_path / "r", threads=2)
    again = run(root, tmp_path / "r")
    for file in done.tables.iterdir():
        assert file.read_bytes() == (again.tables / file.name).read_bytes(), file.name
    assert again.report.is_file()


def test_unusable_input_leaves_nothing_behind(root, tmp_path):
    copy = shutil.copytree(root, tmp_path / "release")
    (copy / released.ACTIVATIONS / "joy-1.csv").unlink()
    with pytest.raises(InputError, match=r"joy-1\.csv: missing"):
        run(copy, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_problems_of_the_tables_are_told_together(root, tmp_path):
    copy = shutil.copytree(root, tmp_path / "release")
    (copy / released.PEOPLE).write_text("a\n1\n2\n")
    (copy / released.PARTICIPANTS).write_text("a,b\n1,x\n")
    with pytest.raises(InputError, match=r"line 2, column b"):
        run(copy, tmp_path / "r")
    write(copy / released.PARTICIPANTS, np.ones((2, 3)), ["a", "b", "c"])
    with pytest.raises(InputError) as raised:
        run(copy, tmp_path / "r")
    assert len(raised.value.problems) == 2


def test_other_folder_is_not_overwritten(root, tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="not a reproduction"):
        run(root, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("value", "printed", "expected"),
    [(0.19038, ".1904", "0.1904"), (1.4933e-15, "1.5e-15", "1.5e-15"), (-0.00283, "-.0028", "-0.0028")],
)
def test_numbers_are_written_as_they_were_printed(value, printed, expected):
    assert as_printed(value, printed) == expected


def test_published_figures_are_numbers():
    table = pd.read_csv(Path(PUBLISHED), dtype=str)
    assert (table["published"].astype(float).map(repr).str.len() > 0).all()
    assert not table.duplicated(["quantity", "k", "item"]).any()
