import numpy as np
import pandas as pd
import pytest
import tiny_models
import torch

from emoscale.ablation.ablate import ablate, read_masks
from emoscale.ablation.budget import find_budget, kept_budget, one_pass
from emoscale.ablation.edits import DONORS, RowEdit, make_edit
from emoscale.ablation.forward_options import SMALLEST_PASS, ForwardOptions
from emoscale.ablation.masked_forward import answer
from emoscale.ablation.options import AblationOptions
from emoscale.errors import StageError
from emoscale.models.masking import Edit
from emoscale.models.outline import encode_texts
from emoscale.models.prompt_files import TunedPrompts
from emoscale.models.prompted import PromptedModel
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS, MASKS
from emoscale.stimuli.prompt_texts import PromptTexts, Sample
from emoscale.store import Store, create_store
from emoscale.system.progress import Silent
from emoscale.system.ranks import Ranks, one_process
from emoscale.tasks.soft_prompt import SoftPromptTask

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
        self.task = SoftPromptTask(self.model, self.tokens, self.prompts, self.tuned)


@pytest.fixture(scope="module")
def study(tiny_model):
    return Study(tiny_model("bert-encoder"))


def options(masks_per_unit=2, tokens_per_pass=40, **edit):
    return AblationOptions(masks_per_unit=masks_per_unit, tokens_per_pass=tokens_per_pass, **edit)


def run(path, study, chosen=None, *, ranks=None, progress=None):
    return ablate(
        RunFolder(path),
        study.model.model,
        study.task,
        chosen or options(),
        ranks=ranks or one_process(),
        progress=progress or Silent(),
    )


def test_the_table_is_complete_sorted_and_right(tmp_path, study, off):
    write_masks(tmp_path, off)
    assert run(tmp_path, study) == {"items": 12, "masks": 5, "rows": 60, "tokens_per_pass": 40}
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
    for number in range(PROMPTS):
        items = np.flatnonzero(study.task._prompt == number)
        way = ForwardOptions(RowEdit(), "exact", 10_000)
        found = answer(study.model.model, study.task, items, off, np.arange(MASK_COUNT), way, lambda rows: None)
        correct = found.correct[0]
        assert table["correct"][expected["prompt"] == number].tolist() == correct.tolist()
    assert table["correct"].nunique() > 2
    names = ["concept", "replicate", "mask", "kind", "attribute", "k", "draw", "correct", "total", "options"]
    assert list(table) == names
    assert set(table["options"]) == {2}


@pytest.mark.parametrize(("masks_per_unit", "tokens_per_pass"), [(1, 1), (3, 1000), (64, 50), (64, None)])
def test_units_and_passes_do_not_matter(tmp_path, study, off, masks_per_unit, tokens_per_pass):
    tables = []
    for name, sizes in {"one": (2, 40), "other": (masks_per_unit, tokens_per_pass)}.items():
        write_masks(tmp_path / name, off)
        run(tmp_path / name, study, options(*sizes))
        tables.append(RunFolder(tmp_path / name).ablation_table.read_bytes())
    assert tables[0] == tables[1]


class Steps(Silent):
    advanced = 0

    def start(self, total, unit, done=0):
        self.total, self.unit, self.done = total, unit, done

    def advance(self, amount=1):
        self.advanced += amount


def test_finished_units_are_kept(tmp_path, study, off):
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


def test_an_interruption_leaves_complete_parts(tmp_path, study, off):
    class Interrupt(Silent):
        left = 30

        def advance(self, amount=1):
            self.left -= amount
            if self.left <= 0:
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


@pytest.mark.parametrize(("masks_per_unit", "sizes"), [(2, [2, 2, 1]), (4, [3, 2]), (5, [5]), (64, [5]), (1, [1] * 5)])
def test_units_are_of_about_equal_size(tmp_path, study, off, masks_per_unit, sizes):
    write_masks(tmp_path, off)
    run(tmp_path, study, options(masks_per_unit))
    parts = sorted(RunFolder(tmp_path).ablation.iterdir())
    assert [len(pd.read_parquet(part)) for part in parts] == PROMPTS * sizes


