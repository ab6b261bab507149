"""Embedding: what a clip shows as a vector, how well its caption fits, and how it pleases.

CLIP looks at a few key frames. Their mean is what semantic deduplication compares, their agreement
with the caption is the text-video similarity, and LAION's head gives the aesthetic score. The
pictures come from the single decode.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import Field as Setting
from pydantic import field_validator

from manifests.measurement import measured
from manifests.reasons import Reason
from stages.aesthetic import AestheticHead
from stages.caption import CaptionMeasurement
from stages.clip_model import CONFIG_NAME, ClipModel
from stages.contract import ClipView, Resources, Stage, StageSettings
from stages.environment import check_weights, weights_digest, weights_path
from stages.errors import StageError
from stages.facts import SourceFacts
from stages.key_frames import KeyFrames, decode_jpeg
from stages.optional_network import OptionalNetwork

PACKAGES = ("open_clip", "torch", "torchvision")
INSTALL = "`make models`"


class EmbeddingSettings(StageSettings):
    """Whether CLIP looks, and at what.

    Attributes:
        backend: ``auto``, if open_clip and the weights are here; ``open_clip``, it must; ``none``.
        model: ``clip-vit-l-14``, or a folder as open_clip saves one.
        aesthetic: ``laion-aesthetic``, a file in its layout, or ``none``; it is left out for a
            model with embeddings of another size.
        num_frames: key frames of a clip that are looked at, evenly placed.
        device: where it runs, as torch names it; ``auto`` takes a GPU if the worker sees one.
        batch_size: pictures at a time.
    """

    backend: Literal["auto", "open_clip", "none"] = "auto"
    model: str = "clip-vit-l-14"
    aesthetic: str = "laion-aesthetic"
    num_frames: int = Setting(4, ge=1, le=32)
    device: str = "auto"
    batch_size: int = Setting(16, ge=1)

    @field_validator("model")
    @classmethod
    def _check_model(cls, model: str) -> str:
        if Path(model).is_dir():
            if not (Path(model) / CONFIG_NAME).is_file():
                raise ValueError(f"{model}: no {CONFIG_NAME} in it; open_clip cannot load it")
            return str(Path(model).absolute())
        return check_weights(model)

    @field_validator("aesthetic")
    @classmethod
    def _check_aesthetic(cls, choice: str) -> str:
        return choice if choice == "none" else check_weights(choice)


@dataclass(frozen=True)
class EmbeddingMeasurement:
    """What CLIP sees in a clip."""

    vector: tuple[float, ...] | None = measured(
        "mean of the embeddings of the key frames, of length 1"
    )
    text_similarity: float | None = measured(
        "cosine of the caption and the mean embedding",
        low=Reason.CAPTION_DOES_NOT_FIT,
        other=Reason.NOT_EMBEDDED,
    )
    aesthetic_score: float | None = measured(
        "LAION's aesthetic score, about 1 to 10, mean over the key frames",
        low=Reason.NOT_AESTHETIC,
        other=Reason.NOT_EMBEDDED,
    )
    frame_agreement: float | None = measured("least cosine of a key frame and the mean embedding")
    problem: str | None = measured("why there is no embedding")


class EmbeddingModel(Protocol):
    """Embeds pictures and texts in one space; rows have length 1."""

    def embed_pictures(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Embed RGB pictures, (N, D)."""

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed sentences, (N, D)."""


class EmbeddingStage(Stage[EmbeddingSettings]):
    """Embeds the key frames of clips that no gate has refused."""

    name = "embedding"
    version = 1
    settings_type = EmbeddingSettings
    measurement = EmbeddingMeasurement
    needs: tuple[type, ...] = (SourceFacts,)
    resources = Resources(memory_gib=4.0)

    def __init__(self, settings: EmbeddingSettings) -> None:
        super().__init__(settings)
        self._model: EmbeddingModel | None = None
        self._head: AestheticHead | None = None
        weights = [name for name in (settings.model, settings.aesthetic) if name != "none"]
        self._choice = OptionalNetwork.look(settings.backend, PACKAGES, weights, INSTALL)
        self.is_used = self._choice.is_used
        if self.is_used:
            self.costly, self.packages = True, PACKAGES
            self.needs = (*EmbeddingStage.needs, KeyFrames)

    def setup(self) -> None:
        """Load the networks, if they are to be used."""
        if not self.is_used:
            return
        settings = self.settings
        self._model = ClipModel.load(settings.model, settings.device, settings.batch_size)
        if settings.aesthetic != "none":
            self._head = AestheticHead.load(weights_path(settings.aesthetic))

    def close(self) -> None:
        """Free the networks."""
        self._model = self._head = None

    def remark(self) -> str | None:
        """Say whether CLIP looks, and what would make it."""
        used = f"embeddings by {self.settings.model}, of clips that no gate has refused"
        return self._choice.remark(used, "no embedding and no aesthetic score")

    def lacking(self) -> str | None:
        """What is missing for a backend that the recipe demands."""
        return self._choice.lacking()

    def weights_digests(self) -> tuple[str, ...]:
        """Digests of the networks, if they are used."""
        if not self.is_used:
            return ()
        folder = Path(self.settings.model)
        if not folder.is_absolute():
            model: tuple[str, ...] = (weights_digest(self.settings.model),)
        elif folder.is_dir():
            paths = sorted(path for path in folder.iterdir() if path.is_file())
            model = tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
        else:
            raise StageError(f"{folder}: the model is gone; driver and workers have to see it")
        head = self.settings.aesthetic
        return (*model, "none" if head == "none" else weights_digest(head))

    def shaping_settings(self) -> dict[str, Any]:
        """Whether it is used, and how many pictures it sees; the weights have their digests."""
        return {"is_used": self.is_used, "num_frames": self.settings.num_frames}

    def measure(self, clips: Sequence[ClipView]) -> list[Any]:
        """Embed each clip."""
        if self._model is None:
            lacking = EmbeddingMeasurement(problem=self._choice.unused_because)
            return [lacking for _ in clips]
        return embed_clips(clips, self._model, self._head, self.settings.num_frames)


def embed_clips(
    clips: Sequence[ClipView], model: EmbeddingModel, head: AestheticHead | None, num_frames: int
) -> list[EmbeddingMeasurement]:
    """Embed clips, all of their pictures in one go.

    Args:
        clips: clips with key frames; one that has a caption is compared with it.
        model: embeds pictures and texts.
        head: scores embeddings of its own size; ``None`` for no score.
        num_frames: pictures of a clip.

    Returns:
        One measurement a clip.
    """
    jpegs = [
        [f.jpeg for f in clip.evidence.get(KeyFrames).within(clip.clip.span, num_frames)]
        for clip in clips
    ]
    pictures = [decode_jpeg(jpeg) for own in jpegs for jpeg in own]
    if not pictures:
        return [_NOTHING_SEEN for _ in clips]
    rows_ND = model.embed_pictures(pictures)
    captions = [clip.measurements.get(CaptionMeasurement) for clip in clips]
    texts = [caption.text for caption in captions if caption and caption.text]
    text_rows = iter(model.embed_texts(texts) if texts else ())
    found, first = [], 0
    for own, caption in zip(jpegs, captions, strict=True):
        text_D = next(text_rows) if caption and caption.text else None
        own_ND, first = rows_ND[first : first + len(own)], first + len(own)
        found.append(_record(own_ND, text_D, head) if len(own) else _NOTHING_SEEN)
    return found


_NOTHING_SEEN = EmbeddingMeasurement(problem="no key frame in the clip")


def _record(
    rows_ND: np.ndarray, text_D: np.ndarray | None, head: AestheticHead | None
) -> EmbeddingMeasurement:
    mean_D = rows_ND.mean(axis=0)
    mean_D = mean_D / max(float(np.linalg.norm(mean_D)), 1e-12)
    fits = head is not None and head.num_features == rows_ND.shape[1]
    return EmbeddingMeasurement(
        vector=tuple(float(value) for value in mean_D),
        text_similarity=None if text_D is None else float(text_D @ mean_D),
        aesthetic_score=float(head.score(rows_ND).mean()) if head and fits else None,
        frame_agreement=float((rows_ND @ mean_D).min()),
    )
