import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from emoscale.models.outline import encode_texts
from emoscale.models.prompt_files import TunedPrompts, load_prompts, prompt_file
from emoscale.models.prompted import PromptedModel
from emoscale.run.folder import RunFolder
from emoscale.stimuli.prompt_texts import PromptTexts, Sample
from emoscale.system.progress import Silent
from emoscale.system.ranks import Ranks, one_process
from emoscale.tuning.options import TuningOptions
from emoscale.tuning.training import GroupTrainer
from emoscale.tuning.tune import tune

TEXTS = ["she felt joy", "happy news", "he felt sad", "alone at home", "my dog lost", "a gift, thanks"]
OPTIONS = TuningOptions(
    epochs=1, batch_size=4, learning_rate=0.05, weight_decay=0.0, tokens_per_pass=16, precision="exact"
)


@pytest.fixture(scope="module")
def model(tiny_model):
    return PromptedModel(tiny_model("bert-encoder"), "prefix", 2, [])


@pytest.fixture(scope="module")
def tokens(model):
    return encode_texts(model.model.outline, TEXTS, 10)


@pytest.fixture(scope="module")
def prompts():
    rng = np.random.default_rng(0)

    def sample(size):
        return Sample(rng.permutation(len(TEXTS))[:size], rng.integers(0, 2, size))

    return [
        PromptTexts(concept, seed, sample(4 + seed % 2), sample(4))
        for seed in (1, 2)
        for concept in ("joy", "fear", "grief")
    ]


class Steps(Silent):
    def __init__(self):
        self.total = self.done = self.advanced = 0

    def start(self, total, unit, done=0):
        self.total, self.done, self.unit = total, done, unit

    def advance(self, amount=1):
        self.advanced += amount


def run(path, model, tokens, prompts, ranks=None, progress=None, per_group=4, **changes):
    return tune(
        RunFolder(path),
        model,
        tokens,
        prompts,
        dataclasses.replace(OPTIONS, prompts_per_group=per_group, **changes),
        ranks=ranks or one_process(),
        progress=progress or Silent(),
    )


def test_files_and_table(tmp_path, model, tokens, prompts):
    counts = run(tmp_path, model, tokens, prompts)
    folder = RunFolder(tmp_path)
    assert sorted(file.name for file in folder.prompts.iterdir()) == [
        "group-0000.safetensors",
        "group-0001.safetensors",
    ]
    table, tuned = pd.read_parquet(folder.prompt_table), load_prompts(folder.prompts)
    assert table["concept"].tolist() == 2 * ["joy", "fear", "grief"]
    assert table["replicate"].tolist() == 3 * ["1"] + 3 * ["2"]
    assert table["train"].tolist() == 3 * [5] + 3 * [4]
    assert table["accuracy"].tolist() == tuned.accuracy.tolist()
    assert table["epochs"].tolist() == 6 * [1]
    assert counts == {"prompts": 6, "accuracy": pytest.approx(table["accuracy"].mean())}
    alone = [GroupTrainer(model, tokens, [prompt], OPTIONS).train(Silent()) for prompt in prompts]
    assert torch.allclose(tuned.vectors, torch.cat([one.vectors for one in alone]), atol=1e-4)


def test_groups_that_are_there_are_kept_and_the_others_are_the_same_again(tmp_path, model, tokens, prompts):
    first, second = Steps(), Steps()
    run(tmp_path, model, tokens, prompts, progress=first, per_group=2)
    folder = RunFolder(tmp_path)
    files = [prompt_file(folder.prompts, group) for group in range(3)]
    before = [file.read_bytes() for file in files]
    table = folder.prompt_table.read_bytes()
    files[1].unlink()
    folder.prompt_table.unlink()
    stamps = [files[0].stat().st_mtime_ns, files[2].stat().st_mtime_ns]
    run(tmp_path, model, tokens, prompts, progress=second, per_group=2)
    assert [file.read_bytes() for file in files] == before
    assert folder.prompt_table.read_bytes() == table
    assert [files[0].stat().st_mtime_ns, files[2].stat().st_mtime_ns] == stamps
    assert (first.done, first.advanced, first.unit) == (0, first.total, "texts")
    assert second.total == first.total
    assert 0 < second.advanced == second.total - second.done < second.total


def test_prompts_that_stop_early(tmp_path, model, tokens, prompts):
    """The table says how long each was trained, and progress still ends at its total."""
    steps = Steps()
    run(tmp_path, model, tokens, prompts, progress=steps, epochs=6, learning_rate=0.5, patience=1)
    table = pd.read_parquet(RunFolder(tmp_path).prompt_table)
    assert steps.advanced == steps.total == 6 * (table["train"] + table["dev"]).sum()
    assert table["epochs"].tolist() == np.minimum(table["epoch"] + 1, 6).tolist()
    assert min(table["epochs"]) < 6


def test_a_group_that_fails_leaves_no_file(tmp_path, model, tokens, prompts, monkeypatch):
    def fail(trainer, progress):
        raise KeyboardInterrupt

    monkeypatch.setattr(GroupTrainer, "train", fail)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, model, tokens, prompts)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_ranks_share_the_groups(tmp_path, model, tokens, prompts):
    """Two ranks one after the other: the second finds the first one's groups when it comes to the table."""
    run(tmp_path / "one", model, tokens, prompts, per_group=1)
    device = torch.device("cpu")
    with pytest.raises(ValueError):  # rank 0 alone does not have every prompt
        run(tmp_path / "two", model, tokens, prompts, Ranks(0, 2, device), per_group=1)
    run(tmp_path / "two", model, tokens, prompts, Ranks(1, 2, device), per_group=1)
    run(tmp_path / "two", model, tokens, prompts, Ranks(0, 2, device), per_group=1)
    one, two = (
        {f.relative_to(root): f.read_bytes() for f in root.rglob("*") if f.is_file()}
        for root in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two
    assert len(one) == len(prompts) + 1


def test_prompts_are_loaded_in_the_order_of_their_groups(tmp_path):
    def prompts(number, count):
        ones = torch.full((count,), float(number), dtype=torch.float64)
        return TunedPrompts(
            torch.full((count, 2, 3), float(number)),
            torch.empty(count, 0),
            ones,
            ones + 1,
            ones + 2,
            ones.long(),
            ones.long() + 3,
        )

    for number in (11, 2, 0, 1):
        prompts(number, 2).save(prompt_file(tmp_path, number))
    loaded = load_prompts(tmp_path)
    assert loaded.epoch.tolist() == [0, 0, 1, 1, 2, 2, 11, 11]
    assert loaded.vectors[:, 0, 0].tolist() == loaded.accuracy.tolist() == loaded.epoch.tolist()
    assert loaded.accuracy_last.tolist() == [n + 1 for n in loaded.epoch.tolist()]
    assert loaded.loss.tolist() == [n + 2 for n in loaded.epoch.tolist()]
    assert loaded.epochs.tolist() == [n + 3 for n in loaded.epoch.tolist()]
    assert loaded.heads.shape == (8, 0)
