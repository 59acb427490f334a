import itertools

import numpy as np
import pandas as pd
import pytest
from made_scores import write_scores

from emoscale.analysis.analyze import analyze
from emoscale.analysis.codebook import Column
from emoscale.analysis.inputs import AnalysisInputs
from emoscale.analysis.neuron_table import NEURONS
from emoscale.analysis.options import AnalysisOptions
from emoscale.analysis.tables import EFFECTS, FAITHFULNESS, OWN_EFFECTS, RELATIONS, TABLES, table
from emoscale.concepts.loading import Concepts
from emoscale.errors import StageError
from emoscale.run.folder import RunFolder
from emoscale.schema import SELECTIVITY
from emoscale.store import create_store
from emoscale.system.progress import Silent

pytestmark = pytest.mark.slow

CONCEPTS, ATTRIBUTES = ["joy", "fear", "anger", "grief"], ["valence", "arousal", "control"]
SCORES = np.random.default_rng(5).random((4, 3))
DISSIMILARITY = np.random.default_rng(6).random(6)
CONTROLS = ["random", "random-by-layer"]
COMPARING = {
    "drop_overall",
    "drop_by_attribute",
    "drop_by_concept",
    "drop_by_concept_attribute",
    "control_draws",
    "unimodality",
    "correlation_by_concept",
    "human_comparison",
    "mean_drop_correlation",
    "dose_response",
    "specificity",
    "specificity_summary",
}
HUMAN = {"importance", "correlation_by_concept", "human_comparison", "mean_drop_correlation"}


class Counting(Silent):
    total = done = 0

    def start(self, total, unit, done=0):
        self.total = total

    def advance(self, amount=1):
        self.done += amount


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path)
    rng = np.random.default_rng(0)
    coordinates = {
        "order": np.arange(5),
        "attribute": np.array(ATTRIBUTES, object),
        "layer": np.repeat([0, 1], 4),
        "expert": np.full(8, -1),
        "unit": np.tile(np.arange(4), 2),
    }
    store = create_store(folder.selectivity, SELECTIVITY, coordinates, {})
    for array in SELECTIVITY.data:
        if "neuron" in array.dims:
            store.write(array.name, rng.random((8, 3)) * 0.02)
    store.write("followers", np.array([[3, 1, 1], [1, 0, 2], [1, 5, 2], [0, 0, 3], [3, 2, 0]]))
    store.write("rank", np.argsort(rng.random((8, 3)), axis=0) + 1.0)
    store.mark_complete()
    masks = [("none", "", 0, 0)]
    masks += [("selective", a, k, 0) for a, k in itertools.product(ATTRIBUTES, (2, 4))]
    masks += [("random", "", k, draw) for k, draw in itertools.product((2, 4), range(7))]
    masks += [("random-by-layer", a, k, draw) for a, k, draw in itertools.product(ATTRIBUTES, (2, 4), range(3))]
    rows = [
        (c, r, number, *mask, int(rng.integers(5, 19)), 19)
        for c, r, (number, mask) in itertools.product(CONCEPTS, ("1", "3"), enumerate(masks))
    ]
    columns = ["concept", "replicate", "mask", "kind", "attribute", "k", "draw", "correct", "total"]
    write_answers(folder, pd.DataFrame(rows, columns=columns))
    return folder


def write_answers(folder, table):
    """Write the scores, and the counts that they come to."""
    table.to_parquet(folder.path / "counts.parquet")
    write_scores(folder, table)


def read_answers(folder):
    return pd.read_parquet(folder.path / "counts.parquet")


COUNTS = AnalysisOptions(outcome="accuracy", normalization="none")


def analyzed(folder, dissimilarity=DISSIMILARITY, alpha=0.01, progress=None, options=COUNTS, **more):
    concepts = Concepts(CONCEPTS, ATTRIBUTES, SCORES, dissimilarity)
    return analyze(AnalysisInputs(folder, concepts, alpha, options, **more), progress or Silent())


def written(folder):
    return {file.stem: file.read_bytes() for file in folder.tables.glob("*.csv")}


