"""The built-in situations are as described."""

import re
from collections import Counter

import numpy as np
import pytest
from text_files import load

from emoscale.concepts.loading import load_concepts
from emoscale.concepts.options import ConceptOptions

# Any form of a word of an emotion's family. A leading \b keeps "danger" and "glove" out of it.
WORD_FAMILIES = {
    "realization": r"\breali[sz]",
    "surprise": r"surpris",
    "admiration": r"\badmir(?!al)",
    "gratitude": r"gratitude|grateful|gratify",
    "optimism": r"optimis",
    "approval": r"approv",
    "pride": r"\bprid(?:e|ing)|\bproud",
    "excitement": r"excit",
    "joy": r"joy",
    "love": r"\b(?:be|un)?lov(?:e|ing|abl)",
    "amusement": r"amus(?:e|ing)",
    "caring": r"\b(?:un)?car(?:e|es|ed|ing|er|ers|efree|eful\w*|eless\w*)\b",
    "relief": r"\brelie[fv]",
    "curiosity": r"curio",
    "desire": r"desir",
    "disgust": r"disgust",
    "disapproval": r"disapprov",
    "anger": r"\banger|\bangr",
    "annoyance": r"\bannoy",
    "confusion": r"\bconfus",
    "fear": r"\bfear|\bafear",
    "disappointment": r"disappoint",
    "grief": r"\bgrie[fv]|aggriev",
    "sadness": r"\bsad(?:der|dest|den\w*|ly|ness)?\b",
    "nervousness": r"\bnervous",
    "embarrassment": r"embarrass",
    "remorse": r"remorse",
}
FIRST_PERSON = re.compile(r"\b(?:i|me|my|mine|myself|we|us|our|ours|ourselves)\b", re.IGNORECASE)


@pytest.fixture(scope="module")
def scenarios():
    texts = load("scenarios")
    return texts.assign(emotion=[labels[0] for labels in texts["labels"]])


def test_one_label_each_and_every_emotion(scenarios):
    assert set(scenarios["labels"].map(len)) == {1}
    assert list(dict.fromkeys(scenarios["emotion"])) == load_concepts(ConceptOptions()).names


def test_balanced_and_split_20_to_10(scenarios):
    counts = Counter(zip(scenarios["emotion"], scenarios["split"], strict=True))
    assert set(scenarios.groupby("emotion").size()) == {30}
    assert counts == {(e, s): n for e in load_concepts(ConceptOptions()).names for s, n in (("train", 20), ("dev", 10))}


def test_length(scenarios):
    assert [text for text in scenarios["text"] if not 8 <= len(text.split()) <= 30] == []


def test_plain_sentences(scenarios):
    texts = scenarios["text"]
    assert [text for text in texts if not text.isascii() or text != text.strip() or "  " in text] == []
    assert [text for text in texts if not re.search(r"""[.!?]["']?$""", text)] == []
    assert [text for text in texts if not FIRST_PERSON.search(text)] == []


@pytest.mark.parametrize("emotion", WORD_FAMILIES)
def test_no_emotion_is_named(scenarios, emotion):
    family = re.compile(WORD_FAMILIES[emotion], re.IGNORECASE)
    assert [text for text in scenarios["text"] if family.search(text)] == []


def test_word_families_catch_inflections_and_spare_lookalikes():
    assert list(WORD_FAMILIES) == load_concepts(ConceptOptions()).names
    named = [
        "realised",
        "surprisingly",
        "admired",
        "ungrateful",
        "optimistic",
        "disapproving",
        "proudly",
        "excited",
        "enjoyed",
        "beloved",
        "amused",
        "careful",
        "relieved",
        "curious",
        "undesirable",
        "disgusting",
        "angrily",
        "annoying",
        "confused",
        "fearless",
        "disappointed",
        "grieving",
        "saddened",
        "nervously",
        "embarrassing",
        "remorseful",
    ]
    spared = [
        "really",
        "admiral",
        "bride",
        "glove",
        "clover",
        "scarce",
        "car",
        "career",
        "believe",
        "danger",
        "stranger",
        "Sadie",
    ]
    anyone = re.compile("|".join(WORD_FAMILIES.values()), re.IGNORECASE)
    assert [word for word in named if not anyone.search(word)] == []
    assert [word for word in spared if anyone.search(word)] == []


def test_no_near_duplicates(scenarios):
    tokens = [set(re.findall(r"[a-z0-9']+", text.lower())) for text in scenarios["text"]]
    column = {token: i for i, token in enumerate(sorted(set.union(*tokens)))}
    holds = np.zeros((len(tokens), len(column)), dtype=np.float32)
    for row, found in enumerate(tokens):
        holds[row, [column[token] for token in found]] = 1
    shared = holds @ holds.T
    sizes = holds.sum(axis=1)
    jaccard = shared / (sizes[:, None] + sizes - shared)
    np.fill_diagonal(jaccard, 0)
    worst = np.unravel_index(jaccard.argmax(), jaccard.shape)
    assert jaccard[worst] < 0.6, scenarios["text"].iloc[list(worst)].tolist()


def test_openings_vary(scenarios):
    openings = Counter(
        (emotion, *re.findall(r"[a-z0-9']+", text.lower())[:3])
        for emotion, text in zip(scenarios["emotion"], scenarios["text"], strict=True)
    )
    assert openings.most_common(1)[0][1] <= 3
