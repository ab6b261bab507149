"""Settings of generation by name, checked, with presets for haste and for care.

Numbers of the presets are ours unless an address stands beside them. Not in the room: what a
setting does (`denoising`, `guidance`, `speed`).
"""

from __future__ import annotations

import difflib
import json
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from training.errors import SettingError
from training.generation.denoising import Passes, Sampling
from training.generation.guidance import Decay, Guidance, Projection, Weight
from training.generation.guidance_presets import AUDIO_WEIGHT, TEXT_WEIGHT, preset, with_image
from training.generation.inputs import MAX_FPS, MAX_SIDE_PX, MIN_FPS
from training.generation.schedulers import Solver
from training.model.spec import TrainedWith

_WAN = TrainedWith(area_px=480 * 832, num_latents=21)
"""Wan2.1 (480p): 81 frames, 21 latent frames."""


class Preset(StrEnum):
    """How much time a video may take."""

    FAST = "fast"
    BALANCED = "balanced"
    QUALITY = "quality"


class Cache(StrEnum):
    """Which of diffusers' caches skips blocks whose change is small.

    The paper names TeaCache, which diffusers has not; FirstBlockCache decides by the same quantity,
    the relative change of an early residual, without TeaCache's fitted polynomial.
    """

    NONE = "none"
    FIRST_BLOCK = "first_block"
    MAG = "mag"


class Offload(StrEnum):
    """Where weights wait: on the GPU, whole models or groups of layers on the host."""

    NONE = "none"
    MODEL = "model"
    GROUP = "group"


