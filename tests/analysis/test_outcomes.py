"""Outcomes equal their formulas, item by item, whatever the chunks."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoscale.analysis.outcomes import evaluate
from emoscale.run.folder import RunFolder
from emoscale.schema import SCORES
from emoscale.store import create_store
from emoscale.tasks.outcomes import NORMALIZATIONS

CONCEPTS = ["joy", "fear", "remorse"]
TOKENS = [1, 1, 3]


def write(path, scores, concept, replicate, right, options, chunks=(4, 2), tokens=None):
    items, masks, count = scores.shape
    text = {"concept": concept, "replicate": replicate, "option": options}
    coordinates = {
        **{name: np.array(values, object) for name, values in text.items()},
        "text": np.arange(items),
        "right": np.array(right),
        "length": np.ones(items, np.int32),
        "kind": np.array(["none", *["selective"] * (masks - 1)], object),
        "attribute": np.array(["", *["valence"] * (masks - 1)], object),
        "k": np.arange(masks),
        "draw": np.zeros(masks, np.int32),
        "option_tokens": np.array([1] * count if tokens is None else tokens, np.int32),
    }
    sizes = {"exact_item": 0, "token": items, "option_token": count}
    chunk = dict(zip(("item", "mask"), chunks, strict=True))
    store = create_store(RunFolder(path).scores, SCORES, coordinates, chunk, sizes=sizes)
    for item in range(0, items, store.chunks("scores")[0]):
        for mask in range(0, masks, store.chunks("scores")[1]):
            box = scores[item : item + store.chunks("scores")[0], mask : mask + store.chunks("scores")[1]]
            store.write("scores", box, item=item, mask=mask)
    store.mark_complete()
    return store


def made(path, seed=0, replicates=2, each=3, masks=5, options=None, **more):
    """Every concept is shown by `each` texts under each of some templates; ties and constants are among the scores."""
    rng = np.random.default_rng(seed)
    options = options or CONCEPTS
    cells = [(c, str(r)) for r in range(replicates) for c in CONCEPTS for _ in range(each)]
    concept, replicate = ([cell[place] for cell in cells] for place in (0, 1))
    right = [CONCEPTS.index(c) for c in concept] if options == CONCEPTS else rng.integers(0, 2, len(cells)).tolist()
    scores = rng.normal(size=(len(cells), masks, len(options))).astype(np.float32)
    scores[0] = 1.5
    scores[:, 1] = np.round(scores[:, 1])
    return write(path, scores, concept, replicate, right, options, **more), scores


def plain(scores, concept, replicate, right, options, tokens, normalization):
    """Item by item, mask by mask, in plain Python."""
    values = scores.astype(np.float64)
    chooses = set(concept) <= set(options)
    if normalization == "per-token":
        values = values / np.array(tokens)
    if normalization == "per-character":
        values = values / np.array([len(option) for option in options])
    if normalization == "calibrated":
        question = [r if chooses else (c, r) for c, r in zip(concept, replicate, strict=True)]
        values = values.copy()
        for item, own in enumerate(question):
            same = [other for other, name in enumerate(question) if name == own]
            values[item] = values[item] - scores[same].astype(np.float64).mean(axis=0)
    rows = []
    for item in range(len(values)):
        for mask in range(values.shape[1]):
            v, r = values[item, mask], right[item]
            p = np.exp(v) / np.exp(v).sum()
            p0 = np.exp(values[item, 0]) / np.exp(values[item, 0]).sum()
            best = [option for option in range(len(v)) if v[option] == v.max()]
            rows.append(
                {
                    "concept": concept[item],
                    "replicate": replicate[item],
                    "mask": mask,
                    "accuracy": (r in best) / len(best),
                    "top3": float(sum(x > v[r] for x in v) < 3),
                    "log_odds": np.log(p[r] / (1 - p[r])),
                    "kl": (p0 * np.log(p0 / p)).sum(),
                }
            )
    return pd.DataFrame(rows).groupby(["concept", "replicate", "mask"], sort=False).mean().reset_index()


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("options", [CONCEPTS, ["other", "concept"]], ids=["choice", "two"])
def test_outcomes_equal_their_formulas(tmp_path, normalization, options):
    tokens = TOKENS if options == CONCEPTS else None
    store, scores = made(tmp_path, options=options, tokens=tokens)
    found = evaluate(store, normalization).table
    coordinates = [store.read(name).tolist() for name in ("concept", "replicate", "right")]
    expected = plain(scores, *coordinates, options, tokens or [1, 1], normalization)
    order = ["concept", "replicate", "mask"]
    columns = [*order, "accuracy", "top3", "log_odds", "kl"]
    pd.testing.assert_frame_equal(
        found.sort_values(order, ignore_index=True)[columns],
        expected.sort_values(order, ignore_index=True)[columns],
        check_dtype=False,
        rtol=1e-9,
        atol=1e-12,
    )
    assert (found["items"] == 3).all()
    assert (found["options"] == len(options)).all()
    assert (found.loc[found["mask"] == 0, "kl"].abs() < 1e-12).all()


@settings(max_examples=20)
@given(st.integers(1, 20), st.integers(1, 6))
def test_chunks_do_not_matter(tmp_path_factory, items, masks):
    folder = tmp_path_factory.mktemp("scores")
    tables = [
        evaluate(made(folder / str(n), chunks=c)[0], "calibrated") for n, c in enumerate([(items, masks), (4, 2)])
    ]
    pd.testing.assert_frame_equal(tables[0].table, tables[1].table)
    assert np.array_equal(tables[0].answers, tables[1].answers)


def test_answers_of_every_normalization_are_known(tmp_path):
    outcomes = evaluate(made(tmp_path, tokens=TOKENS)[0], "calibrated")
    assert list(outcomes.normalized) == list(NORMALIZATIONS)
    assert outcomes.options == CONCEPTS
    assert outcomes.answers.shape == (len(outcomes.table), 3)
    assert outcomes.answers.sum(axis=1) == pytest.approx(np.ones(len(outcomes.table)))
    right = [CONCEPTS.index(concept) for concept in outcomes.table["concept"]]
    assert outcomes.answers[np.arange(len(right)), right] == pytest.approx(outcomes.table["accuracy"])
    assert outcomes.normalized["none"]["accuracy"].tolist() != outcomes.table["accuracy"].tolist()


def test_two_fixed_answers_have_no_normalization_by_length(tmp_path):
    outcomes = evaluate(made(tmp_path, options=["other", "concept"])[0], "none")
    assert list(outcomes.normalized) == ["none", "calibrated"]


def test_a_name_that_wins_whatever_the_text_is_calibrated_away(tmp_path):
    rng = np.random.default_rng(3)
    concept = CONCEPTS * 10
    right = [CONCEPTS.index(name) for name in concept]
    scores = np.zeros((30, 2, 3), np.float32)
    scores[np.arange(30), :, right] += 1
    scores += rng.normal(0, 0.1, scores.shape)
    scores[:, :, 0] += 5
    store = write(tmp_path, scores, concept, ["0"] * 30, right, CONCEPTS)
    assert evaluate(store, "none").table["accuracy"].mean() == pytest.approx(1 / 3)
    assert evaluate(store, "calibrated").table["accuracy"].mean() == 1
