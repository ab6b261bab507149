"""Features of a recording, made once a stretch and sliced by every window that needs them.

A recording of an hour is two gigabytes of Whisper features, so they are made in stretches with some
sound around and only the stretches in use are kept. A recording that is one stretch gives what the
encoder gives for the whole. Not here: the encoders, and which frames a latent frame hears
(`training.model.audio_windows`).
"""

from __future__ import annotations

from collections import OrderedDict
from fractions import Fraction

import torch

from training.generation.recording import Recording
from training.model.audio_windows import frames_of_latent, latent_audio_windows
from training.model.interfaces import AUDIO_SAMPLE_RATE_HZ, AudioEncoder

STRETCH_S, MARGIN_S = 24.0, 2.0
"""Together the 28 s that Whisper, which listens to 30 s at a time, takes in one pass; the margin is
that of the encoders' own chunks. Ours."""


class AudioFeatures:
    """Features of one speaker's recording."""

    def __init__(
        self, encoder: AudioEncoder, recording: Recording, num_frames: int, fps: Fraction
    ) -> None:
        """Prepare; nothing is encoded yet.

        Args:
            encoder: makes the features.
            recording: the sound.
            num_frames: F of the video; frames beyond the sound hear silence.
            fps: frames a second.
        """
        self.num_frames = num_frames
        self.num_stretches_made = 0
        self._encoder = encoder
        self._recording = recording
        self._fps = fps
        self._stretch = max(1, round(STRETCH_S * fps))
        self._margin = max(1, round(MARGIN_S * fps))
        self._made: OrderedDict[int, torch.Tensor] = OrderedDict()

    def around(self, first_latent: int, num_latents: int, context_frames: int) -> torch.Tensor:
        """Return what each latent frame may hear, [K, V, S, D].

        Args:
            first_latent: k of the first one, in the whole video.
            num_latents: K.
            context_frames: frames on either side.

        Returns:
            [K, V, S, D].
        """
        # Latents whose context reaches before the slice would hear silence there, so it begins a
        # few latent frames early; latent k of the video is latent k - m of frames 4 m onwards.
        early = max(0, first_latent - 1 - -(-context_frames // 4))
        last_frame = frames_of_latent(first_latent + num_latents - 1)[-1]
        stop = min(self.num_frames, last_frame + context_frames + 1)
        features = self._frames(min(4 * early, stop), stop)
        return latent_audio_windows(features, first_latent - early, num_latents, context_frames)

    def _frames(self, first: int, stop: int) -> torch.Tensor:
        if stop <= first:
            return torch.zeros(0, self._encoder.num_layers, self._encoder.width)
        pieces = []
        for index in range(first // self._stretch, (stop - 1) // self._stretch + 1):
            begin = index * self._stretch
            pieces.append(self._made_stretch(index)[max(0, first - begin) : stop - begin])
        return torch.cat(pieces)

    def _made_stretch(self, index: int) -> torch.Tensor:
        if index in self._made:
            self._made.move_to_end(index)
            return self._made[index]
        begin = index * self._stretch
        end = min(begin + self._stretch, self.num_frames)
        before = min(self._margin, begin)
        after = min(self._margin, self.num_frames - end)
        pcm = self._recording.read(self._sample(begin - before), self._sample(end + after))
        features = self._encoder.encode(
            torch.from_numpy(pcm), before + end - begin + after, float(self._fps)
        )
        self._made[index] = features[before : before + end - begin].clone()
        self.num_stretches_made += 1
        if len(self._made) > 2:
            self._made.popitem(last=False)
        return self._made[index]

    def _sample(self, frame: int) -> int:
        return round(frame * AUDIO_SAMPLE_RATE_HZ / self._fps)


def silence_like(audio_AKVSD: torch.Tensor, encoder: AudioEncoder, fps: float) -> torch.Tensor:
    """Return features of silence in the shape of others: the negative of audio.

    Silence is a sound and something else than no audio, which is zeros.

    Args:
        audio_AKVSD: what stands in its place.
        encoder: makes the features.
        fps: frames a second.

    Returns:
        The same shape.
    """
    num_frames = 2 * audio_AKVSD.shape[2] + 1
    seconds = num_frames / fps
    pcm = torch.zeros(round(seconds * AUDIO_SAMPLE_RATE_HZ))
    middle_SD = encoder.encode(pcm, num_frames, fps)[num_frames // 2]
    return middle_SD.to(audio_AKVSD).expand(audio_AKVSD.shape).contiguous()
