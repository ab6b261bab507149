"""What a training run costs on paper: floating-point work, memory, messages, hours, money.

Formulas with their sources; every assumption is a field with a default of ours, and is printed
beside what follows from it. Not here: sizes and parameters (`shapes.py`) and the table
(`plan.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from training.data.encoded import EncodedBatch
from training.objective.curriculum import AudioScope, Phase, Trainable
from training.trainer.shapes import (
    NUM_IMAGE_TOKENS,
    NUM_TEXT_TOKENS,
    ClipShape,
    TransformerShape,
    adapter_parameters,
    base_parameters,
    block_parameters,
    shape_of_config,
    text_attention_parameters,
)

GIB = 2**30

_PEAK_FLOPS_PER_S = {
    "H200": 989.4e12,
    "H100": 989.4e12,
    "A100": 312e12,
    "B200": 2.25e15,
    "L40S": 362e12,
    "RTX 4090": 165.2e12,
}
"""Dense bfloat16 peaks with float32 accumulation, from NVIDIA's data sheets (SXM where there are
several), by a part of the device's name."""


@dataclass(frozen=True)
class Machine:
    """What the paper machine is; all of it can be set.

    Attributes:
        name: of the GPU.
        peak_flops_per_s: dense bfloat16, from NVIDIA's H100 SXM data sheet.
        memory_gib: of a GPU; 80 GB.
        assumed_mfu: share of the peak that the model's own work reaches; ours. Full-attention video
            transformers of this size report 0.3 to 0.45 on such machines; measure yours.
        node_bytes_per_s: between GPUs of a node; half of NVLink 4's 900 GB/s, one direction.
        network_bytes_per_s: between nodes for one GPU; a 400 Gb/s adapter.
        gpus_per_node: of a node.
        price_per_gpu_hour: in any currency; ours.
    """

    name: str = "H100 SXM"
    peak_flops_per_s: float = 989.4e12
    memory_gib: float = 80e9 / GIB
    assumed_mfu: float = 0.35
    node_bytes_per_s: float = 450e9
    network_bytes_per_s: float = 50e9
    gpus_per_node: int = 8
    price_per_gpu_hour: float = 2.5


