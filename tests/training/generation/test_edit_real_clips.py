"""Edits of real clips with a randomly initialised model: what is outside of the region survives."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.training.generation.tiny import sampling, tiny_pipeline, voice
from training.errors import InputError
from training.generation.edit_view import close_view
from training.generation.inputs import Notices, Size, model_size
from training.generation.source_video import SourceVideo, rgb
from training.generation.tracking import regions_of
from training.generation.video_writer import FAITHFUL, VideoWriter
from training.generation.wishes import EditWishes

torch.set_num_threads(1)
CLIPS = Path(__file__).parents[4] / "shared" / "data"
"""Beside a checkout; the clips are no part of the project."""
NUM_FRAMES = 10

pytestmark = pytest.mark.skipif(not CLIPS.is_dir(), reason="no shared clips beside this checkout")


def edit_of(clip, num_frames=NUM_FRAMES, **options):
    source = SourceVideo.open(clip)
    head = _Head(source, num_frames)
    regions = regions_of(head, 1, Notices())
    view = close_view(regions)
    size = model_size(view.size, 64 * 64, 16)
    return EditWishes([voice(num_frames / 25)], head, regions, view, size, **options)


class _Head:
    """The first frames of a source; tests need no more."""

    def __init__(self, source, num_frames):
        self._source, self._num_frames = source, num_frames
        self.path, self.size, self.fps = source.path, source.size, source.fps
        self.stored, self.chroma, self.bits = source.stored, source.chroma, source.bits

    def frames(self, num_frames=None):
        return self._source.frames(min(num_frames or self._num_frames, self._num_frames))

    def pictures(self, num_frames=None):
        return self._source.pictures(min(num_frames or self._num_frames, self._num_frames))


def psnr_db(a, b):
    return 10 * np.log10(255**2 / max(np.square(a.astype(float) - b).mean(), 1e-9))


@pytest.mark.parametrize(
    "name", ["sv_half1.mp4", "d_noise.mp4", "grid_bbaf2n.mpg", "d_odd_637x481_yuv444.mp4"]
)
def test_outside_of_the_region_45_db_are_kept_after_encoding(tmp_path, name):
    wishes = edit_of(CLIPS / name)
    encoding = replace(FAITHFUL, chroma=wishes.source.chroma, bits=wishes.source.bits)
    path = tmp_path / "edited.mp4"
    writer = None
    for frame in tiny_pipeline().edit(wishes, sampling(num_steps=1, block_windows=2)):
        if writer is None:
            writer = VideoWriter(
                path, *wishes.source.stored, wishes.source.fps, encoding=encoding, colours_of=frame
            )
        writer.write(frame)
    assert writer.close() == path
    with av.open(str(path)) as container:
        edited = [rgb(frame) for frame in container.decode(video=0)]
    assert len(edited) == NUM_FRAMES
    outside_db, changed = [], 0.0
    for before, after, mask in zip(
        wishes.source.frames(), edited, wishes.regions[0].masks(), strict=True
    ):
        before = rgb(before)
        outside_db.append(psnr_db(before[~mask], after[~mask]))
        changed += np.abs(before[mask].astype(float) - after[mask]).mean() / NUM_FRAMES
        assert 0.01 < mask.mean() < 0.4
    assert min(outside_db) >= 45
    assert changed > 5, "a random model makes something else of the mouth"


def test_an_edit_with_an_empty_region_returns_the_source():
    wishes = edit_of(CLIPS / "sv_half1.mp4", 10)
    empty = type(wishes.regions[0]).empty(10, wishes.source.size)
    frames = tiny_pipeline().edit(replace(wishes, regions=[empty]), sampling())
    pairs = list(zip(frames, wishes.source.frames(), strict=True))
    assert len(pairs) == 10
    for made, source in pairs:
        np.testing.assert_array_equal(made.to_ndarray(), source.to_ndarray())


def test_the_same_seed_gives_the_same_edit_and_replacing_latents_another():
    wishes = edit_of(CLIPS / "d_portrait_9x16.mp4", 13)
    pipeline = tiny_pipeline()

    def made(**options):
        frames = pipeline.edit(wishes, sampling(num_steps=2, **options))
        return np.stack([rgb(frame) for frame in frames])

    first = made()
    np.testing.assert_array_equal(first, made())
    assert (first != made(replace_outside=True)).any()
    near = made(strength=0.5)
    source = np.stack([rgb(frame) for frame in wishes.source.frames()])
    away = np.abs(first.astype(float) - source).mean()
    assert np.abs(near.astype(float) - source).mean() < away, "half of the road stays nearer"


def test_two_speakers_get_their_own_voices():
    source = _Head(SourceVideo.open(CLIPS / "d_split2faces_leftspeaks.mp4"), 9)
    regions = regions_of(source, 2, Notices())
    voices = [voice(9 / 25), voice(9 / 25, seed=1)]
    wishes = EditWishes(voices, source, regions, close_view(regions), Size(64, 64))
    pipeline = tiny_pipeline()

    def made(wishes):
        frames = pipeline.edit(wishes, sampling(num_steps=2))
        return np.stack([rgb(frame) for frame in frames]).astype(int)

    both = made(wishes)
    other = made(replace(wishes, recordings=[voices[0], voice(9 / 25, seed=2)]))
    change = np.abs(both - other).mean(axis=(0, 3))
    first, second = (region.frame_mask(4) for region in regions)
    assert change[second].mean() > 3 * change[first].mean()
    assert (
        not change[~(first | second | regions[0].frame_mask(8) | regions[1].frame_mask(8))].mean()
        > 1
    )
    with pytest.raises(InputError, match="2 faces followed for 1 recordings"):
        made(replace(wishes, recordings=voices[:1]))


def test_a_video_without_a_face_is_refused():
    source = _Head(SourceVideo.open(CLIPS / "psd_testvideo_cuts_noaudio.mp4"), 5)
    with pytest.raises(InputError, match="no faces followed, 1 needed"):
        regions_of(source, 1, Notices())
