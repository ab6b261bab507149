"""Codec and encoders of a run: the patch codec fitted on the spot, their digest, precomputing.

Not here: the transformer, and how latents are stored (`training.data.precompute`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from training.data.clip_samples import ClipSample
from training.data.latent_making import Making, PrecomputeSettings
from training.data.precompute import Precomputed, Workers, precompute
from training.errors import SettingError
from training.model.components import Encoders, load_encoders
from training.model.patch_codec import PatchCodec
from training.model.spec import ModelSpec, PatchPcaCodec, PretrainedBase
from training.recipe import Recipe
from training.trainer.phase_data import data_settings, open_phase
from training.trainer.world import World

CODEC_FILE = "patch_codec.safetensors"


def with_codec(
    recipe: Recipe,
    manifests: Sequence[str],
    folder: Path,
    world: World,
    say: Callable[[str], None],
) -> ModelSpec:
    """Return the model's spec with a codec; a patch codec without a file is fitted on the spot.

    It is fitted once, by the first rank, on the first phase's clips, and kept in the folder: a
    resumed run has the same. Latents that were made beforehand bring theirs.

    Args:
        recipe: of the run.
        manifests: paths or URLs of datasets.
        folder: of the run, or of the latents.
        world: the ranks.
        say: told that it is fitted.

    Returns:
        The spec.

    Raises:
        SettingError: the datasets are latents, and the codec that made them is not there.
    """
    spec = recipe.model
    if not isinstance(spec.codec, PatchPcaCodec) or spec.codec.file is not None:
        return spec
    file = folder / CODEC_FILE
    if world.is_first and not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _make_codec(recipe, manifests, world, say).save(file)
    world.barrier()
    return spec.model_copy(update={"codec": spec.codec.model_copy(update={"file": file})})


def _make_codec(
    recipe: Recipe, manifests: Sequence[str], world: World, say: Callable[[str], None]
) -> PatchCodec:
    data = open_phase(recipe, recipe.phases[0], manifests, World(world.device))
    if data.latents is not None:
        place = Path(manifests[0])
        beside = (place if place.is_dir() else place.parent) / CODEC_FILE
        if not beside.is_file():
            raise SettingError(
                f"{manifests[0]}: latents of a patch codec, but {beside} is not there; name the "
                "codec with --set model.codec.file=FILE"
            )
        return PatchCodec.load(beside)
    num_clips = recipe.run.codec_clips
    say(
        f"fitting a linear codec of space-time patches on {num_clips} clips; it stands in for a "
        "VAE and is never more than that"
    )

    def frames() -> Iterator[torch.Tensor]:
        left = num_clips
        for samples in data.rest_of_epoch():
            for sample in samples[:left]:
                if isinstance(sample, ClipSample):
                    yield sample.frames_CTHW.float() / 127.5 - 1
            left -= len(samples)
            if left <= 0:
                return

    return PatchCodec.fit(frames())


def encoder_type(recipe: Recipe, device: torch.device) -> torch.dtype:
    """Return the type of pretrained encoders: bfloat16 on a GPU where the recipe computes in it."""
    lower = recipe.run.precision == "bf16" and device.type == "cuda"
    return torch.bfloat16 if lower else torch.float32


def encoders_digest(spec: ModelSpec) -> str:
    """Name codec and encoders: kinds, repositories, revisions, settings, a fitted codec's numbers.

    Args:
        spec: of the model.

    Returns:
        16 hex characters; latents of another digest are not trained on.
    """
    parts = spec.model_dump(mode="json", include={"text", "image", "audio", "codec"})
    if isinstance(spec.base, PretrainedBase):
        parts["base"] = [spec.base.repo, spec.base.revision]
    if isinstance(spec.codec, PatchPcaCodec) and spec.codec.file is not None:
        # Its tensors and not its bytes: safetensors writes its header in any order.
        tensors = hashlib.sha256()
        for name, tensor in sorted(load_file(spec.codec.file).items()):
            tensors.update(name.encode() + tensor.numpy().tobytes())
        parts["codec"] = tensors.hexdigest()
    text = json.dumps(parts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def precompute_phase(
    recipe: Recipe,
    phase_name: str | None,
    manifests: Sequence[str],
    out: Path,
    settings: PrecomputeSettings,
    workers: Workers,
    say: Callable[[str], None] = lambda text: None,
) -> Precomputed:
    """Encode the clips of a phase once, for training to read in their place.

    Args:
        recipe: whose codec, encoders and cuts are used.
        phase_name: whose sizes, lengths and gates; ``None``: the first phase's.
        manifests: paths or URLs of datasets.
        out: folder of the latents.
        settings: what is stored.
        workers: who does it.
        say: told how far it is.

    Returns:
        What came of it.

    Raises:
        SettingError: the recipe has no such phase.
    """
    phases = {phase.name: phase for phase in recipe.phases}
    if phase_name is not None and phase_name not in phases:
        raise SettingError(f"--phase {phase_name!r}: the recipe has {', '.join(phases)}")
    phase = phases[phase_name] if phase_name else recipe.phases[0]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    spec = with_codec(recipe, manifests, out, World(device), say)
    making = Making(data_settings(recipe, phase), recipe.encode, settings, str(device))

    def make_encoders() -> Encoders:
        return load_encoders(spec, device, encoder_type(recipe, device))

    return precompute(
        manifests,
        str(out),
        make_encoders,
        encoders_digest(spec),
        making,
        workers=workers,
        on_shard=lambda done, total: say(f"{done} of {total} shards"),
    )
