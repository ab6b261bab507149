"""Indexes by which readers reach single samples without reading the shards before them.

The byte ranges go out as JSON Lines, one sample a line, because a loader in any language reads
that without a library; the same ranges are in ``clips.parquet`` for those who read Parquet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from manifests.errors import DatasetError
from manifests.inspection.place import Place


def byte_ranges(place: Place) -> Iterator[str]:
    """Yield the byte ranges of every sample as JSON Lines, in the order of the shards.

    Args:
        place: a dataset.

    Yields:
        ``{"key", "shard", "members": {"mp4": [offset, size], ...}}``, paths below the dataset's
        folder.
    """
    table = place.packed(["clip_id", "shard", "members"])
    for batch in table.sort_by([("shard", "ascending"), ("clip_id", "ascending")]).to_batches():
        for row in batch.to_pylist():
            members = {
                member["ext"]: [member["offset"], member["size"]] for member in row["members"]
            }
            sample = {"key": row["clip_id"], "shard": row["shard"], "members": members}
            yield json.dumps(sample, sort_keys=True)


def wids_index(place: Place) -> dict[str, Any]:
    """Make the shard list that ``wids.ShardListDataset`` opens.

    The format is that of ``wids/wids_specs.py`` and ``wids/wids.py`` in webdataset 0.2.100, the
    package's releases before 1.0 hold it; 1.0 has removed ``wids``. Paths are below the dataset's
    folder: the index belongs beside ``dataset.json``, or ``base=`` has to be given.

    Args:
        place: a dataset.

    Returns:
        The index as plain values.

    Raises:
        DatasetError: the dataset is empty, which ``wids`` cannot open.
    """
    place.needs_dataset()
    manifest = place.manifest
    if manifest is None or not manifest.shards:
        raise DatasetError(f"{place.given}: no shards to list; keep some clips, and pack them")
    return {
        "wids_version": 1,
        "name": f"{manifest.recipe_name}-{manifest.recipe_digest}",
        "shardlist": [
            {"url": shard.path, "nsamples": shard.num_samples, "filesize": shard.num_bytes}
            for shard in manifest.shards
        ],
    }