def device_peak_flops_per_s(device: torch.device) -> float | None:
    """Return the dense bfloat16 peak of a device, ``None`` if it is not known (a CPU's is not)."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in _PEAK_FLOPS_PER_S.items() if part in name), None)


@dataclass(frozen=True)
class ForwardFlops:
    """Floating-point work of one clip's forward pass; a multiply and an add are two.

    Attributes:
        base: matrix products with the base's weights.
        text_attention: of these, those of text cross-attention.
        adapter: matrix products with the adapter's weights.
        scores: products of activations with each other in attention; no weights in them.
    """

    base: float
    text_attention: float
    adapter: float
    scores: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.base + self.adapter + self.scores


def forward_flops(
    shape: TransformerShape, num_tokens: int, num_latents: int, audio_scope: AudioScope = "window"
) -> ForwardFlops:
    """Count the forward pass of one clip.

    A product of [N, a] and [a, b] is ``2 N a b``; attention of N queries over L keys of width d is
    ``4 N L d`` (scores and their sum over values), not halved, for no mask is causal (Kaplan et
    al. 2020, arXiv 2001.08361, table 1, with the attention term counted as in Chowdhery et al.
    2022, arXiv 2204.02311, appendix B).

    Args:
        shape: of the model.
        num_tokens: N, video tokens.
        num_latents: K.
        audio_scope: whether a token hears its window or the clip.

    Returns:
        The counts.
    """
    n, d, f = num_tokens, shape.width, shape.ffn_dim
    context = NUM_TEXT_TOKENS + NUM_IMAGE_TOKENS
    self_attention = 8 * n * d * d
    query_and_out = 4 * n * d * d
    text_keys, image_keys = 4 * NUM_TEXT_TOKENS * d * d, 4 * NUM_IMAGE_TOKENS * d * d
    block = self_attention + query_and_out + text_keys + image_keys + 4 * n * d * f
    cells = shape.patch_cells
    ends = 2 * n * d * cells * (shape.in_channels + shape.out_channels)
    embed_text = 2 * NUM_TEXT_TOKENS * (shape.text_dim * d + d * d)
    embed_image = 2 * NUM_IMAGE_TOKENS * (shape.image_dim**2 + shape.image_dim * d)
    heard = num_latents * shape.audio_tokens_per_latent
    audio_block = 4 * n * d * d + 4 * heard * shape.audio_width * d
    window = shape.audio_window_frames * shape.audio_num_layers * shape.audio_feature_width
    hidden = shape.audio_hidden_width
    tokens = shape.audio_tokens_per_latent * shape.audio_width
    projector = 2 * num_latents * (window * hidden + hidden * hidden + hidden * tokens)
    heard_each = heard if audio_scope == "clip" else shape.audio_tokens_per_latent
    layers, audio_layers = shape.num_layers, shape.num_audio_layers
    return ForwardFlops(
        base=layers * block + ends + embed_text + embed_image,
        text_attention=layers * (query_and_out + text_keys) + embed_text,
        adapter=audio_layers * audio_block + projector,
        scores=layers * 4 * n * (n + context) * d + audio_layers * 4 * n * heard_each * d,
    )


def training_flops(forward: ForwardFlops, trainable: Trainable) -> float:
    """Return the work of a clip's forward and backward pass, without recompute.

    The backward pass costs one forward pass for the gradient of activations (two for products of
    activations with each other) and one for that of the weights that move; a frozen weight has
    none. Recompute is left out, as MFU is defined (Chowdhery et al. 2022, appendix B).

    Args:
        forward: of the clip.
        trainable: what moves.

    Returns:
        Floating-point operations.
    """
    moving = forward.adapter
    if trainable is Trainable.ALL:
        moving += forward.base
    elif trainable is Trainable.ALL_BUT_TEXT_ATTENTION:
        moving += forward.base - forward.text_attention
    weights = forward.base + forward.adapter
    return 2 * weights + moving + 3 * forward.scores


def step_flops(transformer: Any, batches: Sequence[EncodedBatch], trainable: Trainable) -> float:
    """Return the work of one rank's micro-batches of a step, as `training_flops` counts it."""
    shape = shape_of_config(transformer.config)
    total = 0.0
    for batch in batches:
        num_clips, _, num_latents, height, width = batch.latent_BCKhw.shape
        num_tokens = num_latents * height * width // shape.patch_cells
        total += num_clips * training_flops(
            forward_flops(shape, num_tokens, num_latents), trainable
        )
    return total


def moving_parameters(shape: TransformerShape, trainable: Trainable, num_lora: int) -> int:
    """Return how many parameters a phase moves.

    Args:
        shape: of the model.
        trainable: what moves.
        num_lora: parameters of LoRA, 0 without.

    Returns:
        Their number.
    """
    adapter = adapter_parameters(shape)
    if trainable is Trainable.ADAPTER:
        return adapter
    if trainable is Trainable.ADAPTER_AND_LORA:
        return adapter + num_lora
    whole = adapter + num_lora + base_parameters(shape)
    if trainable is Trainable.ALL_BUT_TEXT_ATTENTION:
        return whole - text_attention_parameters(shape)
    return whole


@dataclass(frozen=True)
class Memory:
    """Memory of one GPU in bytes.

    Attributes:
        weights: this rank's share; what moves in float32, what is frozen in bfloat16.
        gradients: float32, its share.
        moments: AdamW's two, float32, its share.
        average: the moving average, float32, its share.
        gathered: two blocks in bfloat16, the one that runs and the next.
        activations: of one micro-batch.
    """

    weights: float
    gradients: float
    moments: float
    average: float
    gathered: float
    activations: float

    @property
    def total(self) -> float:
        """All of it; without encoders, the codec, and what CUDA and NCCL take."""
        state = self.weights + self.gradients + self.moments + self.average
        return state + self.gathered + self.activations


