"""The report's templates, and the lines of text that are made of one of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from emoscale.report.phrasing import FILTERS
from emoscale.report.study import OutcomeWords
from emoscale.run.verdicts import Question, Verdict

POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)
"""What the page may load: nothing but what is in it (Content Security Policy)."""


@cache
def _environment(escaped: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("emoscale.report", ""),
        autoescape=escaped,  # noqa: S701 (what is not escaped is printed, never shown in a browser)
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(FILTERS)
    environment.globals["policy"] = POLICY
    return environment


def render_page(values: Mapping[str, Any], name: str = "report.html.j2") -> str:
    """Return the report, or another page, as HTML."""
    return _environment(escaped=True).get_template(name).render(values)


def verdict_lines(verdicts: Mapping[Question, Verdict], outcome: OutcomeWords) -> list[str]:
    """Write the answers as plain text.

    Parameters
    ----------
    verdicts : mapping of Question to Verdict
        May be empty.
    outcome : OutcomeWords
        What drops are measured in.

    Returns
    -------
    list of str
        A line for each answer: to the task, to the neurons, and to the need of them, as people have it or not.
    """
    by_name = {question.value: verdict for question, verdict in verdicts.items()}
    text = _environment(escaped=False).get_template("answers.txt.j2").render(verdicts=by_name, outcome=outcome)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]
