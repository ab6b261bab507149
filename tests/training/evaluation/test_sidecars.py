"""Sidecars: windows and edit regions, read or refused in words."""

from __future__ import annotations

import json

import numpy as np
import pytest

from training.errors import InputError
from training.evaluation.sidecars import EditRegion, WindowLength, read_borders, read_region


def test_windows_of_the_sidecar_go_before_those_of_the_command(tmp_path):
    clip = tmp_path / "a.mp4"
    assert read_borders(clip, 150, None) is None
    assert read_borders(clip, 150, WindowLength(81, 25)) == (56, 81, 112, 137)
    (tmp_path / "a.json").write_text(json.dumps({"windows": [[0, 40], [30, 70]], "seed": 1}))
    assert read_borders(clip, 70, WindowLength(81, 25)) == (30, 40)


def test_windows_in_latent_frames_are_those_of_their_frames(tmp_path):
    # 21 latent frames are 81 frames; latent frame 14 begins with frame 53.
    (tmp_path / "a.json").write_text(json.dumps({"latent_windows": [[0, 21], [14, 35]]}))
    assert read_borders(tmp_path / "a.mp4", 137, None) == (53, 81)


def test_a_sidecar_of_something_else_is_no_fault(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"prompt": "a man"}))
    assert read_borders(tmp_path / "a.mp4", 100, None) is None


@pytest.mark.parametrize("text", ["{", '{"windows": [1, 2]}', '{"windows": "x"}', "[]"])
def test_a_broken_sidecar_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match="first_frame"):
        read_borders(tmp_path / "a.mp4", 100, None)


def test_a_region_that_stands_still_holds_for_every_frame(tmp_path):
    region = np.zeros((4, 6), np.uint8)
    region[1:3, 2:4] = 200
    np.savez_compressed(tmp_path / "a.region.npz", region=region)
    found = read_region(tmp_path / "a.mp4")
    for outside in found.outside([0, 7], (6, 4)):
        assert np.array_equal(outside, region == 0)
    assert read_region(tmp_path / "b.mp4") is None


def test_a_coarser_region_covers_every_pixel_of_its_cells():
    region = np.zeros((1, 2, 2), bool)
    region[0, 0, 1] = True
    outside = next(EditRegion(lambda: iter(region)).outside([0], (8, 4)))
    assert not outside[:2, 4:].any()
    assert outside.sum() == 24


def test_a_region_of_the_wrong_kind_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.region.npz", mask=np.zeros((2, 2)))
    with pytest.raises(InputError, match="'region'"):
        read_region(tmp_path / "a.mp4")
    np.savez_compressed(tmp_path / "b.region.npz", region=np.zeros(3))
    with pytest.raises(InputError, match="1 axes"):
        read_region(tmp_path / "b.mp4")
