"""Frames of an AVI are shown when it says, whatever the order in which they are stored."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from curation.encode import encode_span
from curation.recipe import PackSettings
from manifests.frame_times import with_shown_times
from manifests.span import Span
from stages.audio import SAMPLE_RATE_HZ, read_track
from stages.decode import DecodeCount, decode_frames
from tests.stages.footage import facts_of

NUM_FRAMES = 40
FLASH_EVERY = 8
NTSC = Fraction(30_000, 1001)
CODECS = [
    ("mpeg4", 0, {}),
    ("mpeg4", 2, {}),
    ("mpeg2video", 2, {}),
    ("libx264", 2, {"b-pyramid": "none"}),
    ("libx264", 3, {"b-pyramid": "normal"}),
]


def numbered(number: int) -> np.ndarray:
    """A picture with its number written in eight bright or dark squares."""
    picture = np.zeros((96, 128, 3), np.uint8)
    for bit in range(8):
        picture[:48, bit * 16 : bit * 16 + 16] = 255 * (number >> bit & 1)
    picture[60:80, 3 * number % 108 : 3 * number % 108 + 20] = 180
    return picture


def number_in(luma: np.ndarray) -> int:
    squares = luma[10:38].reshape(28, 8, 16)[:, :, 4:12].mean(axis=(0, 2))
    return int(sum((square > 128) << bit for bit, square in enumerate(squares)))


def write(
    path: Path, codec: str, num_b_frames: int, options: dict[str, str], *, fps=25, left_out=()
) -> Path:
    """Frame k shows the number k; a click sounds at every eighth frame."""
    clicks = np.zeros(round(NUM_FRAMES / fps * SAMPLE_RATE_HZ), np.int16)
    clicks[[round(k / fps * SAMPLE_RATE_HZ) for k in range(0, NUM_FRAMES, FLASH_EVERY)]] = 20_000
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.max_b_frames = num_b_frames
        stream.codec_context.gop_size = 12
        coding = "mp2" if path.suffix in (".mpg", ".ts") else "pcm_s16le"
        sound = container.add_stream(coding, rate=SAMPLE_RATE_HZ, layout="mono")
        heard = av.AudioFrame.from_ndarray(clicks[None], "s16", "mono")
        heard.sample_rate, heard.pts = SAMPLE_RATE_HZ, 0
        container.mux(sound.encode(heard))
        for number in (k for k in range(NUM_FRAMES) if k not in left_out):
            frame = av.VideoFrame.from_ndarray(numbered(number), "rgb24")
            frame.pts, frame.time_base = number, 1 / Fraction(fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def shown(path: Path, *, start: Fraction | None = None) -> list[tuple[int, Fraction]]:
    """Number and time of each frame of a decode."""
    facts = facts_of(path)
    return [
        (number_in(view.luma()), view.pts * facts.video.time_base)
        for view in decode_frames(facts, DecodeCount(), start=start)
    ]


@pytest.mark.parametrize(("codec", "num_b_frames", "options"), CODECS)
@pytest.mark.parametrize("fps", [25, NTSC])
def test_every_frame_of_an_avi_stands_at_its_place(tmp_path, codec, num_b_frames, options, fps):
    path = write(tmp_path / "a.avi", codec, num_b_frames, options, fps=fps)
    assert shown(path) == [(k, k / Fraction(fps)) for k in range(NUM_FRAMES)]
    assert facts_of(path).video.start_time == 0


@pytest.mark.parametrize(("codec", "num_b_frames", "options"), CODECS)
@pytest.mark.parametrize("first", [13, 25, 30])
def test_a_seek_gives_the_times_of_a_whole_decode(tmp_path, codec, num_b_frames, options, first):
    path = write(tmp_path / "a.avi", codec, num_b_frames, options)
    found = shown(path, start=Fraction(first, 25))
    assert found == [(k, Fraction(k, 25)) for k in range(first, NUM_FRAMES)]


def test_pictures_left_out_leave_their_places_empty(tmp_path):
    left_out = (5, 6, 20)
    path = write(tmp_path / "a.avi", "mpeg4", 2, {}, left_out=left_out)
    kept = [k for k in range(NUM_FRAMES) if k not in left_out]
    assert shown(path) == [(k, Fraction(k, 25)) for k in kept]


@pytest.mark.parametrize(("codec", "num_b_frames", "options"), CODECS)
def test_damage_does_not_move_what_comes_after_it(tmp_path, codec, num_b_frames, options):
    path = write(tmp_path / "a.avi", codec, num_b_frames, options)
    with av.open(str(path)) as container:
        hurt = [p for p in container.demux(video=0) if p.size and p.dts in (4, 5)]
        places = [(p.pos, p.size) for p in hurt]
    data = bytearray(path.read_bytes())
    for first, size in places:
        data[first : first + size] = bytes(size)
    path.write_bytes(data)
    found = [(number, time) for number, time in shown(path) if time >= Fraction(16, 25)]
    assert found == [(k, Fraction(k, 25)) for k in range(16, NUM_FRAMES)]


@pytest.mark.parametrize(("codec", "num_b_frames", "options"), CODECS)
def test_a_click_sounds_when_its_picture_is_shown(tmp_path, codec, num_b_frames, options):
    path = write(tmp_path / "a.avi", codec, num_b_frames, options)
    facts = facts_of(path)
    track = read_track(facts, facts.audio[0])
    loud = np.flatnonzero(track.rows[0] > 0.3)
    clicks_s = [float(track.start_time) + k / SAMPLE_RATE_HZ for k in loud]
    pictures_s = [float(time) for number, time in shown(path) if number % FLASH_EVERY == 0]
    assert clicks_s == pytest.approx(pictures_s, abs=0.001)


@pytest.mark.parametrize(("codec", "num_b_frames", "options"), CODECS)
def test_what_is_packed_of_an_avi_is_what_was_analysed(tmp_path, codec, num_b_frames, options):
    path = write(tmp_path / "a.avi", codec, num_b_frames, options)
    facts = facts_of(path)
    packed = encode_span(facts, Span(14, 30, Fraction(1, 25)), PackSettings(), DecodeCount())
    (tmp_path / "packed.mp4").write_bytes(packed.data)
    with av.open(str(tmp_path / "packed.mp4")) as container:
        luma = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert [number_in(picture) for picture in luma] == list(range(14, 30))
    assert packed.shown_pts.tolist() == list(range(14, 30))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.ts", "a.mpg"])
def test_containers_with_presentation_times_are_taken_at_their_word(tmp_path, name):
    codec, num_b_frames = ("mpeg2video", 2) if name == "a.mpg" else ("libx264", 3)
    path = write(tmp_path / name, codec, num_b_frames, {})
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        said = [frame.pts for frame in container.decode(stream)]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        given = [f.pts for f in with_shown_times(container.decode(stream), container, stream)]
    assert given == said
    found = shown(path)
    assert [number for number, _ in found] == list(range(NUM_FRAMES))
    steps_s = np.diff([float(time) for _, time in found])
    assert steps_s == pytest.approx([0.04] * (NUM_FRAMES - 1), abs=0.0011)
