"""Audio features around each latent frame to the tokens that the transformer attends to.

The paper's figure shows an MLP between Whisper and the audio cross-attention; its sizes are not
known. Ours are MultiTalk's (MeiGen-AI/MultiTalk: 512 wide, 32 tokens of 768 a latent frame,
LayerNorm at the end), with one MLP for all latent frames, because frame 0 fills the window of
latent frame 0 (`audio_windows.py`).

Null audio is zeros of features: its tokens are what this module makes of zeros, biases included,
the same in training and in generation. Not here: positions, which the attention adds.
"""

from __future__ import annotations

import torch
from torch import nn


class AudioProjector(nn.Module):  # type: ignore[misc]
    """MLP over the whole window of a latent frame: [.., K, V, S, D] to [.., K, M, audio_width].

    Args:
        num_frames: V, frames of a window.
        num_layers: S, layer groups of the audio encoder.
        feature_width: D.
        num_tokens: M, tokens a latent frame.
        audio_width: width of a token.
        hidden_width: width between.
    """

    def __init__(
        self,
        num_frames: int,
        num_layers: int,
        feature_width: int,
        num_tokens: int,
        audio_width: int,
        hidden_width: int,
    ) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.window = nn.Linear(num_frames * num_layers * feature_width, hidden_width)
        self.hidden = nn.Linear(hidden_width, hidden_width)
        self.tokens = nn.Linear(hidden_width, num_tokens * audio_width)
        self.token_norm = nn.LayerNorm(audio_width)

    def forward(self, windows_BAKVSD: torch.Tensor) -> torch.Tensor:
        """Project windows of features.

        Args:
            windows_BAKVSD: features around each latent frame; zeros are the null audio.

        Returns:
            Tokens [B, A, K, M, audio_width].
        """
        x = windows_BAKVSD.flatten(-3).to(self.window.weight.dtype)
        x = torch.relu(self.window(x))
        x = torch.relu(self.hidden(x))
        return self.token_norm(self.tokens(x).unflatten(-1, (self.num_tokens, -1)))
