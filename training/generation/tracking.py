"""Where the faces of a source are: from its packed track, or looked for frame by frame."""

from __future__ import annotations

from pathlib import Path

from training.errors import InputError
from training.generation.editing import Region, followed_regions
from training.generation.faces import FaceFinder, stored_track
from training.generation.inputs import Notices
from training.generation.source_video import SourceVideo


def regions_of(
    source: SourceVideo,
    num_speakers: int,
    notices: Notices,
    *,
    num_frames: int | None = None,
    track: Path | None = None,
) -> list[Region]:
    """Follow the faces that are to say something else.

    Args:
        source: the video.
        num_speakers: faces wanted.
        notices: where it is said what was found.
        num_frames: frames that are edited; ``None``: all.
        track: a ``face.npz``; ``None``: the one beside a packed sample, if there is one.

    Returns:
        One region a speaker, over the frames that are edited, the face seen longest first.

    Raises:
        InputError: If fewer faces are found, or the track is not of this video.
    """
    if track is None and source.path.with_suffix(".face.npz").exists():
        track = source.path.with_suffix(".face.npz")
    if track is not None:
        if num_speakers != 1:
            raise InputError(f"{track}: follows one face, {num_speakers} are needed")
        landmarks = stored_track(track)
        num_shown = sum(1 for _ in source.frames())
        if len(landmarks) != num_shown:
            raise InputError(
                f"{track}: follows {len(landmarks)} frames, {source.path} has {num_shown} at "
                f"{float(source.fps):.3f} a second; take it away to have faces looked for"
            )
        return [Region.of_landmarks(landmarks[:num_frames], source.size)]
    with FaceFinder(max(2, num_speakers), is_video=True) as finder:
        rows = finder.follow(source.pictures(num_frames))
        regions = followed_regions(rows, source.size, num_speakers)
    if len(regions) < num_speakers:
        raise InputError(
            f"{source.path}: {len(regions) or 'no'} face{'s' * (len(regions) != 1)} followed, "
            f"{num_speakers} needed; give a video that shows them, or a face.npz with --face-track"
        )
    missed = sum(not any(_is_set(r, t) for r in regions) for t in range(regions[0].num_frames))
    if missed:
        notices.say(
            source.path, f"no face in {missed} of {regions[0].num_frames} frames; they stay as is"
        )
    return regions


def _is_set(region: Region, frame: int) -> bool:
    return bool((region.shapes_T5[frame] == region.shapes_T5[frame]).all())
