"""From files to a finished mp4: what `talk generate` and `talk edit` do, as functions.

In the room: inputs are opened and checked, frames are written as they come. Not in the room: the
model (`pipeline`) and options on a command line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import InputError
from training.generation.denoising import Watcher
from training.generation.edit_view import close_view, whole_view
from training.generation.faces import FaceFinder
from training.generation.inputs import Notices, Size, checked_size, model_size
from training.generation.pipeline import TalkingPortraitPipeline
from training.generation.portrait import Portrait, open_portrait
from training.generation.ranks import is_first_rank, join_ranks
from training.generation.recording import MAX_DURATION_S, Recording
from training.generation.schedulers import chosen
from training.generation.settings import GenerationSettings
from training.generation.source_video import SourceVideo, rgb
from training.generation.speed import apply
from training.generation.streaming import latent_windows
from training.generation.tracking import regions_of
from training.generation.video_writer import FAITHFUL, Chroma, Encoding, VideoWriter, checked_out
from training.generation.wishes import EditWishes, Wishes
from training.model.interfaces import AUDIO_SAMPLE_RATE_HZ

GIVEN_FRAMES = 17
"""Frames of a video that is continued that the model sees: SkyReels-V2's ``overlap_history``."""


@dataclass(frozen=True)
class VoiceOptions:
    """What is accepted as sound.

    Attributes:
        max_duration_s: longer sound is refused.
        silence_is_fine: take silent sound.
    """

    max_duration_s: float = MAX_DURATION_S
    silence_is_fine: bool = False


@dataclass(frozen=True)
class Made:
    """A finished file.

    Attributes:
        out: where it is.
        num_frames: frames in it.
        width_px: of its frames.
        height_px: of its frames.
        fps: frames a second.
        seed: of the noise.
        notices: what was repaired of the inputs.
    """

    out: str
    num_frames: int
    width_px: int
    height_px: int
    fps: float
    seed: int
    notices: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def generate_file(
    pipeline: TalkingPortraitPipeline,
    out: str | Path,
    audio: Sequence[str | Path],
    settings: GenerationSettings,
    *,
    image: str | Path | None = None,
    last_image: str | Path | None = None,
    video: str | Path | None = None,
    prompt: str = "",
    negative_prompt: str = "",
    size: Size | None = None,
    duration_s: float | None = None,
    seed: int = 0,
    face_check: bool = True,
    voices: VoiceOptions = VoiceOptions(),
    watcher: Watcher | None = None,
) -> Made:
    """Make a talking portrait.

    Args:
        pipeline: the model.
        out: mp4 to write.
        audio: one file a speaker; all are heard in the film.
        settings: how.
        image: portrait that begins to speak.
        last_image: picture that the film ends with.
        video: film that goes on; the new one begins where it ends.
        prompt: what is seen.
        negative_prompt: what is not to be seen.
        size: of the film; ``None``: by area, in the shape of what is given.
        duration_s: seconds to make; ``None``: as long as the sound.
        seed: of the noise.
        face_check: look for faces in the portrait.
        voices: what is accepted as sound.
        watcher: hears about progress.

    Returns:
        What was written.

    Raises:
        InputError: If an input cannot be used.
    """
    notices = Notices()
    settings = settings.for_model(pipeline.spec.trained_with if pipeline.spec else None)
    checked_out(out)
    recordings = _recordings(audio, notices, voices)
    multiple_px = pipeline.size_multiple_px
    if size is not None:
        size = checked_size(size, multiple_px, notices)
    if image is not None and video is not None:
        raise InputError(f"{image} and {video}: begin with a portrait or go on from a video")
    portrait = None
    given: dict[str, Any] = {"fps": Fraction(settings.fps)}
    if image is not None:
        portrait = _portrait(image, size, settings, pipeline, notices, face_check, len(audio))
    elif video is not None:
        given = _end_of(SourceVideo.open(video, notices), size, settings, pipeline)
    elif size is None:
        size = model_size(Size(832, 480), settings.frame_area_px, multiple_px)
    last = None
    if last_image is not None and portrait is not None:
        last = open_portrait(last_image, portrait.size, 0, multiple_px, notices).rgb_HWC
    wishes = Wishes(
        recordings,
        prompt,
        negative_prompt,
        portrait=portrait,
        last_image=last,
        size=size,
        duration_s=duration_s,
        seed=seed,
        **given,
    )
    pipeline.scheduler = chosen(pipeline.scheduler, settings.solver, settings.shift)
    apply(pipeline, settings)
    share = join_ranks()
    frames = pipeline.frames(wishes, settings.sampling(), share=share, watcher=watcher)
    encoding = _encoding(settings, Encoding())
    return _recorded(written(frames, out, audio, wishes.fps, encoding, seed, notices), settings)


