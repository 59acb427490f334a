import numpy as np
import pytest
import tiny_models
import torch

from emoscale.ablation.ablate import ablate
from emoscale.ablation.budget import kept_budget, one_pass
from emoscale.ablation.edits import DONORS, RowEdit, make_edit
from emoscale.ablation.forward_options import ForwardOptions
from emoscale.ablation.masked_forward import score
from emoscale.ablation.options import AblationOptions
from emoscale.ablation.packed_masks import read_masks
from emoscale.ablation.units import make_units
from emoscale.errors import StageError
from emoscale.models.masking import Edit
from emoscale.models.outline import encode_texts
from emoscale.models.prompt_files import TunedPrompts
from emoscale.models.prompted import PromptedModel
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS, MASKS, SCORES
from emoscale.stimuli.prompt_texts import PromptTexts, Sample
from emoscale.store import CommitLog, Store, create_store, open_store
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


def options(masks_per_unit=2, tokens_per_pass=40, items_per_unit=5, **edit):
    return AblationOptions(
        masks_per_unit=masks_per_unit, tokens_per_pass=tokens_per_pass, items_per_unit=items_per_unit, **edit
    )


def run(path, study, chosen=None, *, ranks=None, progress=None, origin=None):
    return ablate(
        RunFolder(path),
        study.model.model,
        study.task,
        chosen or options(),
        origin=origin,
        ranks=ranks or one_process(),
        progress=progress or Silent(),
    )


def read_scores(path):
    store = open_store(RunFolder(path).scores, SCORES)
    assert store.complete
    assert store.verify() == []
    return store.read("scores")


def files_of(path):
    root = RunFolder(path).scores
    return {file.relative_to(root): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def expected_scores(study, off, edit=None):
    """Item by item and mask by mask."""
    forward = ForwardOptions(edit or RowEdit(), "exact", 1)
    rows = [
        score(study.model.model, study.task, np.array([item]), off, np.arange(len(off)), forward, lambda rows: None)
        for item in range(len(study.task.items))
    ]
    return np.concatenate(rows)


def test_the_scores_are_complete_and_right(tmp_path, study, off):
    write_masks(tmp_path, off)
    assert run(tmp_path, study, origin={"task": "a"}) == {"items": 12, "masks": 5, "rows": 60, "tokens_per_pass": 40}
    scores = read_scores(tmp_path)
    assert scores.shape == (12, MASK_COUNT, 2)
    assert scores.dtype == np.float32
    assert np.allclose(scores, expected_scores(study, off), rtol=1e-4, atol=1e-4)
    assert np.abs(scores[:, 1:] - scores[:, :1]).min() > 0
    store = open_store(RunFolder(tmp_path).scores, SCORES)
    assert store.attributes["origin"] == {"task": "a"}
    sizes = [len(prompt.dev) for prompt in study.prompts]
    assert store.read("concept").tolist() == np.repeat([p.concept for p in study.prompts], sizes).tolist()
    assert store.read("replicate").tolist() == np.repeat([str(p.seed) for p in study.prompts], sizes).tolist()
    assert store.read("text").tolist() == np.concatenate([p.dev.rows for p in study.prompts]).tolist()
    assert store.read("right").tolist() == np.concatenate([p.dev.labels for p in study.prompts]).tolist()
    assert store.read("kind").tolist() == KINDS
    assert store.read("attribute").tolist() == ["", "arousal", "valence", "", ""]
    assert store.read("k").tolist() == off.sum(axis=1).tolist()
    assert store.read("draw").tolist() == [0, 0, 0, 0, 1]
    assert store.read("option").tolist() == ["other", "concept"]
    assert store.read("option_tokens").tolist() == [0, 0]
    assert not RunFolder(tmp_path).commits(RunFolder(tmp_path).scores).exists()


def test_the_exact_token_ids_are_stored(tmp_path, study, off):
    write_masks(tmp_path, off)
    run(tmp_path, study)
    store = open_store(RunFolder(tmp_path).scores, SCORES)
    rows = np.split(store.read("token_ids"), np.cumsum(store.read("length"))[:-1])
    for item, row in enumerate(rows):
        text = study.tokens[study.task.items["text"].iloc[item]]
        assert row.tolist() == [*study.model.layout.before, -1, -1, *text, *study.model.layout.closing]


@pytest.mark.parametrize(
    ("items_per_unit", "masks_per_unit", "tokens_per_pass"), [(1, 1, 1), (5, 3, 1000), (16, 64, 50), (16, 64, None)]
)
def test_units_and_passes_do_not_matter(tmp_path, study, off, items_per_unit, masks_per_unit, tokens_per_pass):
    write_masks(tmp_path, off)
    run(tmp_path, study, options(masks_per_unit, tokens_per_pass, items_per_unit))
    assert np.allclose(read_scores(tmp_path), expected_scores(study, off), rtol=1e-4, atol=1e-4)


class Steps(Silent):
    advanced = 0

    def start(self, total, unit, done=0):
        self.total, self.unit, self.done = total, unit, done

    def advance(self, amount=1):
        self.advanced += amount


class Interrupt(Silent):
    def __init__(self, rows):
        self.left = rows

    def advance(self, amount=1):
        self.left -= amount
        if self.left <= 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("rows", [1, 15, 30, 59])
def test_an_interrupted_sweep_is_continued(tmp_path, study, off, rows):
    write_masks(tmp_path / "part", off)
    write_masks(tmp_path / "whole", off)
    first, second = Steps(), Steps()
    run(tmp_path / "whole", study, progress=first)
    assert (first.total, first.done, first.advanced, first.unit) == (60, 0, 60, "rows")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part", study, progress=Interrupt(rows))
    folder = RunFolder(tmp_path / "part")
    units = make_units(12, MASK_COUNT, options())
    done = CommitLog(folder.commits(folder.scores)).done()
    assert len(done) < len(units)
    assert not open_store(folder.scores, SCORES).complete
    run(tmp_path / "part", study, progress=second)
    assert second.done == sum(unit.rows for unit in units if unit.number in done)
    assert second.done + second.advanced == 60
    assert files_of(tmp_path / "part") == files_of(tmp_path / "whole")


def test_a_finished_sweep_is_not_done_again(tmp_path, study, off):
    write_masks(tmp_path, off)
    run(tmp_path, study)
    before, again = files_of(tmp_path), Steps()
    run(tmp_path, study, progress=again)
    assert (again.done, again.advanced) == (60, 0)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("change", ["origin", "units", "masks", "ids"])
def test_scores_of_something_else_are_replaced(tmp_path, study, off, change):
    write_masks(tmp_path, off)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, study, progress=Interrupt(30))
    again = Steps()
    if change == "masks":
        write_masks(tmp_path, off[:4])
    if change == "ids":
        for file in (RunFolder(tmp_path).scores / "token_ids" / "c").iterdir():
            file.unlink()
    origin = {"task": "another"} if change == "origin" else None
    run(tmp_path, study, options(3) if change == "units" else None, progress=again, origin=origin)
    assert again.done == 0
    assert np.allclose(read_scores(tmp_path), expected_scores(study, off[: 4 if change == "masks" else 5]), atol=1e-4)


