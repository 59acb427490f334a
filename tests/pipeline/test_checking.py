"""`emoscale check` reads everything, says all problems at once, and loads no weights."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from emoscale.commands.check import check
from emoscale.config import load_settings
from emoscale.pipeline.context import Context

ROOT = Path(__file__).parents[2]
SCALE = sorted((ROOT / "configs" / "scale").glob("*-*b.yaml"))


@pytest.fixture
def checked(world, monkeypatch):
    """Check the world's config with other values, making sure that no weights are loaded."""
    monkeypatch.setattr(Context, "model", property(lambda _: pytest.fail("the model was loaded")))

    def call(*overrides, only=()):
        return check(load_settings(world.config, overrides), only)

    return call


def test_what_a_run_will_be_made_of(cli, world, checked):
    found = checked("masks.controls=[permuted, random]")
    assert found.facts["concepts"] == "4: joy, anger, fear, sad; with people's dissimilarities"
    assert found.facts["attributes"] == "3: arousal, valence, control"
    assert found.facts["train texts"] == "32, of a concept 8"
    assert found.facts["dev texts"] == "8, of a concept 2"
    assert found.facts["neurons"] == "48 in 2 layers"
    assert found.facts["rows"] == "8 of activations, from prompts"
    assert found.facts["masks"].startswith(f"{2 * (3 + 3 * 19 + 2)} at most, of k = 5, 0.25; and none")
    assert found.facts["items"].startswith("32")
    answer = cli("check", world.config)
    assert (answer.code, answer.err) == (0, "")
    for said in ("concepts", "joy, anger, fear, sad", "48 in 2 layers", "warning: "):
        assert said in answer.out
    assert not world.out.exists()


def test_all_problems_at_once(cli, world):
    world.write(
        concepts={"attributes": "none.csv"},
        stimuli={"path": str(world.folder / "lost.csv")},
        model={"name": str(world.folder / "nowhere")},
    )
    answer = cli("check", world.config)
    assert answer.code == 2
    assert answer.out == ""
    assert [problem.partition(":")[0] for problem in answer.problems] == [
        str(world.folder / "none.csv"),
        f"model.name '{world.folder / 'nowhere'}'",
        str(world.folder / "lost.csv"),
    ]


def test_faulty_settings_and_files_at_once(cli, world):
    world.write(masks={"k": "many"}, stimuli={"path": str(world.folder / "lost.csv")})
    first, second = cli("check", world.config, "--set", "title=[1]").problems[:2]
    assert {first.split(": ")[1], second.split(": ")[1]} == {"title", "masks.k.0"}
    assert cli("check", world.config).problems[1].startswith(str(world.folder / "lost.csv"))
    # What a faulty section names is not looked at.
    answer = cli("check", world.config, "--set", "stimuli.dev_fraction=7", "--set", "model=3")
    assert len(answer.problems) == 3
    assert not any("lost.csv" in problem for problem in answer.problems)


def test_long_lists_are_cut(cli, world):
    lines = ["concept,arousal,valence", *(f"joy{n},high,low" for n in range(250))]
    world.attributes.write_text("\n".join(lines) + "\n")
    answer = cli("check", world.config, "--set", "masks.k=[0]")
    assert answer.code == 2
    assert len(answer.problems) < 60
    assert f"{world.attributes}: and 490 more; correct these first" in answer.problems
    assert any("masks.k = 0" in problem for problem in answer.problems)


def test_weights_that_are_not_here(checked, world, tiny_folder):
    bare = shutil.copytree(
        tiny_folder("bert-encoder"), world.folder / "bare", ignore=shutil.ignore_patterns("*.safetensors")
    )
    found = checked(f"model.name={bare}")
    assert any("weights" in note and "were not checked" in note for note in found.notes)


def test_only_what_a_stage_needs(cli, checked, world):
    only = checked("extraction.rows=texts", "stimuli.max_tokens=32", "tuning.layout=mask-first", only=["extract"])
    assert only.facts["stages"] == "extract"
    assert {"masks", "items"}.isdisjoint(only.facts)
    answer = cli("check", world.config, "--stage", "extrakt")
    assert answer.problems[0].startswith("--stage 'extrakt': no such stage (nearest: 'extract'); use one of tune, ")


@pytest.mark.parametrize("file", SCALE, ids=lambda file: file.stem)
def test_configs_of_clusters(cli, world, tiny_folder, file):
    """Checked and planned on a login node, with stand-ins for the corpus and for a model without its weights."""
    model = world.folder / "model"
    shutil.copytree(tiny_folder("llama"), model, ignore=shutil.ignore_patterns("*.safetensors"))
    sets = [f"model.name={model}", "stimuli.source=scenarios", "stimuli.path=null", "machine.split_model=null"]
    sets.append("stimuli.max_tokens=32")
    arguments = [file, *(part for one in sets for part in ("--set", one))]
    answer = cli("check", *arguments, "--stage", "extract", "--stage", "select")
    assert (answer.code, answer.err) == (0, "")
    assert "540 of activations, from texts" in answer.out
    answer = cli("plan", *arguments, "--set", "machine.device=cpu", "--probe", "0", "--ranks", "8")
    assert (answer.code, answer.err) == (0, "")
    assert "540 of activations" in " ".join(answer.out.split())


def test_the_home_folder_where_no_shell_puts_it(cli, world, monkeypatch):
    monkeypatch.setenv("HOME", str(world.folder))
    monkeypatch.setenv("USERPROFILE", str(world.folder))
    assert cli("schema", "--out=~/schema.json").code == 0
    assert json.loads((world.folder / "schema.json").read_text()) == json.loads(cli("schema").out)
    assert cli("check", "~/tiny.yaml", "--set", "concepts.attributes=~/attributes.csv").code == 0
    assert cli("extract", "~/tiny.yaml", "--out=~/run").problems[0].startswith(f"{world.folder / 'run'}: ")


def test_scripts_of_clusters():
    """Every sbatch file is bash, its options come before its first command, and the files it names are there."""
    scripts = sorted((ROOT / "configs").rglob("*.sbatch"))
    assert scripts
    for script in scripts:
        subprocess.run(["bash", "-n", script], check=True)
        lines = script.read_text(encoding="utf-8").splitlines()
        options = [number for number, line in enumerate(lines) if line.startswith("#SBATCH")]
        assert options
        assert all(line.startswith("#") for line in lines[: options[-1]])
        named = {word.strip("\"'.") for line in lines for word in line.split() if word.startswith("configs/")}
        assert all((ROOT / name).is_file() for name in named), named
