"""The pipeline of a recipe: its stages in order, checked before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from curation.errors import PipelineError
from curation.recipe import Recipe
from manifests.gates import Gate, gates_of
from manifests.measurement import Field
from manifests.selection import Rules
from stages.contract import Stage
from stages.environment import absent_packages
from stages.facts import SourceFacts
from stages.registry import STAGES


@dataclass(frozen=True)
class Pipeline:
    """Stages that fit together, and the gates on what they measure.

    Attributes:
        recipe: the recipe.
        stages: enabled stages in order.
        gates: gates in the order of the measured columns.
    """

    recipe: Recipe
    stages: tuple[Stage[Any], ...]
    gates: tuple[Gate, ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        """All measured columns."""
        return tuple(field for stage in self.stages for field in stage.fields())

    def rules(self, flagged_bad: Iterable[str] = ()) -> Rules:
        """What a selection goes by.

        Args:
            flagged_bad: ids of clips that a person refused.

        Returns:
            The rules.
        """
        return Rules(
            gates=self.gates,
            stages=frozenset(stage.name for stage in self.stages if stage.measurement),
            refuses_doubles=self.recipe.stages["dedup"].enabled,
            flagged_bad=frozenset(flagged_bad),
            max_similarity=self._max_similarity(),
        )

    def _max_similarity(self) -> float | None:
        dedup = self.recipe.stages["dedup"]
        return dedup.max_similarity if dedup.enabled else None  # type: ignore[no-any-return]

    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of each stage by name, and of the cutter under ``clips``."""
        prints = {stage.name: stage.fingerprint() for stage in self.stages}
        prints["clips"] = self.recipe.clips.model_dump_json()
        return prints


def build_pipeline(recipe: Recipe) -> Pipeline:
    """Make the stages of a recipe and check that they fit together.

    Args:
        recipe: checked recipe.

    Returns:
        The pipeline; nothing heavy is loaded yet.

    Raises:
        PipelineError: a stage needs what no earlier stage gives.
    """
    stages = without_idle(
        [stage(recipe.stages[stage.name]) for stage in STAGES if recipe.stages[stage.name].enabled]
    )
    check_needs(stages)
    return Pipeline(recipe, tuple(stages), gates_of(recipe.gates, recipe.fields))


def stages_elsewhere(pipeline: Pipeline, *, has_gpu: bool = False) -> list[Stage[Any]]:
    """Stages that are left to a second task.

    Args:
        pipeline: the pipeline.
        has_gpu: the workers of a second task have a GPU; then all stages with a large network go
            there.

    Returns:
        The stages whose packages are not in this environment, or that want the GPU; none if
        everything can run in one process.
    """
    return [
        stage
        for stage in pipeline.stages
        if absent_packages(stage.packages) or (has_gpu and stage.packages)
    ]


def without_idle(stages: Sequence[Stage[Any]]) -> list[Stage[Any]]:
    """Leave out stages on demand whose evidence no other stage needs.

    Args:
        stages: enabled stages in order.

    Returns:
        Those that run.
    """
    needed = {need for stage in stages for need in stage.needs}
    return [stage for stage in stages if not stage.on_demand or needed.intersection(stage.gives)]


def check_needs(stages: Sequence[Stage[Any]]) -> None:
    """Check that every stage finds what it needs.

    Args:
        stages: stages in the order in which they run.

    Raises:
        PipelineError: names the stage, what it needs and who would give it.
    """
    given: dict[type, str] = {SourceFacts: "the source"}
    givers = {
        record: stage.name
        for stage in STAGES
        for record in (*stage.gives, *((stage.measurement,) if stage.measurement else ()))
    }
    for stage in stages:
        for need in stage.needs:
            if need in given:
                continue
            giver = givers.get(need)
            if giver:
                hint = f"stage {giver!r} gives it and must run before {stage.name!r}"
            else:
                names = [record.__name__ for record in given]
                near = difflib.get_close_matches(need.__name__, names, n=1)
                hint = f"no stage gives it{f'; nearest is {near[0]}' if near else ''}"
            raise PipelineError(f"stage {stage.name!r} needs {need.__name__}: {hint}")
        for record in (*stage.gives, *((stage.measurement,) if stage.measurement else ())):
            given[record] = stage.name
