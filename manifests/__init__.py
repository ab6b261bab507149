"""What a clip is, how it is written, opened and checked."""

from manifests.dataset import DatasetManifest, ShardEntry, Totals, find_dataset
from manifests.errors import DatasetError, ManifestError, SchemaError, ShardError, StorageError
from manifests.faults import Fault, FaultKind
from manifests.ids import clip_id, content_id, source_id
from manifests.shards import (
    MemberPlace,
    SamplePlace,
    ShardDigest,
    ShardWriter,
    read_member,
    read_samples,
)
from manifests.span import Span
from manifests.storage import Folder
from manifests.verify import verify_dataset

__all__ = [
    "DatasetError",
    "DatasetManifest",
    "Fault",
    "FaultKind",
    "Folder",
    "ManifestError",
    "MemberPlace",
    "SamplePlace",
    "SchemaError",
    "ShardDigest",
    "ShardEntry",
    "ShardError",
    "ShardWriter",
    "Span",
    "StorageError",
    "Totals",
    "clip_id",
    "content_id",
    "find_dataset",
    "read_member",
    "read_samples",
    "source_id",
    "verify_dataset",
]
