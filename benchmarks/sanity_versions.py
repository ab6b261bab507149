"""Versions of real clips whose truth is known, for `metric_sanity`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from manifests.ids import content_id
from manifests.storage import Folder
from training.evaluation.frames import shown_at
from training.evaluation.landmarks import LIPS, RIGID
from training.evaluation.measuring import FaceEvidence, measure

MAX_S = 10.0
MAX_SIDE_PX = 512
RATE_HZ = 16_000
SHIFTS_MS = {"late 200": 200, "early 200": -200, "late 400": 400, "late 1000": 1000}
VERSIONS = ("real", *SHIFTS_MS, "other voice", "still mouth")
CHIN = (152, 148, 176, 149, 150, 377, 400, 378, 379)


@dataclass(frozen=True)
class Take:
    """A real clip, read once.

    Attributes:
        name: name of the file without its extension.
        source_id: id of the file.
        pictures: frames (H, W, 3) uint8.
        fps: frames a second.
        sound: mono, 16 kHz, int16, from the first frame on.
    """

    name: str
    source_id: str
    pictures: list[np.ndarray]
    fps: Fraction
    sound: np.ndarray


def length_s(path: Path) -> float:
    with av.open(str(path)) as container:
        return (container.duration or 0) / av.time_base


def read_take(path: Path) -> Take:
    """Read a clip, at most 10 s of it and 512 px."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        fps = stream.average_rate or Fraction(25)
        start_s = float((stream.start_time or 0) * stream.time_base)
        ratio = min(1.0, MAX_SIDE_PX / max(stream.width, stream.height))
    size = (round(stream.width * ratio) // 2 * 2, round(stream.height * ratio) // 2 * 2)
    num = int(min(MAX_S, length_s(path)) * fps)
    times_s = [float(n / fps) for n in range(num)]
    pictures = [shown.picture_HWC for shown in shown_at(path, times_s, size)]
    sound = read_sound(path, start_s)[: int(num / fps * RATE_HZ)]
    source_id = content_id(*Folder.split(str(path.absolute())))
    return Take(path.stem, source_id, pictures, fps, sound)


def read_sound(path: Path, start_s: float) -> np.ndarray:
    """Sound at 16 kHz from a time of the container's clock on."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
    parts, first_s = [], None
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            first_s = frame.time if first_s is None else first_s
            parts += [one.to_ndarray()[0] for one in resampler.resample(frame)]
    sound = np.concatenate(parts)
    lead = round(((first_s or 0.0) - start_s) * RATE_HZ)
    return np.concatenate([np.zeros(max(lead, 0), np.int16), sound[max(-lead, 0) :]])


def shifted(sound: np.ndarray, shift_ms: int) -> np.ndarray:
    """Sound moved in time, + = later; silence where there is none."""
    num = shift_ms * RATE_HZ // 1000
    silence = np.zeros(abs(num), np.int16)
    if num >= 0:
        return np.concatenate([silence, sound[: len(sound) - num]])
    return np.concatenate([sound[-num:], silence])


def write_take(
    path: Path, pictures: Iterator[np.ndarray] | list[np.ndarray], fps: Fraction, sound: np.ndarray
) -> None:
    """Write H.264 and FLAC, whose time stamps are exact."""
    with av.open(str(path), "w") as container:
        video = None
        audio = container.add_stream("flac", rate=RATE_HZ, layout="mono")
        for number, one in enumerate(pictures):
            if video is None:
                video = container.add_stream("libx264", rate=fps)
                video.height, video.width = one.shape[:2]
                video.pix_fmt = "yuv420p"
                video.options = {"crf": "14", "preset": "veryfast", "threads": "1"}
            frame = av.VideoFrame.from_ndarray(one, format="rgb24")
            frame.pts, frame.time_base = number, 1 / fps
            container.mux(video.encode(frame))
        assert video is not None
        container.mux(video.encode())
        for first in range(0, len(sound), RATE_HZ):
            part = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(sound[None, first : first + RATE_HZ]), "s16", "mono"
            )
            part.sample_rate, part.pts, part.time_base = RATE_HZ, first, Fraction(1, RATE_HZ)
            container.mux(audio.encode(part))
        container.mux(audio.encode())


def still_mouth(take: Take, face: FaceEvidence) -> Iterator[np.ndarray]:
    """Lay the lower face of the first frame over every frame, where the head is."""
    at = {int(number): place for place, number in enumerate(face.point_index)}
    rigid = face.points_TPC[:, [at[number] for number in RIGID], :2]
    lower = face.points_TPC[:, [at[n] for n in (*LIPS, *CHIN) if n in at], :2]
    for number, one in enumerate(take.pictures):
        near = int(np.abs(face.times_s - float(number / take.fps)).argmin())
        height, width = one.shape[:2]
        scale = np.array([width / face.size_px[0], height / face.size_px[1]])
        fit, _ = cv2.estimateAffinePartial2D(
            rigid[0] * scale, rigid[near] * scale, method=cv2.LMEDS
        )
        moved = cv2.warpAffine(
            take.pictures[0], fit, (width, height), flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        region = np.zeros((height, width), np.float32)
        both = np.concatenate(
            [lower[near] * scale, cv2.transform((lower[0] * scale)[None], fit)[0]]
        )
        hull = cv2.convexHull(np.rint(both).astype(np.int32))
        cv2.fillConvexPoly(region, hull, 1.0)
        wide = max(3, int(0.12 * np.ptp(both[:, 0])))
        region = cv2.GaussianBlur(cv2.dilate(region, np.ones((wide, wide))), (0, 0), wide / 3)
        yield np.rint(one + region[..., None] * (moved.astype(np.float32) - one)).astype(np.uint8)


def make_versions(
    folder: Path, takes: Sequence[Take], out: Path, workers: int
) -> dict[tuple[str, str], Path]:
    """Write all versions; the face that the still mouth follows is measured on the real ones."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {
        (take.name, version): folder / f"{take.name}__{version.replace(' ', '_')}.mkv"
        for take in takes
        for version in VERSIONS
    }
    for number, take in enumerate(takes):
        other = np.resize(takes[(number + 1) % len(takes)].sound, len(take.sound))
        sounds = {name: shifted(take.sound, shift) for name, shift in SHIFTS_MS.items()}
        sounds |= {"real": take.sound, "other voice": other}
        for version, sound in sounds.items():
            if not paths[take.name, version].exists():
                write_take(paths[take.name, version], take.pictures, take.fps, sound)
    real = {take.name: paths[take.name, "real"] for take in takes}
    run = measure(list(real.values()), out / "real-run", num_workers=workers)
    for take in takes:
        path, face = paths[take.name, "still mouth"], run.clips[real[take.name]].face
        if face is not None and not path.exists():
            write_take(path, still_mouth(take, face), take.fps, take.sound)
    return paths
