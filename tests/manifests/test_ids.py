"""Ids follow content and exact time, and nothing else."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.errors import SchemaError, StorageError
from manifests.ids import clip_id, content_id, sampled_ranges, source_id
from manifests.span import Span
from manifests.storage import Folder

MIB = 1024 * 1024
SOURCE = "0123456789abcdef0123"


@given(st.integers(MIB + 1, 10**13))
def test_large_files_are_sampled_at_ten_places_without_overlap(num_bytes: int) -> None:
    ranges = sampled_ranges(num_bytes)
    assert len(ranges) == 10
    assert ranges[0][0] == 0
    assert sum(ranges[-1]) == num_bytes
    for (offset, size), (following, _) in itertools.pairwise(ranges):
        assert offset + size <= following
    gaps = {after[0] - before[0] for before, after in itertools.pairwise(ranges)}
    assert max(gaps) - min(gaps) <= 1


@given(st.integers(0, MIB))
def test_small_files_are_read_whole(num_bytes: int) -> None:
    assert sampled_ranges(num_bytes) == ((0, num_bytes),)


def test_a_copy_under_any_name_and_filesystem_has_the_same_id(tmp_path: Path) -> None:
    data = bytes(range(256)) * 8192
    here, there = Folder(str(tmp_path)), Folder("memory://test_ids")
    here.write_bytes("a [1].mp4", data)
    there.write_bytes("b.mov", data)
    ident = content_id(here, "a [1].mp4")
    assert ident == content_id(there, "b.mov")
    assert ident == content_id(*Folder.split(here.join("a [1].mp4")))
    assert len(ident) == 20
    assert int(ident, 16) >= 0
    there.remove("b.mov")


@pytest.mark.parametrize("num_bytes", [0, 1, 1000, MIB, MIB + 1, 3 * MIB])
def test_a_change_at_either_end_or_of_the_size_is_another_source(
    num_bytes: int, tmp_path: Path
) -> None:
    folder = Folder(str(tmp_path))
    base = bytes(num_bytes)
    variants = {base, base + b"\0"}
    if num_bytes:
        variants |= {b"\1" + base[1:], base[:-1] + b"\1"}
    ids = set()
    for variant in variants:
        folder.write_bytes("source", variant)
        ids.add(content_id(folder, "source"))
    assert len(ids) == len(variants)


def test_a_ten_gigabyte_file_is_not_read_through(tmp_path: Path) -> None:
    read: list[int] = []

    class Counting(Folder):
        def read_range(self, name: str, offset: int, size: int) -> bytes:
            read.append(size)
            return super().read_range(name, offset, size)

    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10**10)
    content_id(Counting(str(tmp_path)), "sparse")
    assert sum(read) == 10 * 64 * 1024


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    class Shrinking(Folder):
        def size(self, name: str) -> int:
            return super().size(name) + 5

    (tmp_path / "a").write_bytes(b"12345")
    with pytest.raises(StorageError, match="it is being written"):
        content_id(Shrinking(str(tmp_path)), "a")


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_where_one_block_ends_and_the_next_begins_matters(
    one: list[bytes], other: list[bytes]
) -> None:
    assert (source_id(9, one) == source_id(9, other)) == (one == other)


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.integers(0, 99), st.integers(1, 1000))
def test_equal_times_in_different_bases_give_one_clip_id(
    start: int, num_ticks: int, track: int, factor: int
) -> None:
    coarse = Span(start, start + num_ticks, Fraction(1, 25))
    fine = Span(coarse.start * factor, coarse.end * factor, Fraction(1, 25 * factor))
    assert clip_id(SOURCE, coarse, track) == clip_id(SOURCE, fine, track)


def test_every_part_of_a_clip_is_in_its_id() -> None:
    base = Fraction(1, 25)
    ids = {
        clip_id(SOURCE, Span(0, 25, base), 0),
        clip_id(SOURCE, Span(1, 25, base), 0),
        clip_id(SOURCE, Span(0, 26, base), 0),
        clip_id(SOURCE, Span(0, 25, base), 1),
        clip_id(SOURCE[::-1], Span(0, 25, base), 0),
    }
    assert len(ids) == 5


def test_the_ids_of_stored_data_never_change() -> None:
    assert source_id(3, [b"abc"]) == "94355916e2ad5f97ceb4"
    assert clip_id(SOURCE, Span(25, 100, Fraction(1, 25)), 0) == "1cb9373b8dcb6a973374"


@pytest.mark.parametrize("bad", ["", "abc", SOURCE.upper(), SOURCE + "0", "../" + SOURCE[3:]])
def test_what_is_no_source_id_is_refused(bad: str) -> None:
    with pytest.raises(SchemaError, match="20 hexadecimal letters"):
        clip_id(bad, Span(0, 1, Fraction(1)), 0)
    with pytest.raises(SchemaError, match="counted from 0"):
        clip_id(SOURCE, Span(0, 1, Fraction(1)), -1)
