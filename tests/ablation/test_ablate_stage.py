import numpy as np
import pandas as pd
import pytest
import tiny_models
import torch

from emoscale.ablation import ablate
from emoscale.ablation.masked_forward import count_correct
from emoscale.ablation.stage import read_masks
from emoscale.distributed import Ranks, one_process
from emoscale.errors import InputError, StageError
from emoscale.models import PromptedModel
from emoscale.models.loading import encode_texts
from emoscale.models.prompt_files import TunedPrompts
from emoscale.progress import Silent
from emoscale.run_folder import RunFolder
from emoscale.schema import MASKS
from emoscale.stimuli.prompt_texts import PromptTexts, Sample
from emoscale.store import create_store

NEURONS = tiny_models.LAYERS * tiny_models.WIDTH
PROMPTS, MASK_COUNT = 3, 5
KINDS = ["none", "selective", "selective", "random", "random"]


def write_masks(path, off, complete=True):
    count = len(off)
    coordinates = {
        "kind": np.array(KINDS[:count]),
        "attribute": np.array(["", "arousal", "valence", "", ""][:count]),
        "k": off.sum(axis=1),
        "draw": np.array([0, 0, 0, 0, 1][:count]),
    }
    bits = np.packbits(off, axis=1)
    store = create_store(
        RunFolder(path).masks,
        MASKS,
        coordinates,
        {"mask": 2},
        sizes={"neuron_byte": bits.shape[1]},
        attributes={"neurons": off.shape[1]},
    )
    store.write("bits", bits)
    if complete:
        store.mark_complete()


@pytest.fixture(scope="module")
def off():
    off = np.random.default_rng(0).random((MASK_COUNT, NEURONS)) < 0.5
    off[0] = False
    return off


class Study:
    """Prompts with unequal numbers of held-out texts, on a model with label heads."""

    def __init__(self, model):
        self.model = PromptedModel(model, "prefix", 2, [])
        self.tokens = encode_texts(model.outline, tiny_models.TEXTS, 20)
        rng = np.random.default_rng(1)
        nothing = Sample(np.empty(0, np.int64), np.empty(0, np.int64))
        self.prompts = [
            PromptTexts(concept, seed, nothing, Sample(rng.permutation(6)[:size], rng.integers(0, 2, size)))
            for concept, seed, size in [("joy", 1, 6), ("fear", 1, 2), ("joy", 3, 4)]
        ]
        generator = torch.Generator().manual_seed(2)
        blank = torch.zeros(PROMPTS, dtype=torch.float64)
        self.tuned = TunedPrompts(
            torch.randn(PROMPTS, 2, tiny_models.HIDDEN, generator=generator),
            torch.randn(PROMPTS, 2, tiny_models.HIDDEN + 1, generator=generator),
            blank,
            blank,
            blank,
            blank.long(),
            blank.long(),
        )


@pytest.fixture(scope="module")
def study(tiny_model):
    return Study(tiny_model("bert-encoder"))


def run(path, study, masks_per_unit=2, rows_per_pass=4, ranks=None, progress=None):
    return ablate(
        RunFolder(path),
        study.model,
        study.tokens,
        study.prompts,
        study.tuned,
        masks_per_unit=masks_per_unit,
        rows_per_pass=rows_per_pass,
        precision="float32",
        ranks=ranks or one_process(),
        progress=progress or Silent(),
    )


def test_the_table_is_complete_sorted_and_right(tmp_path, study, off):
    write_masks(tmp_path, off)
    assert run(tmp_path, study) == {"prompts": 3, "masks": 5, "rows": 5 * (6 + 2 + 4)}
    table = pd.read_parquet(RunFolder(tmp_path).ablation_table)
    expected = pd.DataFrame([(p, m) for p in range(PROMPTS) for m in range(MASK_COUNT)], columns=["prompt", "mask"])
    assert table["mask"].tolist() == expected["mask"].tolist()
    assert table["concept"].tolist() == [study.prompts[p].concept for p in expected["prompt"]]
    assert table["replicate"].tolist() == [str(study.prompts[p].seed) for p in expected["prompt"]]
    assert table["total"].tolist() == [len(study.prompts[p].dev) for p in expected["prompt"]]
    assert table["kind"].tolist() == PROMPTS * KINDS
    assert table["attribute"].tolist() == PROMPTS * ["", "arousal", "valence", "", ""]
    assert table["k"].tolist() == PROMPTS * off.sum(axis=1).tolist()
    assert table["draw"].tolist() == PROMPTS * [0, 0, 0, 0, 1]
    for number, prompt in enumerate(study.prompts):
        correct = count_correct(
            study.model,
            [study.tokens[row] for row in prompt.dev.rows],
            torch.from_numpy(prompt.dev.labels),
            study.tuned.vectors[number],
            study.tuned.heads[number],
            torch.from_numpy(off),
            rows_per_pass=100,
            precision_name="float32",
            advance=lambda rows: None,
        )
        assert table["correct"][expected["prompt"] == number].tolist() == correct.tolist()
    assert table["correct"].nunique() > 2
    assert list(table) == ["concept", "replicate", "mask", "kind", "attribute", "k", "draw", "correct", "total"]


