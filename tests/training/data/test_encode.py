from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.data.made_dataset import numbered_sound
from tests.training.data.made_encoders import made_encoders
from training.data.clip_samples import ClipSample, Speaker
from training.data.collate import collate
from training.data.encode import EncodeSettings, encode_clip, encode_tasks
from training.data.face_track import FaceTrack
from training.data.settings import DataSettings
from training.data.training_data import TrainingData
from training.errors import DataError
from training.model.interfaces import Task

ENCODERS = made_encoders()
SETTINGS = EncodeSettings(extension_frames=5)


@pytest.fixture(scope="module")
def sample(dataset: str) -> ClipSample:
    settings = DataSettings(sizes_px=((96, 64),), num_frames=(17,), num_workers=0)
    data = TrainingData([dataset], settings)
    return max((batch[0] for batch in data.rest_of_epoch()), key=lambda s: s.first_frame)


def as_picture(sample: ClipSample) -> ClipSample:
    return replace(sample, frames_CTHW=sample.frames_CTHW[:, :1], speakers=())


def moved(face: FaceTrack, by_px: float) -> FaceTrack:
    shift = np.array([by_px, 0, 0], np.float32)
    return replace(
        face,
        landmarks_TPC=face.landmarks_TPC + shift,
        lip_polygon_TPC=face.lip_polygon_TPC + shift[:2],
    )


def test_the_latent_is_the_clip_and_the_condition_what_is_given_of_it(sample: ClipSample) -> None:
    given = {Task.TEXT: [], Task.IMAGE: [0], Task.EXTENSION: [0, 1], Task.FIRST_LAST: [0]}
    pixels = sample.frames_CTHW[None].float() / 127.5 - 1
    latent = ENCODERS.codec.encode(pixels)[0]
    for clip in encode_tasks(sample, tuple(given), ENCODERS, SETTINGS):
        whole = given[clip.task]
        assert torch.equal(clip.latent_CKhw, latent)
        assert torch.equal(clip.condition_CKhw[:, whole], latent[:, whole])
        assert (clip.keep_mask_CKhw[:, whole] == 1).all()
        others = [k for k in range(5) if k not in whole]
        if clip.task is Task.FIRST_LAST:
            assert clip.keep_mask_CKhw[:, 4].mean((1, 2)).tolist() == [0, 0, 0, 1]
            others.remove(4)
        assert (clip.keep_mask_CKhw[:, others] == 0).all()
        assert (clip.condition_CKhw[:, others] == 0).all()
        assert (clip.image_LD == 0).all() == (clip.task is Task.TEXT)


def test_an_edit_keeps_no_cell_that_the_mouth_touches_in_any_frame(sample: ClipSample) -> None:
    clip = encode_clip(sample, Task.EDIT, ENCODERS, SETTINGS)
    touched_Khw = clip.lip_mask_Khw > 0
    assert touched_Khw.any() and (clip.keep_mask_CKhw[:, touched_Khw] == 0).all()
    kept = clip.keep_mask_CKhw.amin(0) == 1
    assert 0.2 < kept.float().mean() < 0.95
    assert torch.allclose(clip.condition_CKhw[:, kept], clip.latent_CKhw[:, kept], atol=1e-6)


def test_the_audio_of_a_crop_is_that_of_its_place_in_the_recording(sample: ClipSample) -> None:
    clip = encode_clip(sample, Task.IMAGE, ENCODERS, SETTINGS)
    assert sample.first_frame > 4
    numbers = clip.audio_AKVSD[0, :, :, 0, 0] * 512
    for latent in range(5):
        last = sample.first_frame + 4 * latent
        wanted = torch.arange(last - 5, last + 3).float()
        wanted[(wanted < 0) | (wanted >= sample.num_clip_frames)] = 0
        assert torch.allclose(numbers[latent], wanted, atol=0.1)


