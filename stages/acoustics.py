"""Acoustics: how clean, loud and whole a stretch of sound is; pure functions of mono 16 kHz PCM.

Nothing here knows clocks or clips. Every figure but the loudness, the peak and the digital
silence is independent of the gain of the sound.
"""

from __future__ import annotations

import math

import numpy as np

from stages.audio import SAMPLE_RATE_HZ

WINDOW = 512
"""Samples of an analysis frame, 32 ms; frames overlap by half."""

STEP = WINDOW // 2

NUM_BANDS = 20
"""Mel-spaced bands between the two frequencies, those that carry speech."""

SPEECH_BAND_HZ = (100.0, 7000.0)

FLOOR_QUANTILE, FLOOR_BIAS = 0.1, 1.7
"""The noise of a band is this quantile of its power, smoothed over three frames, times the bias
that makes it the mean power of white noise (measured: 0 dB reads -1.1, 20 dB reads 17.7)."""

PAUSE_QUANTILE, PAUSE_BIAS = 0.3, 1.1
"""In pauses the noise is this quantile of the power: breath and clicks are not noise."""

MIN_PAUSE_FRAMES, MIN_SPEECH_FRAMES = 18, 12
"""About 0.3 s of pause and 0.2 s of speech; less says nothing."""

MAX_SNR_DB = 60.0
"""Gated recordings have no noise at all in their pauses; beyond this nothing is told apart."""

NUM_LEVELS = 24
"""Bins of the amplitude histogram up to its 99.95th percentile."""

DIGITAL_SILENCE = 2.0**-16
"""Amplitude of half a step of 16 bits, below which a block is digital silence."""

SILENCE_BLOCK = 320
"""Samples of a block of digital silence, 20 ms; zero crossings are shorter."""

BAND_HZ = 250.0
"""Resolution of the bandwidth."""

BAND_FLOOR_DB = 50.0
"""A band this far below the strongest is empty. Over 54 recordings of speech the highest band
was at 5.75 kHz or above; telephone speech ends at 4.25 kHz."""


def snr_db(samples: np.ndarray, voiced: np.ndarray) -> float | None:
    """Ratio of speech to noise, also where there are hardly any pauses.

    The lower of two estimates. Within the speech: in each of 20 bands the tenth percentile of
    the power over time is taken for noise, since speech leaves every band for moments. In the
    pauses, where there are 0.3 s of them: their power against that of the speech. The first
    sees noise without pauses, the second music, which leaves bands as speech does.

    Args:
        samples: (N,) float32.
        voiced: (N,) bool, where voice is heard.

    Returns:
        Decibels, at most 60; ``None`` for less than 0.2 s of speech.
    """
    power = _band_power(samples)
    num_frames = power.shape[1]
    if num_frames < MIN_SPEECH_FRAMES:
        return None
    share = np.lib.stride_tricks.sliding_window_view(voiced, WINDOW)[::STEP].mean(axis=1)
    is_speech = share > 0.9
    if is_speech.sum() < MIN_SPEECH_FRAMES:
        return None
    speech = power[:, is_speech].mean(axis=1)
    noise = np.quantile(_smooth(power, 3), FLOOR_QUANTILE, axis=1) * FLOOR_BIAS
    estimates = [_decibels(np.maximum(speech - noise, 0).sum(), noise.sum())]
    is_pause = _smooth((share > 0)[None].astype(np.float64), 5)[0] < 1e-9
    if is_pause.sum() >= MIN_PAUSE_FRAMES:
        rest = np.quantile(power[:, is_pause].sum(axis=0), PAUSE_QUANTILE) * PAUSE_BIAS
        estimates.append(_decibels(speech.sum() - rest, rest))
    return min(estimates)


def loudness_lufs(samples: np.ndarray) -> float | None:
    """Integrated loudness after ITU-R BS.1770-4, of the one channel there is.

    Args:
        samples: (N,) float32.

    Returns:
        LUFS; ``None`` under 0.4 s, one block of the standard, and for silence.
    """
    if len(samples) < 0.4 * SAMPLE_RATE_HZ:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        import pyloudnorm  # pulls in scipy.signal, a second of start-up for every command

        value = float(pyloudnorm.Meter(SAMPLE_RATE_HZ).integrated_loudness(samples.astype(float)))
    return value if math.isfinite(value) else None


