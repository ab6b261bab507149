"""Caches, offload and storage in 8 bits, all of them diffusers' own.

What a cache remembers belongs to one window and one set of branches: `denoising` names each pass,
and drops everything after a block. Memory of a cache is one residual for each window and branch of
a block, so caches want short blocks. Not here: which preset uses what (`settings`).
"""

from __future__ import annotations

from typing import Any

import torch

from training.errors import SettingError
from training.generation.settings import Cache, GenerationSettings, Offload
from training.generation.wishes import Wishes


def apply(pipeline: Any, settings: GenerationSettings) -> None:
    """Make a pipeline as fast and as small as settings say.

    Args:
        pipeline: `TalkingPortraitPipeline`; what was applied before is taken off.
        settings: what is wanted.

    Raises:
        SettingError: If a combination cannot be.
    """
    transformer = pipeline.transformer
    if settings.layerwise_casting:
        transformer.enable_layerwise_casting(
            storage_dtype=torch.float8_e4m3fn, compute_dtype=transformer.dtype
        )
    if transformer.is_cache_enabled:
        transformer.disable_cache()
    if settings.cache is not Cache.NONE:
        if settings.move_latents:
            raise SettingError(
                f"cache {settings.cache} with move_latents {settings.move_latents}: what was "
                "cached of a window belongs to other frames a step later; use one of the two"
            )
        transformer.enable_cache(_cache_config(settings))
    if settings.offload is not Offload.NONE:
        _offload(pipeline, settings.offload)


@torch.no_grad()
def measure_mag_ratios(
    pipeline: Any, wishes: Wishes, settings: GenerationSettings
) -> tuple[float, ...]:
    """Measure what MagCache has to know of a checkpoint.

    The ratio of a step is the mean, over tokens and branches, of the size of what all blocks add,
    over what they added a step before (diffusers, ``MagCacheBlockHook``).

    Args:
        pipeline: the model; a cache is taken off.
        wishes: a video of one window.
        settings: with the steps and the guidance that are meant.

    Returns:
        One ratio a step, for the setting ``mag_ratios``.

    Raises:
        SettingError: If the video is longer than a window, or the number of branches changes.
    """
    if pipeline.transformer.is_cache_enabled:
        pipeline.transformer.disable_cache()
    entered: list[torch.Tensor] = []
    sizes: list[torch.Tensor] = []

    def enter(module: Any, given: tuple[Any, ...]) -> None:
        entered[:] = [given[0]]

    def leave(module: Any, given: Any, hidden: torch.Tensor) -> None:
        sizes.append((hidden - entered[0]).float().norm(dim=-1))

    blocks = pipeline.transformer.blocks
    hooks = (blocks[0].register_forward_pre_hook(enter), blocks[-1].register_forward_hook(leave))
    try:
        for _ in pipeline.frames(wishes, settings.sampling()):
            pass
    finally:
        for hook in hooks:
            hook.remove()
    num_passes, rest = divmod(len(sizes), settings.num_steps)
    if rest or num_passes > len(settings.rule().branches(0.5)):
        raise SettingError(
            f"mag_ratios: {len(sizes)} passes in {settings.num_steps} steps; measure on a video of "
            "one window and with guidance that is the same at every sigma"
        )
    ratios = [1.0] * settings.num_steps
    for index in range(1, settings.num_steps):
        now = torch.stack(sizes[index * num_passes : (index + 1) * num_passes])
        before = torch.stack(sizes[(index - 1) * num_passes : index * num_passes])
        ratios[index] = float((now / (before + 1e-8)).mean())
    return tuple(ratios)


def _cache_config(settings: GenerationSettings) -> Any:
    from diffusers import FirstBlockCacheConfig, MagCacheConfig

    if settings.cache is Cache.FIRST_BLOCK:
        return FirstBlockCacheConfig(threshold=settings.cache_threshold)
    if settings.mag_ratios is None:
        raise SettingError(
            "cache mag without mag_ratios: they are measured for each checkpoint "
            "(speed.measure_mag_ratios); measure them, or use first_block"
        )
    return MagCacheConfig(
        threshold=settings.cache_threshold,
        num_inference_steps=settings.num_steps,
        mag_ratios=list(settings.mag_ratios),
    )


def _offload(pipeline: Any, offload: Offload) -> None:
    if not torch.cuda.is_available():
        raise SettingError(f"offload {offload}: there is no GPU to free; leave it out")
    if offload is Offload.MODEL:
        pipeline.enable_model_cpu_offload()
        return
    pipeline.transformer.enable_group_offload(
        onload_device=torch.device("cuda"),
        offload_device=torch.device("cpu"),
        offload_type="block_level",
        num_blocks_per_group=1,
        use_stream=True,
    )
