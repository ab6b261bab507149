from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from training.errors import InputError
from training.generation.inputs import Notices
from training.generation.recording import Recording


def voice(duration_s=1.0, rate_hz=16_000, frequency_hz=200, level=0.3):
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (level * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


@pytest.fixture
def write(tmp_path):
    def write(samples, rate_hz=16_000, name="voice.wav"):
        path = tmp_path / name
        soundfile.write(path, samples, rate_hz)
        return path

    return write


def opened(path, **options):
    notices = Notices()
    return Recording.open(path, notices, **options), notices.said


def test_a_mono_file_at_16_khz_is_read_as_it_is(write):
    recording, said = opened(write(voice()))
    assert said == []
    assert recording.num_samples == 16_000
    np.testing.assert_allclose(recording.read(0, 16_000), voice(), atol=1e-3)


def test_pieces_are_parts_of_the_whole_and_silence_lies_around(write):
    recording, _ = opened(write(voice()))
    whole = recording.read(0, recording.num_samples)
    np.testing.assert_array_equal(recording.read(300, 700), whole[300:700])
    around = recording.read(-100, 16_100)
    assert not around[:100].any()
    assert not around[-100:].any()
    np.testing.assert_array_equal(around[100:-100], whole)


def test_another_rate_is_resampled_to_the_same_length(write):
    recording, _ = opened(write(voice(2.0, 44_100), 44_100))
    assert recording.num_samples == pytest.approx(32_000, abs=32)
    spectrum = np.abs(np.fft.rfft(recording.read(0, 32_000)))
    assert np.argmax(spectrum) == 400, "200 Hz over two seconds"


def test_stereo_is_mixed_aloud(write):
    recording, said = opened(write(np.stack([voice(), voice(level=0.1)], 1)))
    assert "stereo" in said[0]
    np.testing.assert_allclose(recording.read(0, 16_000), voice(level=0.2), atol=1e-3)


def test_channels_that_cancel_out_are_not_mixed(write):
    recording, said = opened(write(np.stack([voice(), -0.9 * voice()], 1)))
    assert "cancel" in said[0]
    np.testing.assert_allclose(recording.read(0, 16_000), voice(), atol=1e-3)


def test_one_empty_channel_does_not_halve_the_voice(write):
    recording, said = opened(write(np.stack([np.zeros(16_000), voice()], 1)))
    assert "only the right" in said[0]
    np.testing.assert_allclose(recording.read(0, 16_000), voice(), atol=1e-3)


def test_a_very_quiet_voice_is_raised_aloud(write):
    recording, said = opened(write(voice(level=0.004)))
    assert "very quiet" in said[0]
    assert np.abs(recording.read(0, 16_000)).max() == pytest.approx(0.14, rel=0.1)


def test_silence_is_refused_unless_wanted(write):
    path = write(np.zeros(16_000, np.float32))
    with pytest.raises(InputError, match=r"voice.wav: silent.*--allow-silence"):
        Recording.open(path)
    assert Recording.open(path, silence_is_fine=True).duration_s == 1.0


def test_too_short_and_too_long_are_refused_with_their_lengths(write):
    with pytest.raises(InputError, match=r"0.30 s of sound; at least 0.4 s"):
        Recording.open(write(voice(0.3)))
    with pytest.raises(InputError, match="longer than 2 s"):
        Recording.open(write(voice(3.0)), max_duration_s=2)


def test_what_is_no_sound_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Recording.open(tmp_path / "nothing.wav")
    letter = tmp_path / "letter.wav"
    letter.write_bytes(b"Dear Sir or Madam, " * 40)
    with pytest.raises(InputError, match=r"letter.wav: cannot be read as sound"):
        Recording.open(letter)


@pytest.mark.parametrize("late_s", [0.4, -0.2])
def test_sound_that_begins_with_the_picture_or_not_is_put_on_its_clock(tmp_path, late_s):
    path = tmp_path / "take.mkv"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        sound = out.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for k in range(50):
            frame = av.VideoFrame(64, 64, "yuv420p")
            frame.pts, frame.time_base = k + 10, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        block = (voice() * 32767).astype(np.int16)
        block[:8_000] = 0
        frame = av.AudioFrame.from_ndarray(block[None], "s16", "mono")
        frame.sample_rate, frame.time_base = 16_000, Fraction(1, 16_000)
        frame.pts = round((0.4 + late_s) * 16_000)
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    recording, _ = opened(path)
    pcm = recording.read(0, recording.num_samples)
    begin = np.flatnonzero(np.abs(pcm) > 0.05)[0] / 16_000
    assert begin == pytest.approx(0.5 + late_s, abs=0.003)


def test_sound_far_too_long_is_refused_by_its_header(write):
    path = write(np.random.default_rng(0).uniform(-0.5, 0.5, 160_000), name="voice.flac")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 20])  # half a second of it; decoded, it would pass
    with pytest.raises(InputError, match="longer than 2 s"):
        opened(path, max_duration_s=2)


def test_samples_that_are_no_numbers_are_silent_aloud(tmp_path):
    samples = voice(2.0)
    samples[16_000:20_000] = np.nan
    soundfile.write(tmp_path / "voice.wav", samples, 16_000, subtype="FLOAT")
    recording, said = opened(tmp_path / "voice.wav")
    assert "damaged pieces of its sound are silent" in said[0]
    read = recording.read(0, 32_000)
    np.testing.assert_allclose(read[:15_000], samples[:15_000], atol=1e-3)
    assert not read[16_000:20_000].any()
