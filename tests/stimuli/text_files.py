"""Files of texts, valid and invalid, and short calls of the reader."""

import json

import pandas as pd

from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.texts import load_texts, stream_texts

ROWS = [("a day", "joy"), ("a night", "fear"), ("an hour", "joy"), ("a year", "grief"), ("a week", "fear")]

BAD_FILES = [
    ("own.xlsx", "", "unknown format '.xlsx'; give a file that ends in .csv, .tsv, .parquet, .jsonl"),
    ("own", "", "unknown format ''"),
    ("own.csv", "", "not a csv file"),
    ("own.csv", "text,label\n", "holds no texts"),
    ("own.csv", "text,label\na,joy,x\nb,fear,y\n", "not a csv file"),
    ("own.csv", "text,label\na,joy\nb,fear,y\n", "not a csv file"),
    ("own.csv", 'text,label\n"a,joy\n', "not a csv file"),
    ("own.csv", b"text,label\n\xff\xfe,joy\n", "not a csv file"),
    ("own.parquet", "text,label\n", "not a parquet file"),
    ("own.jsonl", '{"text": "a", "label": "joy"}\n{"text": \n', "line 2"),
    ("own.jsonl", '["a", "joy"]\n', "line 1: not an object"),
    ("own.jsonl", "", "holds no texts"),
    ("own.csv", "texts,label\na,joy\n", "no column 'text' (nearest: 'texts'); name one of texts, label"),
    ("own.csv", "text,labels\na,joy\n", "no column 'label' (nearest: 'labels')"),
    ("own.csv", "text,label\na,joy\n ,joy\n\n,fear\n", "2 of 3 texts are empty, the first in row 2"),
    (
        "own.jsonl",
        '{"text": "a", "label": "joy"}\n{"label": "joy"}\n',
        "1 of 2 texts are empty, the first in row 2",
    ),
    ("own.jsonl", '{"text": "a", "label": "joy"}\n{"text": 7, "label": "joy"}\n', "1 of 2 text cells hold no text"),
    ("own.jsonl", '{"text": "\\ud83d", "label": "joy"}\n', "half a character"),
    ("own.csv", "text,label\na,joy\nb,\nc,\n", "2 of 3 labels are empty, the first in row 2"),
    ("own.csv", "text,label\na,joy\n", "holds a single text"),
]


def table_in(write, suffix, rows=ROWS, columns=("text", "label")):
    frame = pd.DataFrame(rows, columns=list(columns))
    if suffix == ".parquet":
        path = write("own.parquet", "")
        frame.to_parquet(path)
        return path
    text = {
        ".csv": lambda: frame.to_csv(index=False),
        ".tsv": lambda: frame.to_csv(index=False, sep="\t"),
        ".jsonl": lambda: "".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows),
    }[suffix]()
    return write("own" + suffix, text)


def load(source, **settings):
    return load_texts(StimuliOptions(source=source, **settings))


def stream(source, split="all", chunk=8192, **settings):
    return stream_texts(StimuliOptions(source=source, **settings), split, chunk)
