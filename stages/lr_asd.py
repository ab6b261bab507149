"""LR-ASD: for every frame of a face, whether it speaks, by a network that sees face and sound.

Liao et al., LR-ASD, IJCV 2025; layers and their names are those of Junhua-Liao/LR-ASD (MIT), so
that its weights load: with ``finetuning_TalkSet.model`` one piece gives that code's scores to the
last bit. It sees lips that move while there is voice; it tells neither a dub from the real voice
nor an offset, and of two faces that both move it is unsure (:mod:`stages.speaker`).

Where the reference cuts a track into pieces of 1 to 6 s and runs everything on each, the encoders
here see the track once, and only the recurrent part runs on the pieces: a sixth of the work. At the
borders of pieces the encoders therefore see what lies beyond.

Shape letters: T frames of 40 ms, M steps of 10 ms, H W picture, C channels, D features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stages.errors import StageError
from stages.face_crops import grey_faces
from stages.lr_asd_network import build_network
from stages.mfcc import mfcc
from stages.weights_load import load_state_dict

FACE_PX = 112
PIECES_S = (1, 2, 3, 4, 5, 6)
"""Lengths of the pieces whose scores are averaged (``durationSet`` of ``Columbia_test.py``)."""

_MEAN, _DEVIATION = 0.4161, 0.1688
"""Of grey faces in 0..1 (``forward_visual_frontend``)."""

_FPS, _STEPS_PER_FRAME = 25, 4
_SAMPLES_PER_FRAME = 640
_MARGIN = 9
"""Frames that the picture's encoder looks at before and after one: kernels 5 and 3, three times."""


class LrAsd:
    """The network, ready to score faces.

    Args:
        network: what :func:`stages.lr_asd_network.build_network` makes.
        device: where it runs, as torch names it.
        run_frames: frames that go through the picture's encoder at once; bounds the memory, changes
            nothing.
    """

    def __init__(self, network: Any, device: str = "cpu", run_frames: int = 100) -> None:
        self._network = network.eval().to(device)
        self._device = device
        self._run_frames = run_frames

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> LrAsd:
        """Build the network with given weights.

        Args:
            path: state dict in the layout of the reference.
            device: where it runs.

        Returns:
            The network.

        Raises:
            StageError: the weights are of another network.
        """
        network = build_network()
        try:
            network.load_state_dict(load_state_dict(path))
        except RuntimeError as error:
            cause = str(error).partition("\n")[0]
            raise StageError(f"{path}: these are not the weights of LR-ASD: {cause}") from error
        return cls(network, device)

    def score(self, crops_THWC: np.ndarray, pcm: np.ndarray) -> np.ndarray:
        """Score one face.

        Args:
            crops_THWC: (T, 224, 224, 3) uint8 face crops at 25 fps.
            pcm: mono sound at 16 kHz from the time of the first crop on.

        Returns:
            (T,) scores, above 0 where the face speaks; shorter where the sound ends before.
        """
        import torch

        num_frames = min(len(crops_THWC), len(pcm) // _SAMPLES_PER_FRAME)
        if num_frames < 1:
            return np.zeros(0)
        faces_THW = grey_faces(crops_THWC[:num_frames], FACE_PX)
        # The last window of a frame reaches 15 ms beyond it; what is missing counts as silence.
        steps_CM = mfcc(np.append(pcm[: num_frames * _SAMPLES_PER_FRAME], np.zeros(240, pcm.dtype)))
        num_steps = num_frames * _STEPS_PER_FRAME
        with torch.inference_mode():
            lips_TD = self._encode_faces(faces_THW)
            voice_TD = self._encode_voice(steps_CM[:, :num_steps])
            both_TD = torch.cat([voice_TD, lips_TD], dim=1)
            scores = [self._judge(both_TD, length_s * _FPS) for length_s in PIECES_S]
            return np.mean([score.cpu().numpy() for score in scores], axis=0)

    def _encode_faces(self, faces_THW: np.ndarray) -> Any:
        import torch

        found, size = [], self._run_frames
        for first in range(0, len(faces_THW), size):
            begin, end = max(0, first - _MARGIN), min(len(faces_THW), first + size + _MARGIN)
            run = torch.from_numpy(faces_THW[begin:end]).to(self._device).float()
            run_1CTHW = ((run / 255 - _MEAN) / _DEVIATION)[None, None]
            encoder = self._network.model.visualEncoder
            hidden = encoder.pool1(encoder.block1(run_1CTHW))
            hidden = encoder.block3(encoder.pool2(encoder.block2(hidden)))
            rows = hidden[0].amax(dim=(2, 3)).T
            found.append(rows[first - begin : first - begin + size])
        return torch.cat(found)

    def _encode_voice(self, steps_CM: np.ndarray) -> Any:
        import torch

        steps = torch.from_numpy(steps_CM.astype(np.float32)).to(self._device)[None, None]
        encoder = self._network.model.audioEncoder
        hidden = encoder.pool1(encoder.block1(steps))
        hidden = encoder.block3(encoder.pool2(encoder.block2(hidden)))
        return hidden[0].mean(dim=1).T

    def _judge(self, both_TD: Any, piece: int) -> Any:
        import torch

        model = self._network.model
        found = []
        for first in range(0, len(both_TD), piece):
            part = _weigh(model.fusion, both_TD[first : first + piece])[None]
            forward, _ = model.detector.gru_forward(part)
            backward, _ = model.detector.gru_backward(part.flip(1))
            seen = _weigh(model.detector.attention, torch.cat([forward, backward.flip(1)], 2)[0])
            found.append(self._network.lossAV.FC(seen)[:, 1])
        return torch.cat(found)


def _weigh(fusion: Any, rows_TD: Any) -> Any:
    """Weigh every feature by a gate that all features of the frame decide."""
    gate = fusion.bn(fusion.attention(rows_TD.T[None])).sigmoid()[0].T
    return rows_TD * gate
