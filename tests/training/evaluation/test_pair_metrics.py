"""Pairs that differ in rate, length, size or shape are compared where they can be, and say so."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.evaluation.media import grey, noise, write_video
from training.evaluation.pair_metrics import Looks, add_likeness, has_shape_of
from training.evaluation.results import ClipResult
from training.evaluation.traces import trace
from training.evaluation.weights import Shelf

LOOKS = Looks(0.1, Shelf({}, {}))


def compared(tmp_path, mine, theirs, fps=(25, 25)) -> ClipResult:
    paths = [
        write_video(tmp_path / name, frames, rate)
        for name, frames, rate in zip(("g.mkv", "r.mkv"), (mine, theirs), fps, strict=True)
    ]
    clip = ClipResult("a", *paths)
    add_likeness(clip, trace(paths[0]), trace(paths[1]), LOOKS)
    return clip


def test_the_same_scene_at_another_rate_is_compared_at_equal_times(tmp_path):
    # A step at 1 s; compared frame by frame, half of the frames would differ.
    mine = [grey(50)] * 25 + [grey(200)] * 25
    theirs = [grey(50)] * 10 + [grey(200)] * 10
    clip = compared(tmp_path, mine, theirs, (25, 10))
    assert clip.values["psnr_db"] == 100
    assert any("compared at equal times" in note for note in clip.notes)


def test_only_the_time_that_both_share_counts(tmp_path):
    clip = compared(tmp_path, [grey(50)] * 50, [grey(50)] * 25)
    assert clip.values["psnr_db"] == 100
    assert any("over the time they share" in note for note in clip.notes)
    assert compared(tmp_path, [grey(50)] * 25 + [grey(99)] * 25, [grey(50)] * 25).values == (
        clip.values
    )


def test_another_size_is_brought_to_the_generated_one(tmp_path):
    clip = compared(tmp_path, [grey(50, (32, 48))] * 20, [grey(50, (64, 96))] * 20)
    assert clip.values["psnr_db"] == 100
    assert any("brought to the generated size" in note for note in clip.notes)


def test_another_shape_is_not_compared_and_that_is_said(tmp_path):
    clip = compared(tmp_path, [grey(50, (32, 48))] * 20, [grey(50, (48, 48))] * 20)
    assert "psnr_db" not in clip.values
    assert any("another shape" in note for note in clip.notes)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ((512, 512), (1024, 1024), True),
        ((640, 506), (1376, 1088), True),
        ((720, 576), (1008, 1056), False),
        ((480, 640), (640, 480), False),
    ],
)
def test_shapes_agree_but_for_rounding(one, other, alike):
    assert has_shape_of(one, other) is has_shape_of(other, one) is alike


def test_outside_of_the_edit_is_compared_with_the_source_frame_by_frame(tmp_path):
    frames = [noise(n) for n in range(10)]
    region = np.zeros((10, 48, 64), bool)
    edited = []
    for number, frame in enumerate(frames):
        region[number, number : number + 20, :30] = True  # the region moves
        changed = frame.copy()
        changed[region[number]] = 0
        edited.append(changed)
    paths = [write_video(tmp_path / name, f) for name, f in (("g.mkv", edited), ("s.mkv", frames))]
    clip = ClipResult("a", paths[0], None, paths[1])
    np.savez_compressed(tmp_path / "g.region.npz", region=region)
    add_likeness(clip, trace(paths[0]), None, LOOKS)
    assert clip.values["outside_psnr_db"] == 100
    region[:, :, :] = False
    np.savez_compressed(tmp_path / "g.region.npz", region=region)
    add_likeness(clip, trace(paths[0]), None, LOOKS)
    assert clip.values["outside_psnr_db"] < 20
