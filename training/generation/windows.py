"""Windows over the latent frames of a long video, and the fusion of what is predicted in each.

In the room: where windows lie, how much each counts at each latent frame, and the fused
prediction. Not in the room: the model, guidance and the scheduler. Predictions are fused, not
stepped latents: a multistep solver such as UniPC keeps a history of predictions, so that stepping
each window on its own mixes histories, whereas fused predictions suit every solver. For Euler,
whose step is linear in the prediction, both are the same.

The scheme follows the sliding windows of StableAvatar and EchoMimicV3 and the moving grids of
Sonic; normalised weights, clamped grids and the place of the fusion are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from training.errors import SettingError


@dataclass(frozen=True)
class WindowPlan:
    """Where the windows of one denoising step lie.

    Attributes:
        num_latents: K of the whole sequence.
        length: latent frames of a window; all windows have the same.
        starts: first latent frame of each window, ascending, the first 0, the last K - length.
        weights: [windows, length], float64; at each latent frame of the sequence they sum to one.
    """

    num_latents: int
    length: int
    starts: tuple[int, ...]
    weights: np.ndarray

    @property
    def repeated_work(self) -> float:
        """Latent frames that are predicted, over latent frames of the sequence."""
        return len(self.starts) * self.length / self.num_latents


class Share(Protocol):
    """How windows are shared among the processes that work on one video."""

    def mine(self, index: int) -> bool:
        """Return whether this process predicts the window with this index."""
        ...

    def total(self, sum_here: torch.Tensor) -> torch.Tensor:
        """Return the sum over all processes."""
        ...


def plan_windows(
    num_latents: int, length: int, overlap: int, *, pinned: bool = False, shift: int = 0
) -> WindowPlan:
    """Lay windows over a sequence.

    Window k starts at ``k (length - overlap) - shift``, held within the sequence, so the last one
    is shifted back instead of ending beyond. Over the frames that a window shares with its
    neighbours its weight rises and falls linearly; then every frame's weights are divided by
    their sum, because three windows can share a frame where the last one is shifted back.

    Args:
        num_latents: K of the sequence, at least 1.
        length: latent frames of a window; a shorter sequence is one window of its own length.
        overlap: latent frames that neighbours share, below ``length``.
        pinned: the first latent frame of a window is the reference picture instead of the video's
            own frame. It then has weight 0 in every window but the first, and neighbours share
            at least one frame, so that another window answers for it.
        shift: latent frames by which the whole grid is moved back; grids that move from step to
            step leave no seam in one place. Taken modulo the stride, clamped at both ends, never
            wrapped: a video is no loop.

    Returns:
        The plan.

    Raises:
        SettingError: If a number is out of its range.
    """
    if num_latents < 1:
        raise SettingError(f"windows: a sequence of {num_latents} latent frames; give at least 1")
    if length < 1 or not 0 <= overlap < length:
        raise SettingError(
            f"windows: overlap {overlap} of length {length} latent frames; an overlap has to be "
            "at least 0 and below the length"
        )
    if pinned and length == 1 and num_latents > 1:
        raise SettingError(
            f"windows: length 1 for {num_latents} latent frames; with a reference picture in "
            "each window a window needs at least 2"
        )
    if num_latents <= length:
        return WindowPlan(num_latents, num_latents, (0,), np.ones((1, num_latents)))
    stride = length - max(overlap, 1 if pinned else 0)
    last = num_latents - length
    first = -(shift % stride)
    num_steps = -(-(last - first) // stride) + 1
    held = {min(max(first + k * stride, 0), last) for k in range(num_steps)}
    starts = tuple(sorted(held))
    return WindowPlan(num_latents, length, starts, _weights(num_latents, length, starts, pinned))


def _weights(num_latents: int, length: int, starts: tuple[int, ...], pinned: bool) -> np.ndarray:
    position = np.arange(length)
    rows = []
    for k, start in enumerate(starts):
        row = np.ones(length)
        if k > 0:
            shared = starts[k - 1] + length - start
            row *= np.minimum((position + 1) / (shared + 1), 1)
            if pinned:
                row[0] = 0
        if k + 1 < len(starts):
            shared = start + length - starts[k + 1]
            row *= np.minimum((length - position) / (shared + 1), 1)
        rows.append(row)
    weights = np.stack(rows)
    total = np.zeros(num_latents)
    for start, row in zip(starts, weights, strict=True):
        total[start : start + length] += row
    return np.stack([w / total[s : s + length] for s, w in zip(starts, weights, strict=True)])


def fuse(
    plan: WindowPlan,
    latent_BCKhw: torch.Tensor,
    predict: Callable[[torch.Tensor, int], torch.Tensor],
    share: Share | None = None,
) -> torch.Tensor:
    """Predict in every window and add up by weight.

    ``v(i) = sum_k w_k(i - s_k) v_k(i - s_k)``. A plan of one window returns the prediction itself.

    Args:
        plan: the windows.
        latent_BCKhw: the whole sequence, K as in the plan.
        predict: given a window [B, C, length, h, w] and its first latent frame, returns
            [..., length, h, w]; leading axes are free, so several branches may be stacked.
        share: which windows this process predicts; without one, all of them.

    Returns:
        The fused prediction [..., K, h, w], in the data type of the predictions, added up in
        single precision or better.

    Raises:
        SettingError: If the sequence has not the plan's length.
    """
    if latent_BCKhw.shape[-3] != plan.num_latents:
        raise SettingError(
            f"windows: planned for {plan.num_latents} latent frames, given "
            f"{latent_BCKhw.shape[-3]}; plan anew for another length"
        )
    if len(plan.starts) == 1:
        return predict(latent_BCKhw, 0)
    fused: torch.Tensor | None = None
    dtype = latent_BCKhw.dtype
    for index, start in enumerate(plan.starts):
        if share is not None and not share.mine(index):
            continue
        value = predict(latent_BCKhw[..., start : start + plan.length, :, :], start)
        dtype = value.dtype
        wide = torch.promote_types(dtype, torch.float32)
        if fused is None:
            shape = (*value.shape[:-3], plan.num_latents, *value.shape[-2:])
            fused = torch.zeros(shape, dtype=wide, device=value.device)
        weight_K11 = torch.as_tensor(plan.weights[index], dtype=wide, device=value.device)
        fused[..., start : start + plan.length, :, :] += value.to(wide) * weight_K11[:, None, None]
    if share is not None:
        if fused is None:
            # More processes than windows: this one says nothing, in the right shape.
            value = predict(latent_BCKhw[..., : plan.length, :, :], 0)
            dtype, wide = value.dtype, torch.promote_types(value.dtype, torch.float32)
            fused = value.new_zeros(
                (*value.shape[:-3], plan.num_latents, *value.shape[-2:]), dtype=wide
            )
        fused = share.total(fused)
    assert fused is not None
    return fused.to(dtype)
