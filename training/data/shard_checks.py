"""Are the shards of a dataset there, whole, and those that its table speaks of?

Not here: what the samples hold; `shards verify` looks at that, and the loader books what is bad.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from manifests.dataset import CLIPS_NAME, DatasetManifest, ShardEntry
from manifests.errors import StorageError
from manifests.storage import Folder
from training.errors import DataError

_READ_BYTES = 1 << 20
NUM_CHECKED_AT_ONCE = 16  # a check waits for the store, not for the processor


def check_shards(folder: Folder, entries: tuple[ShardEntry, ...], check: str) -> None:
    """Refuse a dataset of which a shard is missing, cut or another one.

    Args:
        folder: the dataset's folder.
        entries: its shards, as the manifest lists them.
        check: ``size``, or ``sha256``, which reads all of them.

    Raises:
        DataError: the first shard that is not as the manifest says.
    """

    def fault(entry: ShardEntry) -> str | None:
        place = folder.join(entry.path)
        try:
            size = folder.size(entry.path)
        except StorageError as error:
            return f"{error}; copy the whole dataset, or pack it again"
        if size != entry.num_bytes:
            return (
                f"{place}: {size} bytes, but {entry.num_bytes} in the manifest: the shard is cut "
                "or another one; copy it again, and see `shards verify`"
            )
        if check == "sha256" and _sha256(folder, entry.path) != entry.sha256:
            return f"{place}: its SHA-256 is not the manifest's: copy it again"
        return None

    with ThreadPoolExecutor(NUM_CHECKED_AT_ONCE) as pool:
        faults = [found for found in pool.map(fault, entries) if found]
    if faults:
        more = f" (and {len(faults) - 1} more shards)" if len(faults) > 1 else ""
        raise DataError(f"{faults[0]}{more}")


def check_rows(folder: Folder, manifest: DatasetManifest, table: pa.Table) -> None:
    """Refuse a table that does not belong to the manifest.

    Args:
        folder: the dataset's folder.
        manifest: its manifest.
        table: rows of its samples, with their shards.

    Raises:
        DataError: the table has more or fewer samples of a shard than the manifest.
    """
    counts = {row["values"]: row["counts"] for row in pc.value_counts(table["shard"]).to_pylist()}
    expected = {entry.path: entry.num_samples for entry in manifest.shards if entry.num_samples}
    if counts != expected:
        wrong = sorted(
            path for path in {*counts, *expected} if counts.get(path) != expected.get(path)
        )
        raise DataError(
            f"{folder.join(CLIPS_NAME)}: {counts.get(wrong[0], 0)} rows of {wrong[0]}, but the "
            f"manifest has {expected.get(wrong[0], 0)} samples there: they are of two packings; "
            "copy or pack the dataset again"
        )


def _sha256(folder: Folder, name: str) -> str:
    digest = hashlib.sha256()
    with folder.open_read(name) as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
