"""The dataset manifest: which shards make a dataset, and how each is recognised.

It holds nothing that could differ between two runs over the same input: no time, no machine, no
absolute path. Not here: the samples' own rows (`clips.parquet`) and any look into the shards.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections import Counter
from dataclasses import asdict, dataclass, fields
from typing import Any

from manifests.errors import DatasetError, SchemaError
from manifests.storage import Folder

SCHEMA_VERSION = 1
MANIFEST_NAME = "dataset.json"
CLIPS_NAME = "clips.parquet"
_RUN_SUBFOLDER = "dataset"

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ShardEntry:
    """One shard of a dataset.

    Attributes:
        path: Where it is, below the dataset's folder, as `shards/000000.tar`.
        sha256: Of the whole file.
        num_bytes: Of the whole file.
        num_samples: Samples in it.
        duration_s: Seconds of video in it.

    Raises:
        SchemaError: If a value breaks its rule.
    """

    path: str
    sha256: str
    num_bytes: int
    num_samples: int
    duration_s: float

    def __post_init__(self) -> None:
        parts = self.path.split("/")
        if "://" in self.path or any(part in {"", ".", ".."} for part in parts):
            raise SchemaError(f"shard path {self.path!r}: has to lie below the dataset's folder")
        if not _SHA256.fullmatch(self.sha256):
            raise SchemaError(f"{self.path}: sha256 {self.sha256!r} is not 64 hexadecimal letters")
        if min(self.num_bytes, self.num_samples) < 0:
            raise SchemaError(
                f"{self.path}: num_bytes {self.num_bytes} and num_samples {self.num_samples} "
                "count something and cannot be negative"
            )
        if not (math.isfinite(self.duration_s) and self.duration_s >= 0):
            raise SchemaError(f"{self.path}: duration_s {self.duration_s} is no length of time")
        object.__setattr__(self, "duration_s", float(self.duration_s))  # 3 and 3.0: one text


@dataclass(frozen=True)
class Totals:
    """The sums over a dataset's shards."""

    num_shards: int
    num_samples: int
    num_bytes: int
    duration_s: float


