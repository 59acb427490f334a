import http.server
import json
import re
import socket
import threading
import zipfile
from functools import partial

import pytest

from emoscale.commands.fetch import DATASETS, Dataset, fetch, group_digest
from emoscale.errors import EmoscaleError, InputError
from emoscale.system.files import sha256


@pytest.fixture
def served(tmp_path):
    place = tmp_path / "served"
    place.mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=place)
    handler.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield place, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def datasets(served, tmp_path):
    place, url = served
    files = tmp_path / "files"
    files.mkdir()
    for name in ("one.csv", "a-1.txt", "a-2.txt"):
        (files / name).write_text(name)
    checks = {
        "files": {"one.csv": sha256(files / "one.csv")},
        "groups": {"a-*.txt": {"count": 2, "sha256": group_digest(sorted(files.glob("a-*.txt")))}},
    }
    (tmp_path / "checks.json").write_text(json.dumps(checks))
    with zipfile.ZipFile(place / "data.zip", "w") as archive:
        for file in files.iterdir():
            archive.write(file, file.name)

    def unpack(archive, folder):
        with zipfile.ZipFile(archive) as zipped:
            zipped.extractall(folder)

    return {"toy": Dataset("about", (f"{url}/data.zip",), tmp_path / "checks.json", unpack)}


def test_fetched_files_are_checked_and_put_in_place(datasets, served, tmp_path):
    folder, digest = fetch("toy", tmp_path / "out" / "toy", datasets)
    assert sorted(file.name for file in folder.iterdir()) == ["a-1.txt", "a-2.txt", "one.csv"]
    assert digest == sha256(served[0] / "data.zip")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["toy"]


@pytest.mark.parametrize("name", ["one.csv", "a-2.txt"])
def test_changed_file_is_refused(datasets, served, tmp_path, name):
    with zipfile.ZipFile(served[0] / "data.zip", "w") as archive:
        for file in (tmp_path / "files").iterdir():
            archive.writestr(file.name, "other" if file.name == name else file.read_text())
    with pytest.raises(EmoscaleError, match=r"one\.csv|a-\*\.txt") as raised:
        fetch("toy", tmp_path / "out" / "toy", datasets)
    assert raised.value.exit_code == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_missing_files_are_named(datasets, served, tmp_path):
    with zipfile.ZipFile(served[0] / "data.zip", "w") as archive:
        archive.writestr("a-1.txt", "a-1.txt")
    with pytest.raises(EmoscaleError) as raised:
        fetch("toy", tmp_path / "toy", datasets)
    assert len(raised.value.problems) == 2


def test_a_failed_download_is_reported(datasets, served, tmp_path):
    (served[0] / "data.zip").unlink()
    with pytest.raises(EmoscaleError, match=r"cannot be downloaded \(HTTP Error 404"):
        fetch("toy", tmp_path / "toy", datasets)
    assert not (tmp_path / "toy").exists()


def test_a_download_that_breaks_off(datasets, monkeypatch, tmp_path):
    usual = http.server.SimpleHTTPRequestHandler.send_header
    monkeypatch.setattr(
        http.server.SimpleHTTPRequestHandler,
        "send_header",
        lambda self, name, value: usual(self, name, int(value) + 7 if name == "Content-Length" else value),
    )
    with pytest.raises(EmoscaleError, match=r"cannot be downloaded \(7 bytes are missing\)"):
        fetch("toy", tmp_path / "toy", datasets)
    assert not (tmp_path / "toy").exists()


def test_a_server_that_is_not_there(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/data.zip"
    datasets = {"toy": Dataset("about", (url,), tmp_path / "checks.json")}
    with pytest.raises(EmoscaleError, match=r"cannot be downloaded \(<urlopen error .*refused"):
        fetch("toy", tmp_path / "toy", datasets)


@pytest.fixture
def two_files(served, tmp_path):
    place, url = served
    for name in ("train.tsv", "names.txt"):
        (place / name).write_text(name)
    checks = {"files": {name: sha256(place / name) for name in ("train.tsv", "names.txt")}, "groups": {}}
    (tmp_path / "checks.json").write_text(json.dumps(checks))
    return {"toy": Dataset("about", (f"{url}/train.tsv", f"{url}/names.txt"), tmp_path / "checks.json")}


def test_files_without_an_archive(two_files, tmp_path):
    folder, digest = fetch("toy", tmp_path / "out" / "toy", two_files)
    assert {file.name: file.read_text() for file in folder.iterdir()} == {
        "train.tsv": "train.tsv",
        "names.txt": "names.txt",
    }
    assert digest is None


def test_one_of_several_files_changed_or_missing(two_files, served, tmp_path):
    (served[0] / "names.txt").write_text("other")
    with pytest.raises(EmoscaleError, match=r"names\.txt is not the expected file"):
        fetch("toy", tmp_path / "toy", two_files)
    (served[0] / "names.txt").unlink()
    with pytest.raises(EmoscaleError, match=r"names\.txt: cannot be downloaded"):
        fetch("toy", tmp_path / "toy", two_files)
    assert not (tmp_path / "toy").exists()


def test_fetched_goemotions_has_the_files_that_its_reader_needs():
    dataset = DATASETS["goemotions"]
    names = [url.rsplit("/", 1)[1] for url in dataset.urls]
    assert names == ["train.tsv", "dev.tsv", "emotions.txt"]
    assert list(json.loads(dataset.checks.read_text())["files"]) == names


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_every_url_is_pinned_to_a_commit(dataset):
    assert all(re.search(r"/[0-9a-f]{40}[/.]", url) for url in dataset.urls)


def test_unknown_name_and_full_folder(datasets, tmp_path):
    with pytest.raises(InputError, match="use one of toy"):
        fetch("top", tmp_path / "x", datasets)
    with pytest.raises(InputError, match="already exists"):
        fetch("toy", tmp_path, datasets)
