"""Whisper and wav2vec2 as audio encoders: any length, layers in groups, at the video's frame rate.

Neither is run on a whole recording: Whisper's encoder takes exactly one chunk (30 s) and its
feature extractor would silently drop what is longer; wav2vec2's cost grows with the square. Both
run in overlapping chunks (`audio_chunks.py`). Whisper's spectrogram and wav2vec2's normalisation
are made once over the whole recording, so that chunks differ in context only; a recording of one
chunk gives exactly what the library gives.

Features are taken at the middle of each frame by linear interpolation in time, at any frame rate.
Not here: loudness, which the caller may set before (MultiTalk uses -23 LUFS).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from training.errors import SettingError
from training.model.audio_chunks import (
    at_positions,
    chunk_starts,
    frame_centres_s,
    join_chunks,
    pcm_of_frames,
)
from training.model.interfaces import AUDIO_SAMPLE_RATE_HZ

LayerGroups = tuple[tuple[int, int], ...]
"""Hidden states that are averaged into one layer, as [first, beyond last)."""

_SAMPLES_PER_STATE = 320
"""Both encoders give 50 states a second."""

_STATES_PER_S = AUDIO_SAMPLE_RATE_HZ / _SAMPLES_PER_STATE

_WAV2VEC2_FIELD = 400
"""Samples that one state of wav2vec2's convolutions sees: N samples give (N - 400) // 320 + 1."""

_BEYOND = _WAV2VEC2_FIELD - _SAMPLES_PER_STATE


