"""Shards: tars of samples that any WebDataset reader opens, with the same bytes from every run.

Headers are plain USTAR with every field that could differ between machines fixed. Not here: which
sample goes into which shard, and what the members hold.
"""

from __future__ import annotations

import hashlib
import re
import struct
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Protocol

from manifests.errors import ShardError
from manifests.storage import Folder

_BLOCK_BYTES = 512
_MAX_NAME_BYTES = 100  # the name field of a USTAR header; beyond it readers would see a cut name
_MAX_MEMBER_BYTES = 8**11 - 1  # eleven octal digits of the size field, 8 GiB
_END = bytes(2 * _BLOCK_BYTES)

# A dot would end the key in every WebDataset reader, and readers lower an extension's case.
_KEY = re.compile(r"[A-Za-z0-9_-]+")
_EXT = re.compile(r"[a-z0-9]+(\.[a-z0-9]+)*")

# POSIX.1-1988 ustar: name, mode, uid, gid, size, mtime, checksum, type, ..., prefix, padding
_HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s6s2s32s32s8s8s155s12x")


@dataclass(frozen=True, order=True)
class MemberPlace:
    """Where the bytes of one member lie: `size` bytes from byte `offset` of the shard."""

    ext: str
    offset: int
    size: int


@dataclass(frozen=True)
class SamplePlace:
    """Where one sample lies in its shard, its members in the order of the tar."""

    key: str
    members: tuple[MemberPlace, ...]


@dataclass(frozen=True)
class ShardDigest:
    """What a finished shard is recognised by."""

    sha256: str
    num_bytes: int
    num_samples: int


@dataclass(frozen=True)
class Member:
    """One member as read from a shard."""

    key: str
    place: MemberPlace
    data: bytes


class Readable(Protocol):
    """The one thing that reading a shard asks of a file."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none only at the end."""


class ShardWriter:
    """Writes samples as a tar in one pass, measuring and hashing it on the way.

    The caller owns the file, so that a shard may go to any filesystem; `finish` ends the tar but
    closes nothing.

    Args:
        file: An empty binary file; it is only ever written to, never sought or read.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._num_bytes = 0
        self._keys: set[str] = set()
        self._digest: ShardDigest | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes written up to now."""
        return self._num_bytes

    @property
    def num_samples(self) -> int:
        """Samples written up to now."""
        return len(self._keys)

    def add(self, key: str, members: Mapping[str, bytes]) -> SamplePlace:
        """Append one sample, its members sorted by extension.

        Args:
            key: Letters, digits, `_` and `-`; once a shard.
            members: The bytes by extension, as `mp4` or `face.npz`, in lower case.

        Returns:
            Where its members lie.

        Raises:
            ShardError: If the sample could not be read back as it is; nothing of it is written.
        """
        if self._digest is not None:
            raise ShardError(f"sample {key!r} comes after the end: open another shard for it")
        if key in self._keys:
            raise ShardError(f"sample {key!r} is in this shard already: keys have to be unique")
        if not members:
            raise ShardError(f"sample {key!r} has no members: readers would not see it")
        headers = [(ext, _header(key, ext, len(members[ext]))) for ext in sorted(members)]
        places = []
        for ext, header in headers:
            data = members[ext]
            self._write(header)
            places.append(MemberPlace(ext, self._num_bytes, len(data)))
            self._write(data)
            self._write(bytes(-len(data) % _BLOCK_BYTES))
        self._keys.add(key)
        return SamplePlace(key, tuple(places))

    def finish(self) -> ShardDigest:
        """Write the end of the tar, once, and return what the shard is recognised by."""
        if self._digest is None:
            self._write(_END)
            self._digest = ShardDigest(self._sha256.hexdigest(), self._num_bytes, self.num_samples)
        return self._digest

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)
        self._num_bytes += len(data)