def test_every_table_is_written_and_reported(folder):
    progress = Counting()
    done = analyzed(folder, progress=progress)
    assert set(done["tables"]) - {NEURONS} == set(written(folder)) > HUMAN
    of_effects = {
        name for name, entry in TABLES.items() if entry.needs in (EFFECTS, RELATIONS, OWN_EFFECTS, FAITHFULNESS)
    }
    assert set(done["tables"]) - set(TABLES) == {"codebook", NEURONS}
    assert set(TABLES) - set(done["tables"]) == {
        *("noise_ceiling", "choice", "confusion", "held_out", "rating_agreement"),
        *of_effects,
    }
    assert (done["k"], done["pairs"], done["human_data"]) == ([2, 4], 2 * 4 * 2 * 3 * 2, True)
    assert done["controls"] == CONTROLS
    assert progress.done == progress.total == len(TABLES)


def test_a_registered_table_is_written_and_removed_where_the_data_do_not_allow_it(folder, emptied):
    emptied(TABLES)

    columns = {"k": Column("neurons of each mask", "neurons")}

    @table("pairs_by_size", "Pairs of each size of masks", "more than three concepts", columns)
    def _pairs_by_size(inputs):
        if len(inputs.concepts.names) < 4 or not inputs.alpha:
            return None
        return inputs.paired.groupby("k").size().rename("pairs").reset_index()

    assert analyzed(folder)["tables"] == ["pairs_by_size", "codebook", NEURONS]
    assert folder.table("pairs_by_size")["k"].tolist() == [2, 4]
    book = folder.table("codebook").fillna("")
    book = book[book["table"] != NEURONS]
    assert book["column"].tolist() == ["", "k", "pairs"]
    assert book["meaning"].tolist() == ["Pairs of each size of masks", "neurons of each mask", ""]
    assert analyzed(folder, alpha=0.0)["tables"] == ["codebook", NEURONS]
    assert set(folder.table("codebook")["table"]) == {NEURONS}
    assert list(written(folder)) == ["codebook"]


def test_participants_give_intervals_and_a_ceiling(folder):
    participants = np.random.default_rng(7).random((5, 6))
    analyzed(folder, participants.mean(axis=0), participants=participants)
    importance = folder.table("importance")
    tests = ["p", "p_corrected", "q", "p_published", "q_published"]
    assert list(importance) == ["attribute", "tau", "ci_low", "ci_high", *tests]
    assert folder.table("noise_ceiling")["participants"].tolist() == [5]
    analyzed(folder)
    assert "noise_ceiling" not in written(folder)


def test_which_controls_are_exchangeable_changes_nothing_but_how_well_their_mean_is_known(folder):
    analyzed(folder)
    before = written(folder)
    analyzed(folder, exchangeable=["random-by-layer"])
    after = written(folder)
    assert [name for name in sorted(before) if after[name] != before[name]] == ["drop_overall"]


def test_tables_follow_the_given_order(folder):
    analyzed(folder)
    assert folder.table("drop_by_concept")["concept"].tolist() == CONCEPTS * 4
    assert folder.table("drop_by_attribute")["attribute"].tolist() == ATTRIBUTES * 4
    assert folder.table("importance")["attribute"].tolist() == ATTRIBUTES


def test_every_table_that_compares_has_every_control_in_the_order_of_the_masks(folder):
    analyzed(folder)
    comparing = [name for name in written(folder) if "control" in folder.table(name)]
    assert set(comparing) == COMPARING
    for name in comparing:
        table = folder.table(name)
        assert table.columns[0] == "control"
        assert table["control"].unique().tolist() == CONTROLS


def test_a_kind_of_control_more_changes_nothing_for_the_others(folder):
    analyzed(folder)
    both = {name: folder.table(name) for name in COMPARING}
    table = read_answers(folder)
    write_answers(folder, table[table["kind"] != "random-by-layer"])
    analyzed(folder)
    for name, before in both.items():
        pd.testing.assert_frame_equal(folder.table(name), before[before["control"] == "random"], check_dtype=False)


