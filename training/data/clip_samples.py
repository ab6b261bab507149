"""One clip as read from a shard: the frames of a crop, the whole sound, caption, face.

Everything that is drawn (crop, mirror) comes from a generator of its own, seeded by run, epoch and
clip, so that a sample does not depend on who reads it or when.

Curation packs one speaker a clip, as ``flac`` and ``face.npz``. A sample may hold further ones as
``1.flac`` and ``1.face.npz``, ``2.flac`` and so on, each voice with the face that it belongs to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from training.data.books import BadReason, BadSampleError, ReadWork
from training.data.buckets import Bucket
from training.data.clip_table import ClipPlace
from training.data.face_track import FaceTrack, PackedFace
from training.data.picture_fit import fit_picture
from training.data.sample_members import member, read_members
from training.data.settings import DataSettings
from training.data.sound import read_sound
from training.data.speech_crops import crop_start
from training.data.video_frames import VideoReader


@dataclass(frozen=True)
class Speaker:
    """One voice and the face it belongs to.

    Attributes:
        pcm_N: float32, 16 kHz, the whole clip; sample 0 is the start of the clip's frame 0.
        face: the face on the sample's frames; `None` where none was tracked.
    """

    pcm_N: torch.Tensor
    face: FaceTrack | None


@dataclass(frozen=True)
class ClipSample:
    """A crop of a clip, not yet encoded; shape letters as in `training.model.interfaces`.

    Attributes:
        clip_id: id of the clip.
        frames_CTHW: uint8 RGB.
        speakers: voices with their faces; curation packs one a clip.
        first_frame: number of frame 0 of the crop within the clip, a multiple of 4.
        num_clip_frames: frames of the whole clip, F of its audio features.
        fps: frames a second.
        caption: text of the clip.
        measurements: what curation measured, by name.
        is_mirrored: left and right are exchanged, landmarks and masks too.
        is_padding: a repetition that only keeps ranks in step or stands in for a bad clip.
    """

    clip_id: str
    frames_CTHW: torch.Tensor
    speakers: tuple[Speaker, ...]
    first_frame: int
    num_clip_frames: int
    fps: float
    caption: str
    measurements: Mapping[str, Any]
    is_mirrored: bool
    is_padding: bool = False

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the frames."""
        _, _, height, width = self.frames_CTHW.shape
        return width, height

    @property
    def pcm_N(self) -> torch.Tensor:
        """Sound of the whole clip, all voices."""
        return torch.stack([speaker.pcm_N for speaker in self.speakers]).sum(0)

    @property
    def face_mask_THW(self) -> torch.Tensor | None:
        """Where faces are, [T, H, W] bool; `None` where none was tracked."""
        return self._union("face_mask")

    @property
    def lip_mask_THW(self) -> torch.Tensor | None:
        """Where lips are, [T, H, W] bool; `None` where no face was tracked."""
        return self._union("lip_mask")

    def _union(self, name: str) -> torch.Tensor | None:
        faces = [speaker.face for speaker in self.speakers if speaker.face is not None]
        if not faces:
            return None
        return torch.stack([getattr(face, name)(self.size_px) for face in faces]).any(0)


def read_clip(
    place: ClipPlace,
    bucket: Bucket,
    settings: DataSettings,
    draw: tuple[int, int],
    work: ReadWork,
) -> ClipSample:
    """Read one clip.

    Args:
        place: where its sample lies.
        bucket: shape of the crop.
        settings: how it is cut.
        draw: number of the epoch, and how often the epoch read this clip before.
        work: what reading cost is added to it.

    Returns:
        The sample.

    Raises:
        BadSampleError: it cannot be used.
    """
    members = read_members(place, work)
    said = _description(member(members, "json"))
    generator = _generator(settings.seed, draw, place.clip_id)
    is_mirrored = bool(generator.random() < settings.flip_ratio)
    with VideoReader(member(members, "mp4")) as video:
        header = video.header
        if header.num_frames < bucket.num_frames:
            raise BadSampleError(
                BadReason.TOO_FEW_FRAMES,
                f"{header.num_frames} frames, its bucket asks for {bucket.num_frames}",
            )
        words = _words(said) if settings.speech_crops else []
        length = bucket.num_frames
        first = crop_start(header.num_frames, length, words, header.fps, generator)
        faces = [
            PackedFace(member(members, f"{prefix}face.npz"), header.num_frames)
            for prefix in _speakers(members)
        ]
        fit = fit_picture(
            (header.width_px, header.height_px),
            (bucket.width_px, bucket.height_px),
            _union([face.box(first, length) for face in faces]),
            is_mirrored,
            settings.face_height_ratio,
        )
        speakers = tuple(
            Speaker(
                read_sound(member(members, f"{prefix}flac"), header.num_frames, header.fps),
                face.crop(first, length, fit),
            )
            for prefix, face in zip(_speakers(members), faces, strict=True)
        )
        frames_CTHW = video.read(first, length, fit, work)
    return ClipSample(
        clip_id=place.clip_id,
        frames_CTHW=frames_CTHW,
        speakers=speakers,
        first_frame=first,
        num_clip_frames=header.num_frames,
        fps=float(header.fps),
        caption=member(members, "txt").decode("utf-8", "replace"),
        measurements=said.get("measurements", {}),
        is_mirrored=is_mirrored,
    )


def _speakers(members: Mapping[str, bytes]) -> list[str]:
    """What stands before the names of each speaker's members: nothing, ``1.``, ``2.``..."""
    prefixes = [""]
    while f"{len(prefixes)}.flac" in members:
        prefixes.append(f"{len(prefixes)}.")
    return prefixes


def _union(boxes: list[np.ndarray | None]) -> np.ndarray | None:
    found = [box for box in boxes if box is not None]
    if not found:
        return None
    stacked = np.stack(found)
    return np.concatenate([stacked[:, :2].min(0), stacked[:, 2:].max(0)])


def _description(data: bytes) -> dict[str, Any]:
    try:
        said = json.loads(data)
    except ValueError as error:
        raise BadSampleError(BadReason.DESCRIPTION_UNREADABLE, str(error)) from error
    if not isinstance(said, dict):
        raise BadSampleError(BadReason.DESCRIPTION_UNREADABLE, "it is no object")
    return said


def _words(said: Mapping[str, Any]) -> list[tuple[float, float]]:
    transcript = said.get("transcript") or {}
    try:
        return [(float(word["start_s"]), float(word["end_s"])) for word in transcript["words"]]
    except KeyError:
        return []


def _generator(seed: int, draw: tuple[int, int], clip_id: str) -> np.random.Generator:
    number = int.from_bytes(hashlib.blake2b(clip_id.encode(), digest_size=8).digest(), "big")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *draw, number])))
