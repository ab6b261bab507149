"""The lip-sync network, forward only, in NumPy: two towers of 1-D convolutions.

One tower turns mouth movement into a vector a grid frame, the other turns log-mel bands into one;
where voice and lips belong together, the vectors of the same moment point the same way. They are
not normalised: silence and a still mouth give short vectors, which are no evidence.

In the room: convolution, batches of unequal length, the stored form. Not in the room: how the
weights are learned (`sync_training`).

Shape letters: S sequences of a batch, N frames, K taps, C and D channels in and out, F features,
X coordinates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from stages.landmarks import FloatArray


@dataclass(frozen=True)
class Convolution:
    """One layer, batch normalisation folded in.

    Attributes:
        weight_KCD: taps; an odd number of them, centred.
        bias_D: added to each output.
        stride: frames from one output to the next.
    """

    weight_KCD: FloatArray
    bias_D: FloatArray
    stride: int = 1

    def __call__(self, x_SNC: FloatArray) -> FloatArray:
        """Convolve with zeros beyond the ends; (S, N, C) to (S, ceil(N / stride), D)."""
        taps, channels, outputs = self.weight_KCD.shape
        padded = np.pad(x_SNC, ((0, 0), (taps // 2, taps // 2), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, taps, axis=1)
        windows = windows[:, :: self.stride].swapaxes(2, 3)
        rows = np.ascontiguousarray(windows).reshape(-1, taps * channels)
        flat = rows @ self.weight_KCD.reshape(-1, outputs) + self.bias_D
        return np.asarray(flat.reshape(len(x_SNC), -1, outputs))


@dataclass(frozen=True)
class TwoTowers:
    """One network.

    Attributes:
        pca_XF: (195, 24) principal directions of mouth movement.
        video_spread_F: (55,) what each feature of the picture is divided by.
        video: layers from mouth movement to vectors, 25 a second.
        audio: layers from log-mel bands, 100 a second, to vectors, 25 a second.
    """

    pca_XF: FloatArray
    video_spread_F: FloatArray
    video: tuple[Convolution, ...]
    audio: tuple[Convolution, ...]

    def embed_video(self, features: Sequence[FloatArray]) -> list[FloatArray]:
        """Embed (N, F) features of each sequence, already divided by their spread; (N, D)."""
        return _run(self.video, features)

    def embed_audio(self, features: Sequence[FloatArray]) -> list[FloatArray]:
        """Embed (4 N, B) features of each sequence; (N, D)."""
        return _run(self.audio, features)

    def to_arrays(self, prefix: str = "") -> dict[str, FloatArray]:
        """Name all arrays, for storage."""
        arrays = {f"{prefix}pca_XF": self.pca_XF, f"{prefix}video_spread_F": self.video_spread_F}
        for tower, layers in (("video", self.video), ("audio", self.audio)):
            for number, layer in enumerate(layers):
                arrays[f"{prefix}{tower}.{number}.weight_KCD"] = layer.weight_KCD
                arrays[f"{prefix}{tower}.{number}.bias_D"] = layer.bias_D
                arrays[f"{prefix}{tower}.{number}.stride"] = np.array(float(layer.stride))
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], prefix: str = "") -> Self:
        """Read what `to_arrays` named."""

        def array(name: str) -> FloatArray:
            return np.asarray(arrays[prefix + name], np.float32)

        towers = [
            tuple(
                Convolution(
                    array(f"{tower}.{number}.weight_KCD"),
                    array(f"{tower}.{number}.bias_D"),
                    int(arrays[f"{prefix}{tower}.{number}.stride"]),
                )
                for number in range(sum(f"{prefix}{tower}.{n}.bias_D" in arrays for n in range(16)))
            )
            for tower in ("video", "audio")
        ]
        return cls(array("pca_XF"), array("video_spread_F"), towers[0], towers[1])


def _run(layers: Sequence[Convolution], features: Sequence[FloatArray]) -> list[FloatArray]:
    """Run sequences of unequal length as one batch, each as if it were alone.

    Shorter sequences are filled with zeros, and what a layer made of the filling is set to zero
    again, so that the next layer sees the same beyond the end as beyond the end of the longest.
    """
    if not features:
        return []
    lengths_S = np.array([len(each) for each in features])
    x_SNC = np.zeros((len(features), max(1, lengths_S.max()), features[0].shape[1]), np.float32)
    for row, each in zip(x_SNC, features, strict=True):
        row[: len(each)] = each
    for number, layer in enumerate(layers):
        x_SNC = layer(x_SNC)
        lengths_S = -(-lengths_S // layer.stride)
        if number + 1 < len(layers):
            x_SNC = np.maximum(x_SNC, 0)
        x_SNC[np.arange(x_SNC.shape[1]) >= lengths_S[:, None]] = 0
    return [row[:length] for row, length in zip(x_SNC, lengths_S, strict=True)]
