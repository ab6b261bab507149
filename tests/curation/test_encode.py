"""Packed video: which source frame an output frame shows."""

import os
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.encode import encode_span, nearest
from curation.recipe import PackSettings
from manifests.span import Span
from stages.decode import DecodeCount, decode_frames
from stages.probe import ProbeSettings, probe


@dataclass
class Frame:
    pts: int
    time_base: Fraction = Fraction(1, 1000)


def shown(pts, num_wanted, start=0, rate=25):
    frames = (Frame(p) for p in pts)
    return [f.pts for f in nearest(frames, Fraction(start, 1000), rate, num_wanted)]


@pytest.mark.parametrize("rate", [24, 25, 30, 60])
def test_every_output_frame_shows_the_nearest_source_frame(rate):
    pts = [round(1000 * k / rate) for k in range(2 * rate)]
    for number, chosen in enumerate(shown(pts, 40)):
        wanted = 40 * number
        assert abs(chosen - wanted) == min(abs(p - wanted) for p in pts)


def test_the_same_rate_shows_every_frame_once():
    pts = list(range(0, 2000, 40))
    assert shown(pts, 50) == pts


def test_a_gap_repeats_its_nearer_neighbour():
    assert shown([0, 40, 280, 320], 9) == [0, 40, 40, 40, 40, 280, 280, 280, 320]


@settings(max_examples=60)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=50, unique=True), st.integers(1, 80))
def test_exactly_as_many_frames_as_wanted(pts, num_wanted):
    found = shown(sorted(pts), num_wanted, start=min(pts))
    assert len(found) == num_wanted
    assert found == sorted(found)


def test_no_frame_gives_none():
    assert shown([], 5) == []


def test_interlaced_footage_is_told_by_the_times_of_its_own_stream(tmp_path):
    path = tmp_path / "interlaced.mpg"
    with av.open(str(path), "w", format="mpeg") as out:
        stream = out.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.options = {"flags": "+ilme+ildct", "g": "12"}
        sound = out.add_stream("mp2", rate=48000)
        for number in range(75):
            picture = np.full((240, 320, 3), 3 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 144000), np.int16), "s16", "stereo")
        silence.sample_rate = 48000
        out.mux(sound.encode(silence))
        out.mux(sound.encode(None))
    facts = probe(str(path), "source", path.stat().st_size, ProbeSettings())
    assert facts.video.is_interlaced
    pts = [frame.pts for frame in decode_frames(facts, DecodeCount())]
    span = Span(pts[10], pts[60], facts.video.time_base)
    encoded = encode_span(facts, span, PackSettings(), DecodeCount())
    frame_ticks = round(Fraction(1, 25) / facts.video.time_base)
    wanted = span.start + frame_ticks * np.arange(len(encoded.shown_pts))
    assert np.abs(encoded.shown_pts - wanted).max() <= frame_ticks  # a frame has no time stamp


_ENCODE = """
import hashlib, sys
from curation.encode import encode_span
from curation.recipe import PackSettings
from manifests.span import Span
from stages.decode import DecodeCount
from stages.probe import ProbeSettings, probe
facts = probe(sys.argv[1], "source", 1, ProbeSettings())
span = Span(0, round(1.2 / facts.video.time_base), facts.video.time_base)
print(hashlib.sha256(encode_span(facts, span, PackSettings(), DecodeCount()).data).hexdigest())
"""


def test_what_lay_in_memory_before_leaves_no_trace_in_the_bytes(tmp_path):
    path = tmp_path / "moving.mkv"
    dice = np.random.default_rng(0)
    texture = cv2.GaussianBlur(dice.integers(0, 255, (680, 680)).astype(np.uint8), (0, 0), 4)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 480, 480, "yuv420p"
        sound = out.add_stream("pcm_s16le", rate=16000, layout="mono")
        for number in range(30):
            luma = texture[2 * number :, 3 * number :][:480, :480]
            planes = np.concatenate([luma, np.full((240, 480), 128, np.uint8)])
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 19200), np.int16), "s16", "mono")
        silence.sample_rate = 16000
        out.mux(sound.encode(silence))
    # glibc fills what it gives out from its heap with this byte; elsewhere the runs are repeated.
    digests = {
        subprocess.run(
            [sys.executable, "-c", _ENCODE, str(path)],
            env={**os.environ, "MALLOC_PERTURB_": fill},
            capture_output=True,
            check=True,
        ).stdout
        for fill in ("1", "85", "170")
    }
    assert len(digests) == 1
