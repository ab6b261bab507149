"""Footage with known truth, made from photographs, and a way to run one stage over a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import skimage.data

from stages.decode import DecodeCount, decode_frames
from stages.facts import SourceFacts
from stages.probe import ProbeSettings, probe

REAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SIZE = (320, 240)
TIME_BASE = Fraction(1, 12000)

ASTRONAUT = skimage.data.astronaut()
COFFEE = skimage.data.coffee()
ROCKET = skimage.data.rocket()


def real(name: str) -> Path:
    path = REAL_DATA / name
    if not path.exists():
        pytest.skip(f"no real clip {name} here")
    return path


def panned(photo: np.ndarray, num_frames: int, step_px: float = 1.0) -> list[np.ndarray]:
    """A window that drifts over a photograph and sways, as a hand-held camera does."""
    width, _ = SIZE
    frames = []
    for number in range(num_frames):
        room = photo.shape[1] - width - 20
        there_and_back = room - abs(step_px * number % (2 * room) - room)
        x = 10 + there_and_back + 3 * np.sin(number / 5)
        y = 30 + 2 * np.sin(number / 3)
        move = np.float32([[1, 0, -x], [0, 1, -y]])
        frames.append(cv2.warpAffine(photo, move, SIZE))
    return frames


def blended(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> list[np.ndarray]:
    shares = (np.arange(len(first)) + 1) / (len(first) + 1)
    return [
        cv2.addWeighted(a, 1 - share, b, share, 0)
        for a, b, share in zip(first, second, shares, strict=True)
    ]


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    fps: float = 25,
    times_s: Sequence[float] | None = None,
    crf: int = 20,
) -> Path:
    with av.open(str(path), "w") as container:
        options = {"crf": str(crf), "preset": "veryfast"}
        stream = container.add_stream("libx264", rate=round(fps), options=options)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = TIME_BASE
        sound = container.add_stream("aac", rate=16000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        silence.sample_rate, silence.pts = 16000, 0
        for number, picture in enumerate(frames):
            if number == 0:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            time_s = number / fps if times_s is None else times_s[number]
            frame.pts, frame.time_base = round(time_s / TIME_BASE), TIME_BASE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
    return path


def facts_of(path: Path) -> SourceFacts:
    return probe(str(path), "source", path.stat().st_size, ProbeSettings(min_duration_s=0))


def watch(stage: Any, path: Path) -> Any:
    """Run a stage's observer over a file and return its evidence."""
    facts = facts_of(path)
    observer = stage.observer(facts)
    for frame in decode_frames(facts, DecodeCount()):
        observer.observe(frame)
    return observer.finish()
