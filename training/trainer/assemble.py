"""From a recipe and manifests to what the loop needs; bad input is refused here, before a step.

Not here: the loop itself (`loop.py`) and who starts it (`launch.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.data.training_data import TrainingData
from training.errors import SettingError
from training.model.components import Components, load_components, load_transformer_of
from training.model.patch_codec import PatchCodec
from training.model.saved import save_components
from training.model.spec import ModelSpec, PatchPcaCodec
from training.objective.curriculum import Phase
from training.recipe import Recipe
from training.trainer.loop import Parts
from training.trainer.optimizer import check_optimizer
from training.trainer.phase_data import EncodedPhase, open_phase
from training.trainer.world import World

_CODEC_FILE = "patch_codec.safetensors"

Preview = Callable[[nn.Module, int, Path], None]
"""Renders validation clips with a transformer, at a step, into a folder."""


def make_parts(
    recipe: Recipe,
    manifests: Sequence[str],
    folder: Path,
    world: World,
    *,
    make_preview: Callable[[Components], Preview] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Parts:
    """Check everything that can be wrong, load the model, and hand out the parts of a run.

    Args:
        recipe: as checked.
        manifests: paths or URLs of datasets.
        folder: of the run.
        world: the ranks.
        make_preview: given the components, returns what renders validation clips.
        say: told what is going on.

    Returns:
        The parts.

    Raises:
        SettingError: the recipe cannot run here.
        DataError: a phase's data cannot be trained on.
        ModelError: the base is wrong or incomplete.
    """
    check_optimizer(recipe.optimizer, world.device)
    check_parallel(recipe, world)
    opened = [open_phase(recipe, phase, manifests, world) for phase in recipe.phases]
    for phase, data in zip(recipe.phases, opened, strict=True):
        say(f"phase {phase.name}: {len(data.clips)} clips, {len(data.plan(0))} batches an epoch")
    spec = with_codec(recipe, opened[0], folder, world, say)
    components = load_components(spec, world.device, torch.float32)
    unused = [components.transformer]

    def make_transformer() -> Any:
        # The first phase takes the one that was loaded; each later one gets its own.
        components.transformer = unused.pop() if unused else _transformer(spec, components, world)
        return components.transformer

    def open_data(phase: Phase) -> EncodedPhase:
        return EncodedPhase(
            phase,
            open_phase(recipe, phase, manifests, world),
            components,
            recipe.encode,
            recipe.run.seed,
            world.device,
            say,
        )

    def export(transformer: nn.Module, state: dict[str, torch.Tensor], place: Path) -> None:
        save_components(components, spec, place, whole=recipe.moves_base, state=state)
        say(f"model written to {place}")

    return Parts(
        make_transformer=make_transformer,
        open_data=open_data,
        null_text_LD=components.text_encoder.encode([""])[0].to(world.device),
        preview=make_preview(components) if make_preview else None,
        export=export,
    )


def check_parallel(recipe: Recipe, world: World) -> None:
    """Refuse what the ranks cannot do.

    Args:
        recipe: of the run.
        world: the ranks.

    Raises:
        SettingError: context parallelism does not divide the ranks or a phase's latent frames.
    """
    parts = recipe.run.context_parallel
    if parts > 1 and world.size % parts:
        raise SettingError(
            f"run.context_parallel = {parts}: does not divide {world.size} ranks; choose a divisor"
        )


def with_codec(
    recipe: Recipe,
    data: TrainingData,
    folder: Path,
    world: World,
    say: Callable[[str], None],
) -> ModelSpec:
    """Return the model's spec with a codec; a patch codec without a file is fitted on the spot.

    It is fitted once, by the first rank, and kept in the run's folder: a resumed run has the same.

    Args:
        recipe: of the run.
        data: the first phase's.
        folder: of the run.
        world: the ranks.
        say: told that it is fitted.

    Returns:
        The spec.
    """
    spec = recipe.model
    if not isinstance(spec.codec, PatchPcaCodec) or spec.codec.file is not None:
        return spec
    file = folder / _CODEC_FILE
    if world.is_first and not file.is_file():
        say(
            f"fitting a linear codec of space-time patches on {recipe.run.codec_clips} clips; it "
            "stands in for a VAE and is never more than that"
        )
        folder.mkdir(parents=True, exist_ok=True)
        PatchCodec.fit(_frames(data, recipe.run.codec_clips)).save(file)
    world.barrier()
    return spec.model_copy(update={"codec": spec.codec.model_copy(update={"file": file})})


def _frames(data: TrainingData, num_clips: int) -> Iterator[torch.Tensor]:
    """Frames of an epoch's first clips in [-1, 1]."""
    state = data.state_dict()
    left = num_clips
    for samples in data.rest_of_epoch():
        for sample in samples[:left]:
            yield sample.frames_CTHW.float() / 127.5 - 1
        left -= len(samples)
        if left <= 0:
            break
    data.load_state_dict(state)


def _transformer(spec: ModelSpec, components: Components, world: World) -> Any:
    return load_transformer_of(
        spec,
        text_width=components.text_encoder.width,
        image_width=components.image_encoder.width,
        audio_num_layers=components.audio_encoder.num_layers,
        audio_feature_width=components.audio_encoder.width,
        device=world.device,
        dtype=torch.float32,
    )
