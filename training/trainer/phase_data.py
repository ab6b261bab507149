"""The data of a phase: its sources mixed, its clips encoded for the tasks that were drawn.

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
from training.objective.curriculum import Phase, Source, draw_task
from training.objective.seeding import generator_of
from training.recipe import Recipe
from training.trainer.world import World


def data_settings(recipe: Recipe, phase: Phase, source: Source) -> DataSettings:
    """Return how a source of a phase is read."""
    return DataSettings(
        sizes_px=phase.sizes_px,
        num_frames=phase.num_frames,
        batch_size=phase.micro_batch,
        seed=recipe.run.seed,
        where=source.where,
        picture_ratio=phase.picture_ratio,
        **recipe.data.model_dump(),
    )


def manifests_of(source: Source, manifests: Sequence[str], phase: Phase) -> list[str]:
    """Return the manifests that a source reads.

    Args:
        source: of the phase.
        manifests: all that were given.
        phase: for the message.

    Returns:
        Those whose path contains the source's name.

    Raises:
        DataError: there is none.
    """
    found = [manifest for manifest in manifests if source.dataset in manifest]
    if not found:
        raise DataError(
            f"phase {phase.name}: no dataset given has {source.dataset!r} in its path; given are "
            f"{', '.join(manifests)}"
        )
    return found


def open_sources(
    recipe: Recipe, phase: Phase, manifests: Sequence[str], world: World
) -> list[TrainingData]:
    """Open all sources of a phase; nothing is read yet but their tables.

    Args:
        recipe: of the run.
        phase: of the recipe.
        manifests: all that were given.
        world: the ranks.

    Returns:
        One a source.

    Raises:
        DataError: a source has no clip, too few for the ranks, or a shard is missing.
    """
    opened = []
    for source in phase.sources:
        try:
            opened.append(
                TrainingData(
                    manifests_of(source, manifests, phase),
                    data_settings(recipe, phase, source),
                    rank=world.rank,
                    world_size=world.size,
                )
            )
        except DataError as error:
            raise DataError(f"phase {phase.name}: {error}") from error
    return opened


class EncodedPhase:
    """Micro-batches of one phase for one rank, encoded on the rank's device.

    Args:
        phase: of the curriculum.
        sources: opened, one a source of the phase.
        encoders: codec and encoders.
        settings: how clips are encoded.
        seed: of the run.
        device: where the encoders are.
        say: told about bad clips when the phase ends.
    """

    def __init__(
        self,
        phase: Phase,
        sources: Sequence[TrainingData],
        encoders: Encoders,
        settings: EncodeSettings,
        seed: int,
        device: torch.device,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._phase, self._sources, self._encoders = phase, sources, encoders
        self._settings, self._seed, self._device, self._say = settings, seed, device, say
        self._iterators: list[Iterator[Any]] = []

    def next_batches(self, step: int) -> list[EncodedBatch]:
        """Return a step's micro-batches; which source each is of is drawn for the step."""
        if not self._iterators:
            self._iterators = [iter(source) for source in self._sources]
        return [self._next_batch(step, micro) for micro in range(self._phase.accumulation)]

    def _next_batch(self, step: int, micro: int) -> EncodedBatch:
        samples = next(self._iterators[self._draw_source(step, micro)])
        clips = [
            encode_clip(
                sample,
                draw_task(self._phase, self._seed, step, sample.clip_id),
                self._encoders,
                self._settings,
                device=self._device,
            )
            for sample in samples
        ]
        return collate(clips)

    def _draw_source(self, step: int, micro: int) -> int:
        if len(self._sources) == 1:
            return 0
        weights = torch.tensor([source.weight for source in self._phase.sources])
        generator = generator_of(self._seed, step, micro, "source")
        return int(torch.multinomial(weights, 1, generator=generator).item())

    def state_dict(self) -> dict[str, Any]:
        """Say where every source stands."""
        return {"sources": [source.state_dict() for source in self._sources]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where every source stood.

        Args:
            state: what `state_dict` returned.

        Raises:
            DataError: the phase has another number of sources, or a source is another one.
        """
        states = state["sources"]
        if len(states) != len(self._sources):
            raise DataError(
                f"phase {self._phase.name}: {len(states)} sources in the checkpoint, "
                f"{len(self._sources)} now; resume with the same recipe"
            )
        for source, of_source in zip(self._sources, states, strict=True):
            source.load_state_dict(of_source)

    def close(self) -> None:
        """Let go of loader processes, and say which clips were bad."""
        self._iterators = []
        for source in self._sources:
            if source.books.num_bad:
                self._say(f"phase {self._phase.name}: {source.books}")