def edit_file(
    pipeline: TalkingPortraitPipeline,
    out: str | Path,
    video: str | Path,
    audio: Sequence[str | Path],
    settings: GenerationSettings,
    *,
    prompt: str = "",
    negative_prompt: str = "",
    size: Size | None = None,
    seed: int = 0,
    face_track: str | Path | None = None,
    voices: VoiceOptions = VoiceOptions(),
    watcher: Watcher | None = None,
) -> Made:
    """Make the lips of a video anew, to other sound.

    Args:
        pipeline: the model.
        out: mp4 to write, in the video's size; it ends with the video or the sound.
        video: the source.
        audio: one file a speaker, the face seen longest first; all are heard in the film.
        settings: how.
        prompt: what is seen.
        negative_prompt: what is not to be seen.
        size: that the model works in; ``None``: by area, in the source's shape.
        seed: of the noise.
        face_track: a ``face.npz`` of a packed sample.
        voices: what is accepted as sound.
        watcher: hears about progress.

    Returns:
        What was written.

    Raises:
        InputError: If an input cannot be used.
    """
    notices = Notices()
    settings = settings.for_model(pipeline.spec.trained_with if pipeline.spec else None)
    checked_out(out)
    recordings = _recordings(audio, notices, voices)
    source = SourceVideo.open(video, notices)
    track = None if face_track is None else Path(face_track)
    regions = regions_of(source, len(recordings), notices, track=track)
    view = close_view(regions) if settings.close_view else whole_view(source.size)
    multiple_px = pipeline.size_multiple_px
    if size is None:
        size = model_size(view.size, settings.frame_area_px, multiple_px, video)
    else:
        size = checked_size(size, multiple_px, notices)
    film_s = regions[0].num_frames / float(source.fps)
    sound_s = max(recording.duration_s for recording in recordings)
    if abs(film_s - sound_s) > 1 / float(source.fps):
        notices.say(
            video, f"{film_s:.2f} s of film, {sound_s:.2f} s of sound; the result ends with the "
            f"{'film' if film_s < sound_s else 'sound'}"
        )  # fmt: skip
    wishes = EditWishes(recordings, source, regions, view, size, prompt, negative_prompt, seed)
    pipeline.scheduler = chosen(pipeline.scheduler, settings.solver, settings.shift)
    apply(pipeline, settings)
    share = join_ranks()
    frames = pipeline.edit(wishes, settings.sampling(), share=share, watcher=watcher)
    encoding = _encoding(settings, FAITHFUL)
    if source.pixel_format == Chroma.FULL.pixel_format:
        encoding = Encoding(encoding.crf, encoding.preset, Chroma.FULL)
    return _recorded(written(frames, out, audio, source.fps, encoding, seed, notices), settings)


def _recorded(made: Made, settings: GenerationSettings) -> Made:
    """Write beside the video how it was made; evaluation finds the seams of windows by it."""
    if is_first_rank() and made.num_frames:
        windows = latent_windows(math.ceil((made.num_frames - 1) / 4) + 1, settings.sampling())
        record = made.as_dict() | {
            "settings": settings.model_dump(mode="json"),
            "latent_windows": windows,
        }
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        Path(made.out).with_suffix(".json").write_text(text, encoding="utf-8")
    return made


