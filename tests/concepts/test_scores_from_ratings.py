import numpy as np
import pandas as pd
import pytest
from scipy import stats

from emoscale.concepts.loading import load_concepts
from emoscale.concepts.options import ConceptOptions, ScoreOptions
from emoscale.concepts.ratings import EventReports, RaterRatings, read_ratings
from emoscale.concepts.score_files import score_files
from emoscale.concepts.scores import scores_from_ratings
from emoscale.errors import InputError

CONCEPTS = ["joy", "fear", "calm", "rage", "grief", "pride"]
PLACE = np.array([[2.0, -1.5, 0, 1, -1, -0.5], [-1.0, 1.5, -2, 1.5, 0.5, -0.5]]).T


def rater_table(path, raters=8, seed=0):
    rng = np.random.default_rng(seed)
    truth = 5 + 1.2 * np.column_stack([PLACE, PLACE[:, 0] - PLACE[:, 1]])
    values = np.clip(np.rint(truth + rng.normal(0, 1, (raters, *truth.shape))), 1, 9)
    return RaterRatings(path, [f"r{i}" for i in range(raters)], CONCEPTS, ["warm", "fast", "odd"], values)


def event_table(path, per_concept=20, noise_component=False, seed=0):
    """Items 0-4 measure the first place, 5-8 the second, 9-12 (if asked for) what differs between events only."""
    rng = np.random.default_rng(seed)
    concept_of = np.tile(np.arange(6), per_concept)
    n = len(concept_of)
    latent = np.column_stack([PLACE[concept_of] + rng.normal(0, 1, (n, 2)), rng.normal(0, 1.4, n)])
    pattern = np.repeat(np.eye(3), [5, 4, 4 if noise_component else 0], axis=0)
    answers = np.clip(5 + 1.3 * latent @ pattern.T + rng.normal(0, 0.8, (n, len(pattern))), 1, 9)
    items = [f"item{i}" for i in range(len(pattern))]
    return EventReports(path, [f"e{i}" for i in range(n)], CONCEPTS, concept_of, items, answers, (1.0, 9.0))


def write_table(table):
    if isinstance(table, RaterRatings):
        rows = [
            [rater, concept, *table.ratings[i, j]]
            for i, rater in enumerate(table.raters)
            for j, concept in enumerate(table.concepts)
        ]
        columns = ["rater", "concept", *table.attributes]
    else:
        names = [table.concepts[i] for i in table.concept_of]
        rows = [[e, c, *v] for e, c, v in zip(table.events, names, table.answers, strict=True)]
        columns = ["event", "concept", *table.items]
    pd.DataFrame(rows, columns=columns).to_csv(table.path, index=False)
    return table.path


def score(tables, concepts=None, **options):
    return scores_from_ratings(tables, ScoreOptions(**options), concepts)


def problems_of(tables, **options):
    with pytest.raises(InputError) as caught:
        score(tables, **options)
    return caught.value.problems


def test_means_over_raters(tmp_path):
    table = rater_table(tmp_path / "words.csv")
    found = score([table])
    np.testing.assert_allclose(found.scores, table.ratings.mean(axis=0))
    assert list(found.scores.index) == CONCEPTS
    assert list(found.scores) == ["warm", "fast", "odd"]
    assert (found.agreement["icc_type"] == "ICC(2,k)").all()
    assert found.agreement["reliable"].all()
    assert found.notes == []
    assert found.scores01.min().tolist() == [0, 0, 0]
    assert found.scores01.max().tolist() == [1, 1, 1]
    np.testing.assert_allclose(found.scores01.corrwith(found.scores), 1)


def test_q_is_benjamini_hochberg_over_all_attributes(tmp_path):
    found = score([rater_table(tmp_path / "w.csv"), event_table(tmp_path / "ev.csv")]).agreement
    assert len(found) == 5
    np.testing.assert_allclose(found["q"], stats.false_discovery_control(found["p"]))
    assert list(found["attribute"]) == ["warm", "fast", "odd", "ev 1", "ev 2"]


def test_a_missing_rating_leaves_the_mean_of_the_others(tmp_path):
    table = rater_table(tmp_path / "words.csv")
    table.ratings[2, 3, 1] = np.nan
    found = score([table])
    expected = np.delete(table.ratings[:, 3, 1], 2).mean()
    assert found.scores.loc["rage", "fast"] == pytest.approx(expected)
    assert list(found.agreement["icc_type"]) == ["ICC(2,k)"] * 3
    complete = score([rater_table(tmp_path / "words.csv")]).agreement
    assert found.agreement["icc"][1] == pytest.approx(complete["icc"][1], abs=0.01)
    (note,) = found.notes
    assert "fast: 1 of 48 ratings are missing" in note
    assert "ICC(2,k) by crossed random effects" in note


