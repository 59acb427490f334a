import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_files import load

from emoscale.errors import InputError
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.samples import NEGATIVES, check_labels, draw_samples, hold_out


def texts_of(*rows):
    labels, splits = zip(*rows, strict=True)
    return pd.DataFrame({"text": [f"text {i}" for i in range(len(rows))], "labels": labels, "split": splits})


def draw(texts, concept, seed, split, limit=None, negatives="others"):
    options = StimuliOptions(train_texts=limit, dev_texts=limit, negatives=negatives)
    return draw_samples(texts, concept, seed, split, options)


@st.composite
def labelled(draw):
    label = st.sets(st.sampled_from(["joy", "fear", "grief"])).map(lambda found: tuple(sorted(found)))
    rows = draw(st.lists(st.tuples(label, st.sampled_from(["train", "dev"])), max_size=40))
    return texts_of((("joy",), "train"), (("fear", "joy"), "train"), (("fear",), "train"), *rows)


@settings(max_examples=60)
@given(
    texts=labelled(),
    seed=st.integers(0, 2**32),
    limit=st.none() | st.integers(1, 10),
    negatives=st.sampled_from([*NEGATIVES]),
)
def test_samples_are_balanced_and_correctly_labelled(texts, seed, limit, negatives):
    rows, labels = draw(texts, "joy", seed, "train", limit=limit, negatives=negatives)
    carriers = {
        i
        for i, (found, split) in enumerate(zip(texts.labels, texts.split, strict=True))
        if split == "train" and "joy" in found
    }
    others = {i for i, split in enumerate(texts.split) if split == "train"} - carriers
    positive, negative = rows[labels == 1], rows[labels == 0]
    assert rows.dtype == labels.dtype == np.int64
    assert len(positive) == len(negative) == min(len(carriers), limit or len(carriers))
    assert set(positive) <= carriers
    assert len(set(positive)) == len(positive)
    if negatives == "any":
        assert set(negative) <= carriers | others
    else:
        assert set(negative) <= others
        if len(others) >= len(positive):
            assert len(set(negative)) == len(negative)
    again = draw(texts, "joy", seed, "train", limit=limit, negatives=negatives)
    np.testing.assert_array_equal(rows, again[0])
    np.testing.assert_array_equal(labels, again[1])


@pytest.fixture(scope="module")
def scenarios():
    return load("scenarios")


def test_no_limit_takes_every_positive(scenarios):
    rows, labels = draw(scenarios, "joy", 1, "train")
    joyful = scenarios.index[(scenarios["split"] == "train") & scenarios["labels"].map(lambda found: "joy" in found)]
    assert sorted(rows[labels == 1]) == joyful.tolist()
    assert len(rows) == 40


def test_shuffled_and_different_by_seed_split_and_concept(scenarios):
    drawn = {
        (concept, seed, split): draw(scenarios, concept, seed, split, limit=8)
        for concept in ("joy", "fear")
        for seed in (1, 3)
        for split in ("train", "dev")
    }
    for _, labels in drawn.values():
        assert 0 < np.abs(np.diff(labels)).sum() < 16
        assert labels.tolist() != sorted(labels, reverse=True)
    assert len({tuple(rows) for rows, _ in drawn.values()}) == len(drawn)
    negatives = {tuple(sorted(rows[labels == 0])) for rows, labels in drawn.values()}
    assert len(negatives) == len(drawn)


@pytest.mark.parametrize("negatives", NEGATIVES)
def test_equal_splits_have_different_samples(negatives):
    rows = [((("joy",) if i < 20 else ("fear",)), split) for split in ("train", "dev") for i in range(60)]
    train, _ = draw(texts_of(*rows), "joy", 7, "train", negatives=negatives)
    dev, _ = draw(texts_of(*rows), "joy", 7, "dev", negatives=negatives)
    assert sorted(train) != sorted(dev - 60)


def test_published_negatives_hold_a_few_positives():
    texts = texts_of(*[(("joy",), "train")] * 300, *[(("fear",), "train")] * 300)
    rows, labels = draw(texts, "joy", 0, "train", negatives="any")
    negative = rows[labels == 0]
    assert 100 < (negative < 300).sum() < 200  # expected 150, standard deviation 8.7
    assert len(set(negative)) < len(negative)
    rows, labels = draw(texts, "joy", 0, "train")
    assert (rows[labels == 0] >= 300).all()


def test_too_few_others_are_drawn_again():
    texts = texts_of(*[(("joy",), "train")] * 9, (("fear",), "train"), ((), "train"))
    rows, labels = draw(texts, "joy", 0, "train")
    assert set(rows[labels == 0]) <= {9, 10}
    assert len(rows) == 18


