"""Runs side by side: what differs, what they answer, and numbers of the tables on one scale."""

import re
import shutil

import pytest
import yaml
from report_pages import ATTRIBUTES, CONCEPTS, Page
from rich.console import Console
from synthetic_answers import AT_CHANCE, NO_EFFECT, PLANTED, write_tables
from synthetic_run import make_run

from emoscale.commands.compare import compare_runs
from emoscale.errors import InputError
from emoscale.run.folder import RunFolder

pytestmark = pytest.mark.slow

SETTINGS = {"small": {"ablation": {"edit": "mean"}}, "large": {"masks": {"k": [20, 60]}}, "chance": {}}
TRUTHS = {"small": PLANTED, "large": NO_EFFECT, "chance": AT_CHANCE}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    base, made = tmp_path_factory.mktemp("runs"), {}
    first = make_run(base / "first", CONCEPTS, ATTRIBUTES, controls=("permuted",), tuned=False, choice=True)
    for name, truth in TRUTHS.items():
        made[name] = copied(first, base / name)
        write_tables(made[name], truth, ATTRIBUTES, [20, 60], has_people=True)
        configure(made[name], {"title": f"<i>{name}</i>", "machine": {"threads": len(name)}, **SETTINGS[name]})
    return made


def copied(folder, path):
    shutil.copytree(folder.path, path, ignore=shutil.ignore_patterns("*.zarr"))
    return RunFolder(path)


def configure(folder, settings):
    model = {"name": f"models/{folder.path.name}"}
    folder.config.write_text(yaml.safe_dump({"model": model, **settings}), encoding="utf-8")


def compared(runs, out, *names):
    compare_runs([runs[name].path for name in names], out, Console(quiet=True))
    return Page(out.read_text(encoding="utf-8"))


def test_settings_that_differ_are_named_and_no_others(runs, tmp_path):
    page = compared(runs, tmp_path / "sub" / "page.html", "small", "large")
    source = page.source.split('id="settings"')[1]
    rows = [re.findall(r"<td.*?>(.*?)</td>", row) for row in re.findall(r"<tr>.*?</tr>", source, re.DOTALL)[1:]]
    found = {re.sub("<.*?>", "", key): values for key, *values in rows}
    assert found["model.name"] == ["models/small", "models/large"]
    assert found["ablation.edit"] == ["mean", "zero"]
    assert found["masks.k"][1] == "20, 60"
    assert set(found) == {"model.name", "ablation.edit", "masks.k"}
    assert "&lt;i&gt;small&lt;/i&gt;" in page.source


def test_answers_and_effects_are_those_of_the_tables(runs, tmp_path):
    page = compared(runs, tmp_path / "page.html", "small", "large", "chance")
    answers = page.source.split('id="answers"')[1].split('id="effects"')[0]
    shown = re.findall(r'<b class="(yes|no|unknown)">', answers)
    assert shown == ["yes", "yes", "no", *["yes"] * 3, "yes", "no", "unknown", "yes", *["unknown"] * 2]
    effects = page.source.split('id="effects"')[1].split('id="depth"')[0]
    for name in ("small", "large"):
        needed = runs[name].table("needed")
        for row in needed[needed["k"] == 60].to_dict("records"):
            numbers = [f"{row[key]:.3f}".replace("0.", ".").replace("-", "−") for key in ("drop", "ci_low", "ci_high")]
            numbers = [".000" if number == "−.000" else number for number in numbers]
            assert f"<title>{name}, {row['attribute']}: {numbers[0]} [{numbers[1]}, {numbers[2]}]</title>" in effects
    assert "<title>chance," not in effects
    assert "not measured: chance." in " ".join(effects.split())


def test_profiles_are_by_relative_depth(runs, tmp_path):
    page = compared(runs, tmp_path / "page.html", "small", "large")
    depth = page.source.split('id="depth"')[1].split('id="settings"')[0]
    share = runs["small"].table("significant").groupby("layer")["share"].mean() * 100
    for layer, value in share.items():
        assert f"<title>small, layer {layer}: {value:.3g}%</title>" in depth
    (first, *_, last) = re.findall(r'<polyline class="s0" points="(.*?) "', depth)[0].split()
    assert (first.split(",")[0], last.split(",")[0]) == ("56.0", "616.0")


def test_different_outcomes_are_compared_by_accuracy(runs, tmp_path):
    copy = copied(runs["small"], tmp_path / "other")
    configure(copy, {"analysis": {"outcome": "accuracy"}})
    page = compared(runs | {"other": copy}, tmp_path / "page.html", "small", "other")
    row = runs["small"].table("needed").query("k == 60 and attribute == 'valence'").iloc[0]
    assert f"small, valence: {row['accuracy_drop']:.3f}".replace("0.", ".") in page.source
    assert "so accuracy is shown here" in " ".join(page.text.split())


def test_what_cannot_be_compared_is_named(runs, tmp_path):
    with pytest.raises(InputError, match="needs two run folders"):
        compare_runs([runs["small"].path], tmp_path / "page.html", Console(quiet=True))
    with pytest.raises(InputError) as error:
        compare_runs([tmp_path, runs["small"].path, tmp_path / "none"], tmp_path / "page.html", Console(quiet=True))
    assert [str(tmp_path) in one for one in error.value.problems] == [True, True]
