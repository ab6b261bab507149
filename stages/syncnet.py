"""SyncNet: AV offset, Sync-C and Sync-D of one face track, as the authors' code defines them.

Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV workshop 2016;
definitions from ``SyncNetInstance.evaluate`` of syncnet-python 0.2.3, which is that of
joonson/syncnet_python. Every window of five face crops and every 0.2 s of sound becomes a vector;
the distance between the two, averaged over the track, is looked at for each shift of the sound.

In the room: embeddings, distances, scores. Not in the room: where the crops come
from (:mod:`stages.face_crops`), and several tracks: a score belongs to one track, and a mean
over tracks would mix the listeners in.

Shape letters: T frames, N windows, S shifts, H W C picture, D = 1024 features of a window,
M steps of MFCC.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.errors import StageError
from stages.mfcc import mfcc
from stages.pcm import SAMPLE_RATE_HZ
from stages.syncnet_network import build_network
from stages.weights_load import load_state_dict

FRAME_RATE_FPS = 25
CROP_PX = 224
WINDOW = 5
"""Frames the network sees at once; the sound of a window is as long, 0.2 s."""

MAX_SHIFT = 15
"""Frames by which the sound is moved either way (``vshift`` of the reference)."""

MIN_FRAMES = 50
"""The reference's pipeline looks at no shorter track (``PipelineConfig.min_track``)."""

_SAMPLES_PER_FRAME = SAMPLE_RATE_HZ // FRAME_RATE_FPS
_MFCC_PER_FRAME = 4
_MFCC_PER_WINDOW = WINDOW * _MFCC_PER_FRAME
_DISTANCE_EPSILON = 1e-6
"""Added to every difference by ``torch.nn.functional.pairwise_distance``."""


@dataclass(frozen=True)
class SyncNetScore:
    """What SyncNet says of one track.

    Attributes:
        offset_frames: AV offset as the reference prints it: + = the sound is early, 25 fps.
        confidence: Sync-C (LSE-C): median of the curve less its minimum.
        distance: Sync-D (LSE-D): minimum of the curve.
        curve_S: (31,) mean distance by shift; at ``s`` the window at frame t is compared with the
            sound at frame t + s - 15.
    """

    offset_frames: int
    confidence: float
    distance: float
    curve_S: np.ndarray

    @property
    def offset_ms(self) -> float:
        """AV offset, + = audio later than picture, to 40 ms."""
        return -self.offset_frames * 1000 / FRAME_RATE_FPS


class SyncNet:
    """The network, ready to score tracks.

    Args:
        network: what :func:`stages.syncnet_network.build_network` makes.
        device: where it runs, as torch names it.
        batch_size: windows at a time.
    """

    def __init__(self, network: Any, device: str = "cpu", batch_size: int = 20) -> None:
        self._network = network.eval().to(device)
        self._device = device
        self._batch_size = batch_size

    @classmethod
    def load(cls, path: Path, device: str = "cpu", batch_size: int = 20) -> SyncNet:
        """Build the network with given weights.

        Args:
            path: state dict, the file of ``stages.weights.SYNCNET``.
            device: where it runs.
            batch_size: windows at a time.

        Returns:
            The network.

        Raises:
            StageError: the weights are not SyncNet's.
        """
        network = build_network()
        try:
            network.load_state_dict(load_state_dict(path))
        except RuntimeError as error:
            cause = str(error).partition("\n")[0]
            raise StageError(f"{path}: these are not the weights of SyncNet: {cause}") from error
        return cls(network, device, batch_size)

    def score(self, crops_THWC: np.ndarray, pcm: np.ndarray) -> SyncNetScore | None:
        """Score one track.

        Args:
            crops_THWC: (T, 224, 224, 3) uint8 face crops at 25 fps, channels blue, green, red.
            pcm: mono sound at 16 kHz from the time of the first crop on; int16, or float in
                -1..1.

        Returns:
            The score; ``None`` for less than two seconds of crops or sound.
        """
        num_frames = min(len(crops_THWC), len(pcm) // _SAMPLES_PER_FRAME)
        if num_frames < MIN_FRAMES:
            return None
        # One window less than there are: the reference leaves the last one out.
        num_windows = num_frames - WINDOW
        lip_ND = self.embed_lips(crops_THWC[: num_windows + WINDOW - 1])
        return score_embeddings(lip_ND, self.embed_voice(pcm)[:num_windows])

    def embed_lips(self, crops_THWC: np.ndarray) -> np.ndarray:
        """Embed every window of five crops.

        Only the first layer looks at several frames (``Conv3d`` 5x7x7, stride 1 in time), so a
        run of n + 4 frames gives the n windows that the reference cuts out one by one.

        Args:
            crops_THWC: (T, 224, 224, 3) uint8, T >= 5.

        Returns:
            (T - 4, D) float32.
        """
        import torch

        num_windows = len(crops_THWC) - WINDOW + 1
        embedded = []
        with torch.inference_mode():
            for first in range(0, num_windows, self._batch_size):
                last = min(first + self._batch_size, num_windows) + WINDOW - 1
                run = torch.from_numpy(np.ascontiguousarray(crops_THWC[first:last]))
                run_1CTHW = run.to(self._device).permute(3, 0, 1, 2)[None].float()
                hidden = self._network.netcnnlip(run_1CTHW)
                embedded.append(self._network.netfclip(hidden[0, :, :, 0, 0].T).cpu())
        return torch.cat(embedded).numpy()

    def embed_voice(self, pcm: np.ndarray) -> np.ndarray:
        """Embed the sound of every window, 0.2 s from each frame on.

        Args:
            pcm: mono sound at 16 kHz, 0.2 s at least; int16, or float in -1..1.

        Returns:
            (N, D) float32, one row for each frame that has 0.2 s of sound after it.
        """
        import torch

        steps = np.lib.stride_tricks.sliding_window_view(mfcc(pcm), _MFCC_PER_WINDOW, axis=1)
        windows_NCM = steps[:, ::_MFCC_PER_FRAME].transpose(1, 0, 2).astype(np.float32)
        embedded = []
        with torch.inference_mode():
            for first in range(0, len(windows_NCM), self._batch_size):
                batch = torch.from_numpy(windows_NCM[first : first + self._batch_size, None])
                hidden = self._network.netcnnaud(batch.to(self._device)).flatten(1)
                embedded.append(self._network.netfcaud(hidden).cpu())
        return torch.cat(embedded).numpy()


def score_embeddings(lip_ND: np.ndarray, voice_ND: np.ndarray) -> SyncNetScore:
    """Compare windows of crops with windows of sound at every shift.

    With ``d(t, s) = |lip_t - voice_{t+s-15} + 1e-6|`` and zeros where there is no sound (as in the
    reference), the curve is ``mean_t d(t, s)``.

    Args:
        lip_ND: embedded crops.
        voice_ND: embedded sound, row for row at the same time.

    Returns:
        The score.
    """
    num_windows = len(lip_ND)
    padded = np.pad(voice_ND, ((MAX_SHIFT, MAX_SHIFT), (0, 0)))
    curve_S = np.array(
        [
            np.linalg.norm(lip_ND - padded[s : s + num_windows] + _DISTANCE_EPSILON, axis=1).mean()
            for s in range(2 * MAX_SHIFT + 1)
        ]
    )
    best = int(curve_S.argmin())
    return SyncNetScore(
        offset_frames=MAX_SHIFT - best,
        confidence=float(np.median(curve_S) - curve_S[best]),
        distance=float(curve_S[best]),
        curve_S=curve_S,
    )
