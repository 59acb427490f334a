"""Reports of made runs, and ways to look at them."""

import warnings
from html.parser import HTMLParser

from synthetic_run import make_study

from emoscale.report.figures import FIGURES
from emoscale.report.write_report import write_report
from emoscale.system.progress import Silent

CONCEPTS = ["joy", "fear", "anger", "grief", "pride"]
ATTRIBUTES = ["valence", "arousal", "control", "novelty"]
LEAST = {"ks": (7,), "layers": 1}
UNTUNED = {"learned_prompts": False, "replicates": "sets of questions"}
RARE_FIGURES = {"a3_drop_by_attribute", "b2_confusion", "f1_faithfulness"}
"""Where published tests are shown, the model chose among all concepts, and faithfulness was measured."""
USUAL_FIGURES = sorted(set(FIGURES) - RARE_FIGURES)
MOST_BYTES = 5_000_000
"""Of a page that can be sent by mail."""
HUMAN_FIGURES = {"e1_importance", "e2_drop_by_importance", "e3_correlation_by_size"}


class Page(HTMLParser):
    """Collects a page's text, without that of its style and its script, and its tags and attributes."""

    def __init__(self, source):
        super().__init__()
        self.source, self.text, self.tags = source, "", []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += "" if self.cdata_elem else data


def reported(folder, spell=None, **options):
    """Write a report; warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = write_report(folder, make_study(**options), progress=Silent(), spell=spell)
    assert folder.report.stat().st_size < MOST_BYTES
    return done, Page(folder.report.read_text(encoding="utf-8"))


def files(folder):
    return {file.name: file.read_bytes() for file in folder.figures.iterdir()}