def test_components_of_events_find_the_concepts_places(tmp_path):
    table = event_table(tmp_path / "events.csv")
    found = score([table])
    assert list(found.scores) == ["events 1", "events 2"]
    for column, place in zip(found.scores.to_numpy().T, PLACE.T, strict=True):
        assert np.corrcoef(column, place)[0, 1] > 0.95
    battery = found.batteries[0]
    assert (battery.loadings["events 1"][:5] > 0.7).all()
    assert list(battery.loadings.index) == table.items
    np.testing.assert_allclose(
        battery.loadings["communality"], (battery.loadings[["events 1", "events 2"]] ** 2).sum(axis=1)
    )
    kept = battery.eigenvalues["eigenvalue"] > battery.eigenvalues["threshold"]
    assert kept.tolist() == [True, True] + [False] * 7
    assert (found.agreement["icc_type"] == "ICC(1,k)").all()
    assert (battery.converged_r > 0.99).all()


def test_a_component_on_which_concepts_do_not_differ_is_excluded(tmp_path):
    table = event_table(tmp_path / "ev.csv", noise_component=True)
    found = score([table, rater_table(tmp_path / "words.csv")])
    assert len(found.agreement) == 6
    excluded = found.agreement.query("not reliable")["attribute"].tolist()
    assert len(excluded) == 1
    assert (found.batteries[0].loadings[excluded[0]][-4:] > 0.7).all()
    assert excluded[0] not in found.scores
    assert set(found.reliable) == set(found.scores)
    assert found.scores.shape == (6, 5)
    assert any(note.startswith(f"{excluded[0]}: excluded from the scores") for note in found.notes)
    with_all = score([table], alpha=1.1)
    assert with_all.scores.shape == (6, 3)


def test_nothing_reliable_is_an_error(tmp_path):
    table = event_table(tmp_path / "ev.csv")
    shuffled = np.random.default_rng(3).permutation(table.concept_of)
    noise = EventReports(table.path, table.events, CONCEPTS, shuffled, table.items, table.answers, table.scale)
    assert "concepts do not differ reliably on any component" in problems_of([noise])[0]


def test_not_applicable_counts_as_the_middle_and_empty_events_do_not_count(tmp_path):
    table = event_table(tmp_path / "ev.csv")
    table.answers[0, 2] = table.answers[7, :4] = np.nan
    full = table.answers.copy()
    full[np.isnan(full)] = 5
    filled = EventReports(table.path, table.events, CONCEPTS, table.concept_of, table.items, full, table.scale)
    found, expected = score([table]), score([filled])
    pd.testing.assert_frame_equal(found.scores, expected.scores)
    assert found.batteries[0].filled == 5
    assert "5 of 1080 answers are not applicable and count as 5, the middle of the scale" in found.notes[0]

    table.answers[30, :5] = np.nan  # 5 of 9 items
    keep = np.arange(len(full)) != 30
    shorter = EventReports(
        table.path,
        [e for e in table.events if e != "e30"],
        CONCEPTS,
        table.concept_of[keep],
        table.items,
        full[keep],
        table.scale,
    )
    found, expected = score([table]), score([shorter])
    pd.testing.assert_frame_equal(found.scores, expected.scores)
    assert found.batteries[0].excluded == ["e30"]
    assert "excluded 1 event(s) with more than half of the 9 items not applicable: e30" in found.notes[0]


def test_the_middle_follows_the_scale(tmp_path):
    table = event_table(tmp_path / "ev.csv")
    table.answers[0, 2] = np.nan
    wide = EventReports(
        table.path, table.events, CONCEPTS, table.concept_of, table.items, 10 * table.answers, (10.0, 90.0)
    )
    pd.testing.assert_frame_equal(score([wide]).scores, score([table]).scores)


def test_components_are_named_and_signed_by_their_items(tmp_path):
    table = event_table(tmp_path / "ev.csv")
    plain = score([table]).scores
    table.answers[:, 6] = 10 - table.answers[:, 6]
    turned = score([table], components={"speed": "item6", "warmth": "item0"}).scores
    assert list(turned) == ["warmth", "speed"]
    np.testing.assert_allclose(turned["warmth"], plain["ev 1"], atol=0.1)
    np.testing.assert_allclose(turned["speed"], -plain["ev 2"], atol=0.1)
    some = score([table], components={"speed": "item6"}).scores
    assert list(some) == ["ev 1", "speed"]


def test_bad_names_for_components(tmp_path):
    table = event_table(tmp_path / "ev.csv")
    assert "'item99', which no file of event reports has" in problems_of([table], components={"x": "item99"})[0]
    clash = problems_of([table], components={"x": "item0", "y": "item1"})
    assert "the names 'x' and 'y' are anchored to items of one component" in clash[0]