@pytest.mark.parametrize("task", Task)
def test_a_picture_is_made_from_text(sample: ClipSample, task: Task) -> None:
    picture = replace(
        sample,
        frames_CTHW=sample.frames_CTHW[:, :1],
        speakers=(Speaker(sample.pcm_N, None),),
    )
    clip = encode_clip(picture, task, ENCODERS, SETTINGS)
    assert clip.task is Task.TEXT
    assert clip.keep_mask_CKhw.shape[1] == 1 and (clip.keep_mask_CKhw == 0).all()


def test_a_clip_without_a_face_has_no_masks_and_is_not_edited(sample: ClipSample) -> None:
    faceless = replace(sample, speakers=(Speaker(sample.pcm_N, None),))
    clip = encode_clip(faceless, Task.EDIT, ENCODERS, SETTINGS)
    assert clip.task is Task.IMAGE
    assert clip.face_mask_Khw is None and clip.lip_mask_Khw is None


def test_an_extension_that_gives_everything_becomes_the_first_frame(sample: ClipSample) -> None:
    clip = encode_clip(sample, Task.EXTENSION, ENCODERS, EncodeSettings(extension_frames=17))
    assert clip.task is Task.IMAGE


def test_several_voices_act_about_their_own_faces(sample: ClipSample) -> None:
    own = sample.speakers[0]
    other = Speaker(own.pcm_N * 0 + 0.5, moved(own.face, -30))
    clip = encode_clip(replace(sample, speakers=(own, other)), Task.IMAGE, ENCODERS, SETTINGS)
    assert clip.audio_AKVSD.shape[0] == 2 and (clip.audio_AKVSD[1, 1:4] == 0.5).all()
    first, second = clip.audio_region_AKhw
    assert (first + second <= 1 + 1e-6).all()
    columns = torch.arange(first.shape[-1]).float()
    assert (first * columns).sum() / first.sum() > (second * columns).sum() / second.sum() + 2
    assert sample.size_px == (96, 64) and clip.face_mask_Khw.sum() > 0


def test_batches_fill_up_speakers_and_missing_audio_with_silence(sample: ClipSample) -> None:
    own = sample.speakers[0]
    two = replace(sample, speakers=(own, Speaker(own.pcm_N, moved(own.face, -30))))
    clips = [encode_clip(s, Task.IMAGE, ENCODERS, SETTINGS) for s in (sample, two)]
    silent = replace(clips[0], audio_AKVSD=None, face_mask_Khw=None, is_padding=True)
    batch = collate([*clips, silent])
    assert batch.has_audio_B.tolist() == [True, True, False]
    assert batch.is_padding_B.tolist() == [False, False, True]
    assert torch.equal(batch.audio_BAKVSD[0, 0], clips[0].audio_AKVSD[0])
    assert (batch.audio_BAKVSD[0, 1] == 0).all() and (batch.audio_BAKVSD[2] == 0).all()
    assert (batch.audio_region_BAKhw[0, 0] == 1).all()
    assert (batch.audio_region_BAKhw[0, 1] == 0).all()
    assert torch.equal(batch.audio_region_BAKhw[1], clips[1].audio_region_AKhw)
    assert (batch.face_mask_BKhw[2] == 0).all() and batch.face_mask_BKhw[0].any()


def test_clips_of_different_shapes_make_no_batch(sample: ClipSample) -> None:
    one = encode_clip(sample, Task.IMAGE, ENCODERS, SETTINGS)
    shorter = replace(one, latent_CKhw=one.latent_CKhw[:, :3])
    with pytest.raises(DataError, match="one bucket"):
        collate([one, shorter])
    with pytest.raises(DataError, match="no clips"):
        collate([])


def test_a_batch_without_any_audio_has_features_of_no_width(sample: ClipSample) -> None:
    silent = replace(encode_clip(sample, Task.IMAGE, ENCODERS, SETTINGS), audio_AKVSD=None)
    assert collate([silent]).audio_BAKVSD.shape[:3] == (1, 1, 5)
    assert not collate([silent]).has_audio_B.any()


def test_the_made_sound_tells_its_frames() -> None:
    features = ENCODERS.audio_encoder.encode(torch.from_numpy(numbered_sound(7)), 7, 25.0)
    assert (features[:, 0, 0] * 512).round().tolist() == list(range(7))
