import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoscale.concepts.loading import load_concepts
from emoscale.concepts.options import ConceptOptions
from emoscale.errors import InputError
from emoscale.stimuli.templates import DEFAULT_TEMPLATES, render_templates


def test_rows_and_spans():
    table = render_templates(["She felt {concept}.", "{concept}!"], ["joy", "fear"])
    assert list(table.columns) == ["concept", "template", "text", "start", "end"]
    assert table.to_numpy().tolist() == [
        ["joy", "She felt {concept}.", "She felt joy.", 9, 12],
        ["joy", "{concept}!", "joy!", 0, 3],
        ["fear", "She felt {concept}.", "She felt fear.", 9, 13],
        ["fear", "{concept}!", "fear!", 0, 4],
    ]
    assert (table["start"].dtype, table["end"].dtype) == ("int64", "int64")


@given(before=st.text(max_size=20), after=st.text(max_size=20), concept=st.text(min_size=1, max_size=10))
def test_span_is_the_concept_whatever_stands_around_it(before, after, concept):
    template = before.replace("{", "{{").replace("}", "}}") + "{concept}" + after.replace("{", "{{").replace("}", "}}")
    row = render_templates([template], [concept]).iloc[0]
    assert row["text"] == before + concept + after == template.format(concept=concept)
    assert row["text"][row["start"] : row["end"]] == concept
    assert row["start"] == len(before)


def test_default_templates_carry_every_emotion():
    emotions = load_concepts(ConceptOptions()).names
    table = render_templates(DEFAULT_TEMPLATES, emotions)
    assert len(DEFAULT_TEMPLATES) == 6
    assert len(table) == 6 * 27
    assert all(row.text[row.start : row.end] == row.concept for row in table.itertuples())
    assert all(template.index("{") > 10 for template in DEFAULT_TEMPLATES)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("She felt joy.", "has no field"),
        ("", "has no field"),
        ("{concept} and {concept}", "has {concept} and {concept}"),
        ("She felt {emotion}.", "has {emotion}"),
        ("She felt {}.", "has {}"),
        ("{who} felt {concept}.", "has {who} and {concept}"),
        ("{concept!r}", "has {concept!r}"),
        ("{concept:>9}", "has {concept:>9}"),
        ("{concept.name}", "has {concept.name}"),
        ("She felt {concept", "double a brace"),
        ("She felt {concept}}", "double a brace"),
        ("{{concept}}", "has no field"),
    ],
)
def test_bad_template(template, said):
    with pytest.raises(InputError) as caught:
        render_templates(["Fine {concept}.", template], ["joy"])
    (problem,) = caught.value.problems
    assert problem.startswith(f"template {template!r}: ")
    assert said in problem


def test_all_bad_templates_at_once():
    with pytest.raises(InputError) as caught:
        render_templates(["a", "{b}", "{concept}", "{concept}"], ["joy"])
    assert len(caught.value.problems) == 3
    assert "is there 2 times" in caught.value.problems[2]


def test_no_templates():
    with pytest.raises(InputError, match="there are none"):
        render_templates([], ["joy"])