def test_the_order_of_the_concepts(tmp_path):
    words, events = rater_table(tmp_path / "w.csv"), event_table(tmp_path / "ev.csv")
    order = CONCEPTS[::-1]
    found = score([words, events], concepts=order).scores
    assert list(found.index) == order
    pd.testing.assert_frame_equal(found.loc[CONCEPTS], score([words, events]).scores)
    back = EventReports(
        events.path, events.events, order, 5 - events.concept_of, events.items, events.answers, events.scale
    )
    pd.testing.assert_frame_equal(score([words, back]).scores, found.loc[CONCEPTS])


def test_the_same_seed_gives_the_same_thresholds(tmp_path):
    table = event_table(tmp_path / "ev.csv")
    first, again, other = (score([table], seed=s, draws=20).batteries[0] for s in (0, 0, 1))
    pd.testing.assert_frame_equal(first.eigenvalues, again.eigenvalues)
    assert not first.eigenvalues["threshold"].equals(other.eigenvalues["threshold"])


def test_tables_that_do_not_fit_together(tmp_path):
    words, events = rater_table(tmp_path / "w.csv"), event_table(tmp_path / "ev.csv")
    renamed = RaterRatings(words.path, words.raters, ["joi", *CONCEPTS[1:]], words.attributes, words.ratings)
    problems = problems_of([events, renamed])
    assert "has no concept 'joy', which the others have" in problems[0]
    assert "has a concept 'joi' that the others lack" in problems[1]
    assert "2 attributes are named 'warm'" in problems_of([words, words])[0]
    words.ratings[:, :, 1] = 4
    assert "column 'fast': every concept has the same score" in problems_of([words])[0]


def test_batteries_that_cannot_be_used(tmp_path):
    table = event_table(tmp_path / "ev.csv")
    table.answers[:, 3] = 2
    assert "column 'item3': the same answer in every event" in problems_of([table])[0]
    empty = event_table(tmp_path / "ev.csv")
    empty.answers[empty.concept_of == 2] = np.nan
    assert "no event of 'calm' has half of its items answered" in problems_of([empty])[0]
    single = event_table(tmp_path / "ev.csv", per_concept=1)
    assert "one event a concept" in problems_of([single])[0]


def test_one_rating_a_concept_says_nothing_of_agreement(tmp_path):
    table = rater_table(tmp_path / "w.csv")
    table.ratings[1:, :, 0] = np.nan
    assert "column 'warm': one rating a concept" in problems_of([table])[0]


def test_files_in_files_out(tmp_path):
    words, events = write_table(rater_table(tmp_path / "words.csv")), write_table(event_table(tmp_path / "events.csv"))
    out = tmp_path / "new" / "scores.csv"
    found = score_files([words, events], out, ScoreOptions(components={"warmth": "item0"}))
    concepts = load_concepts(ConceptOptions(str(out)))
    assert concepts.names == CONCEPTS
    assert concepts.attributes == ["warm", "fast", "odd", "warmth", "events 2"]
    np.testing.assert_array_equal(concepts.scores, found.scores01.to_numpy())
    again = score([read_ratings(words, (1, 9)), read_ratings(events, (1, 9))], components={"warmth": "item0"})
    pd.testing.assert_frame_equal(again.scores, found.scores)
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "scores.csv",
        "scores_agreement.csv",
        "scores_events_eigenvalues.csv",
        "scores_events_loadings.csv",
        "scores_unscaled.csv",
    ]
    unscaled = pd.read_csv(out.with_name("scores_unscaled.csv"), index_col="concept")
    pd.testing.assert_frame_equal(unscaled, found.scores)
    agreement = pd.read_csv(out.with_name("scores_agreement.csv"))
    columns = ["attribute", "icc_type", "icc", "F", "df1", "df2", "p", "q", "ci_low", "ci_high", "reliable"]
    assert list(agreement) == [*columns, "raters"]
    assert agreement["icc_type"].tolist() == ["ICC(2,k)"] * 3 + ["ICC(1,k)"] * 2


def test_bad_files_are_reported_together_and_nothing_is_written(tmp_path):
    words = write_table(rater_table(tmp_path / "words.csv"))
    out = tmp_path / "scores.csv"
    with pytest.raises(InputError) as caught:
        score_files([tmp_path / "none.csv", words, tmp_path / "neither.csv"], out, ScoreOptions())
    assert len(caught.value.problems) == 2
    with pytest.raises(InputError, match="no file of ratings"):
        score_files([], out, ScoreOptions())
    with pytest.raises(InputError, match="would be overwritten"):
        score_files([words], words, ScoreOptions())
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        score_files([words], tmp_path / "file" / "scores.csv", ScoreOptions())
    assert not out.exists()