def test_the_drop_is_what_the_counts_say(folder):
    analyzed(folder)
    counts = read_answers(folder).assign(accuracy=lambda t: t["correct"] / t["total"])
    at_2 = counts[counts["k"] == 2]
    arousal = at_2[at_2["attribute"] == "arousal"]
    selective = arousal[arousal["kind"] == "selective"]["accuracy"].mean()
    after = {
        "random": at_2[at_2["kind"] == "random"]["accuracy"].mean(),
        "random-by-layer": arousal[arousal["kind"] == "random-by-layer"]["accuracy"].mean(),
    }
    drops = folder.table("drop_by_attribute").set_index(["control", "k", "attribute"])
    for control, accuracy in after.items():
        assert drops.loc[(control, 2, "arousal"), "drop"] == pytest.approx(accuracy - selective)
        assert drops.loc[(control, 2, "arousal"), "n"] == 8


def test_alpha_decides_what_is_significant(folder):
    analyzed(folder, alpha=0.005)
    few = folder.table("tau_summary")
    analyzed(folder, alpha=1.0)
    assert (folder.table("tau_summary")["significant"] == 8).all()
    assert (few["significant"] < 8).all()
    assert (few["alpha"] == 0.005).all()


def test_without_human_data_no_human_table_stays(folder):
    analyzed(folder)
    done = analyzed(folder, None)
    assert not done["human_data"]
    assert not HUMAN & set(written(folder))
    assert "drop_overall" in written(folder)


def test_with_one_size_there_is_no_dose_response(folder):
    analyzed(folder)
    table = read_answers(folder)
    write_answers(folder, table[table["k"] != 4])
    done = analyzed(folder)
    assert done["k"] == [2]
    assert "dose_response" not in written(folder)
    assert set(done["tables"]) - {NEURONS} == set(written(folder))


def test_chance_is_that_of_the_options(folder):
    analyzed(folder)
    assert (folder.table("accuracy")["chance"] == 0.5).all()


def test_one_replicate_and_no_spread_leave_empty_cells(folder):
    table = read_answers(folder).query("replicate == '1'")
    write_answers(folder, table.assign(correct=10))
    analyzed(folder)
    assert folder.table("drop_by_concept_attribute")["p"].isna().all()
    assert (folder.table("drop_overall")["drop"] == 0).all()
    assert (folder.table("human_comparison")["concepts"] == 0).all()


def test_ablation_of_other_concepts_and_attributes(folder):
    table = read_answers(folder)
    table["concept"] = table["concept"].replace("joy", "bliss")
    table["attribute"] = table["attribute"].replace("arousal", "heat")
    write_answers(folder, table)
    with pytest.raises(StageError) as error:
        analyzed(folder)
    assert [name in line for name, line in zip(["bliss", "heat"], error.value.problems, strict=True)] == [True, True]
    assert not folder.tables.exists()


@pytest.mark.parametrize("kinds", [["selective"], ["random", "random-by-layer"]])
def test_nothing_to_compare(folder, kinds):
    table = read_answers(folder)
    write_answers(folder, table[~table["kind"].isin(kinds)])
    with pytest.raises(StageError, match="run mask and ablate again"):
        analyzed(folder)


def test_a_question_about_a_single_text_cannot_be_calibrated(folder):
    write_answers(folder, read_answers(folder).assign(correct=1, total=1))
    with pytest.raises(StageError, match="'calibrated': a question was asked about a single text"):
        analyzed(folder, options=AnalysisOptions(outcome="accuracy"))
    assert not folder.tables.exists()
    analyzed(folder)


def test_missing_or_foreign_input(folder):
    with pytest.raises(StageError, match="other attributes"):
        analyze(AnalysisInputs(folder, Concepts(CONCEPTS, [*ATTRIBUTES, "novelty"], SCORES, None), 0.01), Silent())
    folder.selectivity.rename(folder.path / "elsewhere")
    with pytest.raises(StageError, match=r"selectivity\.zarr.*select"):
        analyzed(folder)
    folder.scores.rename(folder.path / "elsewhere too")
    with pytest.raises(StageError, match=r"scores\.zarr.*ablate"):
        analyzed(folder)
