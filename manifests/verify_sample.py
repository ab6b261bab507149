"""Is one sample whole: its members by themselves, with each other, and against its row?

Not here: the tar around it, and whether a measurement is right.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from manifests.errors import SchemaError
from manifests.faults import Fault, FaultKind
from manifests.ids import clip_id
from manifests.playback import Played, Unplayable, play_audio, play_video
from manifests.shards import Member
from manifests.span import Span

REQUIRED_MEMBERS = ("face.npz", "flac", "json", "mp4", "txt")

FACE_SHAPES: dict[str, tuple[int | None, ...]] = {
    "box": (4,),
    "landmarks": (None, 3),
    "lip_polygon": (20, 2),
    "inner_lip_polygon": (20, 2),
    "head_pose_deg": (3,),
    "score": (),
}
"""Arrays of a `face.npz` with a row a frame, and the shape of a row; `None` is any length."""

_COPIED = ("clip_id", "source_id", "uri", "track", "start_s", "duration_s")


@dataclass(frozen=True)
class SampleFound:
    """What looking at one sample gave.

    Attributes:
        faults: What is wrong with it.
        duration: Exact seconds of its video; `None` if it has none that plays.
    """

    faults: list[Fault]
    duration: Fraction | None


def look_at_sample(
    place: str, members: Sequence[Member], row: Mapping[str, Any] | None, recipe_digest: str
) -> SampleFound:
    """Look for what is wrong with a sample.

    Args:
        place: Shard and key, as `shards/000000.tar:KEY`.
        members: Its members in the order of the tar.
        row: Its row of `clips.parquet`; `None` if it has none.
        recipe_digest: Digest of the recipe, from `dataset.json`.

    Returns:
        The faults and the length.
    """
    data = {member.place.ext: member.data for member in members}
    video = play_video(data["mp4"]) if "mp4" in data else None
    audio = play_audio(data["flac"]) if "flac" in data else None
    played = video if isinstance(video, Played) else None
    heard = audio if isinstance(audio, Played) else None
    faults = [*_member_faults(place, members), *_media_faults(place, video, audio)]
    if row is not None:
        faults += _row_faults(place, members, row)
        if played and played.num_frames != row["num_frames"]:
            counts = f"{row['num_frames']} frames, by the row", f"{played.num_frames} frames"
            faults.append(Fault(FaultKind.NUM_FRAMES, f"{place}.mp4", *counts))
        if "txt" in data and data["txt"] != (row["caption"] or "").encode():
            rule = f"the caption of the row, {_short(row['caption'] or '')}"
            found = _short(data["txt"].decode("utf-8", "replace"))
            faults.append(Fault(FaultKind.CAPTION_DIFFERS, f"{place}.txt", rule, found))
    if "json" in data:
        faults += _json_faults(f"{place}.json", data["json"], row, recipe_digest, played, heard)
    if "face.npz" in data:
        num_frames = played.num_frames if played else (row or {}).get("num_frames")
        wrong = _wrong_with_face(data["face.npz"], num_frames)
        if wrong:
            rule = "finite arrays with a row a frame"
            faults.append(Fault(FaultKind.FACE_INVALID, f"{place}.face.npz", rule, wrong))
    return SampleFound(faults, played.duration if played else None)


def id_fault(place: str, row: Mapping[str, Any]) -> Fault | None:
    """Tell whether a row's clip id derives from its source, span and track.

    Args:
        place: Where the row is.
        row: The row.

    Returns:
        The fault, or `None` if it does.
    """
    try:
        base = Fraction(row["time_base_num"], row["time_base_den"])
        wanted = clip_id(
            row["source_id"], Span(row["start_pts"], row["end_pts"], base), row["track"]
        )
    except (SchemaError, ZeroDivisionError, TypeError) as error:
        return Fault(FaultKind.CLIP_ID, place, "source, span and track of a clip", str(error))
    if wanted == row["clip_id"]:
        return None
    return Fault(FaultKind.CLIP_ID, place, f"{wanted}, by source, span and track", row["clip_id"])


def _member_faults(place: str, members: Sequence[Member]) -> Iterator[Fault]:
    """Yield which members are missing or there twice."""
    exts = [member.place.ext for member in members]
    for ext in sorted({*exts, *REQUIRED_MEMBERS}):
        if ext not in exts:
            yield Fault(FaultKind.MEMBER_MISSING, f"{place}.{ext}", "a member", "none")
        elif exts.count(ext) > 1:
            yield Fault(FaultKind.MEMBER_DUPLICATE, f"{place}.{ext}", "one", "another")


def _media_faults(
    place: str, video: Played | Unplayable | None, audio: Played | Unplayable | None
) -> Iterator[Fault]:
    """Yield whether picture and sound play, and equally long."""
    if isinstance(video, Unplayable):
        rule = "a first and a last frame"
        yield Fault(FaultKind.VIDEO_UNDECODABLE, f"{place}.mp4", rule, video.reason)
    if isinstance(audio, Unplayable):
        yield Fault(FaultKind.AUDIO_UNDECODABLE, f"{place}.flac", "samples", audio.reason)
    if not (isinstance(video, Played) and isinstance(audio, Played)):
        return
    if abs(video.duration - audio.duration) > video.frame_duration:
        lengths = f"{float(video.duration):.3f} s as the video", f"{float(audio.duration):.3f} s"
        yield Fault(FaultKind.LENGTHS_DIFFER, f"{place}.flac", *lengths)


def _row_faults(place: str, members: Sequence[Member], row: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield where the members are not those that the row lists."""
    listed = {member["ext"]: member for member in row["members"] or () if member is not None}
    stored = {member.place.ext: member for member in members}
    for ext, member in sorted(stored.items()):
        at = f"{place}.{ext}"
        if ext not in listed:
            found = f"{member.place.size} bytes at byte {member.place.offset}"
            yield Fault(FaultKind.MEMBER_UNLISTED, at, "no member, by the row", found)
            continue
        wanted = listed[ext]
        if (wanted["offset"], wanted["size"]) != (member.place.offset, member.place.size):
            rule = f"{wanted['size']} bytes at byte {wanted['offset']}, by the row"
            found = f"{member.place.size} bytes at byte {member.place.offset}"
            yield Fault(FaultKind.MEMBER_PLACE, at, rule, found)
        digest = hashlib.sha256(member.data).hexdigest()
        if wanted["sha256"] != digest:
            rule = f"sha256 {wanted['sha256']}, by the row"
            yield Fault(FaultKind.MEMBER_SHA256, at, rule, digest)
    for ext in sorted(listed.keys() - stored.keys() - set(REQUIRED_MEMBERS)):
        yield Fault(FaultKind.MEMBER_MISSING, f"{place}.{ext}", "a member, by the row", "none")


