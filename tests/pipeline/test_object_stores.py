"""Runs that lie on an object store: read from there as from the disk, and reused."""

import logging
import os
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

import emoscale as es
from emoscale.cli import app
from emoscale.config import load_settings
from emoscale.errors import InputError, StoreError
from emoscale.pipeline import runner
from emoscale.run.folder import RunFolder
from emoscale.system.addresses import download, place, read_bytes

pytest.importorskip("obstore", reason="needs the extra remote")
moto_server = pytest.importorskip("moto.server", reason="needs a local S3 server, moto")

BUCKET = "lab"
KEYS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",  # pragma: allowlist secret
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


@pytest.fixture(scope="module")
def bucket():
    """Serve S3 on this machine; yield a client of it."""
    boto3 = pytest.importorskip("boto3")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for each request
    server.start()
    host, port = server.get_host_and_port()
    before = dict(os.environ)
    os.environ.update(KEYS, AWS_ENDPOINT_URL=f"http://{host}:{port}")
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    server.stop()
    os.environ.clear()
    os.environ.update(before)


def upload(client, folder, prefix):
    for file in (file for file in folder.rglob("*") if file.is_file()):
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{file.relative_to(folder)}", Body=file.read_bytes())
    return f"s3://{BUCKET}/{prefix}"


@pytest.fixture(scope="module")
def address(bucket, finished):
    return upload(bucket, finished.out, "runs/mine")


def test_a_run_is_read_as_from_the_disk(finished, address):
    here, there = es.open_run(finished.out), es.open_run(address)
    for name in ("activations", "masks"):
        assert getattr(here, name).load().identical(getattr(there, name).load())
    for name in ("selectivity", "scores"):
        assert getattr(here, name).load().identical(getattr(there, name).load())
    assert list(here.tables) == list(there.tables)
    for name in here.tables:
        pd.testing.assert_frame_equal(here.tables[name], there.tables[name])
    assert here.settings == there.settings
    assert here.verdicts.equals(there.verdicts)
    assert here.neuron(0, 3).equals(there.neuron(0, 3))
    assert address in repr(there)
    assert "report" in repr(there)


def test_the_searchlight_reads_activations_there(finished, address):
    here, there = (es.open_run(path).activations for path in (finished.out, address))
    names = list(dict.fromkeys(here["concept"].to_numpy().tolist()))
    number = np.arange(len(names))
    scores = pd.DataFrame({"one": number**1.5, "other": np.cos(number)}, index=names)
    pd.testing.assert_frame_equal(es.searchlight(here, scores), es.searchlight(there, scores))


def test_stages_of_a_run_there_are_reused(finished, address, tmp_path):
    settings = load_settings(finished.config)
    settings = replace(settings, analysis=replace(settings.analysis, outcome="accuracy"))
    folder = RunFolder(tmp_path / "run")
    assert runner.run(settings, folder, Console(quiet=True), runner.Request(source=place(address)))
    stages = folder.manifest()["stages"]
    assert {name for name in stages if "from" not in stages[name]} == {"analyze", "report"}
    assert stages["select"]["from"] == address
    here = RunFolder(finished.out).selectivity
    files = [file for file in here.rglob("*") if file.is_file()]
    assert all((folder.selectivity / file.relative_to(here)).read_bytes() == file.read_bytes() for file in files)