def peak_dbfs(samples: np.ndarray) -> float | None:
    """Highest amplitude in dB of full scale; ``None`` for nothing but zeros."""
    peak = float(np.abs(samples).max(initial=0.0))
    return 20 * math.log10(peak) if peak > 0 else None


def clipping_ratio(samples: np.ndarray) -> float:
    """Share of samples that were cut off at a rail, or will be in 16 bits.

    Amplitudes of natural sound grow rarer the larger they are. Clipping piles them up at the rail,
    and a lossy codec or a resampler spreads the pile but leaves it a bump: counted are the samples
    by which the histogram of amplitudes exceeds its own running minimum. The rail may be anywhere.
    Samples beyond full scale, which float decoders of lossy codecs give, count as well.

    Args:
        samples: (N,) float32.

    Returns:
        A share in [0, 1]. Speech cut 6 dB below its peak reads 0.004, at 12 dB 0.05.
    """
    amplitude = np.abs(samples)
    if not len(samples) or amplitude.max() < DIGITAL_SILENCE:
        return 0.0
    top = float(np.quantile(amplitude, 0.9995))
    counts, _ = np.histogram(amplitude, NUM_LEVELS, (0.0, max(top, DIGITAL_SILENCE)))
    excess = np.maximum(counts - np.minimum.accumulate(counts), 0)[NUM_LEVELS // 8 :].sum()
    beyond = np.count_nonzero(amplitude > 1.0)
    return float(max(excess, beyond) / len(samples))


def digital_silence_ratio(samples: np.ndarray) -> float:
    """Share of blocks of 20 ms that hold nothing but zeros; missing sound counts as well."""
    num_blocks = len(samples) // SILENCE_BLOCK
    if not num_blocks:
        return 0.0
    blocks = np.abs(samples[: num_blocks * SILENCE_BLOCK]).reshape(num_blocks, SILENCE_BLOCK)
    return float((blocks.max(axis=1) < DIGITAL_SILENCE).mean())


def bandwidth_hz(samples: np.ndarray, voiced: np.ndarray) -> float | None:
    """Upper edge of the highest band that holds energy, 50 dB below the strongest.

    Args:
        samples: (N,) float32.
        voiced: (N,) bool; only voiced frames count, or all if there is no voice.

    Returns:
        Hertz, at most 8000; ``None`` for silence.
    """
    spectrum = _spectrum(samples)
    if not spectrum.size:
        return None
    share = np.lib.stride_tricks.sliding_window_view(voiced, WINDOW)[::STEP].mean(axis=1)
    chosen = spectrum[:, share > 0.5] if (share > 0.5).any() else spectrum
    bins = round(BAND_HZ / (SAMPLE_RATE_HZ / WINDOW))
    bands = chosen.mean(axis=1)[1:].reshape(-1, bins).mean(axis=1)
    if bands.max() < 1e-12:
        return None
    filled = np.flatnonzero(bands > bands.max() * 10 ** (-BAND_FLOOR_DB / 10))
    return float((filled[-1] + 1) * BAND_HZ)


def _spectrum(samples: np.ndarray) -> np.ndarray:
    """Power (257, frames) of half-overlapping Hann windows."""
    if len(samples) < WINDOW:
        return np.zeros((WINDOW // 2 + 1, 0))
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::STEP]
    return np.abs(np.fft.rfft(frames * np.hanning(WINDOW).astype(np.float32), axis=1).T) ** 2


def _band_power(samples: np.ndarray) -> np.ndarray:
    """Power (bands, frames) in mel-spaced bands."""
    low, high = (2595 * math.log10(1 + hz / 700) for hz in SPEECH_BAND_HZ)
    edges_hz = 700 * (10 ** (np.linspace(low, high, NUM_BANDS + 1) / 2595) - 1)
    edges = np.round(edges_hz / (SAMPLE_RATE_HZ / WINDOW)).astype(int)
    power = np.add.reduceat(_spectrum(samples), edges, axis=0)
    return power[:-1]  # type: ignore[no-any-return]


def _smooth(rows: np.ndarray, width: int) -> np.ndarray:
    """Moving mean along the last axis; the ends are repeated."""
    padded = np.pad(rows, ((0, 0), (width // 2, width // 2)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)
    return np.asarray(windows.mean(axis=-1))


def _decibels(signal: float, noise: float) -> float:
    if noise <= 0:
        return MAX_SNR_DB
    return float(min(MAX_SNR_DB, 10 * math.log10(max(signal / noise, 1e-3))))
