"""Log-mel features in place of a pretrained audio encoder, for the tiny model.

Nothing is learned and nothing is downloaded. Each feature depends on 25 ms of sound around its
time and on nothing else, so it knows neither words nor speakers: it drives a small model that shows
that training works, and is no stand-in for Whisper.
"""

from __future__ import annotations

import torch
from transformers.audio_utils import mel_filter_bank

from training.model.audio_chunks import at_positions, frame_centres_s, pcm_of_frames
from training.model.interfaces import AUDIO_SAMPLE_RATE_HZ

_WINDOW = 400
_HOP = 160
"""25 ms every 10 ms, Whisper's spectrogram (transformers, ``WhisperFeatureExtractor``)."""

_LOWEST_LOG10 = -8.0
"""Ours: quieter than any microphone; what is below counts as silence and gives -1."""


class LogMelEncoder:
    """Log-mel bands at several moments of each frame, as layers: [F, S, D].

    Values are (log10 power + 4) / 4, Whisper's range, without its normalisation by the loudest
    moment, so that a feature does not depend on sound elsewhere.

    Args:
        num_mels: D, bands between 0 and 8 kHz.
        moments_per_frame: S, evenly spread over a frame.
        device: where features are made.
    """

    def __init__(
        self,
        num_mels: int = 40,
        moments_per_frame: int = 2,
        device: torch.device | str = "cpu",
    ) -> None:
        self.num_layers = moments_per_frame
        self.width = num_mels
        self.device = torch.device(device)
        filters = mel_filter_bank(
            num_frequency_bins=_WINDOW // 2 + 1,
            num_mel_filters=num_mels,
            min_frequency=0.0,
            max_frequency=AUDIO_SAMPLE_RATE_HZ / 2,
            sampling_rate=AUDIO_SAMPLE_RATE_HZ,
            norm="slaney",
            mel_scale="slaney",
        )
        self._filters = torch.from_numpy(filters).float().to(self.device)
        self._window = torch.hann_window(_WINDOW, device=self.device)

    @torch.no_grad()
    def encode(self, pcm_N: torch.Tensor, num_frames: int, fps: float) -> torch.Tensor:
        """Measure a recording.

        Args:
            pcm_N: mono sound at 16 kHz in [-1, 1], starting with frame 0.
            num_frames: F.
            fps: frames a second.

        Returns:
            Features [F, S, D], feature f centred on frame f.
        """
        pcm_N = pcm_of_frames(pcm_N, num_frames, fps).to(self.device)
        padded = torch.nn.functional.pad(pcm_N, (_WINDOW // 2, _WINDOW // 2))
        spectrum = torch.stft(
            padded, _WINDOW, _HOP, window=self._window, center=False, return_complex=True
        )
        power_LD = spectrum.abs().square().T @ self._filters
        log_LD = power_LD.clamp(min=10**_LOWEST_LOG10).log10()
        states_L1D = ((log_LD + 4) / 4)[:, None]
        moment_S = (torch.arange(self.num_layers, dtype=torch.float64) + 0.5) / self.num_layers
        times_FS = frame_centres_s(num_frames, fps)[:, None] + (moment_S - 0.5)[None] / fps
        positions = times_FS.flatten() * AUDIO_SAMPLE_RATE_HZ / _HOP
        return at_positions(states_L1D, positions).view(num_frames, self.num_layers, self.width)