def _json_faults(
    place: str,
    data: bytes,
    row: Mapping[str, Any] | None,
    recipe_digest: str,
    video: Played | None,
    audio: Played | None,
) -> Iterator[Fault]:
    try:
        said = json.loads(data)
        measurements, span = dict(said["measurements"]), dict(said["span"])
        counts = said["video"]["num_frames"], said["audio"]["num_samples"]
        digest, transcript = said["recipe_digest"], said["transcript"]
    except (ValueError, KeyError, TypeError) as error:
        found = f"{type(error).__name__}: {error}"
        yield Fault(FaultKind.JSON_INVALID, place, "the description of a sample", found)
        return
    if digest != recipe_digest:
        rule = f"{recipe_digest}, the recipe of dataset.json"
        yield Fault(FaultKind.RECIPE_DIFFERS, place, rule, str(digest))
    if video and counts[0] != video.num_frames:
        rule = f"{counts[0]} frames in the video, by the json"
        yield Fault(FaultKind.NUM_FRAMES, place, rule, f"{video.num_frames}")
    if audio and counts[1] != audio.num_frames:
        rule = f"{counts[1]} samples in the sound, by the json"
        yield Fault(FaultKind.LENGTHS_DIFFER, place, rule, f"{audio.num_frames}")
    if video:
        for start_s, end_s in _timed(transcript):
            # Words may reach into the frame in which the clip ends.
            if not 0 <= start_s <= end_s <= float(video.duration + video.frame_duration):
                rule = f"words within 0 and {float(video.duration):.3f} s"
                yield Fault(FaultKind.TRANSCRIPT_TIMES, place, rule, f"[{start_s}, {end_s}] s")
                break
    if row is None:
        return
    told = {name: said.get(name) for name in _COPIED}
    told |= {name: span.get(name) for name in ("start_pts", "end_pts")}
    told["time_base"] = span.get("time_base")
    wanted = {name: row[name] for name in told if name != "time_base"}
    wanted["time_base"] = [row["time_base_num"], row["time_base_den"]]
    told |= measurements
    wanted |= {name: row.get(name) for name in measurements}
    # As text, so that a value that is no number equals itself.
    other = [name for name in told if json.dumps(told[name]) != json.dumps(wanted[name])]
    if other:
        name = other[0]
        rule = f"{name} = {_short(wanted[name])}, by the row"
        more = f" and {len(other) - 1} other values" if len(other) > 1 else ""
        yield Fault(FaultKind.JSON_DIFFERS, place, rule, f"{_short(told[name])}{more}")


def _timed(value: Any) -> Iterator[tuple[float, float]]:
    """Yield the times of all words, wherever in the transcript they stand."""
    if isinstance(value, Mapping):
        times = value.get("start_s"), value.get("end_s")
        if all(isinstance(time, int | float) for time in times):
            yield times  # type: ignore[misc]
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _timed(part)


def _wrong_with_face(data: bytes, num_frames: int | None) -> str | None:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            missing = {*FACE_SHAPES, "point_index"} - set(arrays.files)
            if missing:
                return f"no {', '.join(sorted(missing))}"
            stored = {name: arrays[name] for name in (*FACE_SHAPES, "point_index")}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        return f"{type(error).__name__}: {error}"
    num_points = len(stored["point_index"])
    for name, shape in FACE_SHAPES.items():
        array = stored[name]
        wanted = tuple(num_points if length is None else length for length in shape)
        if array.shape[1:] != wanted or array.ndim == 0:
            return f"{name} of shape {array.shape}"
        if num_frames is not None and len(array) != num_frames:
            return f"{name} for {len(array)} frames of {num_frames}"
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            return f"{name} with values that are no finite numbers"
    return None


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