def _recordings(
    audio: Sequence[str | Path], notices: Notices, voices: VoiceOptions
) -> list[Recording]:
    if not audio:
        raise InputError("no sound: give one file for each speaker")
    return [
        Recording.open(
            path,
            notices,
            max_duration_s=voices.max_duration_s,
            silence_is_fine=voices.silence_is_fine,
        )
        for path in audio
    ]


def _portrait(
    image: str | Path,
    size: Size | None,
    settings: GenerationSettings,
    pipeline: TalkingPortraitPipeline,
    notices: Notices,
    face_check: bool,
    num_speakers: int,
) -> Portrait:
    options = (image, size, settings.frame_area_px, pipeline.size_multiple_px, notices)
    if not face_check:
        return open_portrait(*options)
    with FaceFinder() as finder:
        return open_portrait(*options, finder=finder, num_speakers=num_speakers)


def _end_of(
    source: SourceVideo,
    size: Size | None,
    settings: GenerationSettings,
    pipeline: TalkingPortraitPipeline,
) -> dict[str, Any]:
    """The last frames of a film, and the sound that goes with them."""
    import collections

    import cv2

    size = size or model_size(
        source.size, settings.frame_area_px, pipeline.size_multiple_px, source.path
    )
    last: collections.deque[np.ndarray] = collections.deque(maxlen=GIVEN_FRAMES)
    num_frames = 0
    for frame in source.frames():
        last.append(cv2.resize(rgb(frame), tuple(size), interpolation=cv2.INTER_AREA))
        num_frames += 1
    if not last:
        raise InputError(f"{source.path}: no frame of it can be decoded")
    frames = list(last)[-(4 * ((len(last) - 1) // 4) + 1) :]
    given: dict[str, Any] = {"given_frames": frames, "fps": source.fps}
    if source.has_sound:
        sound = Recording.open(
            source.path, Notices(), max_duration_s=float("inf"), silence_is_fine=True
        )
        stop = round(num_frames * AUDIO_SAMPLE_RATE_HZ / source.fps)
        begin = round((num_frames - len(frames)) * AUDIO_SAMPLE_RATE_HZ / source.fps)
        given["given_sound_N"] = sound.read(begin, stop)
        sound.close()
    return given


def _encoding(settings: GenerationSettings, usual: Encoding) -> Encoding:
    return Encoding(
        crf=usual.crf if settings.crf is None else settings.crf,
        preset=usual.preset,
        chroma=usual.chroma if settings.chroma is None else Chroma(settings.chroma),
    )


def written(
    frames: Iterable[Any],
    out: str | Path,
    sound: Sequence[str | Path],
    fps: Fraction,
    encoding: Encoding,
    seed: int = 0,
    notices: Notices | None = None,
) -> Made:
    """Write frames as they come; only the first of several processes writes.

    Args:
        frames: arrays [H, W, 3] uint8 or PyAV's frames.
        out: mp4 to write.
        sound: files whose sound is heard in it.
        fps: frames a second.
        encoding: how it is encoded.
        seed: of the noise, for the record.
        notices: what was said of the inputs, for the record.

    Returns:
        The record.
    """
    notices = notices or Notices()
    writer: VideoWriter | None = None
    size, num_frames = Size(0, 0), 0
    try:
        for frame in frames:
            is_array = isinstance(frame, np.ndarray)
            size = Size(*(frame.shape[1::-1] if is_array else (frame.width, frame.height)))
            num_frames += 1
            if not is_first_rank():
                continue
            if writer is None:
                writer = VideoWriter(
                    out,
                    *size,
                    fps,
                    sound=sound,
                    encoding=encoding,
                    colours_of=None if is_array else frame,
                )
            writer.write(frame)
    except BaseException:
        if writer is not None:
            writer.abort()
        raise
    if writer is not None:
        writer.close()
    return Made(
        str(out), num_frames, size.width_px, size.height_px, float(fps), seed, tuple(notices.said)
    )
