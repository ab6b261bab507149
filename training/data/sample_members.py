"""The members of one sample: one read of its stretch of the shard, taken apart by webdataset.

The stretch of a sample is a tar by itself, so the ``webdataset`` package's own iterators read it,
at any place and in any order; see ``docs/decisions/0008-samples-are-read-by-place.md``.
"""

from __future__ import annotations

import io
import tarfile

from webdataset.tariterators import group_by_keys, tar_file_expander

from manifests.errors import ManifestError
from training.data.books import BadReason, BadSampleError, ReadWork
from training.data.clip_table import ClipPlace
from training.errors import DataError

_END_OF_TAR = bytes(1024)


def read_members(place: ClipPlace, work: ReadWork) -> dict[str, bytes]:
    """Read a sample.

    Args:
        place: where it lies.
        work: the bytes read are added to it.

    Returns:
        The members' bytes by extension.

    Raises:
        BadSampleError: the bytes there are not this sample.
        DataError: the shard cannot be read at all.
    """
    url = place.folder.join(place.shard)
    try:
        data = place.folder.read_range(place.shard, place.offset, place.size)
    except ManifestError as error:
        raise DataError(
            f"{error}; the shard was there when training began: mend the storage and resume"
        ) from error
    work.num_bytes += len(data)
    if len(data) != place.size:
        raise BadSampleError(
            BadReason.SAMPLE_BROKEN, f"the shard ends within it, {len(data)} of {place.size} bytes"
        )
    stream = {"url": url, "stream": io.BytesIO(data + _END_OF_TAR)}
    try:
        samples = list(group_by_keys(tar_file_expander([stream])))
    except (tarfile.TarError, ValueError) as error:
        raise BadSampleError(BadReason.SAMPLE_BROKEN, f"no tar: {error.args[0]}") from error
    if [sample["__key__"] for sample in samples] != [place.clip_id]:
        found = ", ".join(sample["__key__"] for sample in samples) or "nothing"
        raise BadSampleError(BadReason.SAMPLE_BROKEN, f"found {found} at its place")
    return {ext: data for ext, data in samples[0].items() if not ext.startswith("__")}


def member(members: dict[str, bytes], ext: str) -> bytes:
    """Return one member; a `BadSampleError` if there is none."""
    if ext not in members:
        raise BadSampleError(BadReason.MEMBER_MISSING, f"no .{ext}; there is {', '.join(members)}")
    return members[ext]
