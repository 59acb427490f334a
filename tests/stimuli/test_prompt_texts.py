import numpy as np
import pandas as pd
import pytest

from emoscale.errors import InputError
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.prompt_texts import draw_asked_texts, draw_prompt_texts
from emoscale.stimuli.samples import draw_samples

CONCEPTS = ["joy", "fear", "grief"]


@pytest.fixture
def texts():
    rng = np.random.default_rng(0)
    labels = [[CONCEPTS[i % 3]] + (["fear"] if i % 7 == 0 and i % 3 != 1 else []) for i in range(60)]
    split = rng.permutation(np.repeat(["train", "dev"], [40, 20]))
    return pd.DataFrame({"text": [f"text {i}" for i in range(60)], "labels": labels, "split": split})


def test_every_concept_with_every_seed(texts):
    prompts = draw_prompt_texts(texts, CONCEPTS, [5, 1], StimuliOptions())
    assert [(p.seed, p.concept) for p in prompts] == [(seed, concept) for seed in (5, 1) for concept in CONCEPTS]


def test_samples_are_of_their_split_balanced_and_correctly_labelled(texts):
    for prompt in draw_prompt_texts(texts, CONCEPTS, [1, 2], StimuliOptions()):
        for name, sample in (("train", prompt.train), ("dev", prompt.dev)):
            chosen = texts.iloc[sample.rows]
            carries = [prompt.concept in labels for labels in chosen["labels"]]
            assert chosen["split"].eq(name).all()
            assert sample.labels.tolist() == [int(c) for c in carries]
            assert 2 * sample.labels.sum() == len(sample) > 0
            positives = [
                row
                for row, (labels, split) in enumerate(zip(texts["labels"], texts["split"], strict=True))
                if split == name and prompt.concept in labels
            ]
            assert sorted(sample.rows[sample.labels == 1]) == positives


def test_limits_are_by_split(texts):
    for prompt in draw_prompt_texts(texts, CONCEPTS, [1], StimuliOptions(train_texts=3, dev_texts=2)):
        assert (len(prompt.train), len(prompt.dev)) == (6, 4)


def test_a_prompts_texts_do_not_depend_on_the_others(texts):
    """Nor does the sample of one split depend on the other's."""
    options = StimuliOptions(train_texts=4, dev_texts=3, negatives="any")
    prompts = {(p.concept, p.seed): p for p in draw_prompt_texts(texts, CONCEPTS, [1, 2], options)}
    [alone] = draw_prompt_texts(texts, ["fear"], [2], options)
    for split in ("train", "dev"):
        sample, other = getattr(alone, split), getattr(prompts["fear", 2], split)
        assert sample.rows.tolist() == other.rows.tolist()
        assert sample.labels.tolist() == other.labels.tolist()
        rows, _ = draw_samples(texts, "fear", 2, split, options)
        assert rows.tolist() == sample.rows.tolist()
    assert prompts["fear", 1].train.rows.tolist() != prompts["fear", 2].train.rows.tolist()


def test_a_concept_without_texts(texts):
    with pytest.raises(InputError, match="'pride': no train text"):
        draw_prompt_texts(texts, ["joy", "pride"], [1], StimuliOptions())


def test_texts_that_choose_the_epoch_are_taken_from_those_to_train_on(texts):
    options = StimuliOptions()
    whole = {(p.concept, p.seed): p for p in draw_prompt_texts(texts, CONCEPTS, [1, 2], options)}
    for prompt in draw_prompt_texts(texts, CONCEPTS, [1, 2], options, validation=0.25):
        published = whole[prompt.concept, prompt.seed]
        assert published.validation is None
        assert published.choosing is published.dev
        assert prompt.choosing is prompt.validation
        assert prompt.dev.rows.tolist() == published.dev.rows.tolist()
        assert sorted([*prompt.train.rows, *prompt.validation.rows]) == sorted(published.train.rows)
        assert not set(prompt.train.rows) & set(prompt.validation.rows)
        for sample in (prompt.train, prompt.validation):
            assert 2 * sample.labels.sum() == len(sample) > 0
            carries = [prompt.concept in labels for labels in texts["labels"].iloc[sample.rows]]
            assert sample.labels.tolist() == [int(c) for c in carries]
        assert len(prompt.validation) == 2 * round(len(published.train) / 2 * 0.25)


def test_texts_that_are_held_out_too_are_trained_on_only_if_asked(texts):
    """Every text is there twice, in other forms, and the file says that some are in both splits."""
    doubled = pd.concat([texts, texts.assign(text=" " + texts["text"] + "\u00a0", split="dev")], ignore_index=True)
    some = doubled.drop(index=range(70, 120))  # ten texts are held out too
    held_out = set(some["text"][some["split"] == "dev"].str.strip())
    lost = 0
    for clean, kept in zip(
        draw_prompt_texts(some, CONCEPTS, [1], StimuliOptions(negatives="any")),
        draw_prompt_texts(some, CONCEPTS, [1], StimuliOptions(negatives="any"), keep_repeated=True),
        strict=True,
    ):
        assert not set(some["text"].iloc[clean.train.rows].str.strip()) & held_out
        assert clean.dev.rows.tolist() == kept.dev.rows.tolist()
        assert set(kept.train.rows[kept.train.labels == 1]) >= set(clean.train.rows[clean.train.labels == 1])
        lost += len(kept.train) - len(clean.train)
    assert lost > 0


def test_asked_texts_are_those_held_out_for_prompts_and_need_no_train_texts(texts):
    options = StimuliOptions(dev_texts=2)
    prompts = draw_prompt_texts(texts, CONCEPTS, [1, 2], options)
    asked = draw_asked_texts(texts.assign(split=texts["split"].replace("train", "none")), CONCEPTS, [1, 2], options)
    for prompt, own in zip(prompts, asked, strict=True):
        assert (prompt.concept, prompt.seed) == (own.concept, own.seed)
        assert prompt.dev.rows.tolist() == own.dev.rows.tolist()


def test_a_concept_whose_train_texts_are_all_held_out(texts):
    carries = np.array(["joy" in labels for labels in texts["labels"]])
    copies = texts[(texts["split"] == "train") & carries]
    both = pd.concat([texts, copies.assign(split="dev")], ignore_index=True)
    with pytest.raises(InputError, match=r"^concept 'joy': all its train texts are held out too; .*keep_repeated"):
        draw_prompt_texts(both, CONCEPTS, [1], StimuliOptions())
    assert draw_prompt_texts(both, CONCEPTS, [1], StimuliOptions(), keep_repeated=True)
