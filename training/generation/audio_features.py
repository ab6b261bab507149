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

from training.generation.guidance import Condition
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


class Heard(dict[Condition, torch.Tensor]):
    """What a branch may hear of a block; silence is only encoded where a rule asks for it."""

    def __init__(self, audio_BAKVSD: torch.Tensor, encoder: AudioEncoder, fps: float) -> None:
        """Take the features of the voices.

        Args:
            audio_BAKVSD: features.
            encoder: makes those of silence.
            fps: frames a second.
        """
        super().__init__()
        self[Condition.ON] = audio_BAKVSD
        self[Condition.OFF] = torch.zeros_like(audio_BAKVSD)
        self._encoder, self._fps = encoder, fps

    def __missing__(self, condition: Condition) -> torch.Tensor:
        """Encode silence: a sound, and something else than no audio, which is zeros."""
        num_frames = 2 * round(self._fps) + 1
        pcm = torch.zeros(round(num_frames * AUDIO_SAMPLE_RATE_HZ / self._fps))
        middle_SD = self._encoder.encode(pcm, num_frames, self._fps)[num_frames // 2]
        voices = self[Condition.ON]
        self[condition] = middle_SD.to(voices).expand(voices.shape).contiguous()
        return self[condition]
