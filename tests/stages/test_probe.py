"""Headers: what cannot become a clip is refused with its reason, the rest is measured right."""

from fractions import Fraction

import av
import numpy as np
import pytest

from manifests.reasons import Reason
from stages.decode import DecodeCount, decode_frames
from stages.errors import MediaError
from stages.probe import ProbeSettings, probe


def make(path, *, size=(320, 240), num_frames=50, audio=True, cover=False, rate=25, **options):
    """A small file; ``cover`` puts cover art first."""
    with av.open(str(path), "w") as out:
        if cover:
            art = out.add_stream("mjpeg", rate=1)
            art.width, art.height, art.pix_fmt = 64, 64, "yuvj420p"
            art.disposition = 0x400
        video = out.add_stream(options.get("codec", "libx264"), rate=rate)
        video.width, video.height = size
        video.pix_fmt = options.get("pix_fmt", "yuv420p")
        video.codec_context.sample_aspect_ratio = options.get("aspect", Fraction(1))
        sound = out.add_stream("aac", rate=16000) if audio else None
        if cover:
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
            picture.pts = 0
            out.mux(art.encode(picture.reformat(format="yuvj420p")))
        for number in range(num_frames):
            pixels = np.full((size[1], size[0], 3), number * 4 % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts = number
            out.mux(video.encode(frame.reformat(format=video.pix_fmt)))
        out.mux(video.encode(None))
        if sound is not None:
            count = max(1024, 640 * num_frames)
            samples = np.zeros((1, count), np.float32)
            heard = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
            heard.sample_rate = 16000
            out.mux(sound.encode(heard))
            out.mux(sound.encode(None))
    return path


def facts(path, **settings):
    return probe(str(path), "0" * 20, path.stat().st_size, ProbeSettings(**settings))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.mp4", b"", Reason.EMPTY_FILE),
        ("text.mp4", b"this is not a video\n" * 40, Reason.UNREADABLE),
        ("zeros.mp4", bytes(20000), Reason.UNREADABLE),
    ],
)
def test_what_is_no_media_is_refused_with_its_name(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MediaError, match=name) as refused:
        facts(path)
    assert refused.value.reason is reason


def test_a_missing_index_is_unreadable(tmp_path):
    whole = make(tmp_path / "whole.mp4").read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) * 7 // 10])
    with pytest.raises(MediaError) as refused:
        facts(cut)
    assert refused.value.reason is Reason.UNREADABLE


def test_a_still_picture_is_not_a_video(tmp_path):
    path = tmp_path / "photo.mp4"
    with av.open(str(path), "w", format="mjpeg") as out:
        stream = out.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuvj420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((120, 160, 3), np.uint8), "rgb24")
        out.mux(stream.encode(frame.reformat(format="yuvj420p")))
        out.mux(stream.encode(None))
    with pytest.raises(MediaError) as refused:
        facts(path)
    assert refused.value.reason in (Reason.NOT_A_VIDEO, Reason.NO_AUDIO_STREAM)


@pytest.mark.parametrize(
    ("options", "settings", "reason"),
    [
        ({"audio": False}, {}, Reason.NO_AUDIO_STREAM),
        ({"num_frames": 1, "audio": False}, {}, Reason.NO_AUDIO_STREAM),
        ({"num_frames": 15}, {}, Reason.SOURCE_TOO_SHORT),
        ({}, {"max_pixels": 320 * 240 - 1}, Reason.PICTURE_TOO_LARGE),
        ({"size": (64, 64)}, {}, Reason.PICTURE_TOO_SMALL),
    ],
)
def test_limits_carry_measured_value_and_limit(tmp_path, options, settings, reason):
    with pytest.raises(MediaError) as refused:
        facts(make(tmp_path / "clip.mp4", **options), **settings)
    assert refused.value.reason is reason
    if reason is not Reason.NO_AUDIO_STREAM:
        assert refused.value.measured is not None
        assert refused.value.limit is not None


def test_sound_alone_has_no_video(tmp_path):
    path = tmp_path / "sound.m4a"
    with av.open(str(path), "w", format="mp4") as out:
        sound = out.add_stream("aac", rate=16000)
        heard = av.AudioFrame.from_ndarray(np.zeros((1, 32000), np.float32), "fltp", "mono")
        heard.sample_rate = 16000
        out.mux(sound.encode(heard))
        out.mux(sound.encode(None))
    with pytest.raises(MediaError) as refused:
        facts(path)
    assert refused.value.reason is Reason.NO_VIDEO_STREAM


def test_cover_art_in_front_is_not_the_video(tmp_path):
    found = facts(make(tmp_path / "cover.mkv", cover=True)).video
    assert (found.codec, found.width_px, found.height_px) == ("h264", 320, 240)


def test_pixels_that_are_not_square_are_shown_wide(tmp_path):
    found = facts(make(tmp_path / "wide.mp4", size=(720, 576), aspect=Fraction(64, 45))).video
    assert (found.width_px, found.height_px) == (1024, 576)
    assert (found.coded_width_px, found.coded_height_px) == (720, 576)


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv444p"])
def test_other_pixel_formats_decode_to_views(tmp_path, pix_fmt):
    found = facts(make(tmp_path / "deep.mkv", pix_fmt=pix_fmt))
    count = DecodeCount()
    shapes = {view.thumbnail(160).shape for view in decode_frames(found, count)}
    assert shapes == {(120, 160, 3)}
    assert (count.num_passes, count.num_frames) == (1, 50)


def test_a_part_of_the_source_is_decoded_exactly(tmp_path):
    found = facts(make(tmp_path / "long.mp4", num_frames=200))
    part = decode_frames(found, DecodeCount(), start=Fraction(3), end=Fraction(5))
    times = [round(view.time_s * 25) for view in part]
    assert times == list(range(75, 125))
    parts = [
        view.pts
        for start, end in ((None, 2), (2, 4), (4, None))
        for view in decode_frames(
            found,
            DecodeCount(),
            start=None if start is None else Fraction(start),
            end=None if end is None else Fraction(end),
        )
    ]
    assert parts == [view.pts for view in decode_frames(found, DecodeCount())]
