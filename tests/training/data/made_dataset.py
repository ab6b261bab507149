"""Small datasets in the packed layout, made in about a second, with known content.

Every frame carries its own number: 8 blocks of the upper half are black or white as the bits of it
say (`number_in`). The sound of a frame's 640 samples has the mean ``number / 512``. A face in the
real layout of ``face.npz`` moves slowly to the right and opens its mouth.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from manifests.dataset import DatasetManifest, ShardEntry
from manifests.ids import clip_id
from manifests.measurement import Field
from manifests.records import PACKED_COLUMNS, clip_schema
from manifests.shards import ShardWriter
from manifests.span import Span
from manifests.storage import Folder
from stages.face_track import STORED_POINTS
from stages.landmarks import INNER_LIP, OUTER_LIP, canonical_face

FPS = 25
SAMPLES_PER_FRAME = 640
SOURCE_ID = "0123456789abcdef0123"
FIELDS = (
    Field("probe.width_px", int),
    Field("probe.height_px", int),
    Field("sync.confidence", float),
    Field("faces.height_px", float),
)


@dataclass(frozen=True)
class MadeClip:
    """One clip to be packed.

    Attributes:
        number: tells it from the others.
        num_frames: frames, 256 at most.
        size_px: width and height.
        sync_confidence: a measurement to gate on.
        words: word, start and end in seconds; `None` for no transcript.
        members: bytes that take the place of the made ones; `None` leaves a member out.
    """

    number: int
    num_frames: int = 40
    size_px: tuple[int, int] = (64, 64)
    sync_confidence: float | None = 0.9
    words: tuple[tuple[str, float, float], ...] | None = None
    members: Mapping[str, bytes | None] = field(default_factory=dict)

    @property
    def clip_id(self) -> str:
        return clip_id(SOURCE_ID, self.span, 0)

    @property
    def span(self) -> Span:
        first = 1000 * self.number
        return Span(first, first + self.num_frames, Fraction(1, FPS))


def make_dataset(folder: Path | str, clips: Sequence[MadeClip], samples_per_shard: int = 4) -> str:
    """Pack clips as curation does; returns the path of the ``dataset.json``."""
    place = Folder(str(folder))
    ordered = sorted(clips, key=lambda clip: clip.clip_id)
    entries, rows = [], []
    for first in range(0, len(ordered), samples_per_shard):
        part = ordered[first : first + samples_per_shard]
        name = f"shards/{first // samples_per_shard:06d}.tar"
        with place.writer(name) as file:
            writer = ShardWriter(file)
            for clip in part:
                members = make_members(clip)
                sample = writer.add(clip.clip_id, members)
                rows.append(_row(clip) | {"shard": name, "members": _members(sample, members)})
            digest = writer.finish()
        seconds = sum(clip.num_frames for clip in part) / FPS
        entries.append(
            ShardEntry(name, digest.sha256, digest.num_bytes, digest.num_samples, seconds)
        )
    table = pa.Table.from_pylist(rows, clip_schema(FIELDS, PACKED_COLUMNS))
    with place.writer("clips.parquet") as file:
        pq.write_table(table, file)
    DatasetManifest("talking_portrait", "d1", tuple(entries)).write(place)
    return place.join("dataset.json")


def make_members(clip: MadeClip) -> dict[str, bytes]:
    """Members of one sample by extension."""
    said = {
        "clip_id": clip.clip_id,
        "video": {"frame_rate_fps": FPS, "num_frames": clip.num_frames},
        "audio": {"num_samples": clip.num_frames * SAMPLES_PER_FRAME},
        "measurements": {"sync.confidence": clip.sync_confidence},
        "transcript": None
        if clip.words is None
        else {
            "text": " ".join(word for word, _, _ in clip.words),
            "words": [{"word": w, "start_s": a, "end_s": b} for w, a, b in clip.words],
        },
    }
    made: dict[str, bytes | None] = {
        "mp4": encode_frames(numbered_frames(clip.num_frames, clip.size_px)),
        "flac": encode_sound(numbered_sound(clip.num_frames)),
        "txt": f"clip {clip.number} talks".encode(),
        "json": json.dumps(said).encode(),
        "face.npz": face_npz(clip.num_frames, clip.size_px),
    }
    return {ext: data for ext, data in (made | dict(clip.members)).items() if data is not None}


def numbered_frames(num_frames: int, size_px: tuple[int, int]) -> np.ndarray:
    """(T, H, W, 3) uint8: the number of the frame in blocks above, a moving ramp below."""
    width, height = size_px
    frames = np.zeros((num_frames, height, width, 3), np.uint8)
    columns = np.arange(width)
    for number in range(num_frames):
        bits = (number >> (columns * 8 // width)) & 1
        frames[number, : height // 2] = np.where(bits, 230, 25)[None, :, None]
        ramp = (columns * 3 + number * 2) % 256
        frames[number, height // 2 :, :, 0] = ramp
        frames[number, height // 2 :, :, 2] = 255 - ramp
    return frames


def number_in(picture_HWC: np.ndarray, is_mirrored: bool = False) -> int:
    """Read the number of a frame from its picture."""
    height, width, _ = picture_HWC.shape
    picture = picture_HWC[:, ::-1] if is_mirrored else picture_HWC
    upper = picture[: height // 4].astype(float).mean(axis=(0, 2))
    middles = [upper[(2 * bit + 1) * width // 16] for bit in range(8)]
    return sum(1 << bit for bit, value in enumerate(middles) if value > 127)


def encode_frames(frames: np.ndarray) -> bytes:
    """Encode frames as the packer does: H.264, a key frame a second, B-frames."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        x264 = f"keyint={FPS}:min-keyint={FPS}:scenecut=0:threads=1"
        stream.options = {"crf": "18", "preset": "veryfast", "x264-params": x264}
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return buffer.getvalue()


