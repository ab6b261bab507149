from __future__ import annotations

import shutil
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.data.conftest import CLIPS
from tests.training.data.made_dataset import (
    FPS,
    SAMPLES_PER_FRAME,
    MadeClip,
    encode_sound,
    face_npz,
    make_dataset,
    number_in,
    numbered_sound,
)
from training.data.books import BadReason, BadSampleError
from training.data.clip_samples import ClipSample
from training.data.settings import DataSettings
from training.data.sound import read_sound
from training.data.training_data import TrainingData
from training.errors import DataError
from training.objective.curriculum import Source

SMALL = DataSettings(
    sizes_px=((64, 64), (96, 64)), num_frames=(5, 9, 25), batch_size=2, num_workers=0
)


def read_epoch(data: TrainingData) -> list[tuple[ClipSample, ...]]:
    return list(data.rest_of_epoch())


def same(one: ClipSample, other: ClipSample) -> bool:
    names = ("clip_id", "first_frame", "is_mirrored", "is_padding", "caption")
    return (
        all(getattr(one, name) == getattr(other, name) for name in names)
        and torch.equal(one.frames_CTHW, other.frames_CTHW)
        and torch.equal(one.pcm_N, other.pcm_N)
        and torch.equal(one.lip_mask_THW, other.lip_mask_THW)
    )


def same_batches(one: list[tuple[ClipSample, ...]], other: list[tuple[ClipSample, ...]]) -> bool:
    pairs = [pair for a, b in zip(one, other, strict=True) for pair in zip(a, b, strict=True)]
    return all(same(*pair) for pair in pairs)


def test_an_epoch_has_every_clip_once_in_batches_of_one_shape(dataset: str) -> None:
    batches = read_epoch(TrainingData([dataset], SMALL))
    ids = Counter(sample.clip_id for batch in batches for sample in batch)
    assert ids == {clip.clip_id: 1 for clip in CLIPS}
    for batch in batches:
        assert len({sample.frames_CTHW.shape for sample in batch}) == 1


def test_frames_and_sound_are_those_of_the_crop(dataset: str) -> None:
    firsts = set()
    for batch in read_epoch(TrainingData([dataset], SMALL)):
        for sample in batch:
            assert sample.first_frame % 4 == 0
            firsts.add(sample.first_frame)
            sound = sample.pcm_N.reshape(-1, SAMPLES_PER_FRAME).mean(1) * 512
            assert torch.allclose(sound, torch.arange(len(sound)).float(), atol=0.1)
            assert len(sound) == sample.num_clip_frames and sample.fps == FPS
            for index in range(sample.frames_CTHW.shape[1]):
                picture = sample.frames_CTHW[:, index].permute(1, 2, 0).numpy()
                assert number_in(picture, sample.is_mirrored) == sample.first_frame + index
    assert len(firsts) > 2


def test_a_sample_may_hold_further_speakers_each_with_its_own_voice_and_face(
    tmp_path: Path,
) -> None:
    second = {
        "1.flac": encode_sound(numbered_sound(40)[::-1].copy()),
        "1.face.npz": face_npz(40, (32, 64)),
    }
    place = make_dataset(tmp_path / "d", [MadeClip(0, members=second), MadeClip(1)])
    data = TrainingData([place], SMALL.model_copy(update={"flip_ratio": 0.0}))
    samples = {s.clip_id: s for batch in read_epoch(data) for s in batch}
    both, alone = samples[MadeClip(0).clip_id], samples[MadeClip(1).clip_id]
    assert (len(both.speakers), len(alone.speakers)) == (2, 1)
    one, other = both.speakers
    assert torch.allclose(one.pcm_N, other.pcm_N.flip(0), atol=1e-4)
    assert other.face.oval_TPC[..., 0].mean() < one.face.oval_TPC[..., 0].mean() - 10
    assert (both.face_mask_THW.sum((1, 2)) > one.face.face_mask((64, 64)).sum((1, 2))).all()


