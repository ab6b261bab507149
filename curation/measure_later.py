"""The second half of measuring: stages that live in an environment of their own.

The first task (:mod:`curation.measure`) decodes and measures all it can; what it hands over are the
clips that no gate has refused, with the sound, pictures and crops that these stages look at. The
unit is committed here, once and last, so that the books balance whatever happens on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from curation.clip_rows import ClipRows, StageClock
from curation.measure import Half, Measured, finish
from curation.pipeline import Pipeline, build_pipeline
from curation.recipe import Recipe
from manifests.ledger import Ledger
from manifests.storage import Folder


@dataclass(frozen=True)
class LaterTask:
    """Goes on with units; see ``engine.Task``.

    Attributes:
        run: run directory.
        recipe: the recipe.
        later: stages that are left to measure.
    """

    run: Folder
    recipe: Recipe
    later: frozenset[str]

    def open(self) -> LaterMeasurer:
        """Load the models of these stages."""
        return LaterMeasurer(self.run, build_pipeline(self.recipe), self.later)


class LaterMeasurer:
    """The stages of one worker of the second task, set up once.

    Args:
        run: run directory.
        pipeline: the pipeline.
        later: stages that are left to measure.
    """

    def __init__(self, run: Folder, pipeline: Pipeline, later: frozenset[str]) -> None:
        self._ledger = Ledger(run)
        self._rows = ClipRows(pipeline)
        self._stages = [stage for stage in pipeline.stages if stage.name in later]
        for stage in self._stages:
            stage.setup()

    def close(self) -> None:
        """Free all models."""
        for stage in self._stages:
            stage.close()

    def __call__(self, half: Half) -> Measured:
        """Measure what is left of a unit and commit it."""
        clock = StageClock()
        for stage in self._stages:
            with clock.timed(stage.name):
                self._rows.measure(stage, half.views)
        spent_s = {name: round(value, 3) for name, value in clock.seconds.items()}
        header = replace(half.header, stage_s={**half.header.stage_s, **spent_s})
        return finish(half.unit, self._rows.commit(header, half.views), self._ledger)
