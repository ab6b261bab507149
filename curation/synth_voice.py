"""Speech from the synthesiser that espeakng-loader bundles, with the time of every phoneme.

In this room: text to samples, and nothing random that a seed does not fix. Not here: what lips do
with the phonemes (``face_motion``), and encoding (``talking_clip``).
"""

from __future__ import annotations

import _ctypes
import ctypes
import threading
from dataclasses import dataclass
from fractions import Fraction

import espeakng_loader
import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter, resample_poly

# espeak-ng's speak_lib.h: output modes, event types, parameters and flags used here.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INIT_PHONEME_EVENTS, _INIT_PHONEME_IPA, _INIT_DONT_EXIT = 0x0001, 0x0002, 0x8000
_EVENT_LIST_TERMINATED, _EVENT_PHONEME = 0, 7
_PARAM_RATE, _PARAM_PITCH, _PARAM_RANGE = 1, 3, 4
_CHARS_UTF8, _POS_CHARACTER = 1, 1

# The synthesiser reports p, t, k and tʃ at their burst, but b, d, m at their closure (seen in its
# output); the silent closure before the burst belongs to the phoneme.
_BURST_PHONEMES, VOICELESS_CLOSURE_S = frozenset("ptk"), 0.042

_SPEECH_RMS = 0.10  # -20 dBFS while speaking: the level of a usual recording
_ROOM_NOISE_RMS = 0.0006  # -64 dBFS: above digital silence, below any voice detector
_EDGE_FADE_S = 0.01  # a cut inside a vowel would click without it

DEFAULT_TEXT = (
    "Every morning my father opened the old shop above the harbour, and people came from far away. "
    "We moved the blue boat past the bridge before five, while the fishermen were still asleep. "
    "Nobody remembers who first brought apples home, but the farm has always been famous for them. "
    "Please give both of your brothers a warm coat, because the wind may blow over the water. "
)
OTHER_TEXT = (
    "A quick answer is rarely the best one, so she asked three more questions and sat down again. "
    "Their journey took eleven days through a dry, silent country that had neither trees nor rain. "
    "He kept sixteen letters in a tin under his chair, and she has since read all of these aloud. "
    "It is getting late in this city, and the last train to the hills leaves at a quarter to ten. "
)


class VoiceError(RuntimeError):
    """The bundled synthesiser refused a call."""


@dataclass(frozen=True, slots=True)
class Voice:
    """One speaker of the synthesiser.

    Attributes:
        name: espeak-ng voice, optionally with a variant: ``en-us+f3``.
        rate_wpm: words a minute.
        pitch: 0 to 100, the synthesiser's own scale.
        pitch_range: 0 to 100; 50 is lively reading.
        seed: fixes flutter, breath and room noise.
    """

    name: str = "en-us"
    rate_wpm: int = 155
    pitch: int = 45
    pitch_range: int = 55
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Phoneme:
    """One phoneme in IPA (empty: a pause), spoken during ``[start_s, end_s)`` of the speech."""

    ipa: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Speech:
    """Samples and what is said in them.

    Attributes:
        pcm: float32 [num_samples], mono, in [-1, 1].
        sample_rate_hz: of ``pcm``.
        phonemes: in order, without gaps; the last may end before ``pcm`` does.
    """

    pcm: NDArray[np.float32]
    sample_rate_hz: int
    phonemes: tuple[Phoneme, ...]


class _EventId(ctypes.Union):
    _fields_ = [
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    ]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_SynthCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)
_engine_lock = threading.Lock()  # the library keeps one global state


def speak(
    text: str,
    voice: Voice,
    *,
    seconds: float,
    sample_rate_hz: int = 48_000,
    lead_in_s: float = 0.15,
) -> Speech:
    """Say a text, again and again if it is short, for exactly so long.

    Args:
        text: plain English; repeated until the time is filled, cut when it is.
        voice: who speaks.
        seconds: length of the result.
        sample_rate_hz: of the result; the synthesiser's own 22.05 kHz is resampled.
        lead_in_s: room noise before the first word.

    Returns:
        Speech of ``round(seconds * sample_rate_hz)`` samples; the same call gives the same bytes.

    Raises:
        VoiceError: no such voice, or the library failed.
        ValueError: nothing to say.
    """
    if not text.strip():
        raise ValueError("text is empty: there is nothing to say")
    pcm_parts: list[NDArray[np.float32]] = []
    phonemes: list[Phoneme] = []
    at_s = lead_in_s
    while at_s < seconds:
        raw_pcm, raw_rate_hz, events = _synthesise(text, voice, seed=voice.seed + len(pcm_parts))
        phonemes += _timed(events, at_s, raw_rate_hz, len(raw_pcm))
        pcm_parts.append(raw_pcm)
        at_s += len(raw_pcm) / raw_rate_hz
    ratio = Fraction(sample_rate_hz, raw_rate_hz)
    voiced = resample_poly(np.concatenate(pcm_parts), ratio.numerator, ratio.denominator)
    num_samples, num_lead_in = round(seconds * sample_rate_hz), round(lead_in_s * sample_rate_hz)
    pcm = np.zeros(num_samples)
    pcm[num_lead_in:] = voiced[: num_samples - num_lead_in]
    num_fade = round(_EDGE_FADE_S * sample_rate_hz)
    pcm[-num_fade:] *= np.linspace(1, 0, num_fade)
    loud = np.abs(pcm) > 0.02 * np.abs(pcm).max()
    pcm *= _SPEECH_RMS / np.sqrt(np.mean(pcm[loud] ** 2))
    pcm += room_noise(num_samples, seed=voice.seed)
    kept = tuple(
        Phoneme(p.ipa, p.start_s, min(p.end_s, seconds)) for p in phonemes if p.start_s < seconds
    )
    return Speech(np.clip(pcm, -1, 1).astype(np.float32), sample_rate_hz, kept)