def printed(*arguments):
    """Return what the command line prints, and what it says is wrong."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "300"})
    problems = getattr(done.exception, "problems", [str(done.exception)]) if done.exit_code else []
    return done.stdout, problems


@pytest.mark.parametrize("command", [["inspect"], ["inspect", "--verify"], ["top"], ["top", "--attribute", "valence"]])
def test_commands_print_the_same_as_from_the_disk(finished, address, command):
    (here, _), (there, problems) = (printed(*command, place) for place in (finished.out, address))
    assert not problems
    assert here.replace(str(finished.out), address) == there
    assert len(here.splitlines()) > 3


def test_runs_there_are_compared(finished, address, tmp_path):
    _, problems = printed("compare", finished.out, address, "--out", tmp_path / "page.html")
    assert not problems
    assert "mine" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_files_that_differ_from_those_written_are_named(bucket, finished):
    there = upload(bucket, finished.out, "runs/changed")
    bucket.put_object(Bucket=BUCKET, Key="runs/changed/masks.zarr/extra", Body=b"1")
    bucket.put_object(Bucket=BUCKET, Key="runs/changed/tables/needed.csv", Body=b"1")
    bucket.delete_object(Bucket=BUCKET, Key="runs/changed/masks.zarr/kind/zarr.json")
    _, problems = printed("inspect", there, "--verify")
    assert {problem.split(": ")[0] for problem in problems} == {
        f"{there}/masks.zarr/extra",
        f"{there}/masks.zarr/kind/zarr.json",
        f"{there}/tables/needed.csv",
    }
    assert sum("copy the run there again" in problem for problem in problems) == 2


@pytest.mark.parametrize("command", ["inspect", "top", "compare"])
def test_commands_name_what_is_no_run(bucket, address, command):
    others = [address] if command == "compare" else []
    _, problems = printed(command, *others, f"s3://{BUCKET}/nothing")
    assert len(problems) == 1
    assert problems[0].startswith(f"s3://{BUCKET}/nothing: n")


def test_a_file_address_is_a_path(finished):
    assert place(finished.out.as_uri()) == finished.out
    assert es.open_run(finished.out.as_uri()).path == finished.out


def test_the_kind_of_an_address_may_be_in_capitals(address):
    assert place(address.replace("s3", "S3")) == place(address)


def test_parts_of_files_and_whole_folders(address, finished, tmp_path):
    manifest = place(address) / "manifest.json"
    content = RunFolder(finished.out).manifest_file.read_bytes()
    assert read_bytes(manifest, 3, 20) == content[3:23]
    assert read_bytes(manifest, len(content) - 5, 20) == content[-5:]
    with pytest.raises(FileNotFoundError):
        read_bytes(place(address) / "nothing.json", 0, 10)
    download(place(address) / "selectivity.zarr", tmp_path / "selectivity.zarr")
    download(manifest, tmp_path / "manifest.json")
    assert (tmp_path / "manifest.json").read_bytes() == content
    files = [file for file in (tmp_path / "selectivity.zarr").rglob("*") if file.is_file()]
    assert all(file.read_bytes() == (finished.out / file.relative_to(tmp_path)).read_bytes() for file in files)
    assert len(files) == sum(file.is_file() for file in RunFolder(finished.out).selectivity.rglob("*"))


@pytest.mark.parametrize("change", ["missing", "damaged"])
def test_chunks_that_are_not_whole_are_named(bucket, finished, tmp_path, change):
    shutil.copytree(finished.out, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    chunk = next(file for file in (folder.activations / "activations" / "c").rglob("*") if file.is_file())
    if change == "missing":
        chunk.unlink()
    else:
        content = bytearray(chunk.read_bytes())
        content[0] ^= 1
        chunk.write_bytes(content)
    run = es.open_run(upload(bucket, folder.path, f"runs/{change}"))
    with pytest.raises(StoreError, match=f"s3://{BUCKET}/runs/{change}/activations.zarr/activations/c/.*{change}"):
        es.api.stores.open_activations(run.folder, lazy=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("s3://lab/nothing", "holds no run"),
        ("s3://no-such-bucket/run", "holds no run|cannot be read"),
        ("ftp://lab/run", "begin with file://, s3://, gs://"),
    ],
)
def test_what_is_no_run_is_named(bucket, given, message):
    with pytest.raises(InputError, match=message) as raised:
        es.open_run(given)
    assert given in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_store_that_does_not_answer(finished, bucket, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"s3://elsewhere/run: cannot be read"):
        es.open_run("s3://elsewhere/run")
    source = runner.Request(source=place("s3://elsewhere/run"))
    with pytest.raises(InputError, match=r"s3://elsewhere/run/manifest.json: cannot be read"):
        runner.run(load_settings(finished.config), RunFolder(tmp_path / "run"), Console(quiet=True), source)
