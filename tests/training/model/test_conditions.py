from __future__ import annotations

import pytest
import torch

from training.errors import SettingError
from training.model.conditions import latent_keep_mask, pixel_condition, transformer_input
from training.model.interfaces import Task

FRAMES = torch.rand(2, 3, 13, 16, 24) + 0.1


def kept_frames(task: Task, **options) -> list[int]:
    given, keep = pixel_condition(task, FRAMES, **options)
    shown = keep[:, None].expand_as(given).bool()
    assert torch.equal(given[shown], FRAMES[shown])
    assert not given[~shown].any()
    assert torch.equal(keep.amin((0, 2, 3)), keep.amax((0, 2, 3)))
    return keep[0, :, 0, 0].nonzero().flatten().tolist()


def test_text_is_given_no_frame():
    assert kept_frames(Task.TEXT) == []


def test_an_image_is_the_first_frame():
    assert kept_frames(Task.IMAGE) == [0]


def test_an_extension_is_its_first_frames():
    assert kept_frames(Task.EXTENSION, extension_frames=5) == [0, 1, 2, 3, 4]


def test_first_and_last_are_both_ends():
    assert kept_frames(Task.FIRST_LAST) == [0, 12]


def test_an_edit_is_given_everything_outside_its_region():
    region = torch.zeros(2, 13, 16, 24)
    region[:, :, 4:9, 5:7] = 0.3
    given, keep = pixel_condition(Task.EDIT, FRAMES, edit_region_BTHW=region)
    assert torch.equal(keep, (region == 0).float())
    assert not given[:, :, :, 4:9, 5:7].any()
    assert torch.equal(given[..., 10:, :], FRAMES[..., 10:, :])


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (Task.EXTENSION, {}, "needs the number"),
        (Task.IMAGE, {"extension_frames": 5}, "no other task"),
        (Task.EXTENSION, {"extension_frames": 4}, r"4 k \+ 1"),
        (Task.EXTENSION, {"extension_frames": 13}, "nothing is left"),
        (Task.EDIT, {}, "no edit region"),
        (Task.TEXT, {"edit_region_BTHW": torch.zeros(2, 13, 16, 24)}, "no other task"),
        (Task.EDIT, {"edit_region_BTHW": torch.zeros(2, 12, 16, 24)}, "edit region of shape"),
    ],
)
def test_options_of_another_task_are_refused(task, options, message):
    with pytest.raises(SettingError, match=message):
        pixel_condition(task, FRAMES, **options)


def test_a_clip_that_is_not_4k_plus_1_long_is_refused():
    with pytest.raises(SettingError, match="12 frames"):
        pixel_condition(Task.IMAGE, FRAMES[:, :, :12])


def test_frame_0_stands_in_all_four_channels_of_the_first_latent_frame():
    keep = torch.zeros(1, 13, 16, 16)
    keep[:, [0, 2, 12]] = 1
    mask = latent_keep_mask(keep, 8)
    assert mask.shape == (1, 4, 4, 2, 2)
    assert mask[0, :, :, 0, 0].T.tolist() == [
        [1, 1, 1, 1],
        [0, 1, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 1],
    ]


def test_the_mask_of_an_image_is_that_of_the_base_s_own_pipeline():
    # diffusers 0.42, WanImageToVideoPipeline.prepare_latents: frames but the first are 0, the
    # first is repeated four times, then four frames make one latent frame.
    _, keep = pixel_condition(Task.IMAGE, FRAMES)
    flat = torch.ones(2, 1, 13, 2, 3)
    flat[:, :, 1:] = 0
    flat = torch.cat([flat[:, :, :1].repeat_interleave(4, 2), flat[:, :, 1:]], 2)
    assert torch.equal(latent_keep_mask(keep, 8), flat.view(2, -1, 4, 2, 3).transpose(1, 2))


def test_a_cell_is_kept_only_if_all_its_pixels_are():
    keep = torch.ones(1, 1, 16, 16)
    keep[0, 0, 7, 8] = 0
    assert latent_keep_mask(keep, 8)[0, 0, 0].tolist() == [[1, 0], [1, 1]]


def test_a_picture_that_does_not_divide_is_refused():
    with pytest.raises(SettingError, match="20 x 16"):
        latent_keep_mask(torch.ones(1, 1, 20, 16), 8)


def test_the_input_is_noisy_latent_then_mask_then_condition():
    noisy, condition = torch.full((1, 16, 2, 4, 4), 5.0), torch.full((1, 16, 2, 4, 4), 7.0)
    stacked = transformer_input(noisy, torch.ones(1, 4, 2, 4, 4), condition)
    assert stacked[0, :, 0, 0, 0].tolist() == [5.0] * 16 + [1.0] * 4 + [7.0] * 16


def test_a_mask_of_one_channel_is_refused():
    latent = torch.zeros(1, 16, 2, 4, 4)
    with pytest.raises(SettingError, match="keep mask of 1 channels"):
        transformer_input(latent, torch.ones(1, 1, 2, 4, 4), latent)
