"""A tiny pipeline, its inputs, and what it made, for tests."""

import numpy as np
import torch

from training.generation.denoising import Sampling
from training.generation.guidance_presets import preset
from training.generation.pipeline import TalkingPortraitPipeline
from training.generation.portrait import Portrait
from training.generation.recording import Recording
from training.generation.schedulers import Solver, make_scheduler
from training.generation.wishes import Wishes
from training.model.components import load_components
from training.model.spec import AdapterSpec, BaseFromNothing, tiny_spec

SMALL = BaseFromNothing(num_heads=2, head_width=12, num_layers=2, ffn_width=32)
ADAPTER = AdapterSpec(audio_tokens_per_latent=4, audio_width=16, audio_hidden_width=16)


def tiny_components(seed=0, *, hears=True):
    """Random weights so large that every condition shows in the frames, sound included."""
    components = load_components(tiny_spec(base=SMALL, adapter=ADAPTER, seed=seed))
    generator = torch.Generator().manual_seed(seed)
    transformer = components.transformer
    for name, weight in transformer.named_parameters():
        if name.endswith("weight") and weight.ndim == 2:
            weight.data = torch.randn(weight.shape, generator=generator) / weight.shape[1] ** 0.5
    for attention in transformer.audio_blocks.values():
        attention.o.weight.data *= 2.0 * hears
    return components


def tiny_pipeline(solver=Solver.UNIPC, **options):
    return TalkingPortraitPipeline.of(tiny_components(**options), make_scheduler(solver, 3.0))


def voice(duration_s, seed=0):
    rng = np.random.default_rng(seed)
    loudness = np.repeat(rng.uniform(0, 0.5, round(duration_s * 10) + 1), 1600)
    noise = rng.standard_normal(len(loudness)) * 0.3
    return Recording.from_samples((loudness * noise)[: round(duration_s * 16_000)])


def picture(width=32, height=32, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = np.stack([x * 255 / width, y * 255 / height, (x + y) * 2], -1)
    return (base * 0.8 + rng.uniform(0, 30, base.shape)).clip(0, 255).astype(np.uint8)


def wishes(num_frames, **options):
    options.setdefault("portrait", Portrait(picture()))
    return Wishes([voice(num_frames / 25)], "a person talks", "blurred", **options)


def sampling(**options):
    values = {
        "num_steps": 3,
        "window_latents": 4,
        "overlap_latents": 1,
        "block_windows": 8,
        "guidance": preset("none"),
    }
    return Sampling(**(values | options))
