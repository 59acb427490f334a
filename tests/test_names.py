"""Names that are the same, and what they differ in."""

import pytest

from emoscale.names import canonical, difference, join, visible

FORMS = [
    "Ärger",
    "A\u0308rger",
    "ärger",
    "ÄRGER",
    " ärger ",
    "är\u00adger",
    "\ufeffärger",
    "ärger\u200b",
    "ä\u200drger",
]


def test_forms_of_a_name_are_the_same_name():
    assert {canonical(form) for form in FORMS} == {"ärger"}


def test_other_letters_are_another_name():
    assert len({canonical(name) for name in ["Ärger", "Arger", "self relevance", "self-relevance", "joy", "喜び"]}) == 6


@pytest.mark.parametrize("name", ["ǰ", "J\u030c", "ΰ", "ŉ", "ẞ", "İ", "ﬁ", "e\u0301\u0323", " \u200b x\u0308"])
def test_a_canonical_name_is_its_own(name):
    assert canonical(canonical(name)) == canonical(name)
    assert canonical(visible(name)) == canonical(name)
    assert canonical(name.upper().lower()) == canonical(name.lower())


@pytest.mark.parametrize(
    ("a", "b", "what"),
    [
        ("joy", "joy", ""),
        ("joy", "fear", ""),
        ("Joy", "joy", "capitals"),
        ("self  relevance", "self\u00a0relevance", "spaces"),
        ("joy ", "joy", "spaces"),
        ("fear\u200b", "fear", "invisible characters"),
        ("\u00e4rger", "a\u0308rger", "Unicode form"),
        ("\u00c4rger", "a\u0308rger", "capitals and Unicode form"),
        ("Fear\u200b", "fear", "capitals and invisible characters"),
        ("self relevance", "selfrelevance", "spaces, hyphens or underscores"),
        ("Self-relevance", "self_relevance", "spaces, hyphens or underscores"),
        ("\u00c4rger", "arger", "accents or the form of letters"),
        ("\uff4aoy", "joy", "accents or the form of letters"),
    ],
)
def test_a_difference_is_named(a, b, what):
    assert difference(a, b) == difference(b, a) == what


def test_forms_are_joined_under_the_first():
    first, joined = join(["joy", "fear", "Joy", "fear\u200b", "joy ", "Joy"])
    assert first == {"joy": "joy", "fear": "fear", "Joy": "joy", "fear\u200b": "fear", "joy ": "joy"}
    assert joined == ["'Joy' as 'joy' (capitals)", "'fear\\u200b' as 'fear' (invisible characters)"]


def test_a_name_written_one_way_is_not_reported():
    assert join(["joy", "joy ", "fear", "joy"])[1] == []
