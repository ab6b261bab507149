"""Packing: from kept clips to the samples of one shard.

Only the kept spans are decoded. Sound comes from the PCM that was measured, shifted by the
measured offset, never from a second decode. What is written is a pure function of the selection,
so that any worker, at any time, writes the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import soundfile

from curation.encode import encode_span
from curation.packed_transcript import packed_transcript
from curation.recipe import PackSettings
from manifests.ledger import Ledger
from manifests.shards import ShardWriter
from manifests.span import Span
from manifests.storage import Folder
from stages.audio import SAMPLE_RATE_HZ
from stages.decode import DecodeCount
from stages.errors import MediaError
from stages.face_track import FaceTrack, save_arrays, unpack_track
from stages.facts import facts_from_json
from stages.landmarks import INNER_LIP, OUTER_LIP

SHARDS = "dataset/shards"
PACKED = "packed"

_LAYOUT = 3
"""How pictures are encoded, and what the note of a packed shard holds; a shard with an older note
is written anew."""


@dataclass(frozen=True)
class ShardPlan:
    """What one shard holds.

    Attributes:
        name: file name, such as ``000000.tar``.
        clips: rows of the kept clips (without evidence), in order.
        settings: how to pack.
        recipe_digest: digest of the recipe, kept in every sample.
        measured_names: columns that travel into the sample's JSON.
    """

    name: str
    clips: tuple[dict[str, Any], ...]
    settings: PackSettings
    recipe_digest: str
    measured_names: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Names everything that the bytes of the shard depend on."""
        values = [
            [_identity(row, self.measured_names) for row in self.clips],
            self.settings.model_dump(mode="json"),
            self.recipe_digest,
            _LAYOUT,
        ]
        text = json.dumps(values, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class PackedShard:
    """A shard as it was written.

    Attributes:
        name: file name.
        plan_digest: digest of the plan it was written from.
        sha256: digest of its bytes.
        num_bytes: its size.
        duration_s: seconds of video in it.
        num_frames_decoded: frames decoded for it, lead-in from key frames included.
        num_frames_in_spans: source frames inside the kept spans.
        num_passes: decode passes, one a clip.
        samples: for each sample its key, frames and members with byte offsets and digests.
        failed: clips that could not be decoded any more, with the reason.
    """

    name: str
    plan_digest: str
    sha256: str
    num_bytes: int
    duration_s: float
    num_frames_decoded: int
    num_frames_in_spans: int
    num_passes: int
    samples: tuple[dict[str, Any], ...]
    failed: tuple[dict[str, str], ...] = ()


def plan_shards(
    kept: Sequence[dict[str, Any]],
    settings: PackSettings,
    recipe_digest: str,
    measured_names: Sequence[str],
) -> list[ShardPlan]:
    """Divide kept clips into shards: in the order of their ids, so many a shard.

    Ids are hashes, so neighbours in a shard are strangers, as a trainer wants them.

    Args:
        kept: rows of the kept clips.
        settings: how to pack.
        recipe_digest: digest of the recipe.
        measured_names: columns that travel into the sample's JSON.

    Returns:
        One plan a shard; none if nothing was kept.
    """
    rows = sorted(kept, key=lambda row: row["clip_id"])
    size = settings.samples_per_shard
    return [
        ShardPlan(
            f"{first // size:06d}.tar",
            tuple(rows[first : first + size]),
            settings,
            recipe_digest,
            tuple(measured_names),
        )
        for first in range(0, len(rows), size)
    ]


@dataclass(frozen=True)
class PackTask:
    """Writes shards; see ``engine.Task``."""

    run: Folder

    def open(self) -> PackTask:
        """Nothing heavy to load."""
        return self

    def close(self) -> None:
        """Nothing to free."""

    def __call__(self, plan: ShardPlan) -> PackedShard:
        """Write one shard, then the note that it is done."""
        packed = write_shard(self.run, plan)
        text = json.dumps(asdict(packed), sort_keys=True)
        self.run.write_bytes(f"{PACKED}/{plan.name}.json", text.encode())
        return packed


def read_packed(run: Folder, plan: ShardPlan) -> PackedShard | None:
    """Return the shard if it was written before from the very same plan."""
    note = f"{PACKED}/{plan.name}.json"
    if not (run.exists(note) and run.exists(f"{SHARDS}/{plan.name}")):
        return None
    values = json.loads(run.read_bytes(note))
    if values["plan_digest"] != plan.digest:
        return None
    lists = {name: tuple(values[name]) for name in ("samples", "failed")}
    return PackedShard(**{**values, **lists})


def write_shard(run: Folder, plan: ShardPlan) -> PackedShard:
    """Write one shard.

    Args:
        run: run directory.
        plan: what the shard holds.

    Returns:
        What was written.
    """
    ledger = Ledger(run)
    count = DecodeCount()
    samples: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    frames_in_spans = 0
    with run.writer(f"{SHARDS}/{plan.name}") as file:
        writer = ShardWriter(file)
        for row in plan.clips:
            evidence = ledger.evidence(row["source_id"], row["clip_id"])
            try:
                members, num_frames, num_inside = make_sample(row, evidence, plan, count)
            except MediaError as error:
                failed.append({"clip_id": row["clip_id"], "uri": row["uri"], "message": str(error)})
                continue
            place = writer.add(row["clip_id"], members)
            frames_in_spans += num_inside
            samples.append(
                {
                    "clip_id": row["clip_id"],
                    "num_frames": num_frames,
                    "members": [
                        {
                            **asdict(member),
                            "sha256": hashlib.sha256(members[member.ext]).hexdigest(),
                        }
                        for member in place.members
                    ],
                }
            )
        digest = writer.finish()
    rate = plan.settings.frame_rate_fps
    return PackedShard(
        name=plan.name,
        plan_digest=plan.digest,
        sha256=digest.sha256,
        num_bytes=digest.num_bytes,
        duration_s=sum(sample["num_frames"] for sample in samples) / rate,
        num_frames_decoded=count.num_frames,
        num_frames_in_spans=frames_in_spans,
        num_passes=count.num_passes,
        samples=tuple(samples),
        failed=tuple(failed),
    )


def make_sample(
    row: dict[str, Any], evidence: dict[str, Any], plan: ShardPlan, count: DecodeCount
) -> tuple[dict[str, bytes], int, int]:
    """Make the members of one sample.

    Args:
        row: the clip with its measurements.
        evidence: the clip's row with its evidence.
        plan: shard plan, for settings and digest.
        count: counter of the decode.

    Returns:
        Members by extension, number of output frames, number of source frames in the span.
    """
    span = Span(
        row["start_pts"],
        row["end_pts"],
        Fraction(row["time_base_num"], row["time_base_den"]),
    )
    settings = plan.settings
    video = encode_span(facts_from_json(evidence["facts"]), span, settings, count)
    offset_ms = row.get("sync.offset_ms") or 0.0
    sound = cut_sound(
        evidence["audio_flac"],
        evidence["audio_start_s"],
        span.start_s + offset_ms / 1000,
        len(video.shown_pts) * SAMPLE_RATE_HZ / settings.frame_rate_fps,
    )
    track = unpack_track(evidence["face_track_npz"])
    description = {
        "clip_id": row["clip_id"],
        "source_id": row["source_id"],
        "uri": row["uri"],
        "track": row["track"],
        "start_s": row["start_s"],
        "duration_s": row["duration_s"],
        "span": {
            "start_pts": span.start,
            "end_pts": span.end,
            "time_base": [span.time_base.numerator, span.time_base.denominator],
        },
        "recipe_digest": plan.recipe_digest,
        "video": {
            "frame_rate_fps": settings.frame_rate_fps,
            "num_frames": len(video.shown_pts),
            "width_px": video.width_px,
            "height_px": video.height_px,
        },
        "audio": {
            "sample_rate_hz": SAMPLE_RATE_HZ,
            "num_samples": len(sound),
            "shifted_by_ms": -offset_ms,
        },
        "transcript": packed_transcript(
            row, offset_ms, len(video.shown_pts) / settings.frame_rate_fps
        ),
        "measurements": {name: row[name] for name in plan.measured_names if name in row},
    }
    members = {
        "mp4": video.data,
        "flac": encode_flac(sound),
        "txt": (row.get("caption.text") or "").encode(),
        "json": json.dumps(description, sort_keys=True, ensure_ascii=False).encode(),
        "face.npz": face_arrays(track, video.shown_pts, video.scale),
    }
    return members, len(video.shown_pts), video.num_frames_in_span


def cut_sound(flac: bytes, flac_start_s: float, start_s: float, num_samples: float) -> np.ndarray:
    """Cut a clip's sound from its stored PCM, to the sample.

    Args:
        flac: stored PCM, 16 kHz mono.
        flac_start_s: time of its first sample on the source's clock.
        start_s: time at which the cut starts; the offset is already in it.
        num_samples: length of the cut.

    Returns:
        (num_samples,) int16; zeros where nothing is stored.
    """
    stored, rate_hz = soundfile.read(io.BytesIO(flac), dtype="int16")
    if rate_hz != SAMPLE_RATE_HZ:
        raise ValueError(f"stored sound has {rate_hz} Hz, not {SAMPLE_RATE_HZ}")
    length = round(num_samples)
    first = round((start_s - flac_start_s) * SAMPLE_RATE_HZ)
    cut = np.zeros(length, np.int16)
    low, high = max(0, first), min(len(stored), first + length)
    if high > low:
        cut[low - first : high - first] = stored[low:high]
    return cut


def encode_flac(samples: np.ndarray) -> bytes:
    """Encode 16 kHz mono samples, int16 or float32 in [-1, 1], as FLAC."""
    buffer = io.BytesIO()
    if samples.dtype != np.int16:
        samples = np.clip(np.rint(samples * 32767), -32768, 32767).astype(np.int16)
    soundfile.write(buffer, samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def face_arrays(track: FaceTrack, shown_pts: np.ndarray, scale: tuple[float, float]) -> bytes:
    """Face track on the frames of the packed video.

    A frame shows one source frame; its face is that frame's. Where the mesh was not found the
    face is interpolated between its neighbours, with a score of 0.

    Args:
        track: stored track of the clip.
        shown_pts: (N,) pts of the source frame that each output frame shows.
        scale: output pixels per shown source pixel, x and y.

    Returns:
        ``.npz`` with ``box`` (N, 4), ``landmarks`` (N, P, 3) and ``point_index`` (P,),
        ``lip_polygon`` (N, 20, 2), ``inner_lip_polygon`` (N, 20, 2), ``head_pose_deg`` (N, 3:
        yaw, pitch, roll), ``score`` (N,); pixels are those of the packed video.
    """
    stored = np.flatnonzero(np.isfinite(track.landmarks_TPC[0, :, 0]))
    found = np.isin(shown_pts, track.pts)
    position = np.interp(shown_pts, track.pts, np.arange(len(track.pts)))
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, len(track.pts) - 1)
    weight = (position - low)[:, None, None].astype(np.float32)
    landmarks = track.landmarks_TPC[low] * (1 - weight) + track.landmarks_TPC[high] * weight
    angles = track.angles_deg[np.rint(position).astype(int)]
    score = np.where(found, track.score[np.rint(position).astype(int)], 0)
    landmarks = landmarks * np.array([scale[0], scale[1], scale[0]], np.float32)
    points = landmarks[:, stored]
    box = np.concatenate([points[..., :2].min(axis=1), points[..., :2].max(axis=1)], axis=1)
    return save_arrays(
        {
            "box": box.astype(np.float32),
            "landmarks": points.astype(np.float32),
            "point_index": stored.astype(np.int16),
            "lip_polygon": landmarks[:, list(OUTER_LIP), :2].astype(np.float32),
            "inner_lip_polygon": landmarks[:, list(INNER_LIP), :2].astype(np.float32),
            "head_pose_deg": angles.astype(np.float32),
            "score": score.astype(np.float32),
        }
    )


def _identity(row: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    keys = ["clip_id", "source_id", "uri", "track", *names]
    return {key: row.get(key) for key in keys}