def whisper_layer_groups(num_states: int) -> LayerGroups:
    """The last state alone and the rest in four groups, as even as can be.

    Of the 33 states of large-v3 these are LongCat-Avatar 1.5's five (meituan-longcat/LongCat-Video:
    means of 0-7, 8-15, 16-23, 24-31, and 32); of the 5 of tiny, each alone.

    Args:
        num_states: the embedding and one a layer.

    Returns:
        Groups, five where there are five states or more.
    """
    num_groups = min(4, num_states - 1)
    edges = [group * (num_states - 1) // num_groups for group in range(num_groups + 1)]
    return (*pairwise(edges), (num_states - 1, num_states))


def group_layers(states: tuple[torch.Tensor, ...], groups: LayerGroups) -> torch.Tensor:
    """The mean of each group of layers.

    Args:
        states: hidden states [1, L, D] of every layer.
        groups: which are averaged.

    Returns:
        States [L, S, D].
    """
    means = [torch.stack(states[first:beyond]).mean(0)[0] for first, beyond in groups]
    return torch.stack(means, dim=1)


def _check_groups(groups: LayerGroups, num_states: int) -> LayerGroups:
    for first, beyond in groups:
        if not 0 <= first < beyond <= num_states:
            raise SettingError(
                f"layer group [{first}, {beyond}) of an encoder with {num_states} hidden states; "
                f"use numbers from 0 to {num_states}, the second above the first"
            )
    if not groups:
        raise SettingError("no layer groups: leave layer_groups out for the default")
    return groups


class _ChunkedEncoder:
    """A speech encoder that is run in overlapping chunks; which one is the subclass's to say.

    Args:
        model: of transformers, giving hidden states.
        feature_extractor: its own.
        num_states: hidden states that it gives.
        groups: which of them are averaged.
        width: of a state.
        chunk: states of a chunk.
        fewest: states that the model takes at least.
        overlap_s: overlap of chunks.
        fade_s: length of the fade within an overlap.
        device: where it runs.
    """

    centre_s = 0.0
    """Time of the middle of what state 0 hears."""

    def __init__(
        self,
        model: Any,
        feature_extractor: Any,
        *,
        num_states: int,
        groups: LayerGroups,
        width: int,
        chunk: int,
        fewest: int,
        overlap_s: float,
        fade_s: float,
        device: torch.device | str,
    ) -> None:
        self._model = model.eval().requires_grad_(False).to(device)
        self._feature_extractor = feature_extractor
        self.device = torch.device(device)
        self._groups = _check_groups(groups, num_states)
        self.num_layers = len(self._groups)
        self.width = width
        self._chunk, self._fewest = chunk, fewest
        self._overlap = round(overlap_s * _STATES_PER_S)
        self._fade = round(fade_s * _STATES_PER_S)
        if not 0 < self._overlap < chunk:
            raise SettingError(
                f"overlap of {overlap_s} s for chunks of {chunk / _STATES_PER_S} s; it has to be "
                "shorter than a chunk and at least one state (0.02 s)"
            )

    @torch.no_grad()
    def encode(self, pcm_N: torch.Tensor, num_frames: int, fps: float) -> torch.Tensor:
        """Encode a recording, however long.

        Args:
            pcm_N: mono sound at 16 kHz in [-1, 1], starting with frame 0.
            num_frames: F.
            fps: frames a second.

        Returns:
            Features [F, S, D], feature f centred on frame f.
        """
        pcm_N = pcm_of_frames(pcm_N, num_frames, fps)
        own = math.ceil(len(pcm_N) / _SAMPLES_PER_STATE)
        total = max(own, self._fewest)
        starts = chunk_starts(total, self._chunk, self._overlap)
        chunks = [
            group_layers(self._model(part, output_hidden_states=True).hidden_states, self._groups)
            for part in self._parts(pcm_N, total, starts)
        ]
        joined_LSD = join_chunks(chunks, starts, total, self._fade)[:own]
        times_s = frame_centres_s(num_frames, fps) - self.centre_s
        return at_positions(joined_LSD, times_s * _STATES_PER_S)

    def _parts(self, pcm_N: torch.Tensor, total: int, starts: Sequence[int]) -> list[torch.Tensor]:
        """What the model is given for each chunk of a recording that is ``total`` states long."""
        raise NotImplementedError


class WhisperEncoder(_ChunkedEncoder):
    """Hidden states of Whisper's encoder; state j is centred on sample 320 j.

    Args:
        encoder: ``WhisperModel(...).encoder`` of transformers.
        feature_extractor: its ``WhisperFeatureExtractor``.
        layer_groups: hidden states that are averaged; ``None``: `whisper_layer_groups`.
        overlap_s: overlap of chunks.
        fade_s: length of the fade within an overlap.
        device: where it runs.
    """

    def __init__(
        self,
        encoder: Any,
        feature_extractor: Any,
        layer_groups: LayerGroups | None = None,
        overlap_s: float = 2.0,
        fade_s: float = 0.5,
        device: torch.device | str = "cpu",
    ) -> None:
        num_states = int(encoder.config.encoder_layers) + 1
        super().__init__(
            encoder,
            feature_extractor,
            num_states=num_states,
            groups=layer_groups or whisper_layer_groups(num_states),
            width=int(encoder.config.d_model),
            chunk=int(encoder.config.max_source_positions),
            fewest=int(encoder.config.max_source_positions),  # it takes whole chunks only
            overlap_s=overlap_s,
            fade_s=fade_s,
            device=device,
        )

    def _parts(self, pcm_N: torch.Tensor, total: int, starts: Sequence[int]) -> list[torch.Tensor]:
        pcm_N = torch.nn.functional.pad(pcm_N, (0, total * _SAMPLES_PER_STATE - len(pcm_N)))
        mel_1DL = self._feature_extractor(
            pcm_N.numpy(),
            sampling_rate=AUDIO_SAMPLE_RATE_HZ,
            truncation=False,
            padding="longest",
            return_tensors="pt",
        ).input_features.to(self.device, self._model.dtype)
        return [mel_1DL[..., 2 * start : 2 * (start + self._chunk)] for start in starts]


class Wav2Vec2Encoder(_ChunkedEncoder):
    """Hidden states of wav2vec2; state j hears samples 320 j to 320 j + 399.

    Args:
        model: ``Wav2Vec2Model`` of transformers.
        feature_extractor: its ``Wav2Vec2FeatureExtractor``.
        layer_groups: hidden states that are averaged; ``None``: every layer alone, without the
            first layer's input (MultiTalk: 12 of 13).
        chunk_s: length of a chunk.
        overlap_s: overlap of chunks.
        fade_s: length of the fade within an overlap.
        device: where it runs.
    """

    centre_s = _WAV2VEC2_FIELD / 2 / AUDIO_SAMPLE_RATE_HZ

    def __init__(
        self,
        model: Any,
        feature_extractor: Any,
        layer_groups: LayerGroups | None = None,
        chunk_s: float = 30.0,
        overlap_s: float = 2.0,
        fade_s: float = 0.5,
        device: torch.device | str = "cpu",
    ) -> None:
        num_states = int(model.config.num_hidden_layers) + 1
        super().__init__(
            model,
            feature_extractor,
            num_states=num_states,
            groups=layer_groups or tuple(pairwise(range(1, num_states + 1))),
            width=int(model.config.hidden_size),
            chunk=round(chunk_s * _STATES_PER_S),
            fewest=1,
            overlap_s=overlap_s,
            fade_s=fade_s,
            device=device,
        )

    def _parts(self, pcm_N: torch.Tensor, total: int, starts: Sequence[int]) -> list[torch.Tensor]:
        values_N = self._feature_extractor(
            pcm_N.numpy(), sampling_rate=AUDIO_SAMPLE_RATE_HZ, return_tensors="pt"
        ).input_values[0]
        short = total * _SAMPLES_PER_STATE + _BEYOND - len(values_N)
        values_N = torch.nn.functional.pad(values_N, (0, short)).to(self.device, self._model.dtype)
        ends = [min(start + self._chunk, total) for start in starts]
        return [
            values_N[None, start * _SAMPLES_PER_STATE : end * _SAMPLES_PER_STATE + _BEYOND]
            for start, end in zip(starts, ends, strict=True)
        ]
