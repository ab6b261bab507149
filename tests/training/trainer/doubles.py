"""A small recipe, a small transformer and data that is made of numbers, passed to the loop."""

from __future__ import annotations

from pathlib import Path

import torch

from training.data.encoded import EncodedBatch
from training.model.components import load_transformer_of
from training.model.interfaces import Task
from training.model.spec import LoraSpec
from training.objective.seeding import generator_of
from training.recipe import Recipe, check_recipe
from training.trainer.loop import TrainingResult, train
from training.trainer.parts import Parts
from training.trainer.world import World

TEXT, IMAGE, AUDIO = (512, 8), (4, 12), (8, 1, 6)
SIZES = {"text_width": 8, "image_width": 12, "audio_num_layers": 1, "audio_feature_width": 6}


def make_recipe(*phases: dict, run: dict | None = None, lora: bool = False) -> Recipe:
    base = {"kind": "from_nothing", "num_heads": 2, "head_width": 12, "num_layers": 2}
    adapter = {"audio_tokens_per_latent": 2, "audio_width": 8, "audio_hidden_width": 8}
    model = {
        "base": {**base, "ffn_width": 32, "freq_width": 16},
        "text": {"kind": "hashed"},
        "image": {"kind": "thumbnail"},
        "audio": {"kind": "log_mel"},
        "codec": {"kind": "patch"},
        "adapter": adapter,
    }
    if lora:
        model["lora"] = LoraSpec(rank=2).model_dump()
    defaults = {"steps": 4, "trainable": "all", "learning_rate": 3e-3, "warmup_steps": 2}
    settings = {"precision": "fp32", "recompute": False, "checkpoint_every_steps": 100}
    return check_recipe(
        {
            "name": "doubles",
            "model": model,
            "run": {**settings, "ema_decay": 0.9, **(run or {})},
            "phases": [
                {"name": f"phase{index}", **defaults, **phase}
                for index, phase in enumerate(phases or ({},))
            ],
        },
        "doubles",
    )


def make_batch(clip_ids: tuple[str, ...], *, num_latents: int = 2, size: int = 4) -> EncodedBatch:
    """A batch whose clips follow from their ids alone."""
    shape = (num_latents, size, size)
    clips = []
    for clip_id in clip_ids:
        generator = generator_of("clip", clip_id)
        clips.append(
            (
                torch.randn(16, *shape, generator=generator),
                torch.randn(16, *shape, generator=generator),
                torch.randn(TEXT, generator=generator),
                torch.randn(IMAGE, generator=generator),
                torch.randn(1, num_latents, *AUDIO, generator=generator),
            )
        )
    latent, condition, text, image, audio = (torch.stack(rows) for rows in zip(*clips, strict=True))
    keep = torch.zeros(len(clip_ids), 4, *shape)
    keep[:, :, 0] = 1
    face, lips = (torch.zeros(len(clip_ids), *shape) for _ in range(2))
    face[:, :, 1:], lips[:, :, 2:, 1:3] = 1, 0.5
    return EncodedBatch(
        clip_ids=clip_ids,
        tasks=(Task.IMAGE,) * len(clip_ids),
        latent_BCKhw=latent,
        condition_BCKhw=condition,
        keep_mask_BCKhw=keep,
        text_BLD=text,
        image_BLD=image,
        audio_BAKVSD=audio,
        has_audio_B=torch.ones(len(clip_ids), dtype=torch.bool),
        audio_region_BAKhw=torch.ones(len(clip_ids), 1, *shape),
        face_mask_BKhw=face,
        lip_mask_BKhw=lips,
    )


class MadeData:
    """Micro-batches of two clips; the sequence is shared by all ranks, as that of the real data.

    Args:
        accumulation: micro-batches of a rank and step.
        world: the ranks.
        spoil: position in the sequence at which a latent is not finite.
        padding: position at which a batch only keeps ranks in step.
    """

    def __init__(
        self,
        accumulation: int,
        world: World,
        spoil: int | None = None,
        padding: int | None = None,
    ) -> None:
        self.accumulation, self.world, self.position = accumulation, world, 0
        self.spoil, self.padding = spoil, padding

    def next_batches(self, step: int) -> list[EncodedBatch]:
        batches = []
        for _ in range(self.accumulation):
            place = self.position + self.world.data_rank
            self.position += self.world.data_size
            batch = make_batch((f"clip{2 * place}", f"clip{2 * place + 1}"))
            if place == self.spoil:
                batch.latent_BCKhw[1] = torch.nan
            if place == self.padding:
                batch = replace_padding(batch)
            batches.append(batch)
        return batches

    def state_dict(self) -> dict:
        return {"position": self.position}

    def load_state_dict(self, state: dict) -> None:
        self.position = state["position"]

    def close(self) -> None:
        pass


def replace_padding(batch: EncodedBatch) -> EncodedBatch:
    from dataclasses import replace

    return replace(batch, is_padding_B=torch.tensor([True] * len(batch.clip_ids)))


def make_parts(recipe: Recipe, world: World, **data: int) -> Parts:
    return Parts(
        make_transformer=lambda: with_open_adapter(recipe),
        open_data=lambda phase: MadeData(phase.accumulation, world, **data),
        null_text_LD=torch.zeros(TEXT),
    )


def with_open_adapter(recipe: Recipe):
    """The transformer; its zero outputs are moved, so that every gradient is there and counts."""
    transformer = load_transformer_of(recipe.model, **SIZES)
    zeros = [attention.o.weight for attention in transformer.audio_blocks.values()]
    with torch.no_grad():
        for number, weight in enumerate([*zeros, transformer.proj_out.weight]):
            weight.normal_(std=0.2, generator=generator_of("open", number))
    return transformer


def run(recipe: Recipe, folder: Path, world: World | None = None, **options) -> TrainingResult:
    torch.set_num_threads(1)
    world = world or World(torch.device("cpu"))
    data = {name: options.pop(name) for name in ("spoil", "padding") if name in options}
    return train(recipe, make_parts(recipe, world, **data), folder, world, **options)
