"""The network of LR-ASD: layers whose state dict has the layout of the published weights.

Sizes and names are those of ``model/Encoder.py``, ``Classifier.py`` and ``loss.py`` in
Junhua-Liao/LR-ASD (MIT). Torch is imported where the network is built, never with this module. How
the layers are run is in :mod:`stages.lr_asd`.
"""

from __future__ import annotations

from typing import Any

_WIDTHS = ((1, 32), (32, 64), (64, 128))
_NUM_FEATURES = 256
"""128 of the face and 128 of the sound."""


def build_network() -> Any:
    """Make the network, with random weights.

    Returns:
        Modules by name: ``model`` with ``visualEncoder``, ``audioEncoder``, ``fusion`` and
        ``detector``; ``lossAV.FC`` gives the score. ``lossV.FC`` is of training alone.
    """
    from torch import nn

    norm = {"momentum": 0.01, "eps": 0.001}

    def chain(layers: dict[str, Any]) -> Any:
        """A sequence whose layers keep their names; a norm is followed by a ReLU."""
        parts = nn.Sequential()
        for name, layer in layers.items():
            parts.add_module(name, layer)
            if "norm" in name:
                parts.add_module(f"relu_{name}", nn.ReLU())
        return parts

    def face_block(num_in: int, num_out: int, *, is_halved: bool) -> Any:
        stride = (1, 2, 2) if is_halved else 1
        half = num_out // 2
        flat = {"bias": False, "stride": stride}
        return chain(
            {
                "s_1": nn.Conv3d(num_in, half, (1, 5, 5), padding=(0, 2, 2), **flat),
                "s_norm_1": nn.BatchNorm3d(half, **norm),
                "s_2": nn.Conv3d(half, num_out, (1, 3, 3), padding=(0, 1, 1), bias=False),
                "s_norm_2": nn.BatchNorm3d(num_out, **norm),
                "t_1": nn.Conv3d(num_out, num_out, (5, 1, 1), padding=(2, 0, 0), bias=False),
                "t_norm_1": nn.BatchNorm3d(num_out, **norm),
                "t_2": nn.Conv3d(num_out, num_out, (3, 1, 1), padding=(1, 0, 0), bias=False),
                "t_norm_2": nn.BatchNorm3d(num_out, **norm),
            }
        )

    def voice_block(num_in: int, num_out: int) -> Any:
        half = num_out // 2
        return chain(
            {
                "m_1": nn.Conv2d(num_in, half, (5, 1), padding=(2, 0), bias=False),
                "m_norm_1": nn.BatchNorm2d(half, **norm),
                "m_2": nn.Conv2d(half, num_out, (3, 1), padding=(1, 0), bias=False),
                "m_norm_2": nn.BatchNorm2d(num_out, **norm),
                "t_1": nn.Conv2d(num_out, num_out, (1, 5), padding=(0, 2), bias=False),
                "t_norm_1": nn.BatchNorm2d(num_out, **norm),
                "t_2": nn.Conv2d(num_out, num_out, (1, 3), padding=(0, 1), bias=False),
                "t_norm_2": nn.BatchNorm2d(num_out, **norm),
            }
        )

    def fusion(width: int) -> Any:
        attention = nn.Conv1d(width, width, 1, bias=False)
        return nn.ModuleDict({"attention": attention, "bn": nn.BatchNorm1d(width, **norm)})

    faces, voices = nn.ModuleDict(), nn.ModuleDict()
    for number, (num_in, num_out) in enumerate(_WIDTHS, start=1):
        faces[f"block{number}"] = face_block(num_in, num_out, is_halved=number == 1)
        voices[f"block{number}"] = voice_block(num_in, num_out)
        if number < len(_WIDTHS):
            faces[f"pool{number}"] = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
            voices[f"pool{number}"] = nn.MaxPool2d((1, 3), (1, 2), (0, 1))
    width = _NUM_FEATURES // 4
    detector = {
        "gru_forward": nn.GRU(_NUM_FEATURES, width, batch_first=True),
        "gru_backward": nn.GRU(_NUM_FEATURES, width, batch_first=True),
        "attention": fusion(2 * width),
    }
    model = {
        "visualEncoder": faces,
        "audioEncoder": voices,
        "fusion": fusion(_NUM_FEATURES),
        "detector": nn.ModuleDict(detector),
    }
    heads = {name: nn.ModuleDict({"FC": nn.Linear(2 * width, 2)}) for name in ("lossAV", "lossV")}
    return nn.ModuleDict({"model": nn.ModuleDict(model), **heads})
