"""What a reviewer would say of a design: said where it is so, and only there."""

import pandas as pd
import pytest
from tiny_run import ATTRIBUTES, write_texts

from emoscale.config import load_settings
from emoscale.pipeline.cautions import cautions_of
from emoscale.pipeline.context import Context
from emoscale.system.ranks import one_process

CONCEPTS = [f"c{number}" for number in range(6)]
SCORES = [0, 0.1, 0.3, 0.6, 0.9, 1.0]
GOOD = ["tuning.seeds=[1,2,3,4]", "tuning.epochs=1"]


def write_corpus(world, train=40, dev=40, **counts):
    """Write six concepts with as many distinct texts each, or other numbers of held-out texts of some."""
    rows = [
        (f"{concept} {split} {number}", concept, split)
        for concept in CONCEPTS
        for split, count in (("train", train), ("dev", counts.get(concept, dev)))
        for number in range(count)
    ]
    pd.DataFrame(rows, columns=["text", "label", "split"]).to_csv(world.texts, index=False)
    scores = [f"{concept},{valence},{1 - valence**2}" for concept, valence in zip(CONCEPTS, SCORES, strict=True)]
    world.attributes.write_text("\n".join(["concept,arousal,valence", *scores]) + "\n")


@pytest.fixture
def told(world):
    """Give the cautions of the world's config, by kind."""

    def call(*overrides, texts=True):
        context = Context(load_settings(world.config, ["concepts.dissimilarity=null", *overrides]), one_process())
        if texts:
            assert len(context.texts)
        return {caution.kind: caution.text for caution in cautions_of(context)}

    return call


def test_a_good_design(world, told):
    write_corpus(world)
    assert told(*GOOD) == {}


@pytest.mark.parametrize(
    ("count", "alpha", "words"),
    [
        (3, 0.05, "3 concepts have too few orders: no p is below 0.17"),
        (4, 0.01, "4 concepts have too few orders: no p is below 0.042"),
        (4, 0.05, ""),
        (5, 0.01, ""),
    ],
)
def test_too_few_concepts_to_test(world, told, count, alpha, words):
    write_corpus(world)
    found = told(*GOOD, f"concepts.names={CONCEPTS[:count]}", f"selectivity.alpha={alpha}")
    assert bool(found.get("concepts")) == bool(words)
    assert words in found.get("concepts", "")
    if words:
        enough = {0.05: 4, 0.01: 5}[alpha]
        assert f"compare {enough} concepts or more" in found["concepts"]
        assert not told(*GOOD, f"concepts.names={CONCEPTS[:count]}", "selectivity.inference=asymptotic")


def test_scores_that_leave_too_few_orders(world, told):
    """Concepts of one score can be exchanged, and scores that are symmetric reversed: the RDM stays as it is."""
    write_corpus(world)

    def said(arousal, valence):
        rows = [f"{concept},{a},{b}" for concept, a, b in zip(CONCEPTS, arousal, valence, strict=True)]
        world.attributes.write_text("\n".join(["concept,arousal,valence", *rows]) + "\n")
        return told(*GOOD).get("concepts", "")

    binary = [0, 0, 0, 0, 1, 1]  # 4! 2! of 720 orders
    assert said(SCORES, binary).startswith("Too many of the 6 concepts share a score of 'valence': no p is below 0.067")
    assert said(binary, binary).startswith("6 concepts have too few orders: no p is below 0.067")
    assert said(binary, binary).endswith("compare 7 concepts or more")
    assert said(SCORES, [0, 1, 2, 3, 4, 5]) == ""


@pytest.mark.parametrize(("permutations", "said"), [(19, True), (99, True), (100, False)])
def test_too_few_permutations(world, told, permutations, said):
    write_corpus(world)
    assert ("permutations" in told(*GOOD, f"selectivity.permutations={permutations}")) == said


def test_few_replicates(world, told):
    write_corpus(world)
    assert told(*GOOD, "tuning.seeds=[1,2,3]")["replicates"].startswith("3 replicates of each concept, fewer than 4")
    found = told(*GOOD, "extraction.rows=templates", "extraction.templates=['I felt {concept}.']")
    assert found["replicates"].startswith("1 replicate of each concept")
    assert found["replicates"].endswith("list more extraction.templates")
    assert "replicates" not in told(*GOOD, "extraction.rows=texts", "stimuli.max_tokens=32")


def test_few_texts(world, told):
    write_corpus(world, train=40, dev=29)
    assert told(*GOOD)["texts"].startswith("29 held-out texts a concept, fewer than 30")
    write_corpus(world)
    assert told(*GOOD, "stimuli.dev_texts=10")["texts"].endswith("raise stimuli.dev_texts")
    write_corpus(world, train=20)
    assert told(*GOOD)["texts"].startswith("20 train texts a concept")
    in_words = ["extraction.rows=templates", "ablation.task=yes-no"]  # nothing learns from train texts then
    assert "texts" not in told(*GOOD, *in_words)


def test_unbalanced_texts(world, told):
    write_corpus(world, c3=200)
    assert told(*GOOD)["balance"].startswith("The held-out texts are unbalanced: 40 of 'c0', 200 of 'c3'")
    assert "balance" not in told(*GOOD, "stimuli.dev_texts=60")


def test_the_same_text_in_train_and_test(world, told):
    write_corpus(world)
    with world.texts.open("a") as file:
        file.write(" c1  train 3 ,c1,dev\n")
    assert told(*GOOD)["overlap"] == (
        "1 text is in both the train and the held-out texts (e.g. 'c1 train 3'); no prompt is trained on them; keep "
        "each text in one split"
    )
    kept = told(*GOOD, "tuning.keep_repeated=true")["overlap"]
    assert kept.startswith("1 text is both learned from and asked about (e.g. 'c1 train 3')")
    in_words = ["extraction.rows=templates", "ablation.task=yes-no"]
    assert "overlap" not in told(*GOOD, *in_words)
    everything = ["extraction.rows=texts", "extraction.split=all", "ablation.task=yes-no"]
    assert told(*GOOD, *everything)["overlap"].startswith("241 texts are both")


def test_contrary_labels_of_one_text(world, told):
    write_corpus(world)
    with world.texts.open("a") as file:
        file.write("c1  train 3,c2,train\nc4 train 1,C4,train\n")
    assert told(*GOOD)["labels"] == (
        "1 text has other labels in other rows (e.g. 'c1 train 3': c1 / c2), so that the same text shows a concept and "
        "does not; give each text once, with all its labels"
    )


def test_epochs_chosen_on_the_test_texts(world, told):
    write_corpus(world)
    published = ["tuning.seeds=[1,2,3,4]", "tuning.epochs=2", "tuning.validation=0"]
    assert told(*published)["epochs"].endswith("set tuning.validation to a share of the train texts, e.g. 0.2")
    assert "epochs" not in told(*published[:2])
    assert "epochs" not in told(*published, "tuning.epochs=1")
    assert "epochs" not in told(*published, "extraction.rows=templates", "ablation.task=yes-no")


def test_texts_that_are_streamed_are_not_loaded(world, told):
    write_texts(world.texts)
    world.attributes.write_text(ATTRIBUTES)
    assert set(told(texts=False)) == {"concepts", "replicates"}
    assert "texts" in told()
