"""The sound of a source lies where its time stamps say, whatever the container and the rate."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame

from stages.audio import SAMPLE_RATE_HZ, Pcm, Track, read_track
from stages.facts import AudioFacts, SourceFacts, VideoFacts

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CLICK_S = (0.25, 0.5, 1.125, 1.9)


def facts_of(path: Path) -> SourceFacts:
    """Facts of a file made here; its picture, if any, does not matter."""
    with av.open(str(path)) as container:
        audio = tuple(
            AudioFacts(
                stream.index,
                stream.codec_context.name,
                stream.codec_context.sample_rate,
                stream.codec_context.layout.nb_channels,
                stream.codec_context.layout.name,
                "",
            )
            for stream in container.streams.audio
        )
    picture = VideoFacts(
        index=0,
        codec="h264",
        pixel_format="yuv420p",
        coded_width_px=64,
        coded_height_px=64,
        width_px=64,
        height_px=64,
        rotation_deg=0,
        pixel_aspect=Fraction(1),
        frame_rate=Fraction(25),
        time_base=Fraction(1, 25),
        start_time=Fraction(0),
        is_interlaced=False,
        transfer=1,
    )
    return SourceFacts(str(path), "id", path.stat().st_size, "mov", None, picture, audio)


def write_sound(
    path: Path,
    tracks: list[np.ndarray],
    rate_hz: int,
    *,
    codec: str = "pcm_s16le",
    layout: str = "mono",
    start_s: float = 0.0,
    skip_s: tuple[float, float] | None = None,
    jump_s: float = 0.0,
    frame_size: int = 1000,
) -> Path:
    """Write tracks of (channels, N); frames inside ``skip_s`` are left out, later ones moved."""
    with av.open(str(path), "w") as container:
        streams = []
        for _ in tracks:
            stream = container.add_stream(codec, rate=rate_hz, layout=layout)
            stream.codec_context.open()
            streams.append(stream)
        for stream, sound in zip(streams, tracks, strict=True):
            size = stream.codec_context.frame_size or frame_size
            planar = stream.codec_context.format.is_planar
            for first in range(0, sound.shape[1], size):
                time_s = first / rate_hz
                if skip_s and skip_s[0] <= time_s < skip_s[1]:
                    continue
                moved_s = jump_s if skip_s and time_s >= skip_s[1] else 0.0
                part = sound[:, first : first + size].astype(np.float32)
                if stream.codec_context.format.name.startswith("s16"):
                    part = np.round(part * 32767).astype(np.int16)
                if not planar:
                    part = np.ascontiguousarray(part.T).reshape(1, -1)
                frame = AudioFrame.from_ndarray(
                    part, format=stream.codec_context.format.name, layout=layout
                )
                frame.sample_rate = rate_hz
                frame.time_base = Fraction(1, rate_hz)
                frame.pts = first + round((start_s + moved_s) * rate_hz)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def clicks(rate_hz: int, duration_s: float = 2.2) -> np.ndarray:
    """Single-sample clicks at whole samples near CLICK_S."""
    sound = np.zeros((1, round(duration_s * rate_hz)), np.float32)
    for time_s in CLICK_S:
        sound[0, round(time_s * rate_hz)] = 0.9
    return sound


def click_time(samples: np.ndarray, start_s: float, around_s: float) -> float:
    """Energy centroid within 4 ms of where a click should be."""
    first = round((around_s - start_s - 0.004) * SAMPLE_RATE_HZ)
    window = samples[max(0, first) : first + 128].astype(np.float64) ** 2
    assert window.sum() > 0
    centre = (window * np.arange(len(window))).sum() / window.sum()
    return start_s + (max(0, first) + centre) / SAMPLE_RATE_HZ


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000])
def test_a_click_stays_within_a_sample_at_every_rate(tmp_path: Path, rate_hz: int) -> None:
    path = write_sound(tmp_path / "a.mov", [clicks(rate_hz)], rate_hz)
    facts = facts_of(path)
    track = read_track(facts, facts.audio[0])
    assert track.start_time == 0
    assert abs(track.rows.shape[1] - 2.2 * SAMPLE_RATE_HZ) <= 1
    for time_s in CLICK_S:
        true_s = round(time_s * rate_hz) / rate_hz
        assert abs(click_time(track.rows[0], 0.0, true_s) - true_s) < 0.5 / SAMPLE_RATE_HZ


@pytest.mark.parametrize("rate_hz", [22050, 48000])
def test_a_range_gives_the_same_clock_as_the_whole(tmp_path: Path, rate_hz: int) -> None:
    path = write_sound(tmp_path / "a.mov", [clicks(rate_hz, 5.0)], rate_hz)
    facts = facts_of(path)
    start = Fraction(801, 1000)
    track = read_track(facts, facts.audio[0], start=start, end=Fraction(3, 2))
    assert start <= track.start_time < start + Fraction(1, SAMPLE_RATE_HZ)
    assert abs(track.rows.shape[1] - 0.699 * SAMPLE_RATE_HZ) <= 1
    true_s = round(1.125 * rate_hz) / rate_hz
    found_s = click_time(track.rows[0], float(track.start_time), true_s)
    assert abs(found_s - true_s) < 0.6 / SAMPLE_RATE_HZ


@pytest.mark.parametrize("start_s", [0.4, 7.25])
@pytest.mark.parametrize("suffix", ["mov", "mkv"])
def test_a_late_start_is_kept_on_the_clock(tmp_path: Path, suffix: str, start_s: float) -> None:
    path = write_sound(tmp_path / f"a.{suffix}", [clicks(44100)], 44100, start_s=start_s)
    facts = facts_of(path)
    track = read_track(facts, facts.audio[0])
    time_base_s = 0.001 if suffix == "mkv" else 0.0
    assert float(track.start_time) == pytest.approx(start_s, abs=time_base_s + 1e-4)
    true_s = start_s + 0.5
    found_s = click_time(track.rows[0], float(track.start_time), true_s)
    assert abs(found_s - true_s) < time_base_s + 1 / SAMPLE_RATE_HZ
    assert not track.missing


def test_a_coarse_time_base_makes_no_gaps(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = (rng.standard_normal((1, 44100 * 20)) * 0.1).astype(np.float32)
    facts = facts_of(write_sound(tmp_path / "a.mkv", [noise], 44100, codec="aac"))
    track = read_track(facts, facts.audio[0])
    assert not track.missing
    assert track.rows.shape[1] / SAMPLE_RATE_HZ == pytest.approx(20, abs=0.05)


def test_lost_packets_become_zeros_that_are_named_missing(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.mkv", [clicks(16000)], 16000, skip_s=(0.6, 1.0))
    facts = facts_of(path)
    track = read_track(facts, facts.audio[0])
    (gap,) = track.missing
    assert gap == pytest.approx((0.625, 1.0), abs=0.03)
    for true_s in CLICK_S:
        assert abs(click_time(track.rows[0], 0.0, true_s) - true_s) < 0.0012
    pcm = Pcm(track.rows[0], track.start_time, missing=track.missing)
    assert pcm.coverage_ratio(0.0, 2.2) == pytest.approx(1 - (gap[1] - gap[0]) / 2.2, abs=1e-3)
    assert pcm.coverage_ratio(2.2, 3.0) == pytest.approx(0.0, abs=1e-3)


def test_one_lost_small_packet_does_not_shift_the_rest(tmp_path: Path) -> None:
    rate = 48000
    sound = np.zeros((1, rate * 8), np.float32)
    sound[0, rate * 7] = 0.9
    path = write_sound(tmp_path / "a.mkv", [sound], rate, skip_s=(1.0, 1.02))
    facts = facts_of(path)
    track = read_track(facts, facts.audio[0])
    assert abs(click_time(track.rows[0], 0.0, 7.0) - 7.0) < 0.0012


def test_sound_that_comes_twice_is_dropped(tmp_path: Path) -> None:
    path = write_sound(
        tmp_path / "a.mkv", [clicks(16000)], 16000, skip_s=(0.6, 1), jump_s=-0.4, frame_size=4000
    )
    facts = facts_of(path)
    track = read_track(facts, facts.audio[0])  # 0.60 s comes when 0.75 s is reached
    assert float(Pcm(track.rows[0], track.start_time).end_time) == pytest.approx(1.8, abs=0.01)
    assert abs(click_time(track.rows[0], 0.0, 1.5) - 1.5) < 0.0012  # the click of 1.9 s, moved
    assert not track.rows[0][round(0.72 * 16000) : round(0.73 * 16000)].any()
    assert not track.missing


def test_a_jump_of_hours_ends_the_track_instead_of_filling_memory(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.nut", [clicks(16000)], 16000, skip_s=(1.0, 1.1), jump_s=9000)
    facts = facts_of(path)
    assert read_track(facts, facts.audio[0]).rows.shape[1] < 1.2 * SAMPLE_RATE_HZ


def test_slices_tile_and_are_padded_with_zeros() -> None:
    pcm = Pcm(np.arange(1, 1601, dtype=np.float32), Fraction(95001) + Fraction(1, 3))
    start = 95001 + 1 / 3
    parts = [pcm.slice(start + k * 0.0123, start + (k + 1) * 0.0123) for k in range(5)]
    whole = pcm.slice(start, start + 5 * 0.0123)
    assert np.array_equal(np.concatenate(parts), whole)
    padded = pcm.slice(pcm.start_time - 1, pcm.start_time + 1)
    assert len(padded) == 2 * SAMPLE_RATE_HZ
    assert not padded[:SAMPLE_RATE_HZ].any()
    assert padded[SAMPLE_RATE_HZ] == 1.0
    assert pcm.slice(0, 1).sum() == 0


def test_every_25_fps_clip_has_its_exact_number_of_samples() -> None:
    pcm = Pcm(np.ones(160_000, np.float32), Fraction(377, 44100))
    lengths = {len(pcm.slice(Fraction(k, 25), Fraction(k + 75, 25))) for k in range(200)}
    assert lengths == {48_000}


@pytest.mark.parametrize("name", ["d_off_container_p400.mp4", "d_ts_wrapoffset.ts", "d_vp9.webm"])
def test_real_containers_have_no_false_gaps(name: str) -> None:
    if not (DATA / name).exists():
        pytest.skip("no real clips here")
    facts = facts_of(DATA / name)
    track: Track = read_track(facts, facts.audio[0])
    assert not track.missing
    if name.startswith("d_off"):
        assert float(track.start_time) == pytest.approx(0.376, abs=0.001)
    if name.startswith("d_ts"):
        assert float(track.start_time) == pytest.approx(95001.3768, abs=0.001)
