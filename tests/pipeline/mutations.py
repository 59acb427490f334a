"""Making bad inputs of good ones, by a seed."""

from __future__ import annotations

import json
import random
from typing import Any

ODD_NUMBERS = [
    "0",
    "-1",
    "1e400",
    "-1e308",
    "nan",
    "inf",
    "9" * 400,
    "18446744073709551616",
    "1_000",
    "0x7f",
    "1,5",
    "½",
]
ODD_WORDS = [
    "",
    " ",
    "\t",
    "\x00",
    "\ufeff",
    "ζ\u0301",
    "\u202e",
    "😀",
    "=1+1",
    "a" * 5000,
    "../..",
    "~",
    "null",
    "true",
    "{}",
]
ODD_BYTES = [
    b"\xff",
    b"\xfe\xff",
    b"\r",
    b"\n\n",
    b"\x00",
    b'"',
    b"'",
    b";",
    b"\t",
    b":",
    b"{",
    b"[" * 50,
    b"&a *a",
    b"\xed\xa0\x80",
]
ODD_VALUES: list[Any] = [None, True, -1, 0, 2**70, 1e308, float("nan"), "", "x", [], {}, [None], {"x": {}}, ["a", 1]]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Return some bytes with one to three changes."""
    for _ in range(rng.randint(1, 3)):
        content = rng.choice((_flip, _cut, _repeat, _insert, _number, _word))(content, rng)
    return content


def mutated_json(content: bytes, rng: random.Random) -> bytes:
    """Return a JSON document in which some value is another, or missing, or bytes that are changed."""
    if rng.random() < 0.3:
        return mutated(content, rng)
    document = json.loads(content)
    for _ in range(rng.randint(1, 2)):
        places = list(_places(document))
        if not places:
            break
        parent, key = rng.choice(places)
        if isinstance(parent, dict) and rng.random() < 0.3:
            del parent[key]
        else:
            parent[key] = rng.choice(ODD_VALUES)
    return json.dumps(document if rng.random() < 0.98 else rng.choice(ODD_VALUES)).encode()


def _places(document: Any) -> Any:
    keys = document if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    for key in list(keys):
        yield document, key
        yield from _places(document[key])


def _flip(content: bytes, rng: random.Random) -> bytes:
    if not content:
        return content
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :]


def _cut(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + content[start + rng.randrange(30) :] if rng.random() < 0.7 else content[:start]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    stop = start + rng.randrange(60)
    return content[:stop] + content[start:]


def _insert(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.choice(ODD_BYTES) + content[place:]


def _number(content: bytes, rng: random.Random) -> bytes:
    return _in_place_of(content, rng, rng.choice(ODD_NUMBERS), str.isdigit)


def _word(content: bytes, rng: random.Random) -> bytes:
    return _in_place_of(content, rng, rng.choice(ODD_WORDS), str.isalpha)


def _in_place_of(content: bytes, rng: random.Random, new: str, belongs: Any) -> bytes:
    """Replace one run of characters, letters or digits, by others."""
    text = content.decode("latin-1")
    starts = [i for i, c in enumerate(text) if belongs(c) and (i == 0 or not belongs(text[i - 1]))]
    if not starts:
        return content
    start = stop = rng.choice(starts)
    while stop < len(text) and belongs(text[stop]):
        stop += 1
    return content[: len(text[:start])] + new.encode("utf-8", "surrogatepass") + content[stop:]
