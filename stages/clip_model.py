"""CLIP through open_clip: pictures and sentences as vectors of one space.

open_clip needs torchvision, which the default environment does not have; it is imported where a
model is loaded, never with this module. In the room: loading and embedding. Not in the room: what
the vectors are used for (:mod:`stages.embedding`).

Shape letters: N pictures or texts, D features; every row has length 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.environment import torch_device, weights_path
from stages.errors import StageError

_NAME = "ViT-L-14-quickgelu"
"""OpenAI's weights were trained with QuickGELU; open_clip's plain ``ViT-L-14`` would load them
without complaint and give other vectors."""

CONFIG_NAME = "open_clip_config.json"


class ClipModel:
    """A CLIP model in memory.

    Args:
        model: an open_clip model.
        preprocess: its transform of a PIL picture.
        tokenizer: its tokenizer.
        device: where it runs.
        batch_size: pictures at a time.
    """

    def __init__(
        self, model: Any, preprocess: Any, tokenizer: Any, device: str = "cpu", batch_size: int = 16
    ) -> None:
        self._model = model.eval().to(device)
        self._preprocess = preprocess
        self._tokenizer = tokenizer
        self._device = device
        self._batch_size = batch_size

    @classmethod
    def load(cls, choice: str, device: str = "auto", batch_size: int = 16) -> ClipModel:
        """Load a model.

        Args:
            choice: ``clip-vit-l-14``, or a folder as open_clip saves one: ``open_clip_config.json``
                and the weights as safetensors.
            device: where it runs; ``auto`` takes a GPU if this worker sees one.
            batch_size: pictures at a time.

        Returns:
            The model.

        Raises:
            StageError: the package or the weights are not here, or do not fit together.
        """
        try:
            import open_clip
        except ImportError as error:
            raise StageError(f"embedding: needs open_clip: {error}; see `make models`") from error
        device = torch_device(device)
        if Path(choice).is_absolute():
            name, options = f"local-dir:{choice}", {}
        else:
            name, options = _NAME, {"pretrained": str(weights_path(choice))}
        try:
            model, _, preprocess = open_clip.create_model_and_transforms(
                name, device=device, **options
            )
            tokenizer = open_clip.get_tokenizer(name)
        except (OSError, RuntimeError, ValueError) as error:
            cause = str(error).partition("\n")[0]
            raise StageError(f"{choice}: open_clip cannot load it: {cause}") from error
        return cls(model, preprocess, tokenizer, device, batch_size)

    def embed_pictures(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Embed pictures.

        Args:
            pictures: RGB (H, W, 3) uint8, of any size.

        Returns:
            (N, D) float32.
        """
        import torch
        from PIL import Image

        rows = []
        with torch.inference_mode():
            for first in range(0, len(pictures), self._batch_size):
                part = pictures[first : first + self._batch_size]
                batch = torch.stack([self._preprocess(Image.fromarray(p)) for p in part])
                embedded = self._model.encode_image(batch.to(self._device), normalize=True)
                rows.append(embedded.float().cpu().numpy())
        return np.concatenate(rows)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed sentences; what is longer than the model's context is cut off.

        Args:
            texts: sentences.

        Returns:
            (N, D) float32.
        """
        import torch

        with torch.inference_mode():
            tokens = self._tokenizer(list(texts)).to(self._device)
            embedded = self._model.encode_text(tokens, normalize=True)
            return embedded.float().cpu().numpy()  # type: ignore[no-any-return]
