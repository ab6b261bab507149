"""Folders keep what they are given under any name, and show nothing half-written."""

from __future__ import annotations

import os
import pickle
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import _registry
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import StorageError
from manifests.storage import Folder

AWKWARD_NAMES = [
    "with space",
    " leading and trailing ",
    'it\'s "quoted"',
    "[brackets] {braces} *stars* ?",
    "100%25 #1 $HOME ~",
    "Ünïcødé 話す 🎥.mp4",
    "a::b",
    "a\\b",
    "-rf",
    ".hidden",
    "new\nline",
    "deep/er [1]/x#y.bin",
]

names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40
).filter(lambda name: name not in {".", ".."} and "://" not in name)


@pytest.fixture(params=["path", "file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    unique = uuid.uuid4().hex
    url = {
        "path": str(tmp_path / "a [b] #%$ c"),
        "file": f"file://{tmp_path}/file url",
        "memory": f"memory://{unique}/sub folder",
    }[str(request.param)]
    folder = Folder(url)
    yield folder
    for name in folder.list():
        folder.remove(name)


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_awkward_names_are_taken_literally(folder: Folder, name: str) -> None:
    folder.write_bytes("other", b"other")
    folder.write_bytes(name, b"0123456789")

    assert folder.exists(name)
    assert folder.size(name) == 10
    assert folder.read_bytes(name) == b"0123456789"
    assert folder.read_range(name, 3, 4) == b"3456"
    assert folder.read_range(name, 8, 9) == b"89"
    assert folder.list() == tuple(sorted([name, "other"]))
    assert folder.list(name[:3]) == (name,)
    if "::" not in name:
        assert Folder.split(folder.join(name))[0].join(name.rpartition("/")[2]) == folder.join(name)
    folder.remove(name)
    assert folder.list() == ("other",)
    assert not folder.exists(name)


@settings(max_examples=30, deadline=None)
@given(data=st.dictionaries(names, st.binary(max_size=50), max_size=5))
def test_any_local_name_and_bytes_come_back(
    data: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = Folder(str(tmp_path_factory.mktemp("any")))
    data = {name: value for name, value in data.items() if len(os.fsencode(name)) <= 255}
    for name, value in data.items():
        folder.write_bytes(name, value)
    assert {name: folder.read_bytes(name) for name in folder.list()} == data


def test_a_second_write_replaces_the_first(folder: Folder) -> None:
    folder.write_bytes("a", b"long first content")
    folder.write_bytes("a", b"second")
    assert folder.read_bytes("a") == b"second"


def test_a_crash_inside_writer_leaves_neither_file_nor_temp(folder: Folder) -> None:
    with pytest.raises(KeyboardInterrupt), folder.writer("sub/a.tar") as file:
        file.write(b"half")
        file.flush()
        assert not folder.exists("sub/a.tar")
        assert folder.list() == ()
        raise KeyboardInterrupt
    assert folder.list() == ()
    if not folder.url.startswith("memory"):
        assert [path for path in Path(folder.url).rglob("*") if path.is_file()] == []


def test_a_crash_inside_writer_leaves_the_old_file(folder: Folder) -> None:
    folder.write_bytes("a", b"old")
    with pytest.raises(ZeroDivisionError), folder.writer("a") as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert folder.read_bytes("a") == b"old"


def test_a_writer_killed_on_the_spot_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / f".{uuid.uuid4().hex}.part").write_bytes(b"left by a killed process")
    (tmp_path / "whole").write_bytes(b"")
    assert Folder(str(tmp_path)).list() == ("whole",)


@pytest.fixture
def sftp(tmp_path: Path) -> Iterator[Folder]:
    """A remote filesystem that renames, played by a local one that calls itself sftp."""

    class LocalSftp(LocalFileSystem):  # type: ignore[misc]
        protocol = "sftp"

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return str(LocalFileSystem._strip_protocol(path.removeprefix("sftp://")))

        def put_file(self, path1: str, path2: str, **kwargs: Any) -> None:
            super().put_file(path1, path2, **kwargs)
            if (tmp_path / "cable cut").exists():
                raise OSError("connection lost")

    fsspec.register_implementation("sftp", LocalSftp, clobber=True)
    yield Folder(f"sftp://{tmp_path}/remote")
    _registry.pop("sftp")


def test_a_filesystem_without_atomic_put_gets_a_temp_name_and_a_rename(
    sftp: Folder, tmp_path: Path
) -> None:
    sftp.write_bytes("a [1].tar", b"whole")
    assert sftp.read_bytes("a [1].tar") == b"whole"
    (tmp_path / "cable cut").touch()
    with pytest.raises(StorageError, match="connection lost"):
        sftp.write_bytes("a [1].tar", b"half")
    assert sftp.read_bytes("a [1].tar") == b"whole"
    assert [path.name for path in (tmp_path / "remote").iterdir()] == ["a [1].tar"]


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/../../b", "/etc/passwd", "a//b", "a\0"])
def test_names_that_lead_out_of_the_folder_are_refused(folder: Folder, name: str) -> None:
    for use in (folder.join, folder.exists, folder.read_bytes, folder.remove):
        with pytest.raises(StorageError, match="give a name without"):
            use(name)
    with pytest.raises(StorageError), folder.writer(name):
        pass


def test_a_missing_file_is_named_in_the_error(folder: Folder) -> None:
    with pytest.raises(StorageError, match=r"no such \[1\]\.tar: cannot be .* not there"):
        folder.read_bytes("no such [1].tar")
    with pytest.raises(StorageError):
        folder.size("absent")
    with pytest.raises(StorageError):
        folder.remove("absent")
    folder.remove("absent", missing_ok=True)
    assert folder.list() == ()
    assert not folder.sub("absent").is_folder()


def test_an_unknown_protocol_is_refused_with_its_address() -> None:
    with pytest.raises(StorageError, match=r"nosuch://bucket: cannot be reached"):
        Folder("nosuch://bucket").list()


def test_a_file_where_a_folder_should_be_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        Folder(str(tmp_path)).write_bytes("file/below", b"")


def test_a_folder_travels_and_means_the_same_from_another_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Folder("run")
    folder.write_bytes("a", b"1")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert pickle.loads(pickle.dumps(folder)).read_bytes("a") == b"1"
    assert folder == Folder(f"file://{tmp_path}/run/")


def test_split_divides_an_address_into_folder_and_name(tmp_path: Path) -> None:
    assert Folder.split("s3://bucket/a b/c#1.mp4") == (Folder("s3://bucket/a b"), "c#1.mp4")
    assert Folder.split("memory://c.mp4") == (Folder("memory://"), "c.mp4")
    assert Folder.split(f"{tmp_path}/x.mp4") == (Folder(str(tmp_path)), "x.mp4")
    assert Folder.split("/x.mp4") == (Folder("/"), "x.mp4")
    with pytest.raises(StorageError, match="does not name a file"):
        Folder.split("s3://bucket/")
