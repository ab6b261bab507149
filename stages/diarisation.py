"""Diarisation: who speaks when, by pyannote, for the words that WhisperX found.

Its checkpoints are PyTorch files of Lightning. They are read with ``weights_only``, and beyond
tensors only the few record classes of pyannote that describe a model may be built.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.errors import StageError
from stages.pcm import SAMPLE_RATE_HZ
from stages.word_times import Word


@dataclass(frozen=True)
class Turn:
    """A stretch in which one speaker speaks.

    Attributes:
        start_s: its start, in seconds from the first sample on.
        end_s: its end.
        speaker: label of the speaker, by the order in which speakers are heard first: ``A``, ...
    """

    start_s: float
    end_s: float
    speaker: str


class Diariser:
    """A diarisation pipeline in memory.

    Args:
        pipeline: a ``pyannote.audio.Pipeline``, or what acts like one.
    """

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline

    @classmethod
    def load(cls, config: str, device: str) -> Diariser:
        """Load a pipeline.

        Args:
            config: ``config.yaml`` of a pyannote pipeline whose models are files on this machine,
                or the folder that holds it.
            device: where it runs.

        Returns:
            The diariser.

        Raises:
            StageError: it cannot be loaded without running code from its files.
        """
        import pickle

        import torch
        from pyannote.audio import Pipeline

        path = Path(config) / "config.yaml" if Path(config).is_dir() else Path(config)
        try:
            with _tensors_and_records_only():
                pipeline = Pipeline.from_pretrained(path)
        except (OSError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
            cause = str(error).partition("\n")[0]
            raise StageError(f"{path}: no diarisation pipeline to be loaded: {cause}") from error
        if pipeline is None:
            raise StageError(f"{path}: pyannote gives no pipeline; its models must be files here")
        return cls(pipeline.to(torch.device(device)))

    def turns(self, samples: np.ndarray) -> list[Turn]:
        """Find who speaks when.

        Args:
            samples: (N,) float32 at 16 kHz.

        Returns:
            Turns in order of their starts; those of two speakers may overlap.
        """
        import torch

        sound = {"waveform": torch.from_numpy(samples[None]), "sample_rate": SAMPLE_RATE_HZ}
        found = [
            (float(segment.start), float(segment.end), str(label))
            for segment, _, label in self._pipeline(sound).itertracks(yield_label=True)
        ]
        names: dict[str, str] = {}
        turns = []
        for start_s, end_s, label in sorted(found):
            name = names.setdefault(label, chr(ord("A") + len(names)))
            turns.append(Turn(start_s, end_s, name))
        return turns


def speaker_of(word: Word, turns: Sequence[Turn]) -> Word:
    """Give a word the speaker whose turns cover most of it.

    Args:
        word: the word.
        turns: turns on the same clock.

    Returns:
        The word with its speaker; as it was if no turn touches it.
    """
    covered: dict[str, float] = {}
    for turn in turns:
        shared_s = min(word.end_s, turn.end_s) - max(word.start_s, turn.start_s)
        if shared_s > 0:
            covered[turn.speaker] = covered.get(turn.speaker, 0.0) + shared_s
    if not covered:
        return word
    return replace(word, speaker=max(sorted(covered), key=lambda name: covered[name]))


@contextmanager
def _tensors_and_records_only() -> Iterator[None]:
    """Let ``torch.load`` build tensors and pyannote's records, whatever its caller asks for."""
    import torch
    from pyannote.audio.core.task import Problem, Resolution, Specifications

    variable = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(variable)
    os.environ[variable] = "1"
    allowed = [Problem, Resolution, Specifications, torch.torch_version.TorchVersion]
    try:
        with torch.serialization.safe_globals(allowed):
            yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