def _timed(
    events: list[tuple[str, int]], at_s: float, rate_hz: int, num_samples: int
) -> list[Phoneme]:
    """Phonemes without gaps from (IPA, sample reported), closures counted to their plosives."""
    starts_s = [at_s]
    for ipa, sample in events:
        closure_s = VOICELESS_CLOSURE_S if ipa[:1] in _BURST_PHONEMES else 0.0
        starts_s.append(max(at_s + sample / rate_hz - closure_s, starts_s[-1]))
    ends_s = [*starts_s[2:], at_s + num_samples / rate_hz]
    spans = zip(events, starts_s[1:], ends_s, strict=True)
    return [Phoneme(ipa, start_s, end_s) for (ipa, _), start_s, end_s in spans if end_s > start_s]


def room_noise(num_samples: int, *, seed: int) -> NDArray[np.float64]:
    """Faint low-passed noise [num_samples]: with it a pause is not digital silence."""
    white = np.random.default_rng(seed).standard_normal(num_samples)
    brown: NDArray[np.float64] = lfilter([1.0], [1.0, -0.9], white)
    brown *= _ROOM_NOISE_RMS / max(float(np.std(brown)), 1e-12)
    return brown


def _synthesise(
    text: str, voice: Voice, *, seed: int
) -> tuple[NDArray[np.float32], int, list[tuple[str, int]]]:
    """Run the library once: samples [N] in [-1, 1], their rate, and (IPA, first sample) pairs."""
    parts: list[NDArray[np.int16]] = []
    events: list[tuple[str, int]] = []

    def collect(samples: ctypes._Pointer, num_samples: int, event: ctypes._Pointer) -> int:
        if samples and num_samples:
            parts.append(np.ctypeslib.as_array(samples, (num_samples,)).copy())
        index = 0
        while event[index].type != _EVENT_LIST_TERMINATED:
            if event[index].type == _EVENT_PHONEME:
                ipa = event[index].id.string.decode("utf-8", "ignore")
                events.append((ipa, event[index].sample))
            index += 1
        return 0

    callback = _SynthCallback(collect)
    flags = _INIT_PHONEME_EVENTS | _INIT_PHONEME_IPA | _INIT_DONT_EXIT
    encoded = text.encode()
    with _engine_lock:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        ctypes.CDLL(None).srand(ctypes.c_uint(seed))
        data_path = espeakng_loader.get_data_path().encode()
        rate_hz = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data_path, flags)
        if rate_hz <= 0:
            raise VoiceError(f"espeak_Initialize gave {rate_hz}; is espeakng-loader complete?")
        try:
            library.espeak_SetSynthCallback(callback)
            if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
                raise VoiceError(f"the bundled synthesiser has no voice named {voice.name!r}")
            library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
            library.espeak_SetParameter(_PARAM_RATE, voice.rate_wpm, 0)
            library.espeak_SetParameter(_PARAM_PITCH, voice.pitch, 0)
            library.espeak_SetParameter(_PARAM_RANGE, voice.pitch_range, 0)
            status = library.espeak_Synth(
                encoded, len(encoded) + 1, 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None
            )
            if status != 0 or library.espeak_Synchronize() != 0:
                raise VoiceError(f"espeak_Synth gave {status} for voice {voice.name!r}")
        finally:
            library.espeak_Terminate()
            # Unloaded, because its wave generator carries static state into the next text: only
            # a library just loaded, with libc's generator seeded, gives the same samples again.
            _ctypes.dlclose(library._handle)
    if not parts:
        raise VoiceError(f"voice {voice.name!r} said nothing for {text[:40]!r}")
    return np.concatenate(parts).astype(np.float32) / 32768.0, rate_hz, events
