import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.inspection.byte_ranges import RangedBody, UnsatisfiableError, parse_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-", (0, 100)),
        ("bytes=0-0", (0, 1)),
        ("bytes=10-19", (10, 20)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-5", (95, 100)),
        ("bytes=-1000", (0, 100)),
        ("Bytes = 5 - 6", (5, 7)),
        ("items=0-1", None),
        ("bytes=0-1,4-5", None),
        ("bytes=-", None),
        ("bytes=7-3", None),
        ("bytes=a-b", None),
        ("bytes=\u0661-\u0662", None),
    ],
)
def test_ranges_of_a_hundred_bytes(header, expected):
    assert parse_range(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_beyond_the_end_cannot_be_had(header):
    with pytest.raises(UnsatisfiableError):
        parse_range(header, 100)


@given(st.integers(1, 10**12), st.data())
def test_a_stated_range_is_the_one_that_is_sent(num_bytes, data):
    first = data.draw(st.integers(0, num_bytes - 1))
    last = data.draw(st.integers(first, num_bytes + 5))
    assert parse_range(f"bytes={first}-{last}", num_bytes) == (first, min(last + 1, num_bytes))


def test_long_bodies_are_read_in_pieces_that_join_to_the_whole():
    whole = bytes(range(256)) * 12000
    sizes = []

    def read(start: int, size: int) -> bytes:
        sizes.append(size)
        return whole[start : start + size]

    body = RangedBody(len(whole), '"x"', "video/mp4", read)
    assert b"".join(body.pieces(100, len(whole) - 7)) == whole[100:-7]
    assert len(sizes) > 1
    assert max(sizes) <= 1 << 20
