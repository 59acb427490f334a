"""Training prompts in groups: each prompt is trained as if it were alone."""

import dataclasses
import zlib

import numpy as np
import pytest
import tiny_models
import torch
from torch.nn.functional import cross_entropy

from emoscale.errors import StageError
from emoscale.models import training_attention
from emoscale.models.outline import encode_texts
from emoscale.models.prompted import PromptedModel
from emoscale.stimuli.prompt_texts import PromptTexts, Sample
from emoscale.system.progress import Silent
from emoscale.tuning.options import TuningOptions
from emoscale.tuning.training import GroupTrainer

LENGTH = 3
OPTIONS = TuningOptions(
    epochs=2, batch_size=4, learning_rate=0.05, weight_decay=0.1, tokens_per_pass=80, precision="exact"
)
CASES = [("bert-encoder", "prefix"), ("roberta", "mask-first"), ("llama", "prefix")]

GOOD = ["she felt joy", "happy news", "a gift, glad thanks", "He won the game", "they felt happy", "friend was glad"]
BAD = ["he felt sad", "alone at home", "my dog lost", "the dark dark home", "fear", "a loud angry voice that moment"]


@pytest.fixture(params=CASES, ids=lambda case: case[0])
def model(request, tiny_model):
    name, layout = request.param
    return PromptedModel(tiny_model(name), layout, LENGTH, ["negative", "positive"])


@pytest.fixture
def tokens(model):
    return encode_texts(model.model.outline, GOOD + BAD, 20)


def sample(rng, size):
    rows = rng.choice(len(GOOD + BAD), size, replace=False)
    return Sample(rows.astype(np.int64), (rows < len(GOOD)).astype(np.int64))


@pytest.fixture
def prompts():
    """Unequal numbers of texts; two of one concept, two of one seed."""
    rng = np.random.default_rng(0)
    named = [("joy", 1, 10, 4), ("joy", 3, 3, 6), ("fear", 1, 5, 2)]
    return [PromptTexts(concept, seed, sample(rng, train), sample(rng, dev)) for concept, seed, train, dev in named]


def train(model, tokens, prompts, **changes):
    return GroupTrainer(model, tokens, prompts, dataclasses.replace(OPTIONS, **changes)).train(Silent())


def assert_same(tuned, other, prompt=slice(None)):
    for name, values in vars(tuned).items():
        expected = getattr(other, name)[prompt]
        assert values.shape == expected.shape
        assert torch.allclose(values, expected, atol=1e-4), name


def test_a_group_is_trained_as_its_prompts_are_alone(model, tokens, prompts):
    group = train(model, tokens, prompts)
    assert group.vectors.shape == (3, LENGTH, tiny_models.HIDDEN)
    for number, prompt in enumerate(prompts):
        assert_same(train(model, tokens, [prompt]), group, slice(number, number + 1))


def test_a_prompts_place_in_the_group_does_not_matter(model, tokens, prompts):
    group, turned = train(model, tokens, prompts), train(model, tokens, prompts[::-1])
    for name, values in vars(group).items():
        assert torch.allclose(values, getattr(turned, name).flip(0), atol=1e-4), name


@pytest.mark.parametrize("tokens_per_pass", [1, 30, 10_000, None])
def test_the_size_of_a_pass_does_not_matter(model, tokens, prompts, tokens_per_pass):
    assert_same(train(model, tokens, prompts, tokens_per_pass=tokens_per_pass), train(model, tokens, prompts))


@pytest.mark.parametrize("patience", [1, 2])
def test_a_group_that_stops_early_is_trained_as_its_prompts_alone(model, tokens, prompts, patience):
    options = {"epochs": 7, "learning_rate": 0.2, "patience": patience}
    group = train(model, tokens, prompts, **options)
    assert group.epochs.tolist() == [min(epoch + patience, 7) for epoch in group.epoch.tolist()]
    for number, prompt in enumerate(prompts):
        assert_same(train(model, tokens, [prompt], **options), group, slice(number, number + 1))
        complete = train(model, tokens, [prompt], **{**options, "epochs": int(group.epochs[number]), "patience": None})
        assert_same(complete, group, slice(number, number + 1))


def test_a_stopped_prompt_is_neither_trained_nor_evaluated(model, tokens, prompts, monkeypatch):
    """The first improves in every epoch, the second in the first only, the third in the first two."""
    losses = iter(torch.tensor([[5, 1, 3], [4, 2, 2], [3, 2, 2], [2, 2, 2], [1, 2, 2]]).double())
    seen, states = [], []
    step = GroupTrainer._step

    def evaluate(trainer):
        seen.append([])
        states.append([vectors.detach().clone() for vectors in trainer._vectors])
        return torch.full((3,), 0.5, dtype=torch.float64), next(losses)

    def watched(trainer, rows):
        seen[-1].extend(rows.prompt)
        step(trainer, rows)

    seen.append([])
    monkeypatch.setattr(GroupTrainer, "_evaluate", evaluate)
    monkeypatch.setattr(GroupTrainer, "_step", watched)
    group = train(model, tokens, prompts, epochs=5, patience=2)
    assert [sorted(set(numbers)) for numbers in seen[:5]] == [[0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 2], [0]]
    assert group.epoch.tolist() == [5, 1, 2]
    assert group.epochs.tolist() == [5, 3, 4]
    for number, epochs in enumerate([5, 3, 4]):
        # AdamW would shrink a prompt that merely has no gradient of its own.
        assert torch.equal(states[4][number], states[epochs - 1][number])
        assert torch.equal(group.vectors[number], states[group.epoch[number] - 1][number])


