"""Shards give back what was put in, at the places that were told, with the same bytes each time."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import ShardError
from manifests.shards import SamplePlace, ShardDigest, ShardWriter, read_member, read_samples
from manifests.storage import Folder

# The bytes of every stored dataset hang on the layout: if this has to change, all of them do.
EXPECTED_SHA256 = "d788f8e829d7f3bbce68841830207db3f0dc2808ad0739b092cfa57ad0abd4ca"

Samples = dict[str, dict[str, bytes]]

quick = settings(max_examples=30, deadline=None)

letters = "abzAZ019_-"
keys = st.text(letters, min_size=1, max_size=12)
exts = st.sampled_from(["mp4", "flac", "txt", "json", "face.npz", "7z", "a.b.c"])
payloads = st.binary(max_size=8) | st.builds(
    bytes.__mul__, st.sampled_from([b"\0", b"x"]), st.sampled_from([511, 512, 513, 1024, 3000])
)
any_samples = st.dictionaries(
    keys, st.dictionaries(exts, payloads, min_size=1, max_size=5), max_size=5
)


def write(samples: Samples) -> tuple[bytes, list[SamplePlace], ShardDigest]:
    file = io.BytesIO()
    writer = ShardWriter(file)
    places = [writer.add(key, members) for key, members in samples.items()]
    digest = writer.finish()
    return file.getvalue(), places, digest


def shard_of(samples: Samples) -> bytes:
    return write(samples)[0]


@quick
@given(samples=any_samples)
def test_any_samples_come_back_in_their_order(samples: Samples) -> None:
    assert list(read_samples(io.BytesIO(shard_of(samples)))) == list(samples.items())


@quick
@given(samples=any_samples)
def test_places_point_at_the_very_bytes(samples: Samples) -> None:
    data, places, _ = write(samples)
    for place in places:
        assert [member.ext for member in place.members] == sorted(samples[place.key])
        for member in place.members:
            found = data[member.offset : member.offset + member.size]
            assert found == samples[place.key][member.ext]


@quick
@given(samples=any_samples)
def test_the_digest_is_that_of_the_file(samples: Samples) -> None:
    data, _, digest = write(samples)
    assert digest == ShardDigest(hashlib.sha256(data).hexdigest(), len(data), len(samples))


@quick
@given(samples=any_samples)
def test_two_writers_make_the_same_bytes_whatever_the_order_of_members(samples: Samples) -> None:
    turned = {key: dict(reversed(members.items())) for key, members in samples.items()}
    assert shard_of(samples) == shard_of(turned)


def test_the_bytes_of_a_shard_never_change() -> None:
    data = shard_of({"key": {"txt": b"hello", "face.npz": bytes(600)}})
    assert hashlib.sha256(data).hexdigest() == EXPECTED_SHA256


@quick
@given(samples=any_samples)
def test_tarfile_sees_plain_anonymous_files(samples: Samples) -> None:
    with tarfile.open(fileobj=io.BytesIO(shard_of(samples)), mode="r:") as tar:
        for info in tar:
            assert info.isreg()
            assert info.mode == 0o644
            assert (info.mtime, info.uid, info.gid, info.uname, info.gname) == (0, 0, 0, "", "")
            key, _, ext = info.name.partition(".")
            member = tar.extractfile(info)
            assert member is not None
            assert member.read() == samples[key][ext]


@quick
@given(samples=any_samples)
def test_plain_webdataset_reads_the_same_samples(
    samples: Samples, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("shard [1] of") / "000000.tar"
    path.write_bytes(shard_of(samples))
    dataset = webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False)
    found = {sample.pop("__key__"): sample for sample in dataset}
    for sample in found.values():
        sample.pop("__url__")
        sample.pop("__local_path__", None)
    assert found == samples


@pytest.mark.parametrize(
    ("key", "members", "rule"),
    [
        ("", {"txt": b""}, "a key has letters"),
        ("a.b", {"txt": b""}, "a key has letters"),
        ("a/b", {"txt": b""}, "a key has letters"),
        ("é", {"txt": b""}, "a key has letters"),
        ("a\n", {"txt": b""}, "a key has letters"),
        ("a", {}, "no members"),
        ("a", {"": b""}, "an extension has"),
        ("a", {"TXT": b""}, "an extension has"),
        ("a", {".txt": b""}, "an extension has"),
        ("a", {"t/t": b""}, "an extension has"),
        ("a" * 97, {"txt": b""}, "101 letters, but a tar takes 100"),
    ],
)
def test_what_could_not_be_read_back_is_refused_and_nothing_of_it_written(
    key: str, members: dict[str, bytes], rule: str
) -> None:
    file = io.BytesIO()
    writer = ShardWriter(file)
    with pytest.raises(ShardError, match=rule):
        writer.add(key, {"aaa": b"fine", **members} if members else members)
    assert file.getvalue() == b""


def test_a_key_twice_or_a_sample_after_the_end_is_refused() -> None:
    writer = ShardWriter(io.BytesIO())
    writer.add("a", {"txt": b""})
    with pytest.raises(ShardError, match="keys have to be unique"):
        writer.add("a", {"txt": b""})
    assert writer.finish() == writer.finish()
    with pytest.raises(ShardError, match="after the end"):
        writer.add("b", {"txt": b""})


@quick
@given(samples=any_samples.filter(bool), data=st.data())
def test_a_shard_cut_anywhere_is_noticed(samples: Samples, data: st.DataObject) -> None:
    whole = shard_of(samples)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ShardError, match="the shard ends within"):
        list(read_samples(io.BytesIO(whole[:cut])))


def test_a_damaged_header_is_named_by_its_byte() -> None:
    data = bytearray(shard_of({"a": {"txt": b"1"}, "b": {"txt": b"2"}}))
    data[1024] ^= 1
    with pytest.raises(ShardError, match="byte 1024: not a tar header"):
        list(read_samples(io.BytesIO(bytes(data))))


def test_what_is_no_sample_is_refused() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("folder/a.txt"))
    with pytest.raises(ShardError, match=r"'folder/a\.txt' is no member KEY\.EXT"):
        list(read_samples(io.BytesIO(file.getvalue())))


def test_a_member_twice_in_a_sample_is_refused() -> None:
    half = shard_of({"a": {"txt": b"1"}})[:-1024]
    with pytest.raises(ShardError, match=r"a\.txt is there twice"):
        list(read_samples(io.BytesIO(half + half + bytes(1024))))


def test_a_reader_that_gives_little_at_a_time_reads_the_same() -> None:
    class Slow:
        def __init__(self, data: bytes) -> None:
            self._file = io.BytesIO(data)

        def read(self, size: int, /) -> bytes:
            return self._file.read(min(size, 7))

    samples = {"a": {"txt": b"1" * 600}, "b": {"txt": b""}}
    assert dict(read_samples(Slow(shard_of(samples)))) == samples


def test_a_member_is_read_by_its_place_alone(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    with folder.writer("shards/000000.tar") as file:
        writer = ShardWriter(file)
        writer.add("a", {"txt": b"first"})
        (member,) = writer.add("b", {"txt": b"second"}).members
        writer.finish()
    shard = "shards/000000.tar"
    assert read_member(folder, shard, member.offset, member.size) == b"second"
    for offset, size in ((member.offset, 9999), (-1, 1), (0, -1), (10**9, 1)):
        with pytest.raises(ShardError, match=r"no .* bytes at byte"):
            read_member(folder, shard, offset, size)