class GenerationSettings(BaseModel):
    """Everything that can be set of generation.

    Attributes:
        num_steps: solver steps.
        solver: UniPC or Euler.
        shift: of the sigmas; ``None``: what the model's folder says.
        guidance: name of a rule.
        text_guidance: weight of the prompt.
        audio_guidance: weight of the audio.
        image_guidance: weight of the reference picture's states.
        guidance_decay: how text and audio weights move over sigma.
        guidance_end: where they end.
        guidance_from_sigma: below, no guidance.
        guidance_to_sigma: above, no guidance.
        outside_face: share of the audio's guidance outside of the face.
        projection: adaptive projected guidance.
        window_latents: latent frames of a window; ``None``: a training clip's.
        overlap_latents: latent frames that windows share; ``None``: by ratio.
        overlap_ratio: the same as a share of a window, whatever its length; of Wan's 21 a quarter
            is 5, what StableAvatar takes, and a third 7, within the 5 to 15 that it advises.
        move_latents: latent frames by which windows move each step.
        block_windows: windows denoised together.
        passes: branches in sequence or as a batch.
        strength: of an edit; below 1 it starts from the source.
        replace_outside: an edit's latents outside of the region are the source's at each step.
        close_view: an edit shows the model the faces with some room instead of the whole frame,
            where they are small in it.
        fps: frames a second where no video says otherwise; SkyReels-V2 was trained at 24, curated
            clips have 25.
        area_px: pixels of a frame where no size is asked for; ``None``: a training clip's.
        cache: which one.
        cache_threshold: change below which a cache skips.
        mag_ratios: of MagCache, measured for one checkpoint.
        offload: where weights wait.
        layerwise_casting: keep weights in 8 bits, compute in 16.
        preview_every: steps between previews.
        crf: of the written video; ``None``: 17, and 5 for an edit.
        chroma: colour resolution of the written video.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_steps: int = Field(40, ge=1)
    solver: Solver = Solver.UNIPC
    shift: float | None = Field(None, gt=0)
    guidance: str = "multitalk"
    text_guidance: float = TEXT_WEIGHT
    audio_guidance: float = AUDIO_WEIGHT
    image_guidance: float = 1.0
    guidance_decay: Decay = Decay.CONSTANT
    guidance_end: float = 1.0
    guidance_from_sigma: float = 0.0
    guidance_to_sigma: float = 1.0
    outside_face: float = Field(1.0, ge=0, le=1)
    projection: bool = False
    window_latents: int | None = Field(None, ge=2)
    overlap_latents: int | None = Field(None, ge=1)
    overlap_ratio: float = Field(0.25, gt=0, lt=1)
    move_latents: int = Field(0, ge=0)
    block_windows: int = Field(4, ge=1)
    passes: Passes = Passes.SEQUENTIAL
    strength: float = Field(1.0, gt=0, le=1)
    replace_outside: bool = False
    close_view: bool = True
    fps: int = Field(25, ge=MIN_FPS, le=MAX_FPS)
    area_px: int | None = Field(None, ge=1024, le=MAX_SIDE_PX**2)
    cache: Cache = Cache.NONE
    cache_threshold: float = Field(0.05, gt=0)
    mag_ratios: tuple[float, ...] | None = None
    offload: Offload = Offload.NONE
    layerwise_casting: bool = False
    preview_every: int = Field(0, ge=0)
    crf: float | None = Field(None, ge=0, le=51)
    chroma: Annotated[Literal["420", "422", "444"], BeforeValidator(str)] | None = None

    def rule(self) -> Guidance:
        """Return the guidance that is meant."""
        text, audio = (
            Weight(
                value,
                self.guidance_decay,
                self.guidance_end,
                self.guidance_from_sigma,
                self.guidance_to_sigma,
            )
            if value != 1
            else Weight(1.0)
            for value in (self.text_guidance, self.audio_guidance)
        )
        rule = preset(self.guidance, text, audio)
        if self.image_guidance != 1:
            rule = with_image(rule, self.image_guidance)
        projection = Projection() if self.projection else None
        return replace(rule, outside_region=self.outside_face, projection=projection)

    @property
    def frame_area_px(self) -> int:
        """Pixels of a frame where no size is asked for."""
        return self.area_px or _WAN.area_px

    def for_model(self, trained: TrainedWith | None) -> GenerationSettings:
        """Fill in what is not set with what the model was trained with.

        Args:
            trained: from the model's folder; ``None``: Wan2.1's 81 frames of 480 x 832.

        Returns:
            Settings in which window, overlap and area are set.
        """
        trained = trained or _WAN
        window = self.window_latents or max(2, trained.num_latents)
        overlap = min(max(1, round(self.overlap_ratio * window)), window - 1)
        return self.model_copy(
            update={
                "window_latents": window,
                "overlap_latents": self.overlap_latents or overlap,
                "area_px": self.area_px or trained.area_px,
            }
        )

    def sampling(self) -> Sampling:
        """Return how a video is sampled."""
        if self.window_latents is None or self.overlap_latents is None:
            return self.for_model(None).sampling()
        return Sampling(
            num_steps=self.num_steps,
            window_latents=self.window_latents,
            overlap_latents=self.overlap_latents,
            move_latents=self.move_latents,
            block_windows=self.block_windows,
            guidance=self.rule(),
            passes=self.passes,
            strength=self.strength,
            replace_outside=self.replace_outside,
            preview_every=self.preview_every,
        )


_PRESETS: dict[Preset, dict[str, Any]] = {
    Preset.FAST: {
        "num_steps": 16,
        "guidance": "audio_only",
        "audio_guidance": 3.0,
        "cache": Cache.FIRST_BLOCK,
        "cache_threshold": 0.1,
        "block_windows": 2,
    },
    Preset.BALANCED: {
        "num_steps": 28,
        "cache": Cache.FIRST_BLOCK,
        "cache_threshold": 0.05,
        "block_windows": 2,
    },
    # 40 steps and both weights are MultiTalk's defaults; its README advises 3 for long videos.
    Preset.QUALITY: {"num_steps": 40, "overlap_ratio": 1 / 3},
}


def make_settings(
    name: Preset | str = Preset.BALANCED,
    changes: dict[str, Any] | None = None,
    overrides: list[str] | None = None,
) -> GenerationSettings:
    """Start from a preset and change single values.

    Args:
        name: of the preset.
        changes: values by name; ``None`` leaves the preset's.
        overrides: the same as text, ``key=value`` each.

    Returns:
        The settings.

    Raises:
        SettingError: If a key is not known, or a value cannot be.
    """
    if name not in list(Preset):
        raise SettingError(f"preset {name!r}: there are {', '.join(Preset)}")
    values = dict(_PRESETS[Preset(name)])
    values |= {key: value for key, value in (changes or {}).items() if value is not None}
    for item in overrides or []:
        key, equals, value = item.partition("=")
        if not equals:
            raise SettingError(f"--set {item}: give key=value, as num_steps=20")
        values[key.strip()] = _parsed(value.strip())
    known = list(GenerationSettings.model_fields)
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            meant = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
            raise SettingError(f"setting {key}: there is none of this name{meant}")
    try:
        settings = GenerationSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise SettingError(f"setting {place}: {first['msg']}, not {first['input']!r}") from error
    settings.sampling()  # What only shows in combination is refused here, before a model loads.
    return settings


def _parsed(text: str) -> Any:
    """Numbers, true, null and lists as JSON has them; anything else is a word."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
