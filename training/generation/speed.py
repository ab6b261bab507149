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


def _cache_config(settings: GenerationSettings) -> Any:
    from diffusers import FirstBlockCacheConfig, MagCacheConfig

    if settings.cache is Cache.FIRST_BLOCK:
        return FirstBlockCacheConfig(threshold=settings.cache_threshold)
    if settings.mag_ratios is None:
        raise SettingError(
            "cache mag without mag_ratios: they are measured for each checkpoint "
            "(diffusers, MagCacheConfig(calibrate=True)); measure them, or use first_block"
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
