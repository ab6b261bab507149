"""Names that come from content: the same bytes, or the same span of them, have the same id.

Ids are 20 hexadecimal letters (80 bits of BLAKE2b): among a billion clips the odds of two sharing
one are below one in a million. A change to what is hashed here gives every stored clip a new name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from manifests.errors import SchemaError, StorageError
from manifests.span import Span
from manifests.storage import Folder

_ID_BYTES = 10
_ID = re.compile(r"[0-9a-f]{20}")

_SAMPLED_BYTES = 64 * 1024
_NUM_SAMPLED = 10  # the first, the last, and eight evenly between
_WHOLE_BYTES = 1024 * 1024  # up to here the whole file is read, and above it no two samples overlap


def source_id(num_bytes: int, blocks: Iterable[bytes]) -> str:
    """Return the id of a source of `num_bytes` bytes from its sampled blocks, in their order."""
    digest = hashlib.blake2b(f"source/{num_bytes}\n".encode("ascii"), digest_size=_ID_BYTES)
    for block in blocks:
        digest.update(f"{len(block)}\n".encode("ascii"))
        digest.update(block)
    return digest.hexdigest()


def sampled_ranges(num_bytes: int) -> tuple[tuple[int, int], ...]:
    """Return offset and size of each block that stands for a file of `num_bytes` bytes."""
    if num_bytes <= _WHOLE_BYTES:
        return ((0, num_bytes),)
    last = num_bytes - _SAMPLED_BYTES
    return tuple(
        (last * index // (_NUM_SAMPLED - 1), _SAMPLED_BYTES) for index in range(_NUM_SAMPLED)
    )


def content_id(folder: Folder, name: str) -> str:
    """Identify a file by its content, reading at most 1 MiB of it, whatever its size.

    Two files of one size that differ only between the sampled blocks share an id. Two encodings do
    not come out like that; a file patched in place might.

    Args:
        folder: Where the file is; `Folder.split` divides an address.
        name: Its name there.

    Returns:
        The `source_id`.

    Raises:
        StorageError: If it cannot be read, or shrinks meanwhile.
    """
    num_bytes = folder.size(name)
    blocks = []
    for offset, size in sampled_ranges(num_bytes):
        block = folder.read_range(name, offset, size)
        if len(block) != size:
            raise StorageError(
                f"{folder.join(name)}: {num_bytes} bytes long, but none of them at byte "
                f"{offset + len(block)}: it is being written; try again when it is whole"
            )
        blocks.append(block)
    return source_id(num_bytes, blocks)


def clip_id(source_id: str, span: Span, track: int) -> str:
    """Identify a clip by what it is: a span of a source that shows one track.

    Equal times give equal ids, whatever time base they are counted in.

    Args:
        source_id: The source's id.
        span: The clip's place in it.
        track: Number of the speaker's track in the source.

    Returns:
        The id.

    Raises:
        SchemaError: If the source's id is none, or the track is negative.
    """
    if not _ID.fullmatch(source_id):
        raise SchemaError(f"source id {source_id!r}: 20 hexadecimal letters, as content_id gives")
    if track < 0:
        raise SchemaError(f"track {track}: tracks are counted from 0")
    start, end = span.start_time, span.end_time
    numbers = (start.numerator, start.denominator, end.numerator, end.denominator, track)
    text = "/".join([source_id, *map(str, numbers)])
    return hashlib.blake2b(text.encode("ascii"), digest_size=_ID_BYTES).hexdigest()
