"""From files to a finished mp4: what `talk generate` and `talk edit` do, as functions.

In the room: inputs are opened and checked, frames are written as they come. Not in the room: the
model (`pipeline`) and options on a command line.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import InputError
from training.generation.denoising import Watcher
from training.generation.edit_view import close_view, whole_view
from training.generation.editing import joined_masks
from training.generation.faces import FaceFinder
from training.generation.inputs import (
    Notices,
    Size,
    checked_duration,
    checked_size,
    frames_for,
    model_size,
)
from training.generation.pipeline import TalkingPortraitPipeline
from training.generation.pixel_formats import Chroma
from training.generation.portrait import Portrait, open_portrait
from training.generation.ranks import is_first_rank, join_ranks
from training.generation.record import Made, remove_region, write_record, write_region
from training.generation.recording import MAX_DURATION_S, Recording
from training.generation.schedulers import chosen
from training.generation.settings import GenerationSettings
from training.generation.source_video import SourceVideo
from training.generation.speed import apply
from training.generation.tracking import regions_of
from training.generation.video_writer import FAITHFUL, Encoding, VideoWriter, checked_out
from training.generation.wishes import EditWishes, Wishes
from training.model.interfaces import AUDIO_SAMPLE_RATE_HZ

GIVEN_FRAMES = 17
"""Frames of a video that is continued that the model sees, where its windows are long enough:
SkyReels-V2's ``overlap_history``."""


@dataclass(frozen=True)
class VoiceOptions:
    """What is accepted as sound.

    Attributes:
        max_duration_s: longer sound is refused.
        silence_is_fine: take silent sound.
    """

    max_duration_s: float = MAX_DURATION_S
    silence_is_fine: bool = False


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
    checked_out(out, [*audio, image, last_image, video])
    checked_duration(duration_s, voices.max_duration_s)
    recordings = _recordings(audio, notices, voices)
    multiple_px = pipeline.size_multiple_px
    if size is not None:
        size = checked_size(size, multiple_px, notices)
    if image is not None and video is not None:
        raise InputError(f"{image} and {video}: begin with a portrait or go on from a video")
    if last_image is not None and image is None:
        raise InputError(f"{last_image}: a last picture without a first one; give a portrait too")
    portrait = None
    given: dict[str, Any] = {"fps": Fraction(settings.fps)}
    if image is not None:
        portrait = _portrait(image, size, settings, pipeline, notices, face_check, len(audio))
    elif video is not None:
        given = _end_of(SourceVideo.open(video, notices), size, settings, pipeline, notices)
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
    made = written(frames, out, audio, wishes.fps, encoding, seed, notices)
    if is_first_rank():
        remove_region(made.out)
        write_record(made, settings, image or video)
    return made


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
    checked_out(out, [*audio, video])
    recordings = _recordings(audio, notices, voices)
    source = SourceVideo.open(video, notices)
    encoding = _edit_encoding(settings, source)
    sound_s = max(recording.duration_s for recording in recordings)
    spoken, _ = frames_for(sound_s, source.fps)
    regions = regions_of(
        source,
        len(recordings),
        notices,
        num_frames=spoken,
        track=None if face_track is None else Path(face_track),
    )
    view = close_view(regions) if settings.close_view else whole_view(source.size)
    multiple_px = pipeline.size_multiple_px
    if size is None:
        size = model_size(view.size, settings.frame_area_px, multiple_px, video)
    else:
        size = checked_size(size, multiple_px, notices)
    _say_which_ends(source, regions[0].num_frames, spoken, sound_s, notices)
    wishes = EditWishes(recordings, source, regions, view, size, prompt, negative_prompt, seed)
    pipeline.scheduler = chosen(pipeline.scheduler, settings.solver, settings.shift)
    apply(pipeline, settings)
    share = join_ranks()
    frames = pipeline.edit(wishes, settings.sampling(), share=share, watcher=watcher)
    made = written(frames, out, audio, source.fps, encoding, seed, notices, source.pixel_aspect)
    if is_first_rank():
        masks = joined_masks([region.drawn_in(source.stored) for region in regions])
        write_region(made.out, itertools.islice(masks, made.num_frames), made.num_frames)
        write_record(made, settings, video)
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
    notices: Notices,
) -> dict[str, Any]:
    """The last frames of a film, and the sound that goes with them."""
    import collections

    import cv2

    size = size or model_size(
        source.size, settings.frame_area_px, pipeline.size_multiple_px, source.path
    )
    # At least half of the first window is left to make.
    most_latents = max(1, (settings.window_latents or 2) // 2)
    most = min(GIVEN_FRAMES, 4 * (most_latents - 1) + 1)
    last: collections.deque[np.ndarray] = collections.deque(maxlen=most)
    num_frames = 0
    for picture in source.pictures():
        last.append(cv2.resize(picture, tuple(size), interpolation=cv2.INTER_AREA))
        num_frames += 1
    if not last:
        raise InputError(f"{source.path}: no frame of it can be decoded")
    frames = list(last)[-(4 * ((len(last) - 1) // 4) + 1) :]
    given: dict[str, Any] = {"given_frames": frames, "fps": source.fps}
    if source.has_sound and (sound := _sound_of(source, notices)) is not None:
        stop = round(num_frames * AUDIO_SAMPLE_RATE_HZ / source.fps)
        begin = round((num_frames - len(frames)) * AUDIO_SAMPLE_RATE_HZ / source.fps)
        given["given_sound_N"] = sound.read(begin, stop)
        sound.close()
    return given


def _sound_of(source: SourceVideo, notices: Notices) -> Recording | None:
    """Sound that goes with a film; one that is too short or broken is as good as none."""
    try:
        return Recording.open(source.path, max_duration_s=float("inf"), silence_is_fine=True)
    except InputError as error:
        notices.say(source.path, f"goes on as if it were silent: {error}")
        return None


def _say_which_ends(
    source: SourceVideo, num_followed: int, num_spoken: int, sound_s: float, notices: Notices
) -> None:
    film_s, which = source.duration_s, "sound"
    if num_followed < num_spoken:
        film_s, which = num_followed / float(source.fps), "film"
    elif film_s <= sound_s + 1 / source.fps:
        return
    notices.say(
        source.path,
        f"{film_s:.2f} s of film, {sound_s:.2f} s of sound; the result ends with the {which}",
    )


def _encoding(settings: GenerationSettings, usual: Encoding) -> Encoding:
    changes: dict[str, Any] = {}
    if settings.crf is not None:
        changes |= {"crf": settings.crf, "worst_qp": None}
    if settings.chroma is not None:
        changes["chroma"] = Chroma(settings.chroma)
    return replace(usual, **changes)


def _edit_encoding(settings: GenerationSettings, source: SourceVideo) -> Encoding:
    """Keep what the source has, unless something else is asked for."""
    usual = replace(FAITHFUL, chroma=source.chroma, bits=source.bits, fields=source.fields)
    return _encoding(settings, usual).checked(source.stored)


def written(
    frames: Iterable[Any],
    out: str | Path,
    sound: Sequence[str | Path],
    fps: Fraction,
    encoding: Encoding,
    seed: int = 0,
    notices: Notices | None = None,
    pixel_aspect: Fraction = Fraction(1),
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
        pixel_aspect: width over height of a pixel.

    Returns:
        The record.
    """
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
                    pixel_aspect=pixel_aspect,
                )
            writer.write(frame)
    except BaseException:
        if writer is not None:
            writer.abort()
        raise
    if writer is not None:
        writer.close()
    said = () if notices is None else tuple(notices.said)
    return Made(str(out), num_frames, *size, float(fps), seed, said)