def test_a_group_ends_when_all_have_stopped(model, tokens, prompts, monkeypatch):
    epochs = []

    def evaluate(trainer):
        epochs.append(len(epochs))
        return torch.full((3,), 0.5, dtype=torch.float64), torch.full((3,), 1.0, dtype=torch.float64)

    monkeypatch.setattr(GroupTrainer, "_evaluate", evaluate)
    group = train(model, tokens, prompts, epochs=100, patience=2)
    assert len(epochs) == 3
    assert group.epochs.tolist() == [3, 3, 3]


def test_a_long_text_does_not_change_how_others_are_computed(model, prompts, monkeypatch):
    """Long rows have fused attention; the passes of short ones keep the one that is faster for them."""
    monkeypatch.setattr(training_attention, "_SHORT_ROW", 20)
    tokens = encode_texts(model.model.outline, [*(GOOD + BAD)[:-1], 40 * "sad "], 30)
    module, scores, used = model.model.module, model.scores, set()
    usual = module.config._attn_implementation

    def watched(batch, *more):
        used.add((batch.ids.shape[1] > 20, module.config._attn_implementation))
        return scores(batch, *more)

    monkeypatch.setattr(model, "scores", watched)
    train(model, tokens, [PromptTexts("joy", 1, Sample(np.arange(12), np.arange(12) % 2), prompts[0].dev)])
    assert used == {(False, "eager"), (True, usual)}
    assert module.config._attn_implementation == usual


@pytest.mark.parametrize("patience", [None, 1])
def test_the_validation_texts_choose_the_epoch_and_no_others(model, tokens, prompts, patience):
    def tuned(*others):
        made = [PromptTexts(p.concept, p.seed, p.train, *own) for p, own in zip(prompts, others, strict=True)]
        return train(model, tokens, made, epochs=4, patience=patience)

    rng = np.random.default_rng(5)
    elsewhere = [sample(rng, 3) for _ in prompts]
    published = tuned(*[(prompt.dev,) for prompt in prompts])
    chosen = tuned(*[(other, prompt.dev) for other, prompt in zip(elsewhere, prompts, strict=True)])
    for name in ("vectors", "heads", "accuracy", "accuracy_last", "loss", "epoch", "epochs"):
        assert torch.equal(getattr(published, name), getattr(chosen, name)), name


def train_plainly(model, tokens, prompt):
    """One prompt, one text at a time; (vectors, head) after each epoch."""
    vectors = model.initial_prompt().requires_grad_()
    head = model.readout.new_head().requires_grad_()
    optimizer = torch.optim.AdamW(
        [vectors, head] if head.numel() else [vectors], lr=OPTIONS.learning_rate, weight_decay=OPTIONS.weight_decay
    )
    for epoch in range(1, OPTIONS.epochs + 1):
        rng = np.random.default_rng([prompt.seed, zlib.crc32(prompt.concept.encode()), epoch])
        order = rng.permutation(len(prompt.train))
        for start in range(0, len(order), OPTIONS.batch_size):
            batch = order[start : start + OPTIONS.batch_size]
            losses = []
            for i in batch:
                row = model.batch([tokens[prompt.train.rows[i]]])
                losses.append(
                    cross_entropy(model.scores(row, vectors[None], head[None])[0], torch.tensor(prompt.train.labels[i]))
                )
            optimizer.zero_grad()
            (sum(losses) / len(losses)).backward()
            optimizer.step()
        yield vectors.detach().clone(), head.detach().clone()


@torch.no_grad()
def evaluate_plainly(model, tokens, prompt, vectors, head):
    right, loss = 0, 0.0
    for row, label in zip(prompt.dev.rows, prompt.dev.labels, strict=True):
        scores = model.scores(model.batch([tokens[row]]), vectors[None], head[None])[0]
        right += int(scores[1] > scores[0]) == label
        loss += cross_entropy(scores, torch.tensor(label)).item()
    return right / len(prompt.dev), loss / len(prompt.dev)


