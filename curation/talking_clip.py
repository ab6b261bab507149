"""Talking clips with a known truth: a posed photograph and its voice, written with exact times.

In this room: one file. Not here: which files a demo needs (``demo``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from curation.face_motion import HeadMotion, LipCurves, lips_for
from curation.portrait import Person, Picture, make_portrait
from curation.synth_voice import DEFAULT_TEXT, Speech, Voice, room_noise, speak
from curation.talking_photo import TalkingPhoto
from manifests.x264 import SAME_BYTES

_AAC_FRAME = 1024
_VIDEO_OPTIONS = {
    "preset": "superfast",
    "crf": "20",
    "threads": "1",
    "x264-params": ":".join(SAME_BYTES),
}


def talking_frames(
    person: Person,
    lips: LipCurves | None,
    *,
    num_frames: int,
    fps: Fraction,
    size_px: tuple[int, int],
    face_ratio: float = 0.42,
    head_amount: float = 1.0,
) -> Iterator[Picture]:
    """Pictures of somebody who talks.

    Args:
        person: who.
        lips: what the lips do from time 0; None keeps them shut (a listener).
        num_frames: how many pictures; picture ``i`` shows time ``i / fps``.
        fps: exact frame rate.
        size_px: width and height.
        face_ratio: height of the face as a share of the height of the picture.
        head_amount: 1.0 usual sway, 0.0 a head that is held still.

    Yields:
        uint8 RGB [height, width, 3]; the same arguments give the same bytes.
    """
    portrait = make_portrait(person, *size_px, face_ratio)
    photo = TalkingPhoto(portrait, seed=person.seed)
    head = HeadMotion(person.seed, head_amount)
    times_s = np.arange(num_frames) / float(fps)
    shapes = lips.at(times_s) if lips is not None else np.tile([0.02, 0, 0, 0], (num_frames, 1))
    for index, (shape, pose, blink) in enumerate(
        zip(shapes, head.at(times_s), head.blinks_at(times_s), strict=True)
    ):
        yield photo.frame(index, shape, pose, float(blink))


def render_talking_clip(
    path: str | Path,
    *,
    seconds: float,
    fps: Fraction | int = 25,
    size: tuple[int, int] = (640, 480),
    voice: Voice | None = None,
    person: Person | None = None,
    text: str = DEFAULT_TEXT,
    av_offset_ms: float = 0.0,
    audio_from: Speech | None = None,
    audio_start_s: float = 0.0,
    sample_rate_hz: int = 48_000,
    face_ratio: float = 0.42,
    head_amount: float = 1.0,
) -> Speech:
    """Write one clip of somebody who says a text.

    Args:
        path: file to write; the container follows from the suffix (.mp4, .mkv, .mov).
        seconds: length of picture and sound, rounded to whole frames.
        fps: exact frame rate, for instance ``Fraction(30000, 1001)``.
        size: width and height in pixels, both even.
        voice: who is heard.
        person: who is seen.
        text: what is said.
        av_offset_ms: how much later the sound is than the picture; negative is earlier.
        audio_from: what is heard instead of the speech that moves the lips (a dubbed clip).
        audio_start_s: time at which the sound's track begins. What is heard at which time stays
            the same: a reader that honours time stamps finds ``av_offset_ms``, one that counts
            samples from the first does not.
        sample_rate_hz: of the sound.
        face_ratio: as in :func:`talking_frames`.
        head_amount: as in :func:`talking_frames`.

    Returns:
        The speech that moves the lips, on the picture's own time.
    """
    fps = Fraction(fps)
    num_frames = round(seconds * fps)
    exact_s = float(num_frames / fps)
    speech = speak(text, voice or Voice(), seconds=exact_s, sample_rate_hz=sample_rate_hz)
    heard = audio_from or speech
    frames = talking_frames(
        person or Person("photograph"),
        lips_for(speech),
        num_frames=num_frames,
        fps=fps,
        size_px=size,
        face_ratio=face_ratio,
        head_amount=head_amount,
    )
    pcm = shifted(heard, av_offset_ms, seconds=exact_s)
    write_clip(path, frames, fps, pcm, heard.sample_rate_hz, audio_start_s=audio_start_s)
    return speech


def shifted(speech: Speech, av_offset_ms: float, *, seconds: float) -> NDArray[np.float32]:
    """The samples [seconds * rate] with the speech so much later; room noise fills the gap."""
    num_samples = round(seconds * speech.sample_rate_hz)
    delay = round(av_offset_ms / 1000 * speech.sample_rate_hz)
    pcm = room_noise(num_samples, seed=91).astype(np.float32)
    source = speech.pcm[max(-delay, 0) : max(num_samples - delay, 0)]
    first = max(delay, 0)
    pcm[first : first + len(source)] = source
    return pcm


def write_clip(
    path: str | Path,
    frames: Iterable[Picture],
    fps: Fraction,
    pcm: NDArray[np.float32] | None,
    sample_rate_hz: int = 48_000,
    *,
    audio_start_s: float = 0.0,
) -> None:
    """Write pictures as H.264 (yuv420p) and samples as AAC; one thread, so that bytes repeat.

    Args:
        path: file to write.
        frames: uint8 RGB [height, width, 3]; picture ``i`` has time ``i / fps`` exactly.
        fps: frame rate.
        pcm: mono float32 from time 0, or None for a file without sound.
        sample_rate_hz: of ``pcm``.
        audio_start_s: samples before this time are left out and the track begins there.
    """
    with av.open(str(path), "w") as container:
        container.flags |= av.container.Flags.bitexact.value
        video = container.add_stream("libx264", rate=fps, options=_VIDEO_OPTIONS)
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 1
        audio = None
        if pcm is not None:
            audio = container.add_stream("aac", rate=sample_rate_hz, layout="mono")
            audio.codec_context.bit_rate = 96_000
        next_sample = round(audio_start_s * sample_rate_hz)
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if index == 0:
                video.width, video.height = frame.width, frame.height
            frame.pts, frame.time_base = index, 1 / fps
            container.mux(video.encode(frame))
            if audio is not None and pcm is not None:
                # Interleaved by time, as a player expects.
                until = round((index + 1) / fps * sample_rate_hz)
                while next_sample + _AAC_FRAME <= min(until, len(pcm)):
                    _encode_sound(container, audio, pcm, next_sample, sample_rate_hz)
                    next_sample += _AAC_FRAME
        container.mux(video.encode(None))
        if audio is not None and pcm is not None:
            while next_sample < len(pcm):
                _encode_sound(container, audio, pcm, next_sample, sample_rate_hz)
                next_sample += _AAC_FRAME
            container.mux(audio.encode(None))


def _encode_sound(
    container: av.container.OutputContainer,
    audio: av.AudioStream,
    pcm: NDArray[np.float32],
    first: int,
    sample_rate_hz: int,
) -> None:
    """Encode up to one AAC frame of samples from ``first`` on."""
    block = np.ascontiguousarray(pcm[None, first : first + _AAC_FRAME])
    frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = (
        sample_rate_hz,
        first,
        Fraction(1, sample_rate_hz),
    )
    container.mux(audio.encode(frame))