def numbered_sound(num_frames: int) -> np.ndarray:
    """(N,) float: a quiet tone on a mean that tells the number of the frame."""
    samples = np.arange(num_frames * SAMPLES_PER_FRAME)
    tone = 0.05 * np.sin(2 * np.pi * 200 * samples / (FPS * SAMPLES_PER_FRAME))
    return tone + samples // SAMPLES_PER_FRAME / 512


def encode_sound(pcm_N: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm_N, FPS * SAMPLES_PER_FRAME, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def face_landmarks(num_frames: int, size_px: tuple[int, int]) -> np.ndarray:
    """(T, 478, 3) the mean face, half as high as the picture, moving and opening its mouth."""
    width, height = size_px
    points = canonical_face() * height / 4
    times = np.arange(num_frames)
    moved = np.repeat(points[None], num_frames, axis=0)
    moved[..., 0] += width / 2 + times[:, None] * 0.1
    moved[..., 1] += height / 2
    lower = [*OUTER_LIP[1:10], 152]
    moved[:, lower, 1] += (1 + np.sin(times))[:, None] * height / 64
    return moved.astype(np.float32)


def face_npz(num_frames: int, size_px: tuple[int, int]) -> bytes:
    """A face track in the layout of `curation.pack.face_arrays`."""
    mesh = face_landmarks(num_frames, size_px)
    stored = np.array(STORED_POINTS)
    points = mesh[:, stored]
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        box=np.concatenate([points[..., :2].min(1), points[..., :2].max(1)], axis=1),
        landmarks=points,
        point_index=stored.astype(np.int16),
        lip_polygon=mesh[:, list(OUTER_LIP), :2],
        inner_lip_polygon=mesh[:, list(INNER_LIP), :2],
        head_pose_deg=np.tile(np.array([10, 5, -3], np.float32), (num_frames, 1)),
        score=np.ones(num_frames, np.float32),
    )
    return buffer.getvalue()


def _row(clip: MadeClip) -> dict[str, Any]:
    return {
        "clip_id": clip.clip_id,
        "source_id": SOURCE_ID,
        "uri": "/footage/made.mp4",
        "track": 0,
        "start_pts": clip.span.start,
        "end_pts": clip.span.end,
        "time_base_num": 1,
        "time_base_den": FPS,
        "start_s": clip.span.start_s,
        "duration_s": clip.num_frames / FPS,
        "state": "kept",
        "failed_gates": [],
        "measured_stages": ["probe", "sync", "faces"],
        "probe.width_px": clip.size_px[0],
        "probe.height_px": clip.size_px[1],
        "sync.confidence": clip.sync_confidence,
        "faces.height_px": clip.size_px[1] / 2,
        "num_frames": clip.num_frames,
        "caption": f"clip {clip.number} talks",
        "transcript": None,
    }


def _members(sample: Any, members: Mapping[str, bytes]) -> list[dict[str, Any]]:
    return [
        {**vars(place), "sha256": hashlib.sha256(members[place.ext]).hexdigest()}
        for place in sample.members
    ]