def read_members(file: Readable) -> Iterator[Member]:
    """Read the members of a shard one by one, up to the end of the tar.

    A tar that is cut or damaged, or holds what `ShardWriter` does not write, is a `ShardError`;
    `tarfile` would take one that was cut between two members for a whole one.
    """
    offset = 0
    while True:
        block = _read(file, _BLOCK_BYTES, offset, "a header")
        if not any(block):
            if any(_read(file, _BLOCK_BYTES, offset + _BLOCK_BYTES, "the end of the tar")):
                raise ShardError(f"byte {offset}: one empty block, but the tar goes on")
            return
        key, ext, size = _parse(block, offset)
        offset += _BLOCK_BYTES
        padding = -size % _BLOCK_BYTES
        data = _read(file, size, offset, f"{key}.{ext}")
        _read(file, padding, offset + size, f"the padding of {key}.{ext}")
        yield Member(key, MemberPlace(ext, offset, size), data)
        offset += size + padding


def read_samples(file: Readable) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Read the samples of a shard one by one: key, and bytes by extension.

    What `read_members` refuses, or two members of one name, is a `ShardError`.
    """
    key: str | None = None
    sample: dict[str, bytes] = {}
    for member in read_members(file):
        if key is not None and member.key != key:
            yield key, sample
            sample = {}
        key = member.key
        ext = member.place.ext
        if ext in sample:
            raise ShardError(f"byte {member.place.offset}: {key}.{ext} is there twice")
        sample[ext] = member.data
    if key is not None:
        yield key, sample


def read_member(folder: Folder, shard: str, offset: int, size: int) -> bytes:
    """Read one member by its place, without the rest of the shard.

    Args:
        folder: The dataset's folder.
        shard: The shard's name in it, as the manifest has it.
        offset: First byte.
        size: Number of bytes.

    Returns:
        The member's bytes.

    Raises:
        ShardError: If the place is not inside the shard.
    """
    data = folder.read_range(shard, offset, size) if offset >= 0 and size >= 0 else b""
    if len(data) != size:
        raise ShardError(
            f"{folder.join(shard)}: no {size} bytes at byte {offset}: the manifest belongs to "
            "another shard, or the shard is cut; run `shards verify`"
        )
    return data


def _header(key: str, ext: str, size: int) -> bytes:
    name = f"{key}.{ext}"
    if not _KEY.fullmatch(key):
        raise ShardError(f"sample {key!r}: a key has letters, digits, '_' and '-' only")
    if not _EXT.fullmatch(ext):
        raise ShardError(f"{name!r}: an extension has a-z and 0-9 only, in parts joined by dots")
    if len(name) > _MAX_NAME_BYTES:
        raise ShardError(f"{name!r}: {len(name)} letters, but a tar takes {_MAX_NAME_BYTES}")
    if size > _MAX_MEMBER_BYTES:
        raise ShardError(f"{name!r}: {size} bytes, but a tar takes {_MAX_MEMBER_BYTES} a member")

    def pack(checksum: bytes) -> bytes:
        zero = b"0000000"
        before = (name.encode("ascii"), b"0000644", zero, zero, b"%011o" % size, b"%011o" % 0)
        after = (b"0", b"", b"ustar", b"00", b"", b"", zero, zero, b"")
        return _HEADER.pack(*before, checksum, *after)

    return pack(b"%06o\0 " % sum(pack(b" " * 8)))


def _parse(block: bytes, offset: int) -> tuple[str, str, int]:
    """Return key, extension and size from a header block."""
    try:
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise ShardError(f"byte {offset}: not a tar header: {error}") from error
    key, _, ext = info.name.partition(".")
    if not (info.isreg() and info.size >= 0 and _KEY.fullmatch(key) and _EXT.fullmatch(ext)):
        raise ShardError(f"byte {offset}: {info.name!r} is no member KEY.EXT of a sample")
    return key, ext, info.size


def _read(file: Readable, size: int, offset: int, what: str) -> bytes:
    """Read exactly `size` bytes; files over a network may give fewer at a time."""
    data = b""
    while len(data) < size:
        if not (more := file.read(size - len(data))):
            raise ShardError(f"byte {offset + len(data)}: the shard ends within {what}")
        data += more
    return data
