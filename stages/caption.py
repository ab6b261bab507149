"""Caption: the text of the triplet, by one of three backends.

``composed`` puts what was measured into words (:mod:`stages.caption_composed`); a server
(:mod:`stages.caption_server`) and a model in the worker (:mod:`stages.caption_vlm`) look at key
frames and are told what was measured (:mod:`stages.caption_prompt`). Nothing stands in for an
answer that is not believed: the caption is missing, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2

from manifests.ids import content_id
from manifests.measurement import measured
from manifests.storage import Folder
from stages.caption_composed import CaptionFacts, compose
from stages.caption_prompt import CaptionAnswer, CaptionFailure, CaptionRequest, prompt_digest
from stages.caption_settings import SHAPING_SETTINGS, CaptionSettings
from stages.contract import ClipView, Resources, Stage
from stages.environment import is_downloaded, lacks
from stages.errors import StageError
from stages.faces import FacesMeasurement
from stages.key_frames import KeyFrames, decode_jpeg, encode_jpeg
from stages.picture_records import PictureMeasurement
from stages.speech import SpeechMeasurement

VLM_PACKAGES = ("torch", "torchvision", "transformers")
_JPEG_QUALITY = 90


@dataclass(frozen=True)
class CaptionMeasurement:
    """The text of the triplet; beside it, if a model wrote it, what it is made of."""

    text: str | None = measured("one or two English sentences")
    source: str | None = measured("backend that wrote it")
    subject: str | None = measured("who is seen, in the words of the model")
    appearance: str | None = measured("hair, clothes and what is worn")
    expression: str | None = measured("facial expression")
    motion: str | None = measured("gestures, and how head and body move")
    camera: str | None = measured("framing, angle and motion of the camera")
    setting: str | None = measured("place, background and light")
    speech_manner: str | None = measured("how the person speaks")
    failure: str | None = measured("why there is no caption")


class DescribingBackend(Protocol):
    """Describes clips from pictures."""

    def describe(self, requests: Sequence[CaptionRequest]) -> list[CaptionAnswer | CaptionFailure]:
        """Describe the clips of one source, in order."""

    def close(self) -> None:
        """Free what it holds."""


class CaptionStage(Stage[CaptionSettings]):
    """Writes the caption of each clip."""

    name = "caption"
    version = 2
    settings_type = CaptionSettings
    measurement = CaptionMeasurement
    needs: tuple[type, ...] = (FacesMeasurement, SpeechMeasurement, PictureMeasurement)

    def __init__(self, settings: CaptionSettings) -> None:
        super().__init__(settings)
        self._backend: DescribingBackend | None = None
        if settings.backend != "composed":
            self.costly = True
            self.needs = (*CaptionStage.needs, KeyFrames)
        if settings.backend == "vlm":
            self.packages = VLM_PACKAGES
        if settings.backend == "vlm" and settings.device == "cuda":
            self.resources = Resources(num_gpus=1.0)

    def setup(self) -> None:
        """Reach the server, or load the model."""
        if self.settings.backend == "server":
            from stages.caption_server import ServerBackend

            self._backend = ServerBackend(self.settings)
        elif self.settings.backend == "vlm":
            from stages.caption_vlm import VlmBackend

            self._backend = VlmBackend(self.settings)

    def lacking(self) -> str | None:
        """What is missing for a model in the worker; whether a server answers is found in setup."""
        if self.settings.backend != "vlm":
            return None
        model = self.settings.model
        has_model = Path(model).is_dir() or is_downloaded(model, self.settings.revision)
        parts = [
            lacks(VLM_PACKAGES, (), "`make models`"),
            None if has_model else f"{model} is not on this machine (`hf download {model}`)",
        ]
        return "; ".join(part for part in parts if part) or None

    def close(self) -> None:
        """Leave the server, or free the model."""
        if self._backend is not None:
            self._backend.close()
            self._backend = None

    def measure(self, clips: Sequence[ClipView]) -> list[Any]:
        """Write captions from the measurements of earlier stages, and from key frames."""
        if self.settings.backend == "composed":
            return [
                CaptionMeasurement(text=compose(clip.clip.clip_id, _facts(clip)), source="composed")
                for clip in clips
            ]
        if self._backend is None:
            raise StageError(f"caption: backend {self.settings.backend!r} is not set up")
        requests = [self._request(clip) for clip in clips]
        return [self._record(result) for result in self._backend.describe(requests)]

    def shaping_settings(self) -> dict[str, Any]:
        """Settings that can change a caption; not where the server is, nor how it is asked."""
        names = set(SHAPING_SETTINGS[self.settings.backend])
        return self.settings.model_dump(mode="json", include=names)

    def weights_digests(self) -> tuple[str, ...]:
        """Digests of the prompt, and of a model that lies in a local folder."""
        if self.settings.backend == "composed":
            return ()
        prompt = f"prompt {prompt_digest()}"
        folder = Path(self.settings.model)
        if self.settings.backend != "vlm" or not folder.is_absolute():
            return (prompt,)
        if not folder.is_dir():
            raise StageError(
                f"caption: there is no folder {folder}; driver and workers have to see it"
            )
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
        place = Folder(str(folder))
        return (prompt, *(f"{name} {content_id(place, name)}" for name in names))

    def _request(self, view: ClipView) -> CaptionRequest:
        span = view.clip.span
        frames = view.evidence.get(KeyFrames).within(span, self.settings.num_frames)
        jpegs = tuple(_shown(frame.jpeg, self.settings.max_picture_px) for frame in frames)
        return CaptionRequest(jpegs, _facts(view), span.duration_s)

    def _record(self, result: CaptionAnswer | CaptionFailure) -> CaptionMeasurement:
        if isinstance(result, CaptionFailure):
            return CaptionMeasurement(failure=str(result))
        parts = {name: value or None for name, value in result.model_dump().items()}
        text = parts.pop("caption")
        return CaptionMeasurement(text=text, source=self.settings.backend, **parts)


def _shown(jpeg: bytes, max_side_px: int) -> bytes:
    """Reduce a picture: what a model costs grows with the area that it is shown."""
    picture = decode_jpeg(jpeg)
    height, width = picture.shape[:2]
    ratio = max_side_px / max(height, width)
    if ratio >= 1:
        return jpeg
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    return encode_jpeg(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), _JPEG_QUALITY)


def _facts(clip: ClipView) -> CaptionFacts:
    face = clip.measured(FacesMeasurement)
    picture = clip.measured(PictureMeasurement)
    speech = clip.measured(SpeechMeasurement)
    return CaptionFacts(
        face_height_ratio=face.height_ratio,
        yaw_deg=face.yaw_deg,
        pitch_deg=face.pitch_deg,
        head_speed=face.head_speed,
        camera_motion=picture.camera_motion,
        luma_median=picture.luma_median,
        colourfulness=picture.colourfulness,
        speech_ratio=speech.speech_ratio,
        snr_db=speech.snr_db,
        num_faces=None if face.num_others is None else face.num_others + 1,
    )
