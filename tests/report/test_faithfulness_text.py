"""When the report says that faithfulness is defined, and that rankings carry more or less than random neurons."""

import numpy as np
import pandas as pd
import pytest
from report_pages import ATTRIBUTES, CONCEPTS, reported
from synthetic_run import make_run

from emoscale.report.faithfulness import against_random, is_defined, smallest_half
from emoscale.report.sides import Side
from emoscale.report.study import RankingWords


def areas(gap=(1.0, 3.0), **over_random):
    rows = [
        {
            "ranking": name,
            "draws": 5 if name == "random" else 1,
            "items": 54,
            "gap": sum(gap) / 2,
            "gap_ci_low": gap[0],
            "gap_ci_high": gap[1],
            "cpr": 0.6,
            "cpr_ci_low": 0.5,
            "cpr_ci_high": 0.7,
            "cmd": 0.4,
            "cmd_ci_low": 0.3,
            "cmd_ci_high": 0.5,
            "over_random": sum(ends) / 2,
            "over_random_ci_low": ends[0],
            "over_random_ci_high": ends[1],
        }
        for name, ends in over_random.items()
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("gap", "defined"), [((0.1, 2.0), True), ((-0.1, 2.0), False), ((-3.0, -1.0), False), ((np.nan, np.nan), False)]
)
def test_a_gap_must_be_shown(gap, defined):
    assert is_defined(areas(gap, effect=(0.1, 0.2))) == defined


def test_rankings_are_sorted_by_their_intervals():
    table = areas(effect=(0.1, 0.2), tau=(-0.2, 0.1), both=(-0.3, -0.1), random=(np.nan, np.nan))
    assert against_random(table) == {Side.MORE: ["effect"], Side.SAME: ["tau"], Side.LESS: ["both"]}


def test_half_is_reached_where_it_stays():
    rows = pd.DataFrame({"share": [0, 0.1, 0.2, 0.5, 1], "faithfulness": [0, 0.6, 0.4, 0.7, 1]})
    assert smallest_half(rows) == 0.5
    assert smallest_half(rows.assign(faithfulness=[0, 0.1, 0.2, 0.3, 1])) == 1
    assert smallest_half(rows.assign(faithfulness=[0, 0.5, 0.8, 1.3, 1])) == 0.1


def write(folder, table):
    folder.write_table("faithfulness_areas", table)
    shares = [0, 0.01, 0.1, 1]
    rows = [
        {"ranking": name, "share": share, "k": int(300 * share), "faithfulness": f, "ci_low": f - 0.1, "ci_high": f}
        for name in table["ranking"]
        for share, f in zip(shares, [0, 0.4, 0.9, 1.0], strict=True)
    ]
    folder.write_table("faithfulness", pd.DataFrame(rows))


@pytest.mark.slow
def test_the_report_shows_it_where_it_is_defined(tmp_path):
    folder = make_run(tmp_path, CONCEPTS, ATTRIBUTES)
    words = {"effect": RankingWords("estimated loss", by_effects=True)}
    for gap, defined in (((0.5, 2.0), True), ((-1.0, 2.0), False)):
        write(folder, areas(gap, effect=(0.1, 0.2), tau=(-0.2, 0.1), random=(np.nan, np.nan)))
        done, page = reported(folder, rankings=words, others="were held at their mean activation")
        assert ("f1_faithfulness" in done["figures"]) == defined
        text = " ".join(page.text.split())
        assert 'id="faithfulness"' in page.source
        assert ("is not defined here" in text) != defined
        assert ("may look better here than on other questions" in text) == defined
        assert "nan" not in page.text
    (folder.tables / "faithfulness_areas.csv").unlink()
    done, page = reported(folder)
    assert "f1_faithfulness" not in done["figures"]
    assert 'id="faithfulness"' not in page.source