@dataclass(frozen=True)
class DatasetManifest:
    """What a dataset consists of.

    Attributes:
        recipe_name: Name of the recipe that made it.
        recipe_digest: Digest of that recipe as resolved.
        shards: Its shards, in reading order.
        schema_version: Version of this record.

    Raises:
        SchemaError: If the version is another one, or two shards have one path.
    """

    recipe_name: str
    recipe_digest: str
    shards: tuple[ShardEntry, ...]
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            way_out = (
                "update talkreel to read it"
                if self.schema_version > SCHEMA_VERSION
                else "pack the dataset again"
            )
            raise SchemaError(
                f"schema_version {self.schema_version}: this talkreel reads version "
                f"{SCHEMA_VERSION}; {way_out}"
            )
        counts = Counter(shard.path for shard in self.shards)
        twice = [path for path, count in counts.items() if count > 1]
        if twice:
            raise SchemaError(f"shards {', '.join(twice)} are listed more than once")

    @property
    def totals(self) -> Totals:
        """Sums over the shards."""
        return Totals(
            num_shards=len(self.shards),
            num_samples=sum(shard.num_samples for shard in self.shards),
            num_bytes=sum(shard.num_bytes for shard in self.shards),
            duration_s=math.fsum(shard.duration_s for shard in self.shards),
        )

    def to_json(self) -> str:
        """Return the canonical text: equal manifests give equal texts."""
        record = asdict(self) | {"totals": asdict(self.totals)}
        return json.dumps(record, sort_keys=True, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> DatasetManifest:
        """Read a manifest strictly.

        Args:
            text: What `to_json` returns.

        Returns:
            The manifest.

        Raises:
            SchemaError: If the version, a key, a type, a value or a sum is not as it has to be.
        """
        try:
            record = json.loads(text)
        except json.JSONDecodeError as error:
            raise SchemaError(f"not JSON: {error}") from error
        if isinstance(record, dict) and isinstance(record.get("schema_version"), int):
            # Another version has other keys: say that, and not which of them are unknown.
            cls("", "", (), schema_version=record["schema_version"])
        values = _checked(record, _TYPES | {"totals": dict}, "the manifest")
        totals = Totals(**_checked(values.pop("totals"), _types_of(Totals), "totals"))
        entries = enumerate(values.pop("shards"))
        shard_types = _types_of(ShardEntry)
        shards = tuple(
            ShardEntry(**_checked(entry, shard_types, f"shards[{index}]"))
            for index, entry in entries
        )
        manifest = cls(shards=shards, **values)
        if manifest.totals != totals:
            raise SchemaError(f"totals say {totals}, but the shards add up to {manifest.totals}")
        return manifest

    def write(self, folder: Folder) -> None:
        """Write the manifest into a dataset's folder; write it after its shards."""
        folder.write_bytes(MANIFEST_NAME, self.to_json().encode("utf-8"))

    @classmethod
    def read(cls, folder: Folder) -> DatasetManifest:
        """Read the manifest of a dataset's folder.

        Args:
            folder: The dataset's folder, as `find_dataset` returns it.

        Returns:
            The manifest.

        Raises:
            DatasetError: If there is none.
            SchemaError: If it is not as it has to be.
        """
        place = folder.join(MANIFEST_NAME)
        if not folder.exists(MANIFEST_NAME):
            raise DatasetError(f"{place}: there is none; it is written last, when a pack is whole")
        try:
            return cls.from_json(folder.read_bytes(MANIFEST_NAME).decode("utf-8"))
        except (SchemaError, UnicodeDecodeError) as error:
            raise SchemaError(f"{place}: {error}") from error


def find_dataset(place: str) -> Folder:
    """Find the dataset that a user means.

    Args:
        place: Path or URL of a run's folder, a dataset's folder, or its `dataset.json`.

    Returns:
        The dataset's folder.

    Raises:
        DatasetError: If none of them is there.
    """
    folder = Folder(place)
    if folder.url.rpartition("/")[2] == MANIFEST_NAME:
        folder, _ = Folder.split(folder.url)
    if not folder.is_folder():
        raise DatasetError(f"{place}: there is no such folder")
    for candidate in (folder, folder.sub(_RUN_SUBFOLDER)):
        if candidate.exists(MANIFEST_NAME):
            return candidate
    raise DatasetError(
        f"{place}: no dataset here: neither {MANIFEST_NAME} nor {_RUN_SUBFOLDER}/{MANIFEST_NAME}; "
        "give the folder of a packed run or of a dataset"
    )


_TYPES: dict[str, type] = {
    "schema_version": int,
    "recipe_name": str,
    "recipe_digest": str,
    "shards": list,
}


def _types_of(record: type) -> dict[str, type]:
    """Return the type each field of a flat record has, by name."""
    by_name: dict[str, type] = {"str": str, "int": int, "float": float}
    return {field.name: by_name[str(field.type)] for field in fields(record)}


def _checked(record: object, types: dict[str, type], place: str) -> dict[str, Any]:
    """Return the record if it has exactly the keys of `types`, each with a value of its type."""
    if not isinstance(record, dict):
        raise SchemaError(f"{place}: has to be an object, not {record!r}")
    for key in record:
        if key not in types:
            near = difflib.get_close_matches(key, types, n=1)
            hint = f"; the nearest known one is {near[0]!r}" if near else ""
            raise SchemaError(f"{place}: unknown key {key!r}{hint}")
    for key, kind in types.items():
        if key not in record:
            raise SchemaError(f"{place}: key {key!r} is missing")
        value = record[key]
        if type(value) is not kind:
            raise SchemaError(f"{place}: {key} has to be of type {kind.__name__}, not {value!r}")
    return dict(record)