def test_same_in_another_process(scenarios):
    rows, labels = draw(scenarios, "grief", 42, "dev", limit=5)
    program = (
        "from emoscale.stimuli.options import StimuliOptions\n"
        "from emoscale.stimuli.samples import draw_samples\n"
        "from emoscale.stimuli.texts import load_texts\n"
        "options = StimuliOptions(dev_texts=5)\n"
        "rows, labels = draw_samples(load_texts(options), 'grief', 42, 'dev', options)\n"
        "import sys; assert 'torch' not in sys.modules; print(rows.tolist(), labels.tolist())"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == f"{rows.tolist()} {labels.tolist()}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"concept": "anger"}, "concept 'anger': no train text carries it"),
        ({"split": "dev"}, "concept 'joy': no dev text carries it"),
        ({"concept": "all"}, "every train text carries it"),
        ({"negatives": "some"}, "negatives 'some': unknown; use one of others, any"),
        ({"limit": 0}, "stimuli.train_texts 0"),
    ],
)
def test_bad_request(arguments, said):
    texts = texts_of((("joy", "all"), "train"), (("fear", "all"), "train"), (("fear",), "dev"))
    with pytest.raises(InputError) as caught:
        draw(texts, **({"concept": "joy", "seed": 0, "split": "train"} | arguments))
    assert said in str(caught.value)


def test_check_labels_passes_exactly_the_labels_of_both_splits(scenarios):
    named = {label for labels in scenarios["labels"] for label in labels}
    assert len(named) == 27
    check_labels(scenarios, named)
    with pytest.raises(InputError) as caught:
        check_labels(scenarios, [*named, "pride and joy"])
    assert len(caught.value.problems) == 1
    with pytest.raises(InputError):
        check_labels(scenarios[scenarios["split"] == "train"], ["joy"])


def test_check_labels_of_one_split(scenarios):
    check_labels(scenarios[scenarios["split"] == "dev"], ["joy"], ["dev"])
    with pytest.raises(InputError, match="no dev text carries it"):
        check_labels(scenarios[scenarios["split"] == "train"], ["joy"], ["dev"])


@settings(max_examples=200, deadline=None)
@given(
    positive=st.lists(st.integers(0, 12), min_size=2, max_size=20),
    negative=st.lists(st.integers(8, 30), min_size=2, max_size=20),
    share=st.sampled_from([0.1, 0.2, 0.5]),
    seed=st.integers(0, 5),
)
def test_what_chooses_the_epoch_shares_no_text_with_what_is_trained_on(positive, negative, share, seed):
    identities = np.array([*positive, *negative], np.uint64)
    labels = np.repeat(np.array([1, 0]), [len(positive), len(negative)])
    if min(len(set(positive)), len(set(negative))) < 2:
        with pytest.raises(InputError, match=r"set tuning\.validation to 0"):
            hold_out(identities, labels, share, "joy", seed)
        return
    try:
        chosen = hold_out(identities, labels, share, "joy", seed)
    except InputError:
        if not set(positive) & set(negative):
            raise
        return
    assert not set(identities[chosen]) & set(identities[~chosen])
    assert set(labels[chosen]) == set(labels[~chosen]) == {0, 1}
    for label, texts in ((1, positive), (0, negative)):
        most = max(texts.count(text) for text in texts)
        if not set(positive) & set(negative):
            assert (labels[chosen] == label).sum() <= max(most, round(share * len(texts)))


def test_the_share_that_chooses_is_balanced_and_drawn_by_seed():
    identities, labels = np.arange(40, dtype=np.uint64), np.tile([0, 1], 20)
    drawn = [
        hold_out(identities, labels, 0.2, concept, seed) for concept, seed in (("joy", 1), ("joy", 2), ("fear", 1))
    ]
    for chosen in drawn:
        assert labels[chosen].tolist().count(1) == labels[chosen].tolist().count(0) == 4
    assert len({tuple(chosen) for chosen in drawn}) == 3
    assert (hold_out(identities, labels, 0.2, "joy", 1) == drawn[0]).all()


def test_check_labels_names_each_concept():
    texts = texts_of((("joy", "fear"), "train"), (("joy",), "dev"), (("grief",), "dev"), ((), "dev"))
    with pytest.raises(InputError) as caught:
        check_labels(texts, ["joy", "fear", "greif", "grief"])
    assert [line.split(";")[0] for line in caught.value.problems] == [
        "concept 'fear': no dev text carries it as a label",
        "concept 'greif': no train and no dev text carries it as a label (nearest: 'grief')",
        "concept 'grief': no train text carries it as a label",
    ]