def test_training_equals_a_plain_loop(model, tokens, prompts):
    group = train(model, tokens, prompts)
    for number, prompt in enumerate(prompts):
        epochs = [
            (*state, *evaluate_plainly(model, tokens, prompt, *state)) for state in train_plainly(model, tokens, prompt)
        ]
        best = max(range(len(epochs)), key=lambda e: (epochs[e][2], -epochs[e][3]))
        vectors, head, accuracy, loss = epochs[best]
        assert group.epoch[number] == best + 1
        assert group.accuracy[number].item() == pytest.approx(accuracy)
        assert group.accuracy_last[number].item() == pytest.approx(epochs[-1][2])
        assert group.loss[number].item() == pytest.approx(loss, abs=1e-4)
        assert torch.allclose(group.vectors[number], vectors, atol=1e-4)
        assert torch.allclose(group.heads[number], head, atol=1e-4)


def test_only_prompts_and_heads_change(model, tokens, prompts):
    module = model.model.module
    before = {name: value.clone() for name, value in module.state_dict().items()}
    attention = module.config._attn_implementation
    group = train(model, tokens, prompts)
    after = module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in module.parameters())
    assert module.config._attn_implementation == attention
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
    assert (group.vectors - model.initial_prompt()).abs().amax(dim=(1, 2)).min() > 0.01
    if group.heads.numel():
        assert group.heads.abs().amax(dim=(1, 2)).min() > 0.01


def test_the_best_epoch_is_kept_by_accuracy_then_loss(model, tokens, prompts, monkeypatch):
    nan = float("nan")
    accuracies = torch.tensor([[0.5, 0.7, 0.5], [0.7, 0.7, 0.6], [0.7, 0.9, 0.6], [0.6, 0.7, 0.6]]).double()
    losses = torch.tensor([[0.1, 0.5, 0.3], [0.8, 0.6, 0.9], [0.7, nan, 0.9], [0.2, 0.5, 0.8]]).double()
    kept = [3, 1, 4]
    states = []

    def evaluate(trainer):
        epoch = len(states)
        states.append([vectors.detach().clone() for vectors in trainer._vectors])
        return accuracies[epoch], losses[epoch]

    monkeypatch.setattr(GroupTrainer, "_evaluate", evaluate)
    group = train(model, tokens, prompts, epochs=4)
    assert group.epoch.tolist() == kept
    for number, epoch in enumerate(kept):
        assert torch.equal(group.vectors[number], states[epoch - 1][number])
        assert group.accuracy[number] == accuracies[epoch - 1, number]
        assert group.loss[number] == losses[epoch - 1, number]
    assert torch.equal(group.accuracy_last, accuracies[-1])


def test_a_loss_that_is_never_finite_stops_the_stage(model, tokens, prompts):
    with pytest.raises(StageError, match=r"'fear', seed 1: its loss is not finite.*learning_rate"):
        train(model, tokens, prompts[2:], learning_rate=1e37)


def test_progress_counts_every_text(model, tokens, prompts):
    class Counter(Silent):
        count = 0

        def advance(self, amount=1):
            self.count += amount

    for changes in ({}, {"epochs": 6, "patience": 1, "learning_rate": 0.5}):
        counter, options = Counter(), dataclasses.replace(OPTIONS, **changes)
        GroupTrainer(model, tokens, prompts, options).train(counter)
        assert counter.count == options.epochs * sum(len(p.train) + len(p.dev) for p in prompts)


def test_a_prompt_learns_labels_that_can_be_learned(model, tokens):
    """And its opposite, so that the model's own bias is not enough."""
    rows = np.arange(len(GOOD + BAD))
    labels = (rows < len(GOOD)).astype(np.int64)
    prompt = PromptTexts("joy", 1, Sample(rows, labels), Sample(rows, labels))
    upside_down = PromptTexts("gloom", 1, Sample(rows, 1 - labels), Sample(rows, 1 - labels))
    fast = {"learning_rate": 0.1, "batch_size": len(rows), "tokens_per_pass": None, "weight_decay": 0.0}
    first, last = (train(model, tokens, [prompt, upside_down], epochs=epochs, **fast) for epochs in (1, 80))
    assert (last.loss < 0.95 * first.loss).all()
    assert (last.accuracy > 0.7).all()


def test_bfloat16_is_near_float32(model, tokens, prompts):
    near, exact = (
        train(model, tokens, prompts, precision=name, epochs=1, learning_rate=0.002) for name in ("bfloat16", "exact")
    )
    assert near.vectors.dtype == torch.float32
    assert not torch.equal(near.vectors, exact.vectors)
    assert (near.loss - exact.loss).abs().max() < 0.2


def test_training_is_deterministic_to_the_last_bit(tiny_model):
    """With several threads, and enough rows for all of them."""
    model = PromptedModel(tiny_model("bert-encoder"), "prefix", 24, ["negative", "positive"])
    tokens = encode_texts(model.model.outline, GOOD + BAD, 20)
    rng = np.random.default_rng(0)
    prompts = [PromptTexts("joy", seed, sample(rng, 12), sample(rng, 4)) for seed in range(40)]
    usual = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        first, second = (
            train(model, tokens, prompts, batch_size=12, tokens_per_pass=100_000, epochs=3) for _ in range(2)
        )
    finally:
        torch.set_num_threads(usual)
    assert torch.equal(first.vectors, second.vectors)
    assert torch.equal(first.heads, second.heads)
