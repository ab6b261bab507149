"""LAION's aesthetic head: how much people would like a picture, from its CLIP embedding.

christophschuhmann/improved-aesthetic-predictor, ``sac+logos+ava1-l14-linearMSE``: five linear
layers on the normalised embedding of OpenAI's ViT-L/14. Between them stands nothing but dropout
(``MLP`` in ``simple_inference.py`` has its ReLUs commented out), so the head is one affine map, and
as such it is kept here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.errors import StageError
from stages.weights_load import load_state_dict

_LAYERS = (0, 2, 4, 6, 7)


class AestheticHead:
    """Score of an embedding, about 1 to 10.

    Args:
        weight_D: gradient of the score.
        bias: score of the zero vector.
    """

    def __init__(self, weight_D: np.ndarray, bias: float) -> None:
        self._weight_D = weight_D
        self._bias = bias

    @property
    def num_features(self) -> int:
        """Features of the embeddings that it was trained on."""
        return len(self._weight_D)

    @classmethod
    def load(cls, path: Path) -> AestheticHead:
        """Read the layers and multiply them out.

        Args:
            path: state dict with ``layers.N.weight`` and ``layers.N.bias``.

        Returns:
            The head.

        Raises:
            StageError: the file holds other layers.
        """
        state = load_state_dict(path)
        names = [f"layers.{n}.{part}" for n in _LAYERS for part in ("weight", "bias")]
        if sorted(names) != sorted(state):
            raise StageError(
                f"{path}: not the aesthetic head: it holds {', '.join(sorted(state)[:4])}, ...; "
                "`curate weights fetch laion-aesthetic` fetches the right file"
            )
        first = state[names[0]]
        matrix, offset = np.eye(first.shape[1]), np.zeros(first.shape[1])
        for weight_name, bias_name in zip(names[::2], names[1::2], strict=True):
            weight = state[weight_name].double().numpy()
            matrix, offset = weight @ matrix, weight @ offset + state[bias_name].double().numpy()
        return cls(matrix[0], float(offset[0]))

    def score(self, vectors_ND: np.ndarray) -> np.ndarray:
        """Score embeddings.

        Args:
            vectors_ND: (N, D) embeddings of length 1.

        Returns:
            (N,) scores.
        """
        return vectors_ND @ self._weight_D + self._bias
