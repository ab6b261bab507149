"""Long sound in overlapping chunks, and states of an encoder at the times of video frames.

An encoder with attention over its whole input sees a long recording in chunks. Neighbouring chunks
overlap; in the middle of each overlap one fades into the other, so that there is no seam, and
every state outside of a fade is exactly what its chunk gives. States of two chunks at one time
differ, because their contexts differ: no join can equal an encoding of everything at once, and
half the overlap is the least context that a state has on the side of a join.

Not here: the encoders (`audio_encoders.py`, `log_mel.py`).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch

from training.errors import InputError
from training.model.interfaces import AUDIO_SAMPLE_RATE_HZ


def pcm_of_frames(pcm_N: torch.Tensor, num_frames: int, fps: float) -> torch.Tensor:
    """The sound of the frames: cut at their end, silence where it is shorter.

    Args:
        pcm_N: mono sound at 16 kHz, starting with frame 0.
        num_frames: F.
        fps: frames a second.

    Returns:
        Sound [N] in float32, N = ceil(F / fps * 16000).

    Raises:
        InputError: the sound is not one finite channel, or there are no frames.
    """
    if pcm_N.ndim != 1 or not pcm_N.is_floating_point():
        raise InputError(
            f"sound of shape {tuple(pcm_N.shape)} and type {pcm_N.dtype}: wanted one channel of "
            "floats in [-1, 1] at 16 kHz; mix the channels and divide integers by their range"
        )
    if num_frames < 1 or not fps > 0:
        raise InputError(f"{num_frames} frames at {fps} a second: there is nothing to listen for")
    if not torch.isfinite(pcm_N).all():
        bad = int((~torch.isfinite(pcm_N)).nonzero()[0])
        raise InputError(
            f"sound is not finite at sample {bad} ({bad / AUDIO_SAMPLE_RATE_HZ:.3f} s); decode the "
            "file anew or leave it out"
        )
    num_samples = math.ceil(num_frames / fps * AUDIO_SAMPLE_RATE_HZ)
    pcm_N = pcm_N[:num_samples].float()
    return torch.nn.functional.pad(pcm_N, (0, num_samples - pcm_N.shape[0]))


def frame_centres_s(num_frames: int, fps: float) -> torch.Tensor:
    """The middle of each frame.

    Args:
        num_frames: F.
        fps: frames a second.

    Returns:
        Seconds [F], float64.
    """
    return (torch.arange(num_frames, dtype=torch.float64) + 0.5) / fps


def at_positions(states_LSD: torch.Tensor, positions_F: torch.Tensor) -> torch.Tensor:
    """Interpolate states linearly at fractional positions; the ends are held.

    Args:
        states_LSD: one row a step of the encoder.
        positions_F: in steps.

    Returns:
        States [F, S, D].
    """
    last = states_LSD.shape[0] - 1
    positions_F = positions_F.to(states_LSD.device).clamp(0, last)
    below_F = positions_F.floor().long()
    above_F = (below_F + 1).clamp(max=last)
    weight_F11 = (positions_F - below_F)[:, None, None].to(states_LSD.dtype)
    return torch.lerp(states_LSD[below_F], states_LSD[above_F], weight_F11)


def chunk_starts(total: int, chunk: int, overlap: int) -> list[int]:
    """Where chunks start, in steps; the last one ends where the sound ends.

    Args:
        total: steps of the recording.
        chunk: steps of a chunk.
        overlap: least overlap of neighbours, below `chunk`.

    Returns:
        Ascending starts; 0 alone if one chunk is enough.
    """
    if total <= chunk:
        return [0]
    return [*range(0, total - chunk, chunk - overlap), total - chunk]


def join_chunks(
    chunks_LSD: list[torch.Tensor], starts: list[int], total: int, fade: int
) -> torch.Tensor:
    """Join overlapping chunks into one sequence, cross-faded within the overlaps.

    Each fade lies in the middle of its overlap and is linear in time. Every state outside of the
    fades is one chunk's, unchanged.

    Args:
        chunks_LSD: states of each chunk.
        starts: where each starts, ascending.
        total: steps of the recording.
        fade: longest fade, in steps.

    Returns:
        States [total, S, D].
    """
    joined = chunks_LSD[0].new_zeros(total, *chunks_LSD[0].shape[1:])
    joined[: chunks_LSD[0].shape[0]] = chunks_LSD[0][:total]
    for (before, after), states_LSD in zip(pairwise(starts), chunks_LSD[1:], strict=True):
        end_before = min(before + chunks_LSD[0].shape[0], total)
        overlap = end_before - after
        length = min(fade, overlap)
        first = after + (overlap - length) // 2
        weight_L11 = torch.linspace(0, 1, length + 2, dtype=joined.dtype, device=joined.device)
        weight_L11 = weight_L11[1:-1, None, None]
        own = states_LSD[first - after :][: total - first]
        joined[first : first + length] = torch.lerp(
            joined[first : first + length], own[:length], weight_L11
        )
        joined[first + length : first + own.shape[0]] = own[length:]
    return joined
