import sys
import types

import pytest


@pytest.fixture
def write(tmp_path):
    def write_file(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write_file


@pytest.fixture
def goemotions(tmp_path):
    (tmp_path / "train.tsv").write_bytes(
        'He said "no\t2\tid1\nan odd\x85 break \u2028 and\r here\t0,3\tid2\r\n"quoted"\t1\tid3\n'.encode()
    )
    (tmp_path / "dev.tsv").write_text("calm\t3\tid4\n")
    (tmp_path / "labels.txt").write_text("joy\nfear\nanger\nneutral\n")
    return tmp_path


@pytest.fixture
def stand_in(monkeypatch):
    """Make `import datasets` give a package whose loaders return, or raise, what the test says."""

    def install(outcome):
        def load(path):
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        class DatasetsError(Exception):
            pass

        package = types.SimpleNamespace(
            load_dataset=load, load_from_disk=load, exceptions=types.SimpleNamespace(DatasetsError=DatasetsError)
        )
        monkeypatch.setitem(sys.modules, "datasets", package)
        return package

    return install
