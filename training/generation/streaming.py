"""A video of any length, block after block, its frames given away as they are finished.

A block is a few windows denoised together. The next one begins with the last latent frames of the
finished one, frozen; decoding goes on with the codec's own context. So nothing grows with the
length: latents of one block, features of a minute, frames of one latent. Not in the room: how a
block is denoised (`denoising`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from training.generation.codec_streams import open_decoder
from training.generation.denoising import BlockInputs, Sampling, Watcher, denoise
from training.generation.windows import Share, plan_windows
from training.model.interfaces import VideoCodec


@dataclass(frozen=True)
class BlockSpan:
    """Latent frames of one block in the whole video.

    Attributes:
        first: first latent frame.
        stop: beyond the last.
        num_frozen: how many of them are finished already.
    """

    first: int
    stop: int
    num_frozen: int


def plan_blocks(num_latents: int, sampling: Sampling) -> list[BlockSpan]:
    """Cut a video into blocks.

    The last block is shifted back, as the last window is, so that none is short; it then begins
    with more frozen frames than the overlap.

    Args:
        num_latents: K of the video.
        sampling: length of window, overlap and block.

    Returns:
        The blocks, in order; frozen frames of each lie in the one before.
    """
    length, overlap = sampling.block_latents, sampling.overlap_latents
    if num_latents <= length:
        return [BlockSpan(0, num_latents, 0)]
    spans = [BlockSpan(0, length, 0)]
    while spans[-1].stop < num_latents:
        done = spans[-1].stop
        left = num_latents - done
        windows = -(-left // (sampling.window_latents - overlap))
        stride = sampling.window_latents - overlap
        block = min(length, sampling.window_latents + (windows - 1) * stride)
        stop = min(done + block - overlap, num_latents)
        first = stop - block
        spans.append(BlockSpan(first, stop, done - first))
    return spans


def latent_windows(num_latents: int, sampling: Sampling) -> list[tuple[int, int]]:
    """List the windows of the first step over all blocks, as [first, beyond the last] latent frame.

    Args:
        num_latents: K of the video.
        sampling: length of window, overlap and block.

    Returns:
        The windows, in order.
    """
    found = []
    for span in plan_blocks(num_latents, sampling):
        plan = plan_windows(
            span.stop - span.first, sampling.window_latents, sampling.overlap_latents
        )
        found += [(span.first + at, span.first + at + plan.length) for at in plan.starts]
    return found


def count_passes(num_latents: int, sampling: Sampling, sigmas: list[float], pinned: bool) -> int:
    """Count passes of the transformer, for the time that is left.

    Args:
        num_latents: K of the video.
        sampling: how it is sampled.
        sigmas: of the steps, without the last 0.
        pinned: whether windows are pinned to a reference.

    Returns:
        Passes, a batch counted by its rows.
    """
    total = 0
    for span in plan_blocks(num_latents, sampling):
        for index, sigma in enumerate(sigmas):
            plan = plan_windows(
                span.stop - span.first,
                sampling.window_latents,
                sampling.overlap_latents,
                pinned=pinned,
                shift=index * sampling.move_latents,
            )
            total += len(plan.starts) * len(sampling.guidance.branches(sigma))
    return total


def stream_latents(
    transformer: Any,
    scheduler: Any,
    num_latents: int,
    latent_shape_Chw: tuple[int, int, int],
    inputs_of: Callable[[BlockSpan], BlockInputs],
    sampling: Sampling,
    generator: torch.Generator,
    *,
    device: torch.device | str = "cpu",
    share: Share | None = None,
    watcher: Watcher | None = None,
) -> Iterator[torch.Tensor]:
    """Denoise a video block after block.

    Noise is drawn a latent frame at a time in the video's order, on the generator's device, so it
    depends on nothing but the seed: not on blocks, windows or the device that computes.

    Args:
        transformer: the model.
        scheduler: the solver.
        num_latents: K of the video.
        latent_shape_Chw: channels, rows and columns.
        inputs_of: conditions of a block.
        sampling: how.
        generator: of the noise.
        device: where latents live.
        share: which windows this process computes.
        watcher: hears about progress.

    Yields:
        The new clean latent frames [1, C, K, h, w] of each block.
    """
    channels, height, width = latent_shape_Chw
    noise = torch.zeros(1, channels, 0, height, width, device=device)
    clean = noise
    for span in plan_blocks(num_latents, sampling):
        kept = span.num_frozen
        drawn = [
            torch.randn(1, channels, 1, height, width, generator=generator, device=generator.device)
            for _ in range(span.stop - span.first - kept)
        ]
        noise = torch.cat([noise[:, :, noise.shape[2] - kept :], *(n.to(device) for n in drawn)], 2)
        frozen = clean[:, :, clean.shape[2] - kept :] if kept else None
        clean = denoise(
            transformer,
            scheduler,
            noise,
            inputs_of(span),
            sampling,
            frozen_BCKhw=frozen,
            share=share,
            watcher=watcher,
        )
        yield clean[:, :, kept:]


def stream_frames(codec: VideoCodec, latents: Iterator[torch.Tensor]) -> Iterator[np.ndarray]:
    """Decode latents as they come.

    Args:
        codec: decodes.
        latents: pieces [1, C, K, h, w] of one video, in order.

    Yields:
        Frames [H, W, 3] uint8, one latent frame decoded at a time.
    """
    decoder = open_decoder(codec)
    for piece in latents:
        for k in range(piece.shape[2]):
            frames = decoder.decode(piece[:, :, k : k + 1])[0]
            shown = ((frames.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            yield from shown.permute(1, 2, 3, 0).cpu().numpy()