def test_masks_are_read_as_they_were_written(tmp_path):
    off = np.random.default_rng(3).random((4, 21)) < 0.3
    write_masks(tmp_path, off)
    table, masks = read_masks(RunFolder(tmp_path))
    for chosen in ([0, 1, 2, 3], [2, 0], [3]):
        read = masks.off(np.array(chosen))
        assert read.dtype == np.bool_
        assert np.array_equal(read, off[chosen])
    assert table["mask"].tolist() == [0, 1, 2, 3]
    assert table["kind"].tolist() == KINDS[:4]


def test_masks_that_are_missing_or_not_finished(tmp_path, study, off):
    with pytest.raises(StageError, match="missing; run `emoscale mask`"):
        run(tmp_path, study)
    write_masks(tmp_path, off, complete=False)
    with pytest.raises(StageError, match="not finished; run `emoscale mask`"):
        run(tmp_path, study)
    assert not RunFolder(tmp_path).ablation.exists()


def test_equal_masks_are_evaluated_once(tmp_path, study, off):
    """Each has its own line all the same; also where what it does is drawn for it."""
    doubled = off.copy()
    doubled[3], doubled[4] = off[1], off[1]
    write_activations(tmp_path)
    write_masks(tmp_path, doubled)
    steps = Steps()
    run(tmp_path, study, options(edit="resample"), progress=steps)
    assert steps.advanced == 12 * 3
    table = pd.read_parquet(RunFolder(tmp_path).ablation_table)
    assert table["mask"].tolist() == PROMPTS * [0, 1, 2, 3, 4]
    assert table["kind"].tolist() == PROMPTS * KINDS
    correct = table["correct"].to_numpy().reshape(PROMPTS, MASK_COUNT)
    assert np.array_equal(correct[:, 3], correct[:, 1])
    assert np.array_equal(correct[:, 4], correct[:, 1])
    assert not np.array_equal(correct[:, 2], correct[:, 1])


VALUES = np.random.default_rng(7).normal(size=(7, NEURONS)).astype(np.float32)


def write_activations(path, values=VALUES, complete=True):
    rows, neurons = values.shape
    text = {name: np.array(["x"] * rows, object) for name in ("concept", "replicate")}
    numbers = {name: np.arange(rows) for name in ("item", "position", "token_id")}
    neuron = {name: np.arange(neurons) for name in ("layer", "expert", "unit")}
    chunks = {"observation": 4, "neuron": 5}
    store = create_store(RunFolder(path).activations, ACTIVATIONS, text | numbers | neuron, chunks)
    store.write("activations", values)
    if complete:
        store.mark_complete()


@pytest.mark.parametrize(("edit", "factor"), [("zero", 0.5), ("scale", 0.0), ("scale", 1.0), ("mean", 0.5)])
def test_edits_by_name(tmp_path, study, off, edit, factor):
    write_activations(tmp_path)
    write_masks(tmp_path, off)
    run(tmp_path, study, options(edit=edit, factor=factor))
    correct = pd.read_parquet(RunFolder(tmp_path).ablation_table)["correct"].to_numpy().reshape(PROMPTS, -1)
    edits = {"zero": Edit(), "mean": Edit("replace", donors=torch.from_numpy(VALUES.mean(axis=0)[None]))}
    way = ForwardOptions(RowEdit(edits.get(edit, Edit("scale", factor))), "exact", 10_000)
    for number in range(PROMPTS):
        items = np.flatnonzero(study.task._prompt == number)
        found = answer(study.model.model, study.task, items, off, np.arange(MASK_COUNT), way, lambda rows: None)
        assert correct[number].tolist() == found.correct[0].tolist()
    assert (edit, factor) != ("scale", 1.0) or (correct == correct[:, :1]).all()


def test_edits_need_finished_activations(tmp_path, study, off):
    write_masks(tmp_path, off)
    with pytest.raises(StageError, match="missing; run `emoscale extract`"):
        run(tmp_path, study, options(edit="mean"))
    write_activations(tmp_path, complete=False)
    with pytest.raises(StageError, match="not finished; run `emoscale extract`"):
        run(tmp_path, study, options(edit="resample"))


