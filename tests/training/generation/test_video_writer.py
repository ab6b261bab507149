from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from training.errors import InputError, SettingError
from training.generation.pixel_formats import Chroma
from training.generation.video_writer import Encoding, VideoWriter

FPS = Fraction(25)


def picture(k, width=64, height=48):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 3, y * 4, np.full_like(x, 10 * k)], -1).astype(np.uint8)


@pytest.fixture
def clicks(tmp_path):
    """Three seconds of stereo sound with a click at each half second."""
    samples = np.zeros((3 * 44_100, 2), np.float32)
    for k in range(6):
        begin = round((0.25 + 0.5 * k) * 44_100)
        samples[begin : begin + 60] = 0.8 * np.hanning(60)[:, None]
    path = tmp_path / "clicks.wav"
    soundfile.write(path, samples, 44_100)
    return path


def decoded(path):
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    with av.open(str(path)) as container:
        blocks = [f.to_ndarray() for f in container.decode(audio=0)]
        first = container.streams.audio[0].start_time
    return frames, np.concatenate(blocks, axis=1), first


def test_frames_come_back_in_number_order_and_colour(tmp_path, clicks):
    path = tmp_path / "film.mp4"
    with VideoWriter(path, 64, 48, FPS, sound=[clicks]) as writer:
        for k in range(20):
            writer.write(picture(k))
    frames, _, _ = decoded(path)
    assert len(frames) == 20
    for k, frame in enumerate(frames):
        error = frame.astype(float) - picture(k)
        assert 10 * np.log10(255**2 / np.square(error).mean()) > 32


def test_sound_is_in_time_and_as_long_as_the_film(tmp_path, clicks):
    path = tmp_path / "film.mp4"
    with VideoWriter(path, 64, 48, FPS, sound=[clicks]) as writer:
        for k in range(50):
            writer.write(picture(k % 5))
    _, sound, first = decoded(path)
    assert first == 0
    assert sound.shape[1] == pytest.approx(2 * 44_100, abs=1024)
    for k in range(4):
        begin = round((0.15 + 0.5 * k) * 44_100)
        peak = begin + np.argmax(np.abs(sound[0, begin : begin + 9000]))
        assert peak / 44_100 == pytest.approx(0.25 + 0.5 * k + 30 / 44_100, abs=0.004)


def test_two_voices_are_heard_together(tmp_path, clicks):
    tone = 0.1 * np.sin(2 * np.pi * 300 * np.arange(16_000) / 16_000)
    soundfile.write(tmp_path / "tone.wav", tone, 16_000)
    path = tmp_path / "film.mp4"
    with VideoWriter(path, 64, 48, FPS, sound=[clicks, tmp_path / "tone.wav"]) as writer:
        for k in range(50):
            writer.write(picture(k % 5))
    _, sound, _ = decoded(path)
    assert np.abs(sound[0, 9_000:13_000]).max() > 0.5, "a click"
    spectrum = np.abs(np.fft.rfft(sound[0, 14_700:29_400]))
    assert np.argmax(spectrum[1:]) + 1 == 100, "300 Hz over a third of a second"
    assert np.abs(sound[0, 46_000:50_000]).max() < 0.02, "after the tone, between clicks"


def test_sound_that_ends_early_goes_on_as_silence(tmp_path, clicks):
    path = tmp_path / "film.mp4"
    with VideoWriter(path, 64, 48, FPS, sound=[clicks]) as writer:
        for k in range(100):
            writer.write(picture(k % 5))
    frames, sound, _ = decoded(path)
    assert len(frames) == 100
    assert sound.shape[1] == pytest.approx(4 * 44_100, abs=1024)
    assert np.abs(sound[:, -30_000:]).max() < 1e-3


def test_444_keeps_the_colour_of_every_pixel(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    errors = {}
    for chroma in Chroma:
        path = tmp_path / f"{chroma}.mp4"
        with VideoWriter(path, 64, 48, FPS, encoding=Encoding(crf=1, chroma=chroma)) as writer:
            writer.write(noise)
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
        errors[chroma] = np.abs(frame.astype(float) - noise).mean()
    assert errors[Chroma.FULL] < 0.2 * errors[Chroma.HALF]


def test_an_unfinished_film_leaves_nothing(tmp_path):
    class StopError(Exception):
        pass

    with pytest.raises(StopError), VideoWriter(tmp_path / "film.mp4", 64, 48, FPS) as writer:
        writer.write(picture(0))
        raise StopError
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(SettingError, match="63x48 in 4:2:0"):
        VideoWriter(tmp_path / "odd.mp4", 63, 48, FPS)
    with pytest.raises(InputError, match="no such folder"):
        VideoWriter(tmp_path / "missing" / "film.mp4", 64, 48, FPS)
    with pytest.raises(SettingError, match="crf 60"):
        Encoding(crf=60)
    with VideoWriter(tmp_path / "film.mp4", 64, 48, FPS) as writer:
        writer.write(picture(0))
        with pytest.raises(SettingError, match="frame 1 has 32x48"):
            writer.write(picture(0, width=32))
