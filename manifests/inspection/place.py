"""What a user points `shards` at: a run, or a dataset that travels without its run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.dataset import CLIPS_NAME, DatasetManifest, find_dataset
from manifests.errors import DatasetError, SchemaError
from manifests.gates import Bounds, Gate, gates_of
from manifests.measurement import Field, stored_fields
from manifests.records import check_version
from manifests.selection import Rules
from manifests.storage import Folder

RUN_NAME = "run.json"
SOURCES_NAME = "sources.parquet"


@dataclass(frozen=True)
class Place:
    """A run, a dataset, or a run with its dataset.

    Attributes:
        given: what the user wrote.
        run: the run's folder; `None` for a dataset alone.
        dataset: the dataset's folder; `None` for a run that has packed nothing.
    """

    given: str
    run: Folder | None
    dataset: Folder | None

    @cached_property
    def clips_file(self) -> tuple[Folder, str]:
        """Folder and name of the table of all clips: the run's, else the dataset's."""
        folder = self.run or self.dataset
        assert folder is not None
        if not folder.exists(CLIPS_NAME):
            raise DatasetError(
                f"{folder.join(CLIPS_NAME)}: there is none; the run has not come to its end yet, "
                "call `curate run` again to go on with it"
            )
        return folder, CLIPS_NAME

    @cached_property
    def schema(self) -> pa.Schema:
        """Schema of the table of all clips.

        Returns:
            The schema, as stored.

        Raises:
            SchemaError: If another version of the program wrote it.
        """
        folder, name = self.clips_file
        with folder.open_read(name) as file:
            schema = pq.read_schema(file)
        check_version(schema, folder.join(name))
        return schema

    @property
    def fields(self) -> dict[str, Field]:
        """Measurements of the clips by name."""
        return stored_fields(self.schema)

    def clips(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the table of all clips, kept or not.

        Args:
            columns: Names of the columns wanted; all by default.

        Returns:
            One row a clip, in the order of their ids.
        """
        return self._read(*self.clips_file, columns)

    def packed(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the table of packed samples: measurements, words, shard and byte places.

        Args:
            columns: Names of the columns wanted; all by default.

        Returns:
            One row a sample.

        Raises:
            DatasetError: If nothing is packed.
        """
        return self._read(self.needs_dataset(), CLIPS_NAME, columns)

    def sources(self) -> pa.Table:
        """Read the table of inputs.

        Returns:
            One row an input.
        """
        return self._read(self.needs_run("the table of inputs"), SOURCES_NAME, None)

    def source(self, source_id: str, uri: str) -> dict[str, Any] | None:
        """Find one row of the table of inputs, which is read once and kept.

        Args:
            source_id: Id of the source.
            uri: Where it lies; copies of one file have one id.

        Returns:
            The row; `None` if there is none.
        """
        table = self._kept_sources
        is_own = pc.and_(pc.equal(table["source_id"], source_id), pc.equal(table["uri"], uri))
        return next(iter(table.filter(is_own).to_pylist()), None)

    @cached_property
    def _kept_sources(self) -> pa.Table:
        return self.sources()

    @cached_property
    def manifest(self) -> DatasetManifest | None:
        """The dataset's manifest, if something is packed."""
        return None if self.dataset is None else DatasetManifest.read(self.dataset)

    @cached_property
    def run_record(self) -> dict[str, Any]:
        """What `run.json` says; empty for a dataset alone."""
        if self.run is None:
            return {}
        record: dict[str, Any] = json.loads(self.run.read_bytes(RUN_NAME))
        return record

    @cached_property
    def gates(self) -> tuple[Gate, ...]:
        """Gates of the run's recipe; none for a dataset alone."""
        bounds = self.run_record.get("recipe", {}).get("gates", {})
        return gates_of({key: Bounds(**value) for key, value in bounds.items()}, self.fields)

    @property
    def rules(self) -> Rules:
        """What the run's selection goes by."""
        recipe = self.run_record.get("recipe", {})
        return Rules(
            gates=self.gates,
            stages=frozenset(name.split(".", 1)[0] for name in self.fields),
            refuses_doubles=bool(recipe.get("dedup", {}).get("enabled", False)),
            flagged_bad=frozenset(self.run_record.get("flagged_bad", ())),
            max_similarity=recipe.get("dedup", {}).get("max_similarity"),
        )

    def needs_run(self, what: str) -> Folder:
        """Return the run's folder.

        Args:
            what: What it is needed for, for the message.

        Returns:
            The folder.

        Raises:
            DatasetError: If this is a dataset alone.
        """
        if self.run is None:
            raise DatasetError(
                f"{self.given}: a dataset without its run does not hold {what}; "
                "give the run's folder"
            )
        return self.run

    def needs_dataset(self) -> Folder:
        """Return the dataset's folder.

        Returns:
            The folder.

        Raises:
            DatasetError: If nothing is packed.
        """
        if self.dataset is None:
            raise DatasetError(f"{self.given}: nothing is packed here; call `curate pack` first")
        return self.dataset

    def _read(self, folder: Folder, name: str, columns: Sequence[str] | None) -> pa.Table:
        with folder.open_read(name) as file:
            parquet = pq.ParquetFile(file)
            check_version(parquet.schema_arrow, folder.join(name))
            unknown = set(columns or ()) - set(parquet.schema_arrow.names)
            if unknown:
                raise SchemaError(
                    f"{folder.join(name)}: no column {', '.join(sorted(unknown))}; "
                    f"it has {', '.join(parquet.schema_arrow.names)}"
                )
            return parquet.read(columns=None if columns is None else list(columns))


def find_place(given: str) -> Place:
    """Find the run or dataset that a user means.

    Args:
        given: Path or URL of a run's folder, a dataset's folder, or its `dataset.json`.

    Returns:
        The place; of a dataset inside its run, the dataset alone.

    Raises:
        DatasetError: If there is neither.
    """
    folder = Folder(given)
    if not folder.exists(RUN_NAME):
        return Place(given, None, find_dataset(given))
    try:
        return Place(given, folder, find_dataset(given))
    except DatasetError:
        return Place(given, folder, None)
