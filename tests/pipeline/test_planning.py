"""A plan says what an extraction then leaves, without leaving anything itself."""

import json
import shutil
from pathlib import Path

import pytest
import zarr
from rich.console import Console

from emoscale.commands import permutation_times, stage_times, without_weights
from emoscale.commands.plan import make_plan
from emoscale.commands.stage_times import count_masks
from emoscale.commands.stage_times import rate as rate_of
from emoscale.config import load_settings
from emoscale.errors import InputError
from emoscale.extraction import inputs
from emoscale.pipeline import runner
from emoscale.pipeline.context import Context
from emoscale.pipeline.runner import Request
from emoscale.pipeline.stages import STAGES
from emoscale.run.folder import RunFolder
from emoscale.store import WRITE_BYTES, open_store
from emoscale.system.ranks import one_process


@pytest.fixture
def plan(world):
    """Plan the tiny run with other settings, not measuring throughput by default."""

    def call(*overrides, **options):
        return make_plan(load_settings(world.config, overrides), **{"measure_seconds": 0, **options})

    return call


def files_in(*stores):
    return [path for store in stores for path in store.rglob("*") if path.is_file()]


def chunk_bytes(array):
    return sum(path.stat().st_size for path in files_in(array / "c"))


@pytest.mark.parametrize("rows", ["templates", "texts", "tokens"])
@pytest.mark.parametrize("keep", ["activations", "moments"])
def test_a_run_is_as_planned(world, plan, rows, keep):
    overrides = [
        f"extraction.rows={rows}",
        f"extraction.keep={keep}",
        "extraction.block_rows=7",
        "stimuli.max_tokens=32",
    ]
    planned = plan(*overrides)
    folder = RunFolder(world.out)
    runner.run(load_settings(world.config, overrides), folder, Console(quiet=True), Request("extract"))
    facts = folder.stage("extract")["counts"]
    store = folder.moments if keep == "moments" else folder.activations
    assert (planned.rows["rows"], planned.model["neurons"]) == (facts["rows"], facts["neurons"])
    assert planned.rows["estimated"] == []
    assert planned.disk["files"] == len(files_in(store, folder.inputs))
    cells = zarr.open_group(folder.moments)["concept"].size if keep == "moments" else facts["rows"]
    for path, names in ((store, cells), (folder.inputs, planned.rows["inputs"])):
        numbers = [array for array in path.iterdir() if array.is_dir() and array.name not in ("concept", "replicate")]
        # Concept and replicate are counted with 16 bytes, whatever their length.
        assert planned.disk[path.name] == sum(map(chunk_bytes, numbers)) + 2 * (16 * names + 4)


def test_prompts_are_counted_before_they_are_tuned(plan):
    planned = plan("extraction.rows=prompts")
    assert (planned.rows["inputs"], planned.rows["rows"]) == (8, 8)
    assert planned.rows["tokens_an_input"] == 3 + 1
    assert plan("extraction.rows=prompts", "extraction.pooling=all").rows["rows"] == 32


