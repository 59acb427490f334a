import numpy as np
import pytest
from released_tree import CONCEPTS, NEURONS, SEEDS, make_release

from emoscale.commands.reproduce import released
from emoscale.commands.reproduce.activations import read_activations, write_activations
from emoscale.errors import InputError
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS
from emoscale.store import open_store
from emoscale.system.progress import Silent


@pytest.fixture
def files(tmp_path):
    return make_release(tmp_path) / released.ACTIVATIONS


def read(files):
    return read_activations(files, CONCEPTS, SEEDS, progress=Silent())


def problems(files):
    with pytest.raises(InputError) as raised:
        read(files)
    return raised.value.problems


def test_store_holds_the_decimals_of_the_files(files, tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    counts = write_activations(folder, read(files), CONCEPTS, SEEDS)
    assert counts == {"rows": len(CONCEPTS) * len(SEEDS), "neurons": NEURONS}
    store = open_store(folder.activations, ACTIVATIONS)
    assert store.complete
    values = store.read("activations")
    assert values.dtype == np.float64
    for row, (concept, seed) in enumerate(zip(store.read("concept"), store.read("replicate"), strict=True)):
        line = (files / f"{concept}-{seed}.csv").read_text().splitlines()[1]
        assert values[row].tolist() == [float(cell) for cell in line.split(",")]
    assert list(dict.fromkeys(store.read("concept"))) == CONCEPTS
    assert store.read("layer")[[0, 2, 3, 35]].tolist() == [0, 0, 1, 11]
    assert store.read("unit")[[0, 2, 3, 35]].tolist() == [0, 2, 0, 2]
    assert set(store.read("expert")) == set(store.read("token_id")) == {-1}


def test_every_bad_file_is_named_at_once(files):
    def edit(name, change):
        header, line = (files / name).read_text().splitlines()
        (files / name).write_text("\n".join(change(header, line)) + "\n")

    (files / "joy-1.csv").unlink()
    edit("joy-3.csv", lambda header, line: (header, line.rsplit(",", 1)[0]))
    edit("joy-42.csv", lambda header, line: (header, line.replace(line.split(",")[5], "n/a")))
    edit("fear-1.csv", lambda header, line: (header, line.replace(line.split(",")[7], "nan")))
    edit("fear-3.csv", lambda header, line: (header,))
    edit("fear-42.csv", lambda header, line: (header, line.replace(",", ",,", 1)))
    (files / "anger-3.csv").write_bytes((files / "anger-1.csv").read_bytes())
    (files / "anger-1 (copy).csv").write_bytes((files / "anger-1.csv").read_bytes())
    told = problems(files)
    names = ["joy-1.csv", "joy-3", "joy-42", "fear-1", "fear-3", "fear-42", "anger-3", r"anger-1 (copy)"]
    assert len(told) == len(names)
    for name in names:
        assert sum(f"{name}" in problem.split(":")[0] for problem in told) >= 1, name
    assert any("joy-42" in problem and "column 5" in problem and "n/a" in problem for problem in told)


def test_averages_of_prompts_are_left_alone(files):
    lines = (files / "joy-1.csv").read_text().splitlines()
    (files / "joy-all.csv").write_text("\n".join([lines[0], lines[1].replace("1", "2")]))
    assert read(files).shape == (len(CONCEPTS) * len(SEEDS), NEURONS)


def test_neurons_that_are_no_twelve_layers(files):
    for file in files.glob("*.csv"):
        header, line = file.read_text().splitlines()
        file.write_text(f"{header},36\n{line},0.5\n")
    assert problems(files) == [f"{files}: 37 activations a file, which are not 12 equal layers; give all files"]
