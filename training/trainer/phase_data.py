"""The data of a phase, encoded for the tasks that were drawn.

Not here: order and reading (`training.data`), and dropped conditions, which are the step's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from training.data.collate import collate
from training.data.encode import Encoders, EncodeSettings, encode_clip
from training.data.encoded import EncodedBatch
from training.data.settings import DataSettings
from training.data.training_data import TrainingData
from training.errors import DataError
from training.objective.curriculum import Phase, draw_task
from training.recipe import Recipe
from training.trainer.world import World


def data_settings(recipe: Recipe, phase: Phase) -> DataSettings:
    """Return how a phase's data is read."""
    return DataSettings(
        sizes_px=phase.sizes_px,
        num_frames=phase.num_frames,
        batch_size=phase.micro_batch,
        seed=recipe.run.seed,
        sources=phase.sources,
        picture_ratio=phase.picture_ratio,
        face_height_ratio=phase.face_height_ratio,
        **recipe.data.model_dump(),
    )


def open_phase(
    recipe: Recipe,
    phase: Phase,
    manifests: Sequence[str],
    world: World,
    model_digest: str | None = None,
) -> TrainingData:
    """Open the data of a phase; nothing is read yet but its tables.

    Args:
        recipe: of the run.
        phase: of the recipe.
        manifests: paths or URLs of datasets.
        world: the ranks.
        model_digest: of codec and encoders; latents made with others are refused.

    Returns:
        The data.

    Raises:
        DataError: no clip passes the gates, they are too few for the ranks, or a shard is missing
            or not as it has to be.
    """
    try:
        return TrainingData(
            manifests,
            data_settings(recipe, phase),
            rank=world.data_rank,
            world_size=world.data_size,
            model_digest=model_digest,
        )
    except DataError as error:
        raise DataError(f"phase {phase.name}: {error}") from error


class EncodedPhase:
    """Micro-batches of one phase for one rank, encoded on the rank's device.

    Args:
        phase: of the curriculum.
        data: as opened.
        encoders: codec and encoders.
        settings: how clips are encoded.
        seed: of the run.
        device: where the encoders are.
        say: told about bad clips when the phase ends.
    """

    def __init__(
        self,
        phase: Phase,
        data: TrainingData,
        encoders: Encoders,
        settings: EncodeSettings,
        seed: int,
        device: torch.device,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._phase, self._data, self._encoders = phase, data, encoders
        self._settings, self._seed, self._device, self._say = settings, seed, device, say
        self._samples: Iterator[Any] | None = None

    def next_batches(self, step: int) -> list[EncodedBatch]:
        """Return a step's micro-batches."""
        if self._samples is None:
            self._samples = iter(self._data)
        return [self._encoded(next(self._samples), step) for _ in range(self._phase.accumulation)]

    def _encoded(self, samples: Sequence[Any], step: int) -> EncodedBatch:
        return collate(
            [
                encode_clip(
                    sample,
                    draw_task(self._phase, self._seed, step, sample.clip_id),
                    self._encoders,
                    self._settings,
                    device=self._device,
                )
                for sample in samples
            ]
        )

    def state_dict(self) -> dict[str, Any]:
        """Say where the data stands."""
        return self._data.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another run stood."""
        self._data.load_state_dict(state)

    def close(self) -> None:
        """Let go of loader processes, and say which clips were bad."""
        self._samples = None
        if self._data.books.num_bad:
            self._say(f"phase {self._phase.name}: {self._data.books}")