@pytest.mark.parametrize("rows", [1, 7, 64, 150])
def test_resampled_rows_are_read_chunk_by_chunk(tmp_path, monkeypatch, rows):
    values = np.random.default_rng(rows).normal(size=(rows, 13)).astype(np.float32)
    write_activations(tmp_path, values)
    reads = []
    read = Store.read
    monkeypatch.setattr(Store, "read", lambda self, *names, **box: reads.append(box) or read(self, *names, **box))
    donors = make_edit(RunFolder(tmp_path), options(edit="resample", seed=3)).of_neurons.donors.numpy()
    numbers = [np.flatnonzero((values == donor).all(axis=1)).item() for donor in donors]
    assert numbers == sorted(np.random.default_rng(3).choice(rows, min(rows, DONORS), replace=False))
    assert len(reads) == len({number // 4 for number in numbers}) * 3


@pytest.mark.parametrize(
    ("rates", "most", "best"),
    [
        ([1, 2, 4, 4], 10**6, 4 * SMALLEST_PASS),
        ([1, 1, 4], 10**6, SMALLEST_PASS),
        ([1, 2, 4, 8], 3 * SMALLEST_PASS, 2 * SMALLEST_PASS),
        ([1, 2, None], 10**6, SMALLEST_PASS),
    ],
)
def test_the_budget_is_doubled_while_that_pays(monkeypatch, rates, most, best):
    """None: there is no memory for so many."""
    clock = [0.0]
    monkeypatch.setattr("emoscale.ablation.budget.time.perf_counter", lambda: clock[0])

    def run(tokens):
        rate = rates[int(np.log2(tokens // SMALLEST_PASS))]
        if rate is None:
            raise torch.OutOfMemoryError
        clock[0] += tokens / rate / SMALLEST_PASS / 100

    assert find_budget(run, most, one_process()) == best


def test_a_run_keeps_its_budget(tmp_path):
    file = tmp_path / "budget.json"
    assert [kept_budget(file, lambda budget=budget: budget, one_process()) for budget in (4096, 8192)] == [4096, 4096]


class Starved:
    """A task whose passes need more memory than there is, if they have more than two rows."""

    def __init__(self, task):
        self.task = task
        self.items, self.options, self.option_tokens = task.items, task.options, task.option_tokens

    def scores(self, items):
        if len(items) > 2:
            raise torch.OutOfMemoryError
        return self.task.scores(items)


def test_too_large_passes_say_what_to_do(tmp_path, study, off):
    write_masks(tmp_path, off)
    folder = RunFolder(tmp_path)
    starved = Starved(study.task)

    def answer_all(tokens_per_pass):
        chosen = options(tokens_per_pass=tokens_per_pass)
        return ablate(folder, study.model.model, starved, chosen, ranks=one_process(), progress=Silent())

    with pytest.raises(StageError, match=r"9,999 tokens; set ablation.tokens_per_pass to fewer, with --fresh"):
        answer_all(9999)
    kept_budget(folder.ablation / "budget.json", lambda: 9999, one_process())
    with pytest.raises(StageError, match=r"9,999 tokens; put fewer into .*budget\.json and rerun"):
        answer_all(None)
    (folder.ablation / "budget.json").write_text('{"tokens_per_pass": 1}')
    assert answer_all(None)["tokens_per_pass"] == 1


def test_the_budget_is_tried_on_the_longest_and_the_shortest_item(study, off):
    class Watched(Starved):
        def scores(self, items):
            tried.append(self.items["tokens"].iloc[items].tolist())
            return self.task.scores(items)

    lengths, tried = study.task.items["tokens"], []
    one_pass(study.model.model, Watched(study.task), off, ForwardOptions(RowEdit(), "exact"))(60)
    assert tried == [[length] * (60 // length) for length in (lengths.max(), lengths.min())]
    assert lengths.max() > lengths.min()
