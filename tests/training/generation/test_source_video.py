from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from training.errors import InputError
from training.generation.faces import CHIN, FOREHEAD, FaceFinder
from training.generation.inputs import Notices, Size
from training.generation.pixel_formats import Chroma
from training.generation.recording import Recording
from training.generation.source_video import SourceVideo, rgb
from training.generation.video_writer import Encoding, VideoWriter

CLIPS = Path(__file__).parents[4] / "shared" / "data"
with_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason="no shared clips beside this checkout")


@pytest.fixture
def film(tmp_path):
    """A film whose frame k has brightness 2 k."""

    def film(num_frames, fps, size=(64, 48), chroma=Chroma.HALF):
        encoding = Encoding(crf=5, chroma=chroma)
        path = tmp_path / "film.mp4"
        with VideoWriter(path, *size, fps, encoding=encoding) as writer:
            for k in range(num_frames):
                writer.write(np.full((size[1], size[0], 3), 2 * k, np.uint8))
        return path

    return film


def opened(path):
    notices = Notices()
    return SourceVideo.open(path, notices), notices.said


def test_frames_come_as_often_as_asked_and_begin_anew(film):
    source, said = opened(film(20, 25))
    assert (source.size, source.fps, source.pixel_format, said) == (Size(64, 48), 25, "yuv420p", [])
    for _ in range(2):
        values = [rgb(frame).mean() for frame in source.frames()]
        np.testing.assert_allclose(values, 2 * np.arange(20), atol=2)
    assert len(list(source.frames(7))) == 7


def test_a_high_frame_rate_is_brought_to_the_models_by_leaving_frames_out(film):
    source, said = opened(film(60, 50))
    assert source.fps == 25
    assert "outside of 20 to 31" in said[0]
    values = [rgb(frame).mean() / 2 for frame in source.frames()]
    np.testing.assert_allclose(values, 2 * np.arange(30), atol=1)


def test_each_moment_has_the_frame_that_shows_then(film):
    source, _ = opened(film(72, 60))
    values = [rgb(frame).mean() / 2 for frame in source.frames()]
    shown = np.floor(np.arange(30) * 60 / 25 + 1e-6)
    np.testing.assert_allclose(values, shown, atol=0.9)


def test_a_rate_near_the_models_is_kept(film):
    source, said = opened(film(30, Fraction(30000, 1001)))
    assert source.fps == Fraction(30000, 1001)
    assert "are kept" in said[0]
    assert len(list(source.frames())) == 30


def test_an_odd_size_is_worked_on_in_full_colour(film):
    source, _ = opened(film(3, 25, (63, 47), Chroma.FULL))
    frame = next(source.frames())
    assert (frame.width, frame.height, frame.format.name) == (63, 47, "yuv444p")


def test_what_is_no_video_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        opened(tmp_path / "none.mp4")
    letter = tmp_path / "letter.mp4"
    letter.write_bytes(b"Dear Sir or Madam")
    with pytest.raises(InputError, match="cannot be read as video"):
        opened(letter)
    silent = tmp_path / "sound.wav"
    with av.open(str(silent), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), "s16", "mono")
        frame.sample_rate = 16_000
        out.mux(stream.encode(frame))
    with pytest.raises(InputError, match="no picture in it"):
        opened(silent)


@with_clips
def test_a_turned_film_is_shown_upright():
    source, said = opened(CLIPS / "d_rot_meta_upright.mp4")
    assert "turned" in said[0]
    with FaceFinder() as finder:
        (face,) = finder.find(rgb(next(source.frames())))
    assert face[CHIN, 1] > face[FOREHEAD, 1]


@with_clips
def test_frames_keep_their_pixels_and_pictures_have_square_ones():
    source, said = opened(CLIPS / "d_anamorphic_sar.mp4")
    assert (source.stored, source.size) == (Size(720, 576), Size(1024, 576))
    assert source.pixel_aspect == Fraction(64, 45)
    assert "not square" in said[0]
    assert next(source.frames()).width == 720
    assert next(source.pictures()).shape == (576, 1024, 3)


@with_clips
def test_deep_colour_keeps_its_bits_its_matrix_and_its_range():
    source, said = opened(CLIPS / "d_hevc_hdr10.mp4")
    assert "10 are kept" in said[0]
    with av.open(str(CLIPS / "d_hevc_hdr10.mp4")) as container:
        stored = next(container.decode(video=0))
    frame = next(source.frames())
    assert frame.format.name == source.pixel_format == "yuv420p10le"
    assert (
        (frame.colorspace, frame.color_range) == (stored.colorspace, stored.color_range) == (9, 1)
    )
    np.testing.assert_array_equal(frame.to_ndarray(), stored.to_ndarray())


@with_clips
def test_damage_is_passed_over_and_time_goes_on():
    source, _ = opened(CLIPS / "d_bitrot.mp4")
    with av.open(str(CLIPS / "d_bitrot.mp4")) as container:
        duration_s = container.duration / 1e6
    assert len(list(source.frames())) / 25 == pytest.approx(duration_s, abs=0.5)
    recording = Recording.open(CLIPS / "d_bitrot.mp4", notices := Notices())
    assert recording.duration_s == pytest.approx(duration_s, abs=0.5)
    assert "damaged pieces" in notices.said[-1]


@with_clips
def test_two_faces_are_followed_by_number():
    source, _ = opened(CLIPS / "d_split2faces_leftspeaks.mp4")
    with FaceFinder(is_video=True) as finder:
        rows = list(finder.follow(source.pictures(6)))
    assert all(set(row) == {0, 1} for row in rows[1:])
    for number in (0, 1):
        centres = np.array([row[number].mean(axis=0) for row in rows[1:]])
        assert np.ptp(centres, axis=0).max() < 40
