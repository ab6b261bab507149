"""The stages there are, in the order in which they run."""

from __future__ import annotations

from typing import Any

from stages.caption import CaptionStage
from stages.contract import Stage
from stages.dedup import DedupStage
from stages.embedding import EmbeddingStage
from stages.face_crops import FaceCropsStage
from stages.faces import FacesStage
from stages.key_frames import KeyFramesStage
from stages.overlay import OverlayStage
from stages.picture import PictureStage
from stages.probe import ProbeStage
from stages.shots import ShotsStage
from stages.speaker import SpeakerStage
from stages.speech import SpeechStage
from stages.sync import SyncStage
from stages.syncnet_stage import SyncNetStage
from stages.transcript import TranscriptStage

STAGES: tuple[type[Stage[Any]], ...] = (
    ProbeStage,
    SpeechStage,
    ShotsStage,
    FacesStage,
    FaceCropsStage,
    PictureStage,
    KeyFramesStage,
    SyncStage,
    OverlayStage,
    SpeakerStage,
    SyncNetStage,
    TranscriptStage,
    CaptionStage,
    EmbeddingStage,
    DedupStage,
)