def test_only_the_frames_from_the_key_frame_to_the_end_of_the_crop_are_decoded(
    tmp_path: Path,
) -> None:
    place = make_dataset(tmp_path / "d", [MadeClip(n, num_frames=120) for n in range(6)])
    data = TrainingData([place], SMALL.model_copy(update={"num_frames": (9,)}))
    samples = [sample for batch in read_epoch(data) for sample in batch]
    needed = sum(sample.first_frame % FPS + 9 for sample in samples)
    assert data.books.work.num_frames_used == 9 * len(samples)
    assert data.books.work.num_frames_decoded == needed
    assert data.books.work.num_bytes <= sum(
        path.stat().st_size for path in (tmp_path / "d" / "shards").iterdir()
    )


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_change_nothing(dataset: str, num_workers: int) -> None:
    alone = read_epoch(TrainingData([dataset], SMALL))
    many = TrainingData([dataset], SMALL.model_copy(update={"num_workers": num_workers}))
    assert same_batches(read_epoch(many), alone)
    assert many.books.num_read == len(CLIPS)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(1, 3), st.integers(0, 9), st.data())
def test_a_resumed_run_gives_what_it_would_have_given_without_the_stop(
    dataset: str, world_size: int, num_done: int, drawn: st.DataObject
) -> None:
    rank = drawn.draw(st.integers(0, world_size - 1))

    def opened() -> TrainingData:
        return TrainingData([dataset], SMALL, rank=rank, world_size=world_size)

    whole = opened()
    batches = iter(whole)
    for _ in range(num_done):
        next(batches)
    state = whole.state_dict()
    expected = [next(batches) for _ in range(3)]
    resumed = opened()
    resumed.load_state_dict(state)
    going_on = iter(resumed)
    assert same_batches([next(going_on) for _ in range(3)], expected)
    assert resumed.state_dict() == whole.state_dict()


def test_a_run_resumed_with_workers_goes_on_alike(dataset: str) -> None:
    data = TrainingData([dataset], SMALL)
    batches = iter(data)
    for _ in range(2):
        next(batches)
    resumed = TrainingData([dataset], SMALL.model_copy(update={"num_workers": 2}))
    resumed.load_state_dict(data.state_dict())
    going_on = iter(resumed)
    assert same_batches([next(going_on) for _ in range(6)], [next(batches) for _ in range(6)])


def test_crops_and_mirrors_are_drawn_anew_each_epoch(dataset: str) -> None:
    data = TrainingData([dataset], SMALL)
    drawn = [
        {s.clip_id: (s.first_frame, s.is_mirrored) for batch in read_epoch(data) for s in batch}
        for _ in range(2)
    ]
    assert data.epoch == 2
    assert drawn[0].keys() == drawn[1].keys() and drawn[0] != drawn[1]


def test_the_global_generator_is_left_alone(dataset: str) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    read_epoch(TrainingData([dataset], SMALL))
    assert torch.equal(torch.get_rng_state(), before)


def test_pictures_are_mixed_in(dataset: str) -> None:
    data = TrainingData([dataset], SMALL.model_copy(update={"picture_ratio": 0.5}))
    lengths = Counter(sample.frames_CTHW.shape[1] for batch in read_epoch(data) for sample in batch)
    assert 0 < lengths[1] < len(CLIPS) == sum(lengths.values())


def test_other_data_or_settings_cannot_take_over_the_state(dataset: str, tmp_path: Path) -> None:
    state = TrainingData([dataset], SMALL).state_dict()
    other = make_dataset(tmp_path / "d", [MadeClip(20), MadeClip(21), MadeClip(22)])
    for data in (
        TrainingData([other], SMALL),
        TrainingData([dataset], SMALL.model_copy(update={"seed": 1})),
    ):
        with pytest.raises(DataError, match=r"was .*, is .*give the same data and settings"):
            data.load_state_dict(state)


def test_weights_that_read_nothing_are_refused(dataset: str) -> None:
    rarely = SMALL.model_copy(update={"sources": (Source(weight=1e-9),)})
    with pytest.raises(DataError, match="weights of the sources add up to too little"):
        TrainingData([dataset], rarely)


