"""Learning one lip-sync network with torch: the loss, the steps, and its weights for NumPy.

A window's own sound at the right offset is told from itself at 30 wrong ones and from the voices
of the whole batch at all 31 (van den Oord et al., "Contrastive predictive coding", 2018, for the
form of the loss). One softmax over all of them puts the scores of all clips on one scale, which
is what makes the height of the peak tell a foreign voice.

torch is needed here only, and only inside of functions. Shape letters as in `sync_batches`; E
entries of a vector, D candidate offsets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.sync_batches import Batch, Batches, principal_directions
from stages.sync_examples import TalkingClip
from stages.sync_features import GRID_FPS, NUM_BANDS, NUM_SHAPES
from stages.sync_network import Convolution, TwoTowers

if TYPE_CHECKING:
    import torch

NUM_PARTS = 24
NUM_ENTRIES = 48
# Channels in, channels out, taps, stride; sync.md section 4.
WIDTH = 64
VIDEO_LAYERS = (
    (2 * NUM_PARTS + NUM_SHAPES, WIDTH, 5, 1),
    (WIDTH, WIDTH, 5, 1),
    (WIDTH, WIDTH, 3, 1),
    (WIDTH, NUM_ENTRIES, 1, 1),
)
AUDIO_LAYERS = (
    (NUM_BANDS, WIDTH, 7, 2),
    (WIDTH, WIDTH, 5, 2),
    (WIDTH, WIDTH, 5, 1),
    (WIDTH, WIDTH, 3, 1),
    (WIDTH, NUM_ENTRIES, 1, 1),
)
DROPOUT = 0.1
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.01
TARGET_NEIGHBOUR = 0.1
"""Share of the target that the frames before and after the right one get."""
FRAME_LOSS, NORM_PENALTY = 0.15, 1e-3
SPREAD_BATCHES = 8
TELL_EVERY = 20


def train(
    clips: Sequence[TalkingClip],
    offsets_ms: Mapping[str, float],
    num_steps: int,
    seed: int,
    tell: Callable[[str], None] = lambda text: None,
) -> TwoTowers:
    """Learn a network from clips whose offsets are known, or taken to be.

    Args:
        clips: clips; those without an offset give the principal directions only.
        offsets_ms: offsets by clip.
        num_steps: steps of AdamW under one cycle of the learning rate.
        seed: the same seed, clips and machine give the same weights.
        tell: told the loss now and then.

    Returns:
        The network, batch normalisation folded in.
    """
    import torch

    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    pca_XF = principal_directions(clips, NUM_PARTS)
    batches = Batches(clips, offsets_ms, pca_XF, rng)
    samples = [batches.draw().video_SNF for _ in range(SPREAD_BATCHES)]
    rows = np.concatenate([sample.reshape(-1, sample.shape[2]) for sample in samples])
    spread_F = np.maximum(rows.std(axis=0), 1e-6).astype(np.float32)
    video, audio = tower(VIDEO_LAYERS), tower(AUDIO_LAYERS)
    log_sharpness = torch.nn.Parameter(torch.zeros(()))
    parameters = [*video.parameters(), *audio.parameters(), log_sharpness]
    optimiser = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=max(num_steps, 10), pct_start=0.2
    )
    losses = []
    for step in range(num_steps):
        loss = _loss(video, audio, log_sharpness, batches.draw(), spread_F)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % TELL_EVERY == 0:
            recent = np.mean(losses[-TELL_EVERY:])
            tell(f"step {step + 1} of {num_steps}, loss {recent:.3f}")
    return TwoTowers(pca_XF, spread_F, folded(video), folded(audio))


def tower(layers: Sequence[tuple[int, int, int, int]]) -> torch.nn.Sequential:
    """Return the layers of one tower, untrained."""
    from torch import nn

    parts: list[nn.Module] = []
    for channels, outputs, taps, stride in layers[:-1]:
        parts += [
            nn.Conv1d(channels, outputs, taps, stride, taps // 2),
            nn.BatchNorm1d(outputs),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
        ]
    channels, outputs, taps, stride = layers[-1]
    parts.append(nn.Conv1d(channels, outputs, taps, stride, taps // 2))
    return nn.Sequential(*parts)


def _loss(
    video: torch.nn.Module,
    audio: torch.nn.Module,
    log_sharpness: torch.Tensor,
    batch: Batch,
    spread_F: Any,
) -> torch.Tensor:
    import torch
    from torch.nn import functional

    v_SEN = video(torch.from_numpy(batch.video_SNF / spread_F).transpose(1, 2))
    a_SEM = audio(torch.from_numpy(batch.audio_SHB).transpose(1, 2))
    known_SN = torch.from_numpy(batch.video_known_SN)
    known_SM = torch.from_numpy(batch.audio_known_SM)
    target_S = torch.from_numpy(batch.target_S)
    num, length = v_SEN.shape[0], v_SEN.shape[2]
    v_SEN = v_SEN * known_SN[:, None]
    a_SEM = a_SEM * known_SM[:, None]
    # Every picture with every voice at every offset: a convolution of the voices by the pictures.
    score_SSD = functional.conv1d(a_SEM, v_SEN).transpose(0, 1)
    count_SSD = functional.conv1d(known_SM[:, None], known_SN[:, None]).transpose(0, 1)
    score_SSD = score_SSD / count_SSD.clamp(min=1) / NUM_ENTRIES**0.5
    sharpness = 4 * torch.exp(log_sharpness) * length / (3 * GRID_FPS)
    logit_SSD = (sharpness * score_SSD).masked_fill(count_SSD < GRID_FPS, -1e4)
    log_p = functional.log_softmax(logit_SSD.flatten(1), dim=1).view_as(logit_SSD)
    own = torch.arange(num)
    ranking = -(1 - 2 * TARGET_NEIGHBOUR) * log_p[own, own, target_S]
    for neighbour in (-1, 1):
        near = log_p[own, own, target_S + neighbour].clamp(min=-50)
        ranking = ranking - TARGET_NEIGHBOUR * near
    # Each frame against the other frames of its own sound at the right offset.
    index_SN = target_S[:, None] + torch.arange(length)
    aligned_SEN = a_SEM.gather(2, index_SN[:, None].expand(-1, NUM_ENTRIES, -1))
    frame_SNN = torch.einsum("sen,sem->snm", v_SEN, aligned_SEN) / NUM_ENTRIES**0.5
    heard_SN = known_SM.gather(1, index_SN)
    frame_SNN = frame_SNN.masked_fill(heard_SN[:, None] == 0, -1e4)
    truth_SN = torch.arange(length).expand(num, -1)
    each_SN = functional.cross_entropy(frame_SNN.transpose(1, 2), truth_SN, reduction="none")
    both_SN = known_SN * heard_SN
    frame = (each_SN * both_SN).sum() / both_SN.sum().clamp(min=1)
    norms = v_SEN.square().mean() + a_SEM.square().mean()
    return ranking.mean() + FRAME_LOSS * frame + NORM_PENALTY * norms


def folded(tower: torch.nn.Sequential) -> tuple[Convolution, ...]:
    """Return a tower's layers with batch normalisation folded into the taps before it."""
    import torch
    from torch import nn

    layers: list[Convolution] = []
    modules = list(tower)
    with torch.no_grad():
        for here, module in enumerate(modules):
            if not isinstance(module, nn.Conv1d):
                continue
            weight, bias = module.weight, module.bias
            assert bias is not None
            after = modules[here + 1] if here + 1 < len(modules) else None
            if isinstance(after, nn.BatchNorm1d):
                assert after.running_mean is not None and after.running_var is not None
                gain = after.weight / torch.sqrt(after.running_var + after.eps)
                weight = weight * gain[:, None, None]
                bias = (bias - after.running_mean) * gain + after.bias
            layers.append(
                Convolution(
                    np.ascontiguousarray(weight.permute(2, 1, 0).numpy()),
                    bias.numpy().copy(),
                    module.stride[0],
                )
            )
    return tuple(layers)
