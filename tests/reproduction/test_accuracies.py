import json

import pandas as pd
import pytest
from released_tree import ATTRIBUTES, CONCEPTS, KS, SEEDS, make_release

from emoscale.commands.reproduce import released
from emoscale.commands.reproduce.accuracies import answer_table, prompt_table
from emoscale.errors import InputError


@pytest.fixture
def root(tmp_path):
    return make_release(tmp_path)


def read(root):
    prompts = prompt_table(root / released.ACCURACY, CONCEPTS)
    return answer_table(root / released.SELECTIVE, root / released.RANDOM, prompts, ATTRIBUTES)


def test_every_accuracy_has_its_place(root):
    table = read(root)
    assert len(table) == len(CONCEPTS) * len(SEEDS) * (1 + 2 * len(ATTRIBUTES) * len(KS))
    assert table["mask"].nunique() == 1 + 2 * len(ATTRIBUTES) * len(KS)
    at = table.set_index(["concept", "replicate", "kind", "attribute", "k"])["accuracy"]
    for folder, kind, word in ((released.SELECTIVE, "selective", "top"), (released.RANDOM, "random", "random")):
        content = json.loads((root / folder / "joy-42.json").read_text())
        assert at["joy", "42", kind, "novelty", 9] == content[f"non-novelty_{word}9"]
        assert at["joy", "42", kind, "arousal", 4] == content[f"arousal_{word}4"]
        assert at["joy", "42", "none", "", 0] == content["best"]


def test_prompts_come_in_canonical_order(root):
    table = prompt_table(root / released.ACCURACY, CONCEPTS)
    assert list(table["concept"].unique()) == CONCEPTS
    assert list(table["replicate"][: len(SEEDS)]) == SEEDS


def test_bad_files_are_named_at_once(root):
    folder = root / released.SELECTIVE
    (folder / "joy-1.json").unlink()
    (folder / "joy-3.json").write_text("{")
    content = json.loads((folder / "joy-42.json").read_text())
    (folder / "joy-42.json").write_text(json.dumps(content | {"arousal_top4": 1.5}))
    (folder / "fear-1.json").write_text(json.dumps({key: content[key] for key in list(content)[:-1]}))
    (folder / "fear-3.json").write_text(json.dumps({**content, "envy_top4": content["best"]}))
    with pytest.raises(InputError) as raised:
        read(root)
    assert len(raised.value.problems) == 5


def test_bad_prompt_table(root):
    file = root / released.ACCURACY
    table = pd.read_csv(file)
    table = pd.concat([table.iloc[1:], table.iloc[[-1]]])
    table["accuracy"] = table["accuracy"].astype(object)
    table.iloc[2, 2] = "high"
    table.to_csv(file, index=False)
    with pytest.raises(InputError) as raised:
        prompt_table(file, CONCEPTS)
    missing, doubled, text = raised.value.problems
    assert "realization-1 is missing" in missing
    assert "remorse-42 is there 2 times" in doubled
    assert "line 4" in text