def test_ranks_share_the_units_out(tmp_path, study, off):
    write_masks(tmp_path / "one", off)
    write_masks(tmp_path / "three", off)
    run(tmp_path / "one", study)
    # One after the other; here nobody waits for the others, so rank 0 creates the store in a run that is cut short and
    # finishes it in another.
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "three", study, progress=Interrupt(1))
    steps = []
    for rank in (2, 1, 0):
        steps.append(Steps())
        run(tmp_path / "three", study, ranks=Ranks(rank, 3, torch.device("cpu")), progress=steps[-1])
    assert sum(step.total for step in steps) == 60
    assert files_of(tmp_path / "three") == files_of(tmp_path / "one")


@pytest.mark.parametrize(("masks_per_unit", "sizes"), [(2, [2, 2, 1]), (4, [3, 2]), (5, [5]), (64, [5]), (1, [1] * 5)])
def test_units_are_of_about_equal_size(masks_per_unit, sizes):
    units = make_units(7, 5, options(masks_per_unit, items_per_unit=4))
    assert [len(unit.masks) for unit in units] == 2 * sizes
    assert sorted({len(unit.items) for unit in units}) == [3, 4]
    cells = [(int(item), int(mask)) for unit in units for item in unit.items for mask in unit.masks]
    assert sorted(cells) == [(item, mask) for item in range(7) for mask in range(5)]


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
    assert not RunFolder(tmp_path).scores.exists()


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
    scores = read_scores(tmp_path)
    edits = {"zero": Edit(), "mean": Edit("replace", donors=torch.from_numpy(VALUES.mean(axis=0)[None]))}
    expected = expected_scores(study, off, RowEdit(edits.get(edit, Edit("scale", factor))))
    assert np.allclose(scores, expected, rtol=1e-4, atol=1e-4)
    assert (edit, factor) != ("scale", 1.0) or np.allclose(scores, scores[:, :1], atol=1e-5)


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


class Starved:
    """A task whose passes need more memory than there is, if they have more than two rows."""

    def __init__(self, task):
        self.task = task
        self.items, self.options, self.rows, self.option_ids = task.items, task.options, task.rows, task.option_ids

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

    with pytest.raises(StageError, match=r"9,999 tokens; set ablation.tokens_per_pass to fewer"):
        answer_all(9999)
    budget = folder.commits(folder.scores) / "budget.json"
    kept_budget(budget, lambda: 9999, one_process())
    with pytest.raises(StageError, match=r"9,999 tokens; put fewer into .*budget\.json and rerun"):
        answer_all(None)
    budget.write_text('{"tokens_per_pass": 1}')
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
