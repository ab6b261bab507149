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


class WhisperEncoder:
    """Hidden states of Whisper's encoder.

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
        self._encoder = encoder.eval().requires_grad_(False).to(device)
        self._feature_extractor = feature_extractor
        self.device = torch.device(device)
        num_states = int(encoder.config.encoder_layers) + 1
        self._groups = _check_groups(layer_groups or whisper_layer_groups(num_states), num_states)
        self.num_layers = len(self._groups)
        self.width = int(encoder.config.d_model)
        self._chunk = int(encoder.config.max_source_positions)
        self._overlap = round(overlap_s * _STATES_PER_S)
        self._fade = round(fade_s * _STATES_PER_S)
        if not 0 < self._overlap < self._chunk:
            raise SettingError(
                f"overlap of {overlap_s} s for chunks of {self._chunk / _STATES_PER_S} s; it has "
                "to be shorter than a chunk and at least one state (0.02 s)"
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
        total = max(own, self._chunk)
        pcm_N = torch.nn.functional.pad(pcm_N, (0, total * _SAMPLES_PER_STATE - len(pcm_N)))
        mel_1DL = self._feature_extractor(
            pcm_N.numpy(),
            sampling_rate=AUDIO_SAMPLE_RATE_HZ,
            truncation=False,
            padding="longest",
            return_tensors="pt",
        ).input_features.to(self.device, self._encoder.dtype)
        starts = chunk_starts(total, self._chunk, self._overlap)
        chunks = []
        for start in starts:
            mel = mel_1DL[..., 2 * start : 2 * (start + self._chunk)]
            states = self._encoder(mel, output_hidden_states=True).hidden_states
            chunks.append(group_layers(states, self._groups))
        joined_LSD = join_chunks(chunks, starts, total, self._fade)[:own]
        # State j is centred on sample 320 j: both convolutions are, and the spectrogram is.
        return at_positions(joined_LSD, frame_centres_s(num_frames, fps) * _STATES_PER_S)


class Wav2Vec2Encoder:
    """Hidden states of wav2vec2.

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
        self._model = model.eval().requires_grad_(False).to(device)
        self._feature_extractor = feature_extractor
        self.device = torch.device(device)
        num_layers = int(model.config.num_hidden_layers)
        default = tuple((layer, layer + 1) for layer in range(1, num_layers + 1))
        self._groups = _check_groups(layer_groups or default, num_layers + 1)
        self.num_layers = len(self._groups)
        self.width = int(model.config.hidden_size)
        self._chunk = round(chunk_s * _STATES_PER_S)
        self._overlap = round(overlap_s * _STATES_PER_S)
        self._fade = round(fade_s * _STATES_PER_S)
        if not 0 < self._overlap < self._chunk:
            raise SettingError(
                f"overlap of {overlap_s} s for chunks of {chunk_s} s; it has to be shorter than a "
                "chunk and at least one state (0.02 s)"
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
        total = math.ceil(len(pcm_N) / _SAMPLES_PER_STATE)
        values_N = self._feature_extractor(
            pcm_N.numpy(), sampling_rate=AUDIO_SAMPLE_RATE_HZ, return_tensors="pt"
        ).input_values[0]
        beyond = _WAV2VEC2_FIELD - _SAMPLES_PER_STATE
        short = total * _SAMPLES_PER_STATE + beyond - len(values_N)
        values_N = torch.nn.functional.pad(values_N, (0, short)).to(self.device, self._model.dtype)
        starts = chunk_starts(total, self._chunk, self._overlap)
        chunks = []
        for start in starts:
            end = min(start + self._chunk, total) * _SAMPLES_PER_STATE + beyond
            heard = values_N[None, start * _SAMPLES_PER_STATE : end]
            states = self._model(heard, output_hidden_states=True).hidden_states
            chunks.append(group_layers(states, self._groups))
        joined_LSD = join_chunks(chunks, starts, total, self._fade)
        # State j sees samples 320 j to 320 j + 399.
        centre_s = _WAV2VEC2_FIELD / 2 / AUDIO_SAMPLE_RATE_HZ
        times_s = frame_centres_s(num_frames, fps) - centre_s
        return at_positions(joined_LSD, times_s * _STATES_PER_S)
