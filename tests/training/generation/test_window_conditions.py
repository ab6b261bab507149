from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan

from tests.training.generation.tiny import picture
from training.errors import InputError
from training.generation.edit_view import View, whole_view
from training.generation.editing import Region
from training.generation.inputs import Size
from training.generation.window_conditions import ReferenceConditions, SourceConditions, pixels
from training.model.codecs import WanCodec
from training.model.conditions import latent_keep_mask, pixel_condition
from training.model.interfaces import Task

torch.set_num_threads(1)
SIZE = Size(32, 32)


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(0)
    return WanCodec(AutoencoderKLWan(base_dim=4, z_dim=16, num_res_blocks=1))


def as_training_sees(codec, task, frames, **options):
    """Condition and keep mask as `training.data` makes them of a whole clip."""
    given, keep = pixel_condition(task, frames, **options)
    return latent_keep_mask(keep, codec.spatial_stride), codec.encode(given)


def assert_same(given, expected):
    torch.testing.assert_close(given.keep_mask_BCKhw, expected[0])
    torch.testing.assert_close(given.condition_BCKhw, expected[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("task", [Task.TEXT, Task.IMAGE, Task.EXTENSION, Task.FIRST_LAST])
def test_a_window_is_given_what_a_training_clip_is(codec, task):
    shown = [picture(seed=k) for k in range(13)]
    frames = torch.cat([pixels(rgb) for rgb in shown], dim=2)
    num_first = {Task.TEXT: 0, Task.EXTENSION: 5}.get(task, 1)
    conditions = ReferenceConditions(
        codec,
        SIZE,
        4,
        first_frames=shown[:num_first],
        last_image=shown[-1] if task is Task.FIRST_LAST else None,
    )
    assert conditions.task is task
    assert conditions.pinned == (task is not Task.TEXT)
    options = {"extension_frames": 5} if task is Task.EXTENSION else {}
    assert_same(conditions.given(0, 4), as_training_sees(codec, task, frames, **options))


def test_later_windows_see_the_reference_and_only_the_last_the_last_image(codec):
    first, last = picture(seed=1), picture(seed=2)
    conditions = ReferenceConditions(codec, SIZE, 10, first_frames=[first], last_image=last)
    frames = torch.zeros(1, 3, 13, 32, 32)
    frames[:, :, :1], frames[:, :, -1:] = pixels(first), pixels(last)
    assert_same(conditions.given(3, 4), as_training_sees(codec, Task.IMAGE, frames))
    assert_same(conditions.given(6, 4), as_training_sees(codec, Task.FIRST_LAST, frames))
    assert conditions.given(2, 4) is conditions.given(3, 4), "encoded once"


def test_a_text_video_is_held_to_its_own_first_frame_afterwards(codec):
    conditions = ReferenceConditions(codec, SIZE, 10)
    conditions.anchor(picture(seed=4))
    assert conditions.pinned
    frames = torch.zeros(1, 3, 13, 32, 32)
    frames[:, :, :1] = pixels(picture(seed=4))
    assert_same(conditions.given(3, 4), as_training_sees(codec, Task.IMAGE, frames))


def test_given_frames_that_cannot_be_are_refused(codec):
    with pytest.raises(InputError, match=r"6 given frames: give 4 m \+ 1"):
        ReferenceConditions(codec, SIZE, 9, first_frames=[picture()] * 6)
    with pytest.raises(InputError, match="without a first one"):
        ReferenceConditions(codec, SIZE, 9, last_image=picture())
    full = ReferenceConditions(codec, SIZE, 9, first_frames=[picture()] * 13)
    with pytest.raises(InputError, match="nothing is left"):
        full.given(0, 4)


def source_of(frames_HWC):
    return SimpleNamespace(pictures=lambda: iter(frames_HWC), path="take.mp4")


def moving_region(num_frames):
    t = np.arange(num_frames, dtype=np.float32)
    zero = np.zeros_like(t)
    shapes = np.stack([8 + 0.8 * t, 16 + zero, 5 + zero, 4 + zero, zero], -1)
    return Region(shapes, SIZE)


def test_an_edit_is_given_its_source_block_by_block_as_if_at_once(codec):
    shown = [picture(seed=k) for k in range(21)]
    region = moving_region(21)
    video = torch.cat([pixels(rgb) for rgb in shown], dim=2)
    masks = torch.from_numpy(np.stack(list(region.masks())))[None].float()
    keep, condition = as_training_sees(codec, Task.EDIT, video, edit_region_BTHW=masks)
    conditions = SourceConditions(
        codec, source_of(shown), whole_view(SIZE), [region], SIZE, with_latents=True
    )
    whole = codec.encode(video)
    for first, length in ((0, 3), (2, 3), (3, 3)):
        conditions.begin_block(first, length)
        given = conditions.given(first, length)
        part = slice(first, first + length)
        assert_same(given, (keep[:, :, part], condition[:, :, part]))
        source = conditions.source()
        torch.testing.assert_close(source.latent_BCKhw, whole[:, :, part], atol=1e-4, rtol=1e-4)
        expected = 1 - keep[:, :, part].amin(dim=1)
        torch.testing.assert_close(source.region_BKhw, expected)
    assert 0 < expected.mean() < 1


def test_a_source_that_ends_early_goes_on_with_its_last_frame(codec):
    shown = [picture(seed=k) for k in range(7)]
    region = moving_region(7)
    conditions = SourceConditions(codec, source_of(shown), whole_view(SIZE), [region], SIZE)
    conditions.begin_block(0, 3)
    assert conditions.source() is None, "its latents were not asked for"
    padded = torch.cat([pixels(rgb) for rgb in [*shown, shown[-1], shown[-1]]], dim=2)
    masks = np.stack([region.frame_mask(t) for t in range(9)])
    expected = as_training_sees(
        codec, Task.EDIT, padded, edit_region_BTHW=torch.from_numpy(masks)[None].float()
    )
    assert_same(conditions.given(0, 3), expected)


def test_only_the_view_is_seen(codec):
    shown = [picture(64, 64, seed=k) for k in range(5)]
    view = View(16, 32, SIZE)
    empty = Region.empty(5, SIZE)
    conditions = SourceConditions(codec, source_of(shown), view, [empty], SIZE)
    conditions.begin_block(0, 2)
    part = torch.cat([pixels(rgb[32:64, 16:48]) for rgb in shown], dim=2)
    torch.testing.assert_close(
        conditions.given(0, 2).condition_BCKhw, codec.encode(part), atol=1e-4, rtol=1e-4
    )