def test_types_and_ranks(plan):
    whole, half = plan("extraction.rows=texts"), plan("extraction.rows=texts", "extraction.dtype=bfloat16")
    size = whole.disk["activations.zarr"] - half.disk["activations.zarr"]
    chunks = [(3, 20), (3, 20), (3, 20)]
    assert size == -(-32 // 3) * sum(2 * rows * neurons for rows, neurons in chunks)
    assert half.memory["blocks"] == whole.memory["blocks"] == 3 * 3 * 48 * 4 + 2 * WRITE_BYTES
    assert plan("extraction.dtype=float16").memory["blocks"] == 3 * 3 * 48 * 2 + 2 * WRITE_BYTES
    assert plan("model.dtype=bfloat16").memory["weights"] * 2 == whole.memory["weights"]
    assert plan("machine.memory_limit=1 GB").memory["select"] == 10**9


def test_tensors_are_shared_out(plan):
    alone, shared = plan("machine.split_model=tensors"), plan("machine.split_model=tensors", ranks=4)
    assert shared.memory["weights"] == alone.memory["weights"] // 4
    assert shared.memory["blocks"] - 2 * WRITE_BYTES == (alone.memory["blocks"] - 2 * WRITE_BYTES) // 4
    # Layers of 24 neurons: files of 6 in place of one of 48.
    assert shared.disk["files"] - alone.disk["files"] == 3 * (8 - 1)


def test_many_texts_are_sampled(plan, monkeypatch):
    whole = plan("extraction.rows=tokens")
    monkeypatch.setattr(inputs, "SAMPLED_TEXTS", 20)
    sampled = plan("extraction.rows=tokens")
    assert sampled.rows["inputs"] == whole.rows["inputs"] == 32
    assert sampled.rows["estimated"] == ["tokens", "tokens_an_input", "rows"]
    assert sampled.rows["rows"] == pytest.approx(whole.rows["rows"], rel=0.2)
    assert plan("extraction.rows=texts").rows["estimated"] == ["tokens", "tokens_an_input"]


@pytest.mark.parametrize("rows", ["prompts", "templates", "texts", "tokens"])
def test_throughput_is_measured_on_the_runs_own_rows(world, plan, monkeypatch, rows):
    monkeypatch.chdir(world.folder)
    before = set(world.folder.iterdir())
    one, two = (plan(f"extraction.rows={rows}", measure_seconds=0.2, ranks=ranks) for ranks in (1, 2))
    assert set(world.folder.iterdir()) == before
    for planned in (one, two):
        rate = planned.throughput["rows_a_second"]
        blocks = range(0, planned.rows["rows"], 3)  # extraction.block_rows
        first = sum(min(3, planned.rows["rows"] - start) for start in blocks[:: planned.ranks])
        assert planned.hours["extract"] * 3600 == pytest.approx(first / rate)
        assert list(planned.hours) == [
            "tune",
            "extract",
            "select",
            "attribute-effects",
            "relate",
            "measure-faithfulness",
            "ablate",
        ]
        assert all(hours > 0 for hours in planned.hours.values())
    assert any("divided by 2" in note for note in two.notes)


@pytest.mark.parametrize("disjoint", ["false", "true"])
def test_masks_are_counted_before_they_are_made(world, disjoint):
    overrides = [
        "masks.controls=[random,random-by-layer,permuted,lowest,half,largest-loss]",
        f"masks.disjoint={disjoint}",
        "masks.permutations=3",
        "tuning.batch_size=4",
    ]
    settings = load_settings(world.config, overrides)
    for stage in ("tune", "extract", "select", "attribute-effects", "mask"):
        runner.run(settings, RunFolder(world.out), Console(quiet=True), Request(stage))
    planned = count_masks(Context(settings, one_process()))
    assert planned == open_store(RunFolder(world.out).masks).sizes["mask"]


def test_what_permuted_concepts_take_is_measured(world, plan, monkeypatch):
    monkeypatch.chdir(world.folder)
    tried = []

    def rate(run, first, most, _seconds):
        tried.append((most, run(min(first, most))))
        return 1000.0

    monkeypatch.setattr(permutation_times, "rate", rate)
    planned = plan("masks.controls=[permuted, random]", "masks.permutations=7", measure_seconds=0.1)
    stages = list(STAGES)
    assert list(planned.hours) == sorted(planned.hours, key=stages.index)
    # Every neuron, for every permutation; the relation also for the concepts as they are.
    assert planned.hours["mask"] * 3600 == pytest.approx(7 * 48 / 1000)
    assert planned.hours["relate"] * 3600 == pytest.approx((20 + 1) * 48 / 1000)
    for most, (work, took) in tried:
        assert (most, work) == (48, 48 * 16)
        assert took > 0
    assert "analyze and report are not measured; together they take seconds to a minute" in planned.notes
    without = plan("attribution.permutations=0", measure_seconds=0.1)
    assert {"mask", "relate"}.isdisjoint(without.hours)
    assert "mask, analyze and report are not measured; together they take seconds to a minute" in without.notes


def test_a_plan_says_what_a_reviewer_would(plan):
    told = [note for note in plan().notes if note.startswith("warning: ")]
    assert any("4 concepts have too few orders" in note for note in told)
    assert any("2 replicates of each concept" in note for note in told)
    assert not [note for note in plan("selectivity.alpha=0.05").notes if "orders" in note]


def test_draws_that_are_left_to_the_run_count_as_the_most(world):
    counts = [
        count_masks(Context(load_settings(world.config, overrides), one_process()))
        for overrides in (["masks.draws=auto", "masks.most_draws=7"], ["masks.draws=7"])
    ]
    assert counts == [1 + 2 * (3 + 7)] * 2


@pytest.mark.parametrize("task", ["soft-prompt", "yes-no", "multiple-choice"])
def test_every_task_is_measured(world, plan, tiny_folder, monkeypatch, task):
    monkeypatch.chdir(world.folder)
    asked = []

    def rate(run, first, most, _seconds):
        asked.append((most, run(first)))
        return 100.0

    monkeypatch.setattr(stage_times, "rate", rate)
    words = ["ablation.words=[negative, positive]"] if task == "yes-no" else []
    planned = plan(f"model.name={tiny_folder('gpt2')}", f"ablation.task={task}", *words, measure_seconds=0.1)
    (items, (rows, took)), (_, (estimated, also_took)) = asked[-2:]
    assert planned.hours["ablate"] * 3600 == pytest.approx(items * 11 / 100)
    assert rows == 4 * world.settings["ablation"]["masks_per_unit"]
    assert estimated == 2
    assert min(took, also_took) > 0
    # Estimated, scored without a mask, 3 neurons ablated, and then 6 and 3 groups.
    assert planned.hours["attribute-effects"] * 3600 == pytest.approx(items * (1 + 1 + 4 + 10) / 100)
    # Without a mask, with all neurons edited, with none, and two sizes of four orders.
    assert planned.hours["measure-faithfulness"] * 3600 == pytest.approx(items * (3 + 2 * 4) / 100)


def test_measuring_grows_until_a_third_of_the_time_is_used():
    asked = []

    def run(count):
        asked.append(count)
        return 10 * count, 0.1 + 0.001 * count  # a slow start, then 10,000 rows a second

    assert rate_of(run, 32, 10**6, 30) == pytest.approx(10_000, rel=0.02)
    assert asked[0] == 32
    assert asked == sorted(set(asked))
    assert sum(0.1 + 0.001 * count for count in asked) < 30


def test_measuring_ends_with_the_rows_and_with_the_time():
    asked = []

    def run(count, seconds):
        asked.append(count)
        return count, seconds

    assert rate_of(lambda count: run(count, 0.01), 32, 100, 30) == 10_000
    assert asked == [32, 100]
    asked.clear()
    assert rate_of(lambda count: run(count, 60), 32, 100, 30) == 32 / 60
    assert asked == [32]


def test_model_without_its_weights(world, tiny_folder, plan, tmp_path):
    folder = tmp_path / "bare"
    shutil.copytree(tiny_folder("bert-encoder"), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    bare = plan(f"model.name={folder}", measure_seconds=30)
    assert (bare.throughput, bare.hours) == (None, {})
    assert any("weights" in note and "not here" in note for note in bare.notes)
    whole = plan()
    assert (bare.model, bare.disk, bare.memory["weights"]) == (whole.model, whole.disk, whole.memory["weights"])


def test_parameters_are_those_of_the_loaded_model(plan, tiny_model):
    loaded = tiny_model("bert-encoder").module
    assert plan().model["parameters"] == sum(parameter.numel() for parameter in loaded.parameters())


def test_weights_are_not_fetched_from_the_hub(plan, tiny_folder, monkeypatch):
    asked = []

    def fetch(name, *, revision, allow_patterns):
        asked.append((name, revision, allow_patterns))
        return tiny_folder("bert-encoder")

    monkeypatch.setattr(without_weights, "snapshot_download", fetch)
    plan("model.name=owner/model", "model.revision=v1")
    [(name, revision, patterns)] = asked
    assert (name, revision) == ("owner/model", "v1")
    assert not any("safetensors" in pattern or pattern == "*" for pattern in patterns)

    def refuse(name, **_):
        raise ConnectionError

    monkeypatch.setattr(without_weights, "snapshot_download", refuse)
    with pytest.raises(InputError, match=r"'owner/model': .*ConnectionError"):
        plan("model.name=owner/model")


def test_a_part_of_a_model_is_not_measured(plan):
    planned = plan("machine.split_model=tensors", measure_seconds=30)
    assert planned.throughput is None
    assert any("all its processes" in note for note in planned.notes)


def test_command(cli, world, monkeypatch):
    monkeypatch.chdir(world.folder)
    answer = cli("plan", world.config, "--probe", "0.1", "--json", "plan.json", "--set", "extraction.rows=texts")
    assert answer.code == 0, answer.err
    numbers = json.loads(Path("plan.json").read_text())
    assert numbers["rows"]["rows"] == 32
    for said in (
        "32 of activations",
        "48 in 2 layers",
        "rows a second",
        "time to extract",
        "time to ablate",
        "not measured",
    ):
        assert said in " ".join(answer.out.split())
    assert cli("plan", world.config, "--set", "stimuli.path=none.csv", "--set", "extraction.rows=texts").code == 2
