"""SyncNet as a measuring stage: Sync-C, Sync-D and AV offset of each clip's own face.

The numbers that papers on talking heads report, beside those of our own estimator
(:mod:`stages.sync`), which decides how the sound is shifted. They belong to the track of the clip:
other faces in the picture have no part in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field as Setting
from pydantic import field_validator

from manifests.measurement import measured
from manifests.reasons import Reason
from stages.contract import ClipView, Resources, Stage, StageSettings
from stages.environment import (
    INSTALL_TORCH,
    check_weights,
    torch_device,
    weights_path,
)
from stages.face_crops import FRAME_RATE_FPS, FaceCrops
from stages.facts import SourceFacts
from stages.optional_network import OptionalNetwork
from stages.speech import Voice
from stages.syncnet import SyncNet, SyncNetScore


class SyncNetSettings(StageSettings):
    """Whether SyncNet looks.

    Attributes:
        backend: ``auto``, if its weights and torch are here; ``syncnet``, it must; ``none``.
        weights: ``syncnet``, the authors', or a file of one's own in their layout.
        device: where it runs, as torch names it; ``auto`` takes a GPU if the worker sees one.
        batch_size: windows of five frames at a time; 20 is the reference's.
    """

    backend: Literal["auto", "syncnet", "none"] = "auto"
    weights: str = "syncnet"
    device: str = "auto"
    batch_size: int = Setting(20, ge=1)

    _known_weights = field_validator("weights")(check_weights)


@dataclass(frozen=True)
class SyncNetMeasurement:
    """What SyncNet says of a clip."""

    confidence: float | None = measured(
        "Sync-C (LSE-C): median of the curve less its minimum",
        low=Reason.SYNC_NOT_CONFIDENT,
        other=Reason.SYNC_UNKNOWN,
    )
    distance: float | None = measured(
        "Sync-D (LSE-D): minimum of the curve",
        high=Reason.SYNC_NOT_CONFIDENT,
        other=Reason.SYNC_UNKNOWN,
    )
    offset_ms: float | None = measured(
        "AV offset to 40 ms, + = audio later than picture", unit="ms", other=Reason.SYNC_UNKNOWN
    )
    abs_offset_ms: float | None = measured(
        "size of the AV offset", unit="ms", high=Reason.OFFSET_TOO_LARGE, other=Reason.SYNC_UNKNOWN
    )
    curve: tuple[float, ...] | None = measured(
        "mean distance for the sound moved by -15 to 15 frames"
    )
    problem: str | None = measured("why there is no score")


class SyncNetStage(Stage[SyncNetSettings]):
    """Scores the crops of a clip's face against the voice."""

    name = "syncnet"
    version = 1
    settings_type = SyncNetSettings
    measurement = SyncNetMeasurement
    needs: tuple[type, ...] = (SourceFacts, Voice)
    resources = Resources(memory_gib=2.0)

    def __init__(self, settings: SyncNetSettings) -> None:
        super().__init__(settings)
        self._network: SyncNet | None = None
        self._choice = OptionalNetwork.look(
            settings.backend, ("torch",), (settings.weights,), INSTALL_TORCH
        )
        self.is_used = self._choice.is_used
        if self.is_used:
            self.costly, self.packages = True, ("torch",)
            self.needs = (*SyncNetStage.needs, FaceCrops)

    def setup(self) -> None:
        """Load the network, if it is to be used."""
        if not self.is_used:
            return
        settings = self.settings
        path = weights_path(settings.weights)
        self._network = SyncNet.load(path, torch_device(settings.device), settings.batch_size)

    def close(self) -> None:
        """Free the network."""
        self._network = None

    def remark(self) -> str | None:
        """Say whether SyncNet looks, and what would make it."""
        used = "Sync-C and Sync-D by SyncNet, on clips that no gate has refused"
        return self._choice.remark(used, "no Sync-C and Sync-D")

    def lacking(self) -> str | None:
        """What is missing for a backend that the recipe demands."""
        return self._choice.lacking()

    def weights_digests(self) -> tuple[str, ...]:
        """Digest of the network, if it is used."""
        return self._choice.digests()

    def shaping_settings(self) -> dict[str, Any]:
        """Nothing but whether it is used: device and batch do not change a score."""
        return {"is_used": self.is_used}

    def measure(self, clips: Sequence[ClipView]) -> list[Any]:
        """Score each clip."""
        return [self._measure(clip) for clip in clips]

    def _measure(self, view: ClipView) -> SyncNetMeasurement:
        if self._network is None:
            return SyncNetMeasurement(problem=self._choice.unused_because)
        crops = view.evidence.get(FaceCrops)
        run = crops.run(view.clip.track, view.clip.span)
        if run is None:
            lost = "the memory for crops was full" if crops.is_full else "no crops of this face"
            return SyncNetMeasurement(problem=lost)
        end_s = run.start_s + len(run.crops_THWC) / FRAME_RATE_FPS
        sound = view.evidence.get(Voice).pcm.slice(run.start_s, end_s)
        # The reference reads pictures with OpenCV: blue, green, red.
        score = self._network.score(run.crops_THWC[..., ::-1], sound)
        return _record(score)


def _record(score: SyncNetScore | None) -> SyncNetMeasurement:
    if score is None:
        return SyncNetMeasurement(problem="less than 2 s of crops")
    return SyncNetMeasurement(
        confidence=score.confidence,
        distance=score.distance,
        offset_ms=score.offset_ms,
        abs_offset_ms=abs(score.offset_ms),
        curve=tuple(float(value) for value in score.curve_S),
    )
