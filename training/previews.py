"""Validation clips while a model is in training: what it makes of voices and faces set aside.

Joins the trainer, which says when, with generation, which says how; neither knows the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

from torch import nn

from training.errors import InputError
from training.generation.inputs import MODEL_FPS
from training.generation.making import written
from training.generation.pipeline import TalkingPortraitPipeline
from training.generation.portrait import open_portrait
from training.generation.recording import Recording
from training.generation.settings import make_settings
from training.generation.source_video import SourceVideo, rgb
from training.generation.video_writer import Encoding
from training.generation.wishes import Wishes
from training.model.components import Components
from training.model.spec import TrainedWith
from training.trainer.assemble import Preview


@dataclass(frozen=True)
class ClipPreviews:
    """Renders clips anew from their first frame and their sound; travels to workers.

    Attributes:
        clips: paths of video files with sound.
        trained_with: sizes that the model is trained with.
        num_steps: of the solver.
        seed: of the noise, the same at every step so that previews can be compared.
    """

    clips: tuple[str, ...]
    trained_with: TrainedWith
    num_steps: int = 16
    seed: int = 0

    def check(self) -> None:
        """Refuse what could not be rendered later.

        Raises:
            InputError: a clip is missing, or has no picture or no sound.
        """
        stems = [Path(clip).stem for clip in self.clips]
        twice = sorted({stem for stem in stems if stems.count(stem) > 1})
        if twice:
            raise InputError(
                f"preview clips named {', '.join(twice)} more than once: they would be written to "
                "one file; rename one"
            )
        for clip in self.clips:
            SourceVideo.open(clip)
            Recording.open(clip).close()

    def __call__(self, components: Components) -> Preview:
        """Return what renders with these codec and encoders."""
        return partial(self._render, components)

    def _render(
        self, components: Components, transformer: nn.Module, step: int, folder: Path
    ) -> None:
        parts = Components(
            transformer,
            components.codec,
            components.text_encoder,
            components.image_encoder,
            components.audio_encoder,
        )
        pipeline = TalkingPortraitPipeline.of(parts)
        settings = make_settings(changes={"num_steps": self.num_steps, "cache": "none"})
        settings = settings.for_model(self.trained_with)
        place = folder / f"step_{step:08d}"
        place.mkdir(parents=True, exist_ok=True)
        for clip in self.clips:
            recording = Recording.open(clip)
            wishes = Wishes(
                [recording],
                portrait=open_portrait(
                    _first_frame(clip),
                    None,
                    settings.frame_area_px,
                    pipeline.size_multiple_px,
                ),
                fps=Fraction(MODEL_FPS),
                seed=self.seed,
            )
            frames = pipeline.frames(wishes, settings.sampling())
            out = place / f"{Path(clip).stem}.mp4"
            written(frames, out, [clip], wishes.fps, Encoding())
            recording.close()


def _first_frame(clip: str) -> object:
    """The first frame as a PIL picture."""
    from PIL import Image

    frame = next(iter(SourceVideo.open(clip).frames(1)))
    return Image.fromarray(rgb(frame))
