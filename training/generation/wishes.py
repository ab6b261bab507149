"""What a user wants to see and hear: of a new video, and of an edit.

Inputs are opened and checked already. Not in the room: what the model is given of them (`take`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from training.generation.edit_view import View
from training.generation.editing import Region
from training.generation.inputs import MODEL_FPS, Size
from training.generation.portrait import Portrait
from training.generation.recording import Recording
from training.generation.source_video import SourceVideo


@dataclass(frozen=True)
class Wishes:
    """What a video is to show and to say.

    Attributes:
        recordings: sound of each speaker, the speakers' faces from largest to smallest.
        prompt: what is seen.
        negative_prompt: what is not to be seen.
        portrait: picture that begins to speak; ``None``: from text or given frames.
        last_image: [H, W, 3] uint8, the last frame.
        given_frames: [H, W, 3] uint8 each, 4 m + 1 of them: the end of a video that goes on.
        given_sound_N: sound of the given frames, float32 at 16 kHz; ``None``: silence.
        size: of the video where there is no portrait.
        duration_s: seconds to make; ``None``: as long as the longest recording.
        fps: frames a second.
        seed: of the noise.
    """

    recordings: Sequence[Recording]
    prompt: str = ""
    negative_prompt: str = ""
    portrait: Portrait | None = None
    last_image: np.ndarray | None = None
    given_frames: Sequence[np.ndarray] = ()
    given_sound_N: np.ndarray | None = None
    size: Size | None = None
    duration_s: float | None = None
    fps: Fraction = Fraction(MODEL_FPS)
    seed: int = 0


@dataclass(frozen=True)
class EditWishes:
    """What a source video is to say instead.

    Attributes:
        recordings: sound of each speaker.
        source: the video.
        regions: what is made anew of each speaker, in the source's pixels.
        view: the part of the source that the model sees.
        size: in which the model sees it; the result has the source's.
        prompt: what is seen.
        negative_prompt: what is not to be seen.
        seed: of the noise.
    """

    recordings: Sequence[Recording]
    source: SourceVideo
    regions: Sequence[Region]
    view: View
    size: Size
    prompt: str = ""
    negative_prompt: str = ""
    seed: int = 0
