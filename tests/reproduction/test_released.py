import io
import tarfile
import zipfile

import pytest
from released_tree import make_release

from emoscale.commands.reproduce import released
from emoscale.commands.reproduce.released import released_files
from emoscale.errors import InputError


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_release(tmp_path_factory.mktemp("release"))


def pack(tree, path, wrapped=True):
    files = sorted(file for file in tree.rglob("*") if file.is_file())
    prefix = "Model_Emotion-614c978/" if wrapped else ""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in files:
                archive.write(file, prefix + str(file.relative_to(tree)))
    else:
        with tarfile.open(path, "w:" + path.suffix[1:]) as archive:
            for file in files:
                archive.add(file, prefix + str(file.relative_to(tree)))
    return path


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.xz"])
def test_archive_holds_what_the_clone_holds(tree, tmp_path, name, wrapped):
    with released_files(pack(tree, tmp_path / name, wrapped)) as files:
        root = files.root
        for file in tree.rglob("*.*"):
            assert (root / file.relative_to(tree)).read_bytes() == file.read_bytes()
    assert not root.exists()


def test_folder_with_one_archive(tree, tmp_path):
    pack(tree, tmp_path / "model-emotion.tar.xz")
    (tmp_path / "README.md").write_text("x")
    with released_files(tmp_path) as files:
        assert files.file(released.SCORES).is_file()


def test_clone_in_a_folder(tree, tmp_path):
    (tmp_path / "Model_Emotion").symlink_to(tree)
    with released_files(tmp_path) as files:
        assert files.file(released.SCORES).samefile(tree / released.SCORES)


@pytest.mark.parametrize("name", [f"../{released.SCORES}", f"/{released.SCORES}", f"Data/../../{released.SCORES}"])
def test_nothing_is_written_outside(tmp_path, name):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    (tmp_path / "out").mkdir()
    released.unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    written = {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*") if file.is_file()}
    assert written <= {"a.tar.gz", f"out/{released.SCORES}"}


def test_links_are_left_out(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo(released.SCORES)
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(member)
    released.unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    assert not (tmp_path / "out" / released.SCORES).exists()


def test_file_twice_in_an_archive(tree, tmp_path):
    path = pack(tree, tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(f"Model_Emotion-614c978/{released.SCORES}", "x")
    with pytest.raises(InputError, match=rf"{released.SCORES} twice"), released_files(path):
        pass


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
@pytest.mark.parametrize("inner", [["ratings", "ratings/one.csv"], ["ratings/one.csv", "ratings"]])
def test_file_and_folder_of_one_name_in_an_archive(tmp_path, name, inner):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "content").write_text("x")
    files = [(tree / "content", f"Model_Emotion/Data/{place}") for place in inner]
    if name == "a.zip":
        with zipfile.ZipFile(tmp_path / name, "w") as zipped:
            for file, place in files:
                zipped.write(file, place)
    else:
        with tarfile.open(tmp_path / name, "w:gz") as tarred:
            for file, place in files:
                tarred.add(file, place)
    said = rf"{name}: holds a file and a folder at Data/ratings.*; keep one of them$"
    with pytest.raises(InputError, match=said), released_files(tmp_path / name):
        pass


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_an_archive_unpacks_to_no_more_than_allowed(tree, tmp_path, name):
    archive = pack(tree, tmp_path / name)
    size = sum(file.stat().st_size for file in tree.rglob("*") if file.is_file())
    with released_files(archive, size) as files:
        assert files.file(released.SCORES).is_file()
    said = r"unpacks to more than .* MB; .*--unpack-limit"
    with pytest.raises(InputError, match=said), released_files(archive, size - 1):
        pass


def test_all_missing_files_are_named(tmp_path):
    (tmp_path / "Data").mkdir()
    make_release(tmp_path)
    for name in (released.SCORES, released.PEOPLE):
        (tmp_path / name).unlink()
    with pytest.raises(InputError) as raised, released_files(tmp_path):
        pass
    assert len(raised.value.problems) == 2


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08broken"])
def test_broken_archive(tmp_path, content):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(content)
    with pytest.raises(InputError), released_files(path):
        pass


def test_truncated_archive(tree, tmp_path):
    path = pack(tree, tmp_path / "a.tar.xz")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"a\.tar\.xz"), released_files(path):
        pass


def test_neither_clone_nor_archive(tmp_path):
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError), released_files(path):
            pass
