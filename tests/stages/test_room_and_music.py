"""Reverberation and accompaniment on sounds that were made: known decay, known level of notes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import fftconvolve

from stages.accompaniment import tonal_level_db
from stages.reverberation import decay_time_s, decays_s

RATE = 16_000


def noise(duration_s: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=round(duration_s * RATE))


def room(decay_s: float) -> np.ndarray:
    """Echoes as noise that falls by 60 dB in so many seconds."""
    time_s = np.arange(round(1.3 * decay_s * RATE)) / RATE
    return noise(1.3 * decay_s, seed=9)[: len(time_s)] * 10 ** (-3 * time_s / decay_s)


def syllables(duration_s: float, seed: int = 1) -> np.ndarray:
    """Bursts of a gliding buzz, 0.15 to 0.25 s, with pauses of 0.1 to 0.6 s: dry as can be."""
    rng = np.random.default_rng(seed)
    sound = 1e-4 * noise(duration_s, seed)
    at = 0.1
    while at < duration_s - 0.6:
        length = rng.uniform(0.15, 0.25)
        time_s = np.arange(round(length * RATE)) / RATE
        pitch = 120 + 60 * rng.uniform(-1, 1) * time_s / length + rng.uniform(0, 60)
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        buzz = sum(np.sin(k * phase) / k for k in range(1, 30))
        first = round(at * RATE)
        sound[first : first + len(buzz)] += buzz * np.hanning(len(buzz)) ** 0.3
        at += length + rng.uniform(0.1, 0.6)
    return sound


def chords(duration_s: float) -> np.ndarray:
    """Three notes that change every second, each with overtones."""
    time_s = np.arange(round(duration_s * RATE)) / RATE
    sound = np.zeros(len(time_s))
    for second, root in enumerate(np.resize([0, 5, 7, 3], int(duration_s) + 1)):
        inside = (time_s >= second) & (time_s < second + 1.1)
        for interval in (0, 4, 7):
            frequency = 220 * 2 ** ((root + interval) / 12)
            for overtone in (1, 2, 3):
                sound[inside] += (
                    np.sin(2 * np.pi * frequency * overtone * time_s[inside]) / overtone
                )
    return sound


def mixed(speech: np.ndarray, other: np.ndarray, below_db: float) -> np.ndarray:
    """Both, the second so many decibels below the first."""
    ratio = np.sqrt((speech**2).mean() / (other**2).mean()) * 10 ** (-below_db / 20)
    return (0.05 * (speech + ratio * other[: len(speech)])).astype(np.float32)


def test_a_line_of_decibels_has_its_decay_time() -> None:
    # 60 dB in 0.4 s is 1.2 dB every 8 ms.
    level = np.concatenate([np.full(30, 0.0), -1.2 * np.arange(50), np.full(60, -60.0)])
    (found,) = decays_s(level)
    assert found == pytest.approx(0.4, rel=0.05)


@pytest.mark.parametrize("decay_s", [0.4, 0.6, 0.9])
def test_the_decay_of_a_room_is_found(decay_s: float) -> None:
    wet = fftconvolve(syllables(12), room(decay_s))[: 12 * RATE]
    found = decay_time_s(wet.astype(np.float32))
    assert found == pytest.approx(decay_s, rel=0.25)


def test_a_dry_voice_is_drier_than_any_room_and_gain_does_not_matter() -> None:
    dry = decay_time_s(syllables(12).astype(np.float32))
    assert dry is None or dry < 0.35
    wet = fftconvolve(syllables(12), room(0.6))[: 12 * RATE].astype(np.float32)
    assert decay_time_s(0.01 * wet) == pytest.approx(decay_time_s(wet), rel=1e-3)


def test_steady_noise_and_silence_say_nothing_of_a_room() -> None:
    assert decay_time_s(noise(5).astype(np.float32)) is None
    assert decay_time_s(np.zeros(5 * RATE, np.float32)) is None
    assert decay_time_s(np.zeros(100, np.float32)) is None


@pytest.mark.parametrize("below_db", [20.0, 10.0, 5.0])
def test_notes_under_a_voice_have_their_level(below_db: float) -> None:
    level = tonal_level_db(mixed(syllables(8), chords(8), below_db))
    against_all = 10 * np.log10(1 / (1 + 10 ** (below_db / 10)))
    # Held notes are counted where they are held, about a third of the chords' power is not.
    assert level == pytest.approx(against_all - 4, abs=4)


def test_neither_voice_nor_noise_is_music() -> None:
    assert (tonal_level_db(syllables(8).astype(np.float32)) or 0) < -30
    assert (tonal_level_db(mixed(syllables(8), noise(8), 5)) or 0) < -30
    music = tonal_level_db(mixed(syllables(8), chords(8), 15)) or -60
    assert music > -25


def test_silence_and_a_moment_say_nothing_of_music() -> None:
    assert tonal_level_db(np.zeros(5 * RATE, np.float32)) is None
    assert tonal_level_db(noise(0.5).astype(np.float32)) is None
