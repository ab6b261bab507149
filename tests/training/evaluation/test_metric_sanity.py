"""The sanity set in the small: on clips made here the metrics order what they should."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from benchmarks.metric_sanity import choose
from benchmarks.sanity_versions import Take, read_take, shifted, still_mouth, write_take
from curation.cast import ANNA, ANNA_VOICE, BORIS_VOICE
from curation.synth_voice import speak
from curation.talking_clip import render_talking_clip
from training.evaluation.measuring import measure
from training.evaluation.sync import sync_of

SECONDS = 5
OTHER_TEXT = "Seven grey cats walked over the frozen lake, and nobody knew why they were so calm."


def test_sound_moves_by_what_is_said_and_keeps_its_length():
    sound = np.arange(1, 16_001, dtype=np.int16)
    late, early = shifted(sound, 200), shifted(sound, -200)
    assert len(late) == len(early) == len(sound)
    assert not late[:3200].any() and np.array_equal(late[3200:], sound[:-3200])
    assert not early[-3200:].any() and np.array_equal(early[:-3200], sound[3200:])


def test_clips_are_chosen_by_the_index_and_never_by_results(tmp_path):
    (tmp_path / "INDEX.csv").write_text(
        "file,kind,duration_s,expected_usable_min\n"
        "good.mp4,real,9.0,1\nshort.mp4,real,4.9,1\nbad.mp4,real,9.0,0\nmade.mp4,derived,9.0,1\n"
        "unknown.mp4,real,,1\n"
    )
    assert choose(tmp_path) == [tmp_path / "good.mp4"]


@pytest.fixture(scope="module")
def figures(tmp_path_factory) -> dict[str, dict[str, float | None]]:
    folder = tmp_path_factory.mktemp("sanity")
    render_talking_clip(
        folder / "clip.mp4",
        seconds=SECONDS,
        size=(256, 256),
        person=ANNA,
        voice=ANNA_VOICE,
        face_ratio=0.6,
    )
    take = read_take(folder / "clip.mp4")
    other = speak(OTHER_TEXT, BORIS_VOICE, seconds=SECONDS, sample_rate_hz=16_000)
    paths: dict[str, Path] = {
        name: folder / f"{name}.mkv" for name in ("real", "late", "other", "still")
    }
    write_take(paths["real"], take.pictures, take.fps, take.sound)
    write_take(paths["late"], take.pictures, take.fps, shifted(take.sound, 200))
    pcm = np.clip(other.pcm * 32767, -32768, 32767).astype(np.int16)
    write_take(paths["other"], take.pictures, take.fps, pcm[: len(take.sound)])
    first = measure([paths["real"]], folder / "first-run").clips[paths["real"]]
    write_take(paths["still"], still_mouth(take, first.face), take.fps, take.sound)
    run = measure(list(paths.values()), folder / "run")
    return {
        name: {**sync_of(run.clips[path].columns).figures, **motion_of(run.clips[path].columns)}
        for name, path in paths.items()
    }


def motion_of(columns: dict) -> dict[str, float]:
    return {"mouth_motion": columns["faces.mouth_motion"]}


def test_a_voice_that_is_not_of_these_lips_and_a_still_mouth_rank_below_the_real_clip(figures):
    for name in ("other", "still"):
        for figure in ("sync_confidence", "sync_score", "sync_score_at_zero"):
            assert figures["real"][figure] > figures[name][figure], (name, figure)
    assert figures["still"]["mouth_motion"] < 0.3 * figures["real"]["mouth_motion"]


def test_a_shift_is_told_by_the_offset_and_by_the_score_unshifted(figures):
    moved_ms = figures["late"]["av_offset_ms"] - figures["real"]["av_offset_ms"]
    assert moved_ms == pytest.approx(200, abs=40)
    assert figures["real"]["sync_score_at_zero"] > figures["late"]["sync_score_at_zero"]


def test_the_still_mouth_keeps_what_is_around_it():
    pictures = [np.full((64, 64, 3), 40 * n, np.uint8) for n in range(3)]
    take = Take("a", "id", pictures, Fraction(25), np.zeros(0, np.int16))
    points = np.random.default_rng(0).uniform(24, 40, (478, 3))
    from training.evaluation.measuring import FaceEvidence

    face = FaceEvidence(
        np.arange(3) / 25, np.repeat(points[None], 3, axis=0), np.arange(478), np.ones(3), (64, 64)
    )
    frozen = list(still_mouth(take, face))
    assert (frozen[2][:6] == 80).all()
    assert frozen[2][32, 32].max() < 10
