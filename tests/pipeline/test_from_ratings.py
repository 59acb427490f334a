"""From a file of ratings to a report: four layouts, one run."""

import logging

import pandas as pd
import pytest
from tiny_run import STAGES, manifest, rating_rows, write_judgements

from emoscale.run.folder import RunFolder

pytestmark = pytest.mark.slow


def long(rows):
    return rows.to_csv(index=False)


def wide(rows):
    """One column an attribute, as a spreadsheet set to German saves it."""
    table = rows.pivot_table("rating", ["rater", "concept"], "attribute", sort=False)
    table = table.rename_axis(["Participant", "Emotion"]).reset_index()
    return table.to_csv(index=False, sep=";", decimal=",")


def qualtrics(rows):
    """One row a rater, one column a concept and attribute, two lines of header and one of import ids."""
    table = rows.pivot_table("rating", "rater", ["concept", "attribute"], sort=False)
    header = [
        ["ResponseId", *(f"Q{number}_1" for number in range(table.shape[1]))],
        ["Response ID", *(f"How does it feel? - {concept} - {attribute}" for concept, attribute in table)],
        ['{"ImportId":"_recordId"}', *(f'{{"ImportId":"QID{number}"}}' for number in range(table.shape[1]))],
    ]
    return pd.DataFrame([*header, *table.reset_index().to_numpy().tolist()]).to_csv(index=False, header=False)


def means(rows):
    """A table of means, as R writes it."""
    table = rows.pivot_table("rating", "concept", "attribute", sort=False)
    return table.rename_axis(None).to_csv(sep="\t")


def test_ratings_in_four_layouts_give_a_report(cli, world, caplog):
    rows = pd.DataFrame(rating_rows(), columns=["rater", "concept", "attribute", "rating"])
    judged = write_judgements(world.folder / "judged.csv")

    def run(layout, encoding="utf-8"):
        path = world.folder / f"{layout.__name__}.csv"
        path.write_bytes(layout(rows).encode(encoding))
        world.settings["concepts"] = {"ratings": str(path), "dissimilarity": str(judged)}
        return cli("run", world.write(), "--out", world.out)

    with caplog.at_level(logging.INFO, "emoscale"):
        answer = run(long)
    assert answer.code == 0, answer.err
    assert "one row a rater, concept and attribute; from 0 to 100" in caplog.text
    folder = RunFolder(world.out)
    agreement = folder.table("rating_agreement").set_index("attribute")
    assert agreement["raters"].tolist() == [4, 4, 4]
    assert agreement["reliable"].all()
    assert folder.table("noise_ceiling")["participants"].tolist() == [5]
    assert {"ci_low", "ci_high"} <= set(folder.table("importance"))
    report = " ".join(folder.report.read_text(encoding="utf-8").split())
    low, high = agreement["icc"].min(), agreement["icc"].max()
    assert f"(raters: 4; reliability, ICC: ICC(2,k) {low:.2f} to {high:.2f}; dissimilarity" in report
    assert "mean over 5 participants, from judged.csv" in report

    done = manifest(world.out)["stages"]
    for layout, encoding in ((wide, "cp1252"), (qualtrics, "utf-8-sig")):
        answer = run(layout, encoding)
        assert answer.code == 0, answer.err
        assert manifest(world.out)["stages"] == done

    # Means say nothing of their raters: the tables are made again, and no neuron is computed again.
    answer = run(means)
    assert answer.code == 0, answer.err
    assert [line.split()[0] for line in answer.out.splitlines() if line.split()[0] in STAGES] == ["analyze", "report"]
    assert not (folder.tables / "rating_agreement.csv").exists()
    assert "raters: not known" in folder.report.read_text(encoding="utf-8")
