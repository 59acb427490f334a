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
USUAL_FIGURES = sorted(set(FIGURES) - {"c0_confusion", "d1_faithfulness"})
"""Where the model did not choose among all concepts, and faithfulness was not measured."""
HUMAN_FIGURES = {"b1_importance", "c3_drop_by_importance", "c4_correlation_by_size"}


class Page(HTMLParser):
    """Collects a page's text, tags and attributes."""

    def __init__(self, source):
        super().__init__()
        self.text, self.tags = "", []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def reported(folder, **options):
    """Write a report; warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = write_report(folder, make_study(**options), progress=Silent())
    return done, Page(folder.report.read_text(encoding="utf-8"))


def files(folder):
    return {file.name: file.read_bytes() for file in folder.figures.iterdir()}
