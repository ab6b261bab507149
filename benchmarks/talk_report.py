"""What `learns_to_talk` found on its held-out clips: tables, the verdicts, and the median clip.

Not here: how clips are generated (`learns_to_talk`) and how mouths are read (`mouth_reading`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.following import bootstrap, correlation, following, lag_correlations
from benchmarks.mouth_reading import loudness_db
from benchmarks.talk_strip import draw_strip
from training.model.interfaces import AUDIO_SAMPLE_RATE_HZ

MAX_LAG = 12
"""Frames to either side, 0.48 s at 25 a second; ours."""
SOUNDS = ("right", "swapped", "none")


@dataclass(frozen=True)
class Take:
    """A stretch of a clip as the model would see it.

    Attributes:
        clip_id: id of the clip.
        frames: (T, H, W, 3) uint8.
        opening: (T,) the true opening: MediaPipe's on the packed clip, in distances of the eyes.
        lips: (P, 2) contour of the lips in frame 0.
        pcm: mono sound, from frame 0 on.
        caption: text of the clip.
        fps: frames a second.
    """

    clip_id: str
    frames: np.ndarray
    opening: np.ndarray
    lips: np.ndarray
    pcm: np.ndarray
    caption: str
    fps: float


@dataclass(frozen=True)
class Spoken:
    """A held-out take and what was made of it.

    Attributes:
        take: the take.
        given: the take whose sound was given where it was swapped.
        frames: (T, H, W, 3) by what they are: true, codec, right, swapped, none.
        read: (T,) openings by the same names, as the reader reads them.
        meshed: (T,) openings as MediaPipe's mesh alone reads them.
        mesh_share: share of frames in which it found a face.
    """

    take: Take
    given: Take
    frames: dict[str, np.ndarray]
    read: dict[str, np.ndarray]
    meshed: dict[str, np.ndarray]
    mesh_share: dict[str, float]

    def truth(self, name: str) -> np.ndarray:
        """A curve that a mouth may follow: whose, and of what."""
        whose, what = name.split(" ")
        take = self.given if whose == "given" else self.take
        if what == "opening":
            return take.opening
        return loudness_db(take.pcm, len(take.frames), take.fps, AUDIO_SAMPLE_RATE_HZ)


TABLE = (
    ("bounds", None, None),
    ("true opening, loudness", "opening", "own loudness"),
    ("true frames, read", "true", "own opening"),
    ("true frames through codec, read", "codec", "own opening"),
    ("generated, with the true opening of the clip itself", None, None),
    ("right sound", "right", "own opening"),
    ("swapped sound", "swapped", "own opening"),
    ("no sound", "none", "own opening"),
    ("generated, with the true opening of the clip whose sound was given", None, None),
    ("swapped sound, given", "swapped", "given opening"),
    ("generated, with the loudness of the sound that was given", None, None),
    ("right sound, loudness", "right", "own loudness"),
    ("swapped sound, loudness", "swapped", "given loudness"),
    ("no sound, loudness", "none", "own loudness"),
)
VERDICTS = (
    ("right sound", "no sound"),
    ("right sound", "swapped sound"),
    ("swapped sound, given", "swapped sound"),
    ("swapped sound, given", "no sound"),
)


def report(spoken: Sequence[Spoken], console: Console) -> dict[str, Any]:
    """Print the tables and the verdicts; return what was printed.

    Args:
        spoken: the held-out clips.
        console: where it is printed.

    Returns:
        Figures by the name of their row, clips in the order given.
    """
    console.print(f"correlation of the mouth's opening over time, {len(spoken)} held-out clips:")
    told: dict[str, Any] = {}
    for name, mouth, truth in TABLE:
        if mouth is None or truth is None:
            console.print(f"  {name}")
            continue
        curves = [
            lags(one.take.opening if mouth == "opening" else one.read[mouth], one.truth(truth))
            for one in spoken
        ]
        found = following(np.stack(curves), spoken[0].take.fps)
        told[name] = asdict(found) | {"at_zero": found.at_zero.tolist()}
        low, high = found.offset_interval_ms
        console.print(
            f"    {name:32}{found.mean:+.2f} [{found.interval[0]:+.2f}, {found.interval[1]:+.2f}]"
            f"   largest {found.best:+.2f} at {found.offset_ms:+4.0f} ms [{low:+.0f}, {high:+.0f}]"
        )
    for more, less in VERDICTS:
        differences = np.array(told[more]["at_zero"]) - np.array(told[less]["at_zero"])
        low, high = bootstrap(differences)
        console.print(
            f"  {more} less {less}: {differences.mean():+.2f} [{low:+.2f}, {high:+.2f}], "
            f"{'above 0' if low > 0 else 'NOT above 0'}; larger in {int((differences > 0).sum())} "
            f"of {len(spoken)} clips"
        )
    told["mesh"] = _report_mesh(spoken, console)
    return told


def _report_mesh(spoken: Sequence[Spoken], console: Console) -> dict[str, Any]:
    console.print("  second opinion, MediaPipe's mesh on enlarged frames, with the clip itself:")
    told = {}
    for name in ("true", "codec", *SOUNDS):
        values = np.array([correlation(s.meshed[name][1:], s.take.opening[1:]) for s in spoken])
        share = float(np.mean([s.mesh_share[name] for s in spoken]))
        low, high = bootstrap(values)
        console.print(
            f"    {name:32}{values.mean():+.2f} [{low:+.2f}, {high:+.2f}]   a face in {share:.0%}"
        )
        told[name] = {"at_zero": values.tolist(), "face_share": share}
    return told


def lags(mouth: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Correlation at each lag over the frames that both have; frame 0, which is given, is not."""
    num = min(len(mouth), len(truth))
    return lag_correlations(mouth[1:num], truth[1:num], MAX_LAG)


def median_clip(spoken: Sequence[Spoken]) -> Spoken:
    """The clip that follows its own sound better than one half of the others."""
    found = [correlation(one.read["right"][1:], one.take.opening[1:]) for one in spoken]
    return spoken[int(np.argsort(found)[(len(found) - 1) // 2])]


def strip(one: Spoken, path: Path) -> None:
    """Draw a clip.

    Args:
        one: the clip.
        path: PNG to write.
    """
    opening, given = one.take.opening, one.given.opening
    draw_strip(
        path,
        {
            "source": one.frames["true"],
            "right\nsound": one.frames["right"],
            "swapped\nsound": one.frames["swapped"],
            "no\nsound": one.frames["none"],
        },
        (
            ("right", {"true": opening - opening.mean(), "generated": one.read["right"]}),
            ("swapped", {"true, given": given - given.mean(), "generated": one.read["swapped"]}),
            ("none", {"true": opening - opening.mean(), "generated": one.read["none"]}),
            (
                "loudness",
                {"own": one.truth("own loudness"), "swapped": one.truth("given loudness")},
            ),
        ),
        one.take.fps,
    )
