"""Copies are found through every disguise, and another moment of the same scene is no copy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from manifests.near_duplicates import Fingerprint, near_duplicates
from manifests.span import Span
from stages.dedup import DedupSettings, DedupStage, FrameHashes, fingerprint_of
from tests.stages.footage import ASTRONAUT, COFFEE, facts_of, real, watch, write_video

SETTINGS = DedupSettings()


def talking(photo: np.ndarray, num_frames: int, seed: int) -> list[np.ndarray]:
    """A still scene in which a patch moves at random, as a head before a backdrop."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(num_frames)[:, None, None] / 25
    rates, phases = rng.uniform(0.2, 1.5, (1, 6, 2)), rng.uniform(0, 6.28, (1, 6, 2))
    steps = (3 * np.sin(6.28 * rates * time_s + phases)).sum(axis=1)
    frames = []
    for dx, dy in steps:
        frame = photo[100:340, 100:420].copy()
        move = np.float32([[1, 0, dx], [0, 1, dy]])
        frame[60:200, 90:230] = cv2.warpAffine(photo, move, (photo.shape[1], photo.shape[0]))[
            160:300, 190:330
        ]
        frames.append(frame)
    return frames


def fingerprint(path: Path, clip_id: str, quality: float = 0.0) -> Fingerprint:
    facts = facts_of(path)
    evidence = watch(DedupStage(SETTINGS), path)
    assert isinstance(evidence, FrameHashes)
    last = int(evidence.activity_pts[-1]) + 1
    first = int(evidence.hash_pts[0])
    found = fingerprint_of(Span(first, last, facts.video.time_base), evidence, SETTINGS)
    return Fingerprint(clip_id, found.hashes or (), found.activity or (), (quality,))


def smaller(frame: np.ndarray) -> np.ndarray:
    return cv2.resize(frame, (240, 180), interpolation=cv2.INTER_AREA)


def mirrored(frame: np.ndarray) -> np.ndarray:
    return frame[:, ::-1]


def colourless(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def marked(frame: np.ndarray) -> np.ndarray:
    return cv2.putText(frame.copy(), "@handle", (230, 25), 0, 0.6, (255, 255, 255), 2)


@pytest.mark.parametrize("disguise", [smaller, mirrored, colourless, marked])
def test_copy_in_disguise_is_found(
    tmp_path: Path, disguise: Callable[[np.ndarray], np.ndarray]
) -> None:
    frames = talking(ASTRONAUT, 125, seed=1)
    original = fingerprint(write_video(tmp_path / "a.mp4", frames), "a", 1.0)
    copy = fingerprint(
        write_video(tmp_path / "b.mp4", [disguise(frame) for frame in frames], crf=30), "b"
    )
    assert near_duplicates([original, copy]) == {"b": "a"}


def test_later_start_and_other_frame_rate_do_not_hide_a_copy(tmp_path: Path) -> None:
    frames = talking(ASTRONAUT, 200, seed=2)
    original = fingerprint(write_video(tmp_path / "a.mp4", frames), "a", 1.0)
    part = fingerprint(write_video(tmp_path / "b.mp4", frames[33:180:2], fps=12.5), "b")
    assert near_duplicates([original, part]) == {"b": "a"}


def test_another_moment_of_the_same_scene_is_kept(tmp_path: Path) -> None:
    moments = [
        fingerprint(write_video(tmp_path / f"{n}.mp4", talking(ASTRONAUT, 125, n)), str(n))
        for n in (3, 4, 5)
    ]
    other = fingerprint(write_video(tmp_path / "c.mp4", talking(COFFEE[:, 50:], 125, 3)), "c")
    assert near_duplicates([*moments, other]) == {}


def test_the_better_copy_stays_whatever_the_order() -> None:
    rng = np.random.default_rng(0)
    hashes = tuple(f"{value:016x}" for value in rng.integers(0, 2**63, 5))
    activity = tuple(rng.random(80))
    clips = [
        Fingerprint(name, hashes, activity, (rank,))
        for name, rank in zip("abcd", (1, 3, 2, 3), strict=True)
    ]
    expected = {"a": "b", "c": "b", "d": "b"}
    for _ in range(5):
        rng.shuffle(clips)
        assert near_duplicates(clips) == expected


def test_clips_without_fingerprint_are_kept() -> None:
    assert near_duplicates([Fingerprint("a", (), (), ()), Fingerprint("b", (), (), ())]) == {}


def test_many_clips_take_no_pairwise_comparison() -> None:
    rng = np.random.default_rng(1)
    clips = [
        Fingerprint(
            f"{n:05d}",
            tuple(f"{value:016x}" for value in rng.integers(0, 2**63, 3)),
            tuple(rng.random(40)),
            (),
        )
        for n in range(5000)
    ]
    copies = [
        Fingerprint(f"x{clip.clip_id}", clip.hashes, clip.activity, ()) for clip in clips[:20]
    ]
    found = near_duplicates([*clips, *copies])
    assert found == {copy.clip_id: copy.clip_id[1:] for copy in copies}


def test_real_copies_and_real_strangers() -> None:
    names = ["sv_head4.mp4", "d_dup_near_640.mp4", "d_mirror.mp4", "d_watermark_corner.mp4"]
    names += ["d_grayscale.mp4", "sv_dialogue1_1.mp4", "sv_dialogue1_2.mp4", "sv_side5.mp4"]
    prints = [fingerprint(real(name), name, float(name == "sv_head4.mp4")) for name in names]
    assert near_duplicates(prints) == dict.fromkeys(names[1:5], "sv_head4.mp4")


def test_real_halves_of_one_shot_are_different_clips() -> None:
    path = real("sv_half4.mp4")
    evidence, base = watch(DedupStage(SETTINGS), path), facts_of(path).video.time_base
    spans = [Span.from_seconds(a, b, base) for a, b in ((0.0, 4.9), (4.9, 9.8))]
    prints = [fingerprint_of(span, evidence, SETTINGS) for span in spans]
    clips = [
        Fingerprint(str(n), item.hashes or (), item.activity or (), ())
        for n, item in enumerate(prints)
    ]
    assert near_duplicates(clips) == {}
