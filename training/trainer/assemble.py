"""From a recipe and manifests to what the loop needs; bad input is refused here, before a step.

Not here: the loop itself (`loop.py`) and who starts it (`launch.py`).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.errors import SettingError
from training.model.audio_windows import num_latents
from training.model.components import (
    Components,
    Encoders,
    load_encoders,
    load_transformer_of,
)
from training.model.saved import save_components
from training.model.spec import ModelSpec, TrainedWith
from training.objective.curriculum import Phase
from training.recipe import Recipe
from training.trainer.context_parallel import check_phase
from training.trainer.encoders import encoder_type, encoders_digest, with_codec
from training.trainer.optimizer import check_optimizer
from training.trainer.parts import Parts
from training.trainer.phase_data import EncodedPhase, open_phase
from training.trainer.world import World

Preview = Callable[[nn.Module, int, Path], None]
"""Renders validation clips with a transformer, at a step, into a folder."""

MakePreview = Callable[[Components], Preview]
"""Given codec and encoders, returns what renders; every rank calls it."""


def check_ranks(
    recipe: Recipe, num_ranks: int, device: torch.device, *, has_previews: bool = False
) -> None:
    """Refuse a recipe that these ranks cannot carry out.

    Args:
        recipe: as checked.
        num_ranks: that take part.
        device: of a rank.
        has_previews: whether validation clips are to be rendered.

    Raises:
        SettingError: they cannot.
    """
    check_optimizer(recipe.optimizer, device, num_ranks)
    parts_a_clip = recipe.run.context_parallel
    if num_ranks % parts_a_clip:
        raise SettingError(
            f"run.context_parallel = {parts_a_clip}: does not divide {num_ranks} ranks; choose a "
            "divisor"
        )
    if parts_a_clip > 1:
        if has_previews and recipe.run.preview_every_steps:
            raise SettingError(
                f"previews with run.context_parallel = {parts_a_clip}: a window may have any "
                "number of latent frames, which devices cannot share; leave --preview-clip out, or "
                "set run.context_parallel to 1"
            )
        for phase in recipe.phases:
            check_phase(phase, parts_a_clip)


def check_data(recipe: Recipe, manifests: Sequence[str], num_ranks: int) -> None:
    """Refuse data that these ranks cannot be trained on, without any of them.

    Args:
        recipe: after `check_ranks`.
        manifests: paths or URLs of datasets.
        num_ranks: that take part.

    Raises:
        DataError: a phase's data cannot be trained on.
    """
    world = World(torch.device("cpu"), 0, num_ranks, clip_ranks=recipe.run.context_parallel)
    for phase in recipe.phases:
        open_phase(recipe, phase, manifests, world)


def make_parts(
    recipe: Recipe,
    manifests: Sequence[str],
    folder: Path,
    world: World,
    *,
    make_preview: MakePreview | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Parts:
    """Open the data, load the model, and hand out the parts of a run.

    Args:
        recipe: after `check_ranks`.
        manifests: paths or URLs of datasets.
        folder: of the run.
        world: the ranks.
        make_preview: given the components, returns what renders validation clips.
        say: told what is going on.

    Returns:
        The parts.

    Raises:
        DataError: a phase's data cannot be trained on.
        ModelError: the base is wrong or incomplete.
    """
    spec = with_codec(recipe, manifests, folder, world, say)
    digest = encoders_digest(spec)
    opened = [open_phase(recipe, phase, manifests, world, digest) for phase in recipe.phases]
    for phase, data in zip(recipe.phases, opened, strict=True):
        say(f"phase {phase.name}: {len(data.clips)} clips, {len(data.plan(0))} batches an epoch")
    encoders = load_encoders(spec, world.device, encoder_type(recipe, world.device))
    unused = [_transformer(recipe, spec, encoders, world)]
    components = Components(unused[0], **vars(encoders))

    def make_transformer() -> Any:
        # The first phase takes the one that was loaded to see that it can be; later ones let go of
        # the one before, for two may not fit.
        if unused:
            return unused.pop()
        del components.transformer
        gc.collect()
        components.transformer = _transformer(recipe, spec, encoders, world)
        return components.transformer

    def open_data(phase: Phase) -> EncodedPhase:
        return EncodedPhase(
            phase,
            open_phase(recipe, phase, manifests, world, digest),
            components,
            recipe.encode,
            recipe.run.seed,
            world.device,
            say,
        )

    def export(transformer: nn.Module, state: dict[str, torch.Tensor], place: Path) -> None:
        trained = spec.model_copy(update={"trained_with": trained_with(recipe.phases[-1])})
        save_components(components, trained, place, whole=recipe.moves_base, state=state)
        say(f"model written to {place}")

    return Parts(
        make_transformer=make_transformer,
        open_data=open_data,
        null_text_LD=components.text_encoder.encode([""])[0].to(world.device),
        preview=make_preview(components) if make_preview else None,
        export=export,
    )


def trained_with(phase: Phase) -> TrainedWith:
    """Return the largest sizes of a phase, which a model that came out of it has seen last."""
    return TrainedWith(
        area_px=max(width * height for width, height in phase.sizes_px),
        num_latents=num_latents(max(phase.num_frames)),
    )


def _transformer(recipe: Recipe, spec: ModelSpec, encoders: Encoders, world: World) -> Any:
    """Load the transformer for a phase.

    With several ranks into main memory: sharding moves each block's share to the device. A base
    that never moves is loaded in the type that it is used in.
    """
    lower = recipe.run.precision == "bf16" and not recipe.moves_base
    return load_transformer_of(
        spec,
        text_width=encoders.text_encoder.width,
        image_width=encoders.image_encoder.width,
        audio_num_layers=encoders.audio_encoder.num_layers,
        audio_feature_width=encoders.audio_encoder.width,
        device="cpu" if world.size > 1 else world.device,
        dtype=torch.bfloat16 if lower else torch.float32,
    )
