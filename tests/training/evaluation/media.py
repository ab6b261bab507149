"""Small videos whose every frame is known, and doubles of what evaluation asks for."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from training.evaluation.measuring import FaceEvidence, MeasuredClip
from training.evaluation.traces import Trace

RATE_HZ = 16_000


def write_video(
    path: Path,
    frames: list[np.ndarray],
    fps: int | Fraction = 25,
    *,
    sound: np.ndarray | None = None,
    first_pts: int = 0,
) -> Path:
    """Write RGB frames without loss (FFV1), with sound if asked."""
    fps = Fraction(fps)
    with av.open(str(path), "w") as container:
        height, width = frames[0].shape[:2]
        video = container.add_stream("ffv1", rate=fps)
        video.width, video.height, video.pix_fmt = width, height, "bgr0"
        audio = None if sound is None else container.add_stream("flac", rate=RATE_HZ, layout="mono")
        for number, one in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(one, format="rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = number + first_pts, 1 / fps
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None:
            part = av.AudioFrame.from_ndarray(sound[None].astype(np.int16), "s16", "mono")
            part.sample_rate, part.pts = RATE_HZ, 0
            container.mux(audio.encode(part))
            container.mux(audio.encode())
    return path


def grey(value: int, size: tuple[int, int] = (32, 48)) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


def noise(seed: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def face_of(points_TPC: np.ndarray, index: np.ndarray, fps: float = 25.0) -> FaceEvidence:
    times_s = np.arange(len(points_TPC)) / fps
    return FaceEvidence(times_s, points_TPC, index, np.ones(len(points_TPC)), (200, 200))


def mesh(num_frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A rigid cloud with the numbers of the mesh that metrics ask for, still over time."""
    index = np.arange(478)
    points_PC = np.random.default_rng(seed).uniform(50, 150, (478, 3))
    return np.repeat(points_PC[None], num_frames, axis=0), index


def measured(path: Path, face: FaceEvidence | None = None, **columns: object) -> MeasuredClip:
    named = {name.replace("__", "."): value for name, value in columns.items()}
    return MeasuredClip(path, "s" * 20, "c" * 20, None, named, 1, face)


def trace_of(values_TD: np.ndarray, fps: float = 25.0) -> Trace:
    times_s = np.arange(len(values_TD)) / fps
    change_T = np.concatenate([[np.nan], np.ones(len(values_TD) - 1)])
    return Trace(times_s, (64, 48), values_TD, np.zeros_like(values_TD), change_T)