def phase_memory(
    shape: TransformerShape, phase: Phase, clip: ClipShape, num_gpus: int, num_lora: int = 0
) -> Memory:
    """Estimate the memory of a phase with FSDP2 and recompute.

    States of a parameter that moves take 4 + 4 + 8 + 4 bytes, shared by all GPUs (ZeRO stage 3,
    Rajbhandari et al. 2020, arXiv 1910.02054, section 3.1, here with float32 master weights as the
    only copy). Activations follow Korthikanti et al. 2022 (arXiv 2205.05198, section 4): 2 N d
    bytes a block that is recomputed, and once the inside of a block, 11 N d an attention (its
    quadratic term is gone with fused attention), 19 N d a feed-forward network of width 4 d, 4 N d
    for two norms; a block here has three attentions and four norms, and norms run in float32.

    Args:
        shape: of the model.
        phase: of the curriculum.
        clip: the largest clip of the phase.
        num_gpus: that share the states.
        num_lora: parameters of LoRA.

    Returns:
        Bytes of one GPU.
    """
    moving = moving_parameters(shape, phase.trainable, num_lora)
    frozen = base_parameters(shape) + adapter_parameters(shape) + num_lora - moving
    n, d = clip.num_tokens * phase.micro_batch, shape.width
    inside = (3 * 11 + 19 * shape.ffn_dim / (4 * d) + 4 * 2 * 2) * n * d
    return Memory(
        weights=(4 * moving + 2 * frozen) / num_gpus,
        gradients=4 * moving / num_gpus,
        moments=8 * moving / num_gpus,
        average=4 * moving / num_gpus,
        gathered=2 * 2 * block_parameters(shape) if num_gpus > 1 else 0,
        activations=2 * n * d * shape.num_layers + inside,
    )


@dataclass(frozen=True)
class PhaseCost:
    """What a phase costs on paper.

    Attributes:
        num_moving: parameters that move.
        tokens_per_clip: of its largest clip.
        clips_per_step: of all GPUs.
        memory: of one GPU.
        compute_s: of a step, at the assumed MFU.
        messages_s: of a step, hidden behind computation as far as it lasts.
        steps: of the phase, at most.
    """

    num_moving: int
    tokens_per_clip: int
    clips_per_step: int
    memory: Memory
    compute_s: float
    messages_s: float
    steps: int

    @property
    def step_s(self) -> float:
        """Seconds of a step: the longer of work and messages, which overlap."""
        return max(self.compute_s, self.messages_s)

    @property
    def hours(self) -> float:
        """Hours of the phase."""
        return self.steps * self.step_s / 3600

    @property
    def tokens_per_s(self) -> float:
        """Video tokens of all GPUs."""
        return self.clips_per_step * self.tokens_per_clip / self.step_s


def phase_cost(
    shape: TransformerShape,
    phase: Phase,
    num_gpus: int,
    machine: Machine,
    num_lora: int = 0,
) -> PhaseCost:
    """Estimate a phase.

    Messages of FSDP2 a micro-batch and GPU: parameters gathered forward, and again backward, in
    bfloat16, gradients of what moves scattered in float32, each ``(G - 1) / G`` of its size
    (Rajbhandari et al. 2020, section 7).

    Args:
        shape: of the model.
        phase: of the curriculum.
        num_gpus: G.
        machine: the paper machine.
        num_lora: parameters of LoRA.

    Returns:
        The estimate.
    """
    clip = largest_clip(phase)
    scope: AudioScope = "clip" if phase.audio_scopes.get("clip", 0) > 0 else "window"
    forward = forward_flops(shape, clip.num_tokens, clip.num_latents, scope)
    clips_per_gpu = phase.micro_batch * phase.accumulation
    work = clips_per_gpu * training_flops(forward, phase.trainable)
    moving = moving_parameters(shape, phase.trainable, num_lora)
    everything = base_parameters(shape) + adapter_parameters(shape) + num_lora
    messages = phase.accumulation * (2 * 2 * everything + 4 * moving) * (num_gpus - 1) / num_gpus
    is_one_node = num_gpus <= machine.gpus_per_node
    speed = machine.node_bytes_per_s if is_one_node else machine.network_bytes_per_s
    return PhaseCost(
        num_moving=moving,
        tokens_per_clip=clip.num_tokens,
        clips_per_step=clips_per_gpu * num_gpus,
        memory=phase_memory(shape, phase, clip, num_gpus, num_lora),
        compute_s=work / (machine.peak_flops_per_s * machine.assumed_mfu),
        messages_s=messages / speed,
        steps=phase.steps,
    )


def largest_clip(phase: Phase) -> ClipShape:
    """Return the clip of a phase with the most tokens."""
    return max(
        (
            ClipShape(width, height, num_frames)
            for width, height in phase.sizes_px
            for num_frames in phase.num_frames
        ),
        key=lambda clip: clip.num_tokens,
    )