def test_too_few_clips_for_the_ranks_are_refused(dataset: str) -> None:
    with pytest.raises(DataError, match="too few for 9 ranks; use fewer ranks"):
        TrainingData([dataset], SMALL, rank=0, world_size=9)


BROKEN = {
    BadReason.VIDEO_UNREADABLE: {"mp4": b"no video"},
    BadReason.AUDIO_UNREADABLE: {"flac": b"no sound"},
    BadReason.FACE_UNREADABLE: {"face.npz": b"no face"},
    BadReason.MEMBER_MISSING: {"txt": None},
    BadReason.DESCRIPTION_UNREADABLE: {"json": b"{"},
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_bad_sample_is_booked_by_its_reason_and_another_stands_in(
    tmp_path: Path, reason: BadReason
) -> None:
    clips = [MadeClip(0, members=BROKEN[reason]), *(MadeClip(n) for n in range(1, 4))]
    place = make_dataset(tmp_path / "d", clips)
    for batch_size in (1, 2):
        data = TrainingData([place], SMALL.model_copy(update={"batch_size": batch_size}))
        batches = read_epoch(data)
        assert [len(batch) for batch in batches] == [batch_size] * (4 // batch_size)
        assert data.books.bad == {reason: 1} and data.books.examples[0].clip_id == clips[0].clip_id
        good = [s.clip_id for batch in batches for s in batch if not s.is_padding]
        assert Counter(good) == {clip.clip_id: 1 for clip in clips[1:]}
        assert str(reason) in str(data.books)


def test_a_sound_that_ends_before_its_video_is_bad_and_a_longer_one_is_cut() -> None:
    sound = encode_sound(numbered_sound(20))
    assert len(read_sound(sound, 19, Fraction(FPS))) == 19 * SAMPLES_PER_FRAME
    with pytest.raises(BadSampleError, match="12800 samples, the video lasts 13440"):
        read_sound(sound, 21, Fraction(FPS))


def test_a_damaged_frame_that_is_used_is_found(tmp_path: Path) -> None:
    place = make_dataset(tmp_path / "d", [MadeClip(0), MadeClip(1)])
    shard = tmp_path / "d" / "shards" / "000000.tar"
    data = bytearray(shard.read_bytes())
    start = data.find(b"mdat") + 400
    data[start : start + 3000] = bytes(3000)
    shard.write_bytes(data)
    opened = TrainingData([place], SMALL.model_copy(update={"batch_size": 1}))
    assert len(read_epoch(opened)) == 2
    assert opened.books.num_bad == 1


def test_too_many_bad_samples_stop_the_run(tmp_path: Path) -> None:
    clips = [
        MadeClip(n, members={"mp4": b"" if n < 6 else None} if n < 6 else {}) for n in range(8)
    ]
    place = make_dataset(tmp_path / "d", clips)
    with pytest.raises(DataError, match=r"4 of .* clips cannot be used.*video_unreadable"):
        read_epoch(TrainingData([place], SMALL.model_copy(update={"batch_size": 1})))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_storage_that_fails_in_the_middle_stops_the_run_in_one_line(
    tmp_path: Path, num_workers: int
) -> None:
    place = make_dataset(tmp_path / "d", [MadeClip(n) for n in range(3)])
    data = TrainingData([place], SMALL.model_copy(update={"num_workers": num_workers}))
    shutil.rmtree(tmp_path / "d" / "shards")
    with pytest.raises(DataError, match=r"000000\.tar.*mend the storage and resume") as caught:
        read_epoch(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_ranks_share_an_epoch_and_take_equally_many_steps(dataset: str, world_size: int) -> None:
    num_steps, read = set(), Counter()
    for rank in range(world_size):
        data = TrainingData([dataset], SMALL, rank=rank, world_size=world_size)
        batches = read_epoch(data)
        num_steps.add(len(batches))
        read.update(s.clip_id for batch in batches for s in batch if not s.is_padding)
    assert len(num_steps) == 1
    assert read == {clip.clip_id: 1 for clip in CLIPS}
