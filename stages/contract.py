"""The contract of a stage: one measurement, a plain object that knows no cluster.

A stage declares the record types that it needs and gives, so that a pipeline can be checked
before anything runs. It may share the single decode of a source through an observer
(:meth:`Stage.observer`), and it measures clips in batches (:meth:`Stage.measure`). Thresholds
are not its business: gates belong to the recipe.

Order of one source::

    facts -> [observer.observe(frame) for every frame] -> evidence -> clips -> stage.measure(clips)
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from manifests.measurement import Field, fields_of
from manifests.records import Clip
from stages.decode import FrameView
from stages.errors import StageError
from stages.facts import SourceFacts

RecordT = TypeVar("RecordT")


class Settings(BaseModel):
    """Base of all settings: frozen, strict, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StageSettings(Settings):
    """Base of every stage's settings.

    Attributes:
        enabled: the stage runs; its gates are left out where it does not.
    """

    enabled: bool = True


SettingsT = TypeVar("SettingsT", bound=StageSettings)


@dataclass(frozen=True)
class Resources:
    """What one worker of a stage occupies.

    Attributes:
        num_cpus: processor cores.
        num_gpus: share of a GPU, 0 for none.
        memory_gib: peak memory of the process.
    """

    num_cpus: float = 1.0
    num_gpus: float = 0.0
    memory_gib: float = 1.2


class Observer(Protocol):
    """Watches every frame of the single decode and sums up what it saw."""

    def observe(self, frame: FrameView) -> None:
        """Take one decoded frame, in the order of presentation."""

    def finish(self) -> Any:
        """Return the evidence: an instance of one of the stage's given types."""


@dataclass
class Evidence:
    """What is known of a source, by type: each stage finds what it needs by asking for the type.

    Attributes:
        facts: facts of the source.
        start: first time of the segment that is measured, on the container's clock; ``None`` for
            the beginning of the source.
        end: time after the segment; ``None`` for the end of the source.
    """

    facts: SourceFacts
    start: Fraction | None = None
    end: Fraction | None = None
    _records: dict[type, Any] = field(default_factory=dict)

    def put(self, record: Any) -> None:
        """Keep a record under its own type."""
        self._records[type(record)] = record

    def only(self, wanted: Collection[type]) -> Evidence:
        """The same source with nothing but records of some types."""
        kept = {kind: record for kind, record in self._records.items() if kind in wanted}
        return Evidence(self.facts, self.start, self.end, kept)

    def has(self, record_type: type) -> bool:
        """Tell whether a stage gave such a record."""
        return record_type in self._records

    def get(self, record_type: type[RecordT]) -> RecordT:
        """Return the record of that type.

        Args:
            record_type: type of the evidence.

        Returns:
            The record.

        Raises:
            StageError: no stage gave such a record.
        """
        if record_type not in self._records:
            raise StageError(
                f"{self.facts.uri}: no stage gave {record_type.__name__}; "
                f"there is {', '.join(t.__name__ for t in self._records) or 'nothing'}"
            )
        return self._records[record_type]  # type: ignore[no-any-return]


@dataclass
class ClipView:
    """A clip as a stage sees it: its identity, its source's evidence, its measurements so far."""

    clip: Clip
    evidence: Evidence
    measurements: dict[type, Any] = field(default_factory=dict)

    def measured(self, record_type: type[RecordT]) -> RecordT:
        """Return what an earlier stage measured of this clip.

        Args:
            record_type: measurement record of the earlier stage.

        Returns:
            The record.

        Raises:
            StageError: the stage did not measure this clip.
        """
        if record_type not in self.measurements:
            raise StageError(
                f"clip {self.clip.clip_id} of {self.evidence.facts.uri}: "
                f"{record_type.__name__} was not measured"
            )
        return self.measurements[record_type]  # type: ignore[no-any-return]


class Stage(ABC, Generic[SettingsT]):
    """One measurement.

    Attributes:
        name: prefix of its columns and its table in the recipe.
        version: raised whenever the same input and settings may give another value.
        settings_type: its settings.
        measurement: the record it gives for a clip, or ``None``.
        gives: evidence types that its observer or :meth:`examine` leaves for later stages.
        needs: evidence and measurement types it reads; may depend on the settings.
        resources: what one worker occupies; may depend on the settings.
        packages: packages beyond those of every worker that it imports; may depend on the settings.
            Where they are not in the workers' environment, the stage is measured in another.
        costly: measured only for clips that every earlier gate has let pass; may depend on the
            settings.
        on_demand: left out of a pipeline in which no other stage needs what it gives.

    Args:
        settings: settings of the stage.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    settings_type: ClassVar[type[StageSettings]] = StageSettings
    measurement: ClassVar[type | None] = None
    gives: ClassVar[tuple[type, ...]] = ()
    needs: tuple[type, ...] = ()
    resources: Resources = Resources()
    packages: tuple[str, ...] = ()
    costly: bool = False
    on_demand: ClassVar[bool] = False

    def __init__(self, settings: SettingsT) -> None:
        self.settings = settings

    def setup(self) -> None:
        """Load what is heavy; called once in the worker, never on the driver."""

    def close(self) -> None:
        """Free what :meth:`setup` loaded."""

    def observer(self, facts: SourceFacts) -> Observer | None:
        """Return a fresh observer for one source, or ``None`` if no frame is needed."""
        return None

    def examine(self, evidence: Evidence) -> Any | None:
        """Look at a whole source after the decode; return evidence for later stages."""
        return None

    @abstractmethod
    def measure(self, clips: Sequence[ClipView]) -> list[Any]:
        """Measure clips of one source.

        Args:
            clips: clips to measure.

        Returns:
            One measurement record for each clip, in order.
        """

    def fields(self) -> tuple[Field, ...]:
        """Columns this stage fills."""
        return fields_of(self.measurement, self.name) if self.measurement else ()

    def remark(self) -> str | None:
        """What a user should know of the backend in use; said once, before the work begins."""
        return None

    def lacking(self) -> str | None:
        """What the settings demand and this machine does not have, and how to get it.

        Asked on the driver before the work begins; what is merely used where it is there
        (``backend = "auto"``) is told in :meth:`remark` instead.
        """
        return None

    def weights_digests(self) -> tuple[str, ...]:
        """Digests of the model weights used; part of the fingerprint."""
        return ()

    def shaping_settings(self) -> dict[str, Any]:
        """Settings that can change a value; part of the fingerprint.

        All of them, unless a stage has some that cannot: a time-out, a number of threads.
        """
        return self.settings.model_dump(mode="json")

    def fingerprint(self) -> str:
        """Name, version, settings and weights as 16 hex characters.

        A stored measurement is reused only if this, and the fingerprints of the stages it
        needs, are unchanged.
        """
        identity = [
            self.name,
            self.version,
            self.shaping_settings(),
            list(self.weights_digests()),
        ]
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
