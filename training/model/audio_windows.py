"""Which video frames, and so which audio features, belong to which latent frame: index arithmetic.

The Wan VAE makes one latent frame of frame 0 and one of every four frames after it, so that T
frames are (T - 1) / 4 + 1 latent frames and T has to be 4 k + 1. Latent frame 0 covers frame 0,
latent frame k >= 1 covers frames 4 k - 3 to 4 k (diffusers, ``AutoencoderKLWan``; at 25 fps these
are the 50 Hz tokens 8 k - 6 to 8 k + 1).

Not here: making features (`audio_encoders.py` and its neighbours) and projecting them
(`audio_projector.py`).
"""

from __future__ import annotations

import torch

from training.errors import SettingError

FRAMES_PER_LATENT = 4
"""Temporal stride of the Wan VAE."""


def num_latents(num_frames: int) -> int:
    """How many latent frames a video has.

    Args:
        num_frames: T, a multiple of four and one.

    Returns:
        K = (T - 1) / 4 + 1.

    Raises:
        SettingError: T is not 4 k + 1; the VAE would drop the frames that are left over.
    """
    if num_frames < 1 or (num_frames - 1) % FRAMES_PER_LATENT:
        below = max(1, (num_frames - 1) // FRAMES_PER_LATENT * FRAMES_PER_LATENT + 1)
        raise SettingError(
            f"a video of {num_frames} frames: the codec takes 4 k + 1 frames and would drop the "
            f"rest; use {below} or {below + FRAMES_PER_LATENT}"
        )
    return (num_frames - 1) // FRAMES_PER_LATENT + 1


def num_frames(num_latent_frames: int) -> int:
    """How many frames a number of latent frames is.

    Args:
        num_latent_frames: K, at least 1.

    Returns:
        T = 4 (K - 1) + 1.

    Raises:
        SettingError: K is below 1.
    """
    if num_latent_frames < 1:
        raise SettingError(f"{num_latent_frames} latent frames: a video has at least one")
    return FRAMES_PER_LATENT * (num_latent_frames - 1) + 1


def frames_of_latent(latent: int) -> range:
    """The frames that a latent frame covers: frame 0, or 4 k - 3 to 4 k.

    Args:
        latent: k, counted in the whole recording.

    Returns:
        Frames of the recording.
    """
    if latent == 0:
        return range(1)
    return range(FRAMES_PER_LATENT * latent - 3, FRAMES_PER_LATENT * latent + 1)


def frames_around_latents(
    first_latent: int, num_latent_frames: int, context_frames: int = 2
) -> torch.Tensor:
    """The frames whose audio each latent frame may hear, V = 4 + 2 context of them.

    Latent frame k >= 1 hears frames 4 k - 3 - context to 4 k + context. Latent frame 0 covers one
    frame only: frame 0 stands in all four places, with its context around it. Numbers below 0 or
    beyond the recording are left in: who looks them up gives zeros.

    Args:
        first_latent: number of the first latent frame in the whole recording.
        num_latent_frames: K.
        context_frames: frames on either side; 2 is MultiTalk's (MeiGen-AI/MultiTalk, its audio
            window of five frames).

    Returns:
        Frame numbers [K, V].

    Raises:
        SettingError: a number is negative.
    """
    if first_latent < 0 or num_latent_frames < 0 or context_frames < 0:
        raise SettingError(
            f"audio of {num_latent_frames} latent frames from {first_latent} on with "
            f"{context_frames} frames of context: none of these can be negative"
        )
    latent_K = torch.arange(first_latent, first_latent + num_latent_frames)
    offset_V = torch.arange(-3 - context_frames, 1 + context_frames)
    frames_KV = FRAMES_PER_LATENT * latent_K[:, None] + offset_V[None]
    covered_V = offset_V.clamp(-3, 0)
    around_zero_V = offset_V - covered_V
    return torch.where(latent_K[:, None] == 0, around_zero_V[None], frames_KV)


def latent_audio_windows(
    features_FSD: torch.Tensor, first_latent: int, num_latents: int, context_frames: int = 2
) -> torch.Tensor:
    """Slice the features of a whole recording around latent frames.

    What lies before frame 0 or beyond frame F - 1 is zeros, the null audio; it is never taken from
    the other end of the recording. A window of a long video slices the same features with its own
    `first_latent`, so neighbouring windows agree where they overlap.

    Args:
        features_FSD: features of the recording, one row a video frame.
        first_latent: number of the first latent frame in the whole recording.
        num_latents: K.
        context_frames: frames on either side.

    Returns:
        Windows [K, V, S, D].

    Raises:
        SettingError: a number is negative.
    """
    frames_KV = frames_around_latents(first_latent, num_latents, context_frames)
    frames_KV = frames_KV.to(features_FSD.device)
    num_features = features_FSD.shape[0]
    if num_features == 0:
        return features_FSD.new_zeros(*frames_KV.shape, *features_FSD.shape[1:])
    known_KV = (frames_KV >= 0) & (frames_KV < num_features)
    windows_KVSD = features_FSD[frames_KV.clamp(0, num_features - 1)]
    return torch.where(known_KV[..., None, None], windows_KVSD, torch.zeros_like(windows_KVSD))


def audio_positions(latent_position_K: torch.Tensor, tokens_per_latent: int) -> torch.Tensor:
    """The time of every audio token, in latent units.

    Frame f lies at (f + 3) / 4, frame 0 at 0, so latent frame k >= 1 covers [k, k + 1); its tokens
    are spread over its four frames, those of latent frame 0 all lie at 0. In every window of a long
    video positions start at 0, as those of the video's own rotary embedding do.

    Args:
        latent_position_K: position of each latent frame; 0 is the first frame of a window.
        tokens_per_latent: M.

    Returns:
        Positions [K, M].
    """
    token_M = torch.arange(tokens_per_latent, device=latent_position_K.device)
    frame_in_latent_M = token_M * FRAMES_PER_LATENT // tokens_per_latent
    latent_position_K1 = latent_position_K.float()[:, None]
    position_KM = latent_position_K1 + frame_in_latent_M[None] / FRAMES_PER_LATENT
    return torch.where(
        latent_position_K1 == 0, latent_position_K1.expand_as(position_KM), position_KM
    )