@pytest.mark.parametrize(("masks_per_unit", "rows_per_pass"), [(1, 1), (3, 100), (64, 5)])
def test_units_and_passes_do_not_matter(tmp_path, study, off, masks_per_unit, rows_per_pass):
    tables = []
    for name, sizes in {"one": (2, 4), "other": (masks_per_unit, rows_per_pass)}.items():
        write_masks(tmp_path / name, off)
        run(tmp_path / name, study, *sizes)
        tables.append(RunFolder(tmp_path / name).ablation_table.read_bytes())
    assert tables[0] == tables[1]


class Steps(Silent):
    advanced = 0

    def start(self, total, unit, done=0):
        self.total, self.unit, self.done = total, unit, done

    def advance(self, amount=1):
        self.advanced += amount


def test_units_that_are_there_are_kept(tmp_path, study, off):
    write_masks(tmp_path, off)
    folder = RunFolder(tmp_path)
    first, second = Steps(), Steps()
    run(tmp_path, study, progress=first)
    parts = sorted(folder.ablation.iterdir())
    assert [part.name for part in parts] == [f"part-{unit:06d}.parquet" for unit in range(9)]
    before = {path: path.read_bytes() for path in [*parts, folder.ablation_table]}
    gone = [parts[1], parts[5], parts[8]]
    for path in [*gone, folder.ablation_table]:
        path.unlink()
    stamps = {part: part.stat().st_mtime_ns for part in parts if part not in gone}
    run(tmp_path, study, progress=second)
    assert {path: path.read_bytes() for path in before} == before
    assert {part: part.stat().st_mtime_ns for part in stamps} == stamps
    assert (first.total, first.done, first.advanced, first.unit) == (60, 0, 60, "rows")
    assert (second.total, second.advanced) == (60, 2 * 6 + 1 * 2 + 1 * 4)
    assert second.done == 60 - second.advanced


def test_an_interruption_leaves_whole_parts(tmp_path, study, off):
    class Interrupt(Silent):
        left = 10

        def advance(self, amount=1):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    write_masks(tmp_path / "part", off)
    write_masks(tmp_path / "whole", off)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part", study, progress=Interrupt())
    folder = RunFolder(tmp_path / "part")
    assert not folder.ablation_table.exists()
    parts = sorted(path.name for path in folder.ablation.iterdir())
    assert parts == [f"part-{unit:06d}.parquet" for unit in range(len(parts))]
    assert 0 < len(parts) < 9
    run(tmp_path / "part", study)
    run(tmp_path / "whole", study)
    part, whole = (
        {file.relative_to(root): file.read_bytes() for file in root.rglob("*.parquet")}
        for root in (tmp_path / "part", tmp_path / "whole")
    )
    assert part == whole


def test_ranks_share_the_units_out(tmp_path, study, off):
    write_masks(tmp_path / "one", off)
    write_masks(tmp_path / "three", off)
    run(tmp_path / "one", study)
    # One after the other; rank 0, which makes the table, comes last.
    steps = []
    for rank in (2, 1, 0):
        steps.append(Steps())
        run(tmp_path / "three", study, ranks=Ranks(rank, 3, torch.device("cpu")), progress=steps[-1])
    assert all(step.advanced == step.total > 0 for step in steps)
    assert sum(step.total for step in steps) == 60
    one, three = (RunFolder(tmp_path / name).ablation_table.read_bytes() for name in ("one", "three"))
    assert one == three


def test_masks_are_read_as_they_were_written(tmp_path):
    off = np.random.default_rng(3).random((4, 21)) < 0.3
    write_masks(tmp_path, off)
    table, read = read_masks(RunFolder(tmp_path))
    assert read.dtype == torch.bool
    assert np.array_equal(read.numpy(), off)
    assert table["mask"].tolist() == [0, 1, 2, 3]
    assert table["kind"].tolist() == KINDS[:4]


def test_masks_that_are_not_there_or_not_finished(tmp_path, study, off):
    with pytest.raises(InputError, match="no store is here"):
        run(tmp_path, study)
    write_masks(tmp_path, off, complete=False)
    with pytest.raises(StageError, match="not finished; run emoscale mask"):
        run(tmp_path, study)
    assert not RunFolder(tmp_path).ablation.exists()
