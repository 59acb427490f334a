import numpy as np
import pytest
from control_words import CONTROLS
from report_pages import ATTRIBUTES, CONCEPTS, LEAST, UNTUNED, reported
from synthetic_run import make_run, make_study, read_answers

from emoscale.errors import StageError
from emoscale.report.figures import FIGURES
from emoscale.report.findings import read_findings
from emoscale.report.study import ControlWords, EditWords
from emoscale.report.style import Drawing, figure, new_figure
from emoscale.report.write_report import write_report
from emoscale.run.folder import RunFolder
from emoscale.system.progress import Silent

pytestmark = pytest.mark.slow


def test_how_neurons_were_edited_is_said_in_the_words_of_the_edit(tmp_path):
    folder = make_run(tmp_path, CONCEPTS[:3], ATTRIBUTES[:3], **LEAST)
    edit = EditWords("were made to sing", "A neuron that sings may confuse the others.")
    _, page = reported(folder, edit=edit, disjoint=True)
    text = " ".join(page.text.split())
    assert "All neurons of a mask were made to sing while" in text
    assert edit.limit in text
    assert "None of them is among the neurons of the selective mask" in text
    assert "to zero" not in text
    assert "None of them is among" not in reported(folder)[1].text


def test_prompts_that_the_task_did_not_use_are_not_reported(tmp_path):
    folder = make_run(tmp_path, CONCEPTS[:3], ATTRIBUTES[:3], **LEAST)
    findings = read_findings(folder, make_study(**UNTUNED))
    none = read_answers(folder).query("kind == 'none'").sort_values(["concept", "replicate"])
    np.testing.assert_allclose(findings.prompts["accuracy"], none["correct"] / none["total"])


def test_missing_tables_are_all_named(tmp_path):
    for study, other in ((make_study(), "prompts.parquet"), (make_study(**UNTUNED), "unmasked.csv")):
        with pytest.raises(StageError) as error:
            write_report(RunFolder(tmp_path), study, progress=Silent())
        assert len(error.value.problems) == 12
        assert any(other in line for line in error.value.problems)
    assert not list(tmp_path.iterdir())


def test_a_control_without_words_is_named(tmp_path):
    folder = make_run(tmp_path, CONCEPTS[:3], ATTRIBUTES[:3], **LEAST)
    with pytest.raises(StageError, match="random"):
        write_report(folder, make_study(controls={"other": CONTROLS["other"]}), progress=Silent())


def test_a_control_of_ones_own_is_named_in_its_own_words(tmp_path):
    folder = make_run(tmp_path, CONCEPTS[:3], ATTRIBUTES[:3], controls=("other",), **LEAST)
    words = ControlWords("neurons picked by hand", "neurons picked by hand", "hand-picked", "picked by hand")
    _, page = reported(folder, controls={"other": words})
    assert "as many neurons picked by hand" in " ".join(page.text.split())
    assert "The neurons of a hand-picked mask are picked by hand" in " ".join(page.text.split())


def test_a_figure_of_ones_own_is_shown_in_its_part(tmp_path, emptied):
    emptied(FIGURES)

    @figure("c9_mine", "Mine?", "tables/control_draws.csv")
    def _mine(findings):
        canvas = new_figure(2.0)
        canvas.subplots().plot(findings.table("control_draws")["accuracy"])
        return Drawing(canvas, "A line of control masks.", caption="All of my own.")

    folder = make_run(tmp_path, CONCEPTS[:3], ATTRIBUTES[:3], **LEAST)
    done, page = reported(folder)
    assert done["figures"] == ["c9_mine"]
    source = page.source
    assert source.index('id="followers"') < source.index("All of my own.") < source.index('id="losses"')
    assert "<b>Figure 1. Mine?</b>" in source


def test_only_files_that_are_there_are_listed(tmp_path):
    folder = make_run(tmp_path, CONCEPTS[:3], ATTRIBUTES[:3], **LEAST)
    outputs = {"tables": "all numbers", "gone.zarr": "what was lost", "report.html": "this page"}
    listed = reported(folder, outputs=outputs)[1].text.split("Where the files are")[1]
    assert "all numbers" in listed
    assert "gone.zarr" not in listed
    assert reported(folder, outputs=outputs)[1].text.split("Where the files are")[1] == listed
