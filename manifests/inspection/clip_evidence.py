"""What is stored of one clip besides its row: sound and face track, packed or in the ledger.

A packed clip is read from its shard, member by member; a clip that is not packed from the run's
ledger, where every measured clip left its sound and landmarks.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from manifests.errors import DatasetError, SchemaError, ShardError
from manifests.inspection.clip_rows import ClipRow
from manifests.inspection.face_series import FaceSeries, packed_faces, stored_faces
from manifests.inspection.place import Place
from manifests.ledger import Ledger
from manifests.shards import read_member


@dataclass(frozen=True)
class Sound:
    """The sound of a clip.

    Attributes:
        samples: (N,) float32 in [-1, 1]; the first is heard at the clip's start.
        rate_hz: samples a second.
        shifted_by_ms: by how much it is moved against the source, + = later; 0 if as found.
    """

    samples: np.ndarray
    rate_hz: int
    shifted_by_ms: float


@dataclass(frozen=True)
class Evidence:
    """Sound and face of a clip.

    Attributes:
        sound: its sound.
        faces: its face, frame by frame.
        facts: what the source's header says, for a clip read from the ledger; else `None`.
    """

    sound: Sound
    faces: FaceSeries
    facts: dict[str, Any] | None


def read_sample_member(place: Place, clip: ClipRow, ext: str) -> bytes:
    """Read one member of a packed clip by its place.

    Args:
        place: Run or dataset.
        clip: The clip, packed.
        ext: The member's extension.

    Returns:
        Its bytes.

    Raises:
        ShardError: If the sample has no such member, or the shard does not hold it as packed.
    """
    assert clip.sample is not None
    for member in clip.sample["members"]:
        if member["ext"] == ext:
            folder, shard = place.needs_dataset(), clip.sample["shard"]
            data = read_member(folder, shard, member["offset"], member["size"])
            # Tables written before members had digests have none.
            expected = member.get("sha256")
            if expected is not None and hashlib.sha256(data).hexdigest() != expected:
                raise ShardError(
                    f"{folder.join(shard)}: {clip.clip_id}.{ext} at byte {member['offset']} is not "
                    "what was packed: its SHA-256 differs; run `shards verify`"
                )
            return data
    raise ShardError(f"{clip.sample['shard']}: sample {clip.clip_id} has no member {ext!r}")


def read_evidence(place: Place, clip: ClipRow) -> Evidence:
    """Read the sound and the face of a clip.

    Args:
        place: Run or dataset.
        clip: The clip, packed or not.

    Returns:
        What is stored.

    Raises:
        SchemaError: If what is stored cannot be read.
    """
    import av  # by the call: every `shards` command imports this module, and few decode

    try:
        if clip.sample is not None:
            return _packed_evidence(place, clip)
        return _ledger_evidence(place, clip)
    except (LookupError, ValueError, zipfile.BadZipFile, av.FFmpegError) as error:
        raise SchemaError(
            f"{place.given}: sound or face of clip {clip.clip_id} cannot be read: {error}; "
            "run `shards verify`"
        ) from error


def source_facts(place: Place, clip: ClipRow) -> dict[str, Any]:
    """Read what the header of a clip's source says.

    Args:
        place: A run.
        clip: The clip.

    Returns:
        The facts as plain values.
    """
    facts: dict[str, Any] = _ledger_row(place, clip)["facts"]
    return facts


def decode_sound(flac: bytes) -> tuple[np.ndarray, int]:
    """Decode mono FLAC.

    Args:
        flac: The file.

    Returns:
        Samples, (N,) float32 in [-1, 1], and the sample rate in Hz.
    """
    import av

    with av.open(io.BytesIO(flac), mode="r") as container:
        stream = container.streams.audio[0]
        parts = [frame.to_ndarray().reshape(-1) for frame in container.decode(stream)]
        rate_hz = stream.rate
    samples = np.concatenate(parts) if parts else np.zeros(0, np.int16)
    full_scale = np.iinfo(samples.dtype).max + 1 if samples.dtype.kind == "i" else 1
    return samples.astype(np.float32) / np.float32(full_scale), rate_hz


def _packed_evidence(place: Place, clip: ClipRow) -> Evidence:
    description = json.loads(read_sample_member(place, clip, "json"))
    samples, rate_hz = decode_sound(read_sample_member(place, clip, "flac"))
    faces = packed_faces(
        read_sample_member(place, clip, "face.npz"),
        Fraction(str(description["video"]["frame_rate_fps"])),
    )
    return Evidence(Sound(samples, rate_hz, description["audio"]["shifted_by_ms"]), faces, None)


def _ledger_evidence(place: Place, clip: ClipRow) -> Evidence:
    row = _ledger_row(place, clip)
    samples, rate_hz = decode_sound(row["audio_flac"])
    first = round((clip.span.start_s - row["audio_start_s"]) * rate_hz)
    length = round(clip.span.duration * rate_hz)
    cut = np.zeros(length, np.float32)
    low, high = max(0, first), min(len(samples), first + length)
    if high > low:
        cut[low - first : high - first] = samples[low:high]
    faces = stored_faces(row["face_track_npz"], clip.span)
    return Evidence(Sound(cut, rate_hz, 0.0), faces, row["facts"])


def _ledger_row(place: Place, clip: ClipRow) -> dict[str, Any]:
    run = place.needs_run(f"sound and pictures of {clip.clip_id}, which is not packed")
    try:
        return Ledger(run).evidence(clip.values["source_id"], clip.clip_id)
    except KeyError as error:
        raise DatasetError(
            f"{place.given}: {error.args[0]}; the commits were removed or are another run's"
        ) from error
