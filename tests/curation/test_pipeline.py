"""The pipeline of a recipe: stages on demand run only where another needs what they give."""

from __future__ import annotations

import pytest

from curation.errors import PipelineError
from curation.pipeline import build_pipeline
from curation.recipe import load_recipe

SERVER = (
    "caption.backend=server",
    "caption.model=some/model",
    "caption.base_url=http://localhost:8000/v1",
)
NO_OVERLAY = ("overlay.enabled=false",)


def names(*overrides: str) -> list[str]:
    pipeline = build_pipeline(load_recipe("talking_portrait", overrides))
    return [stage.name for stage in pipeline.stages]


def test_key_frames_are_kept_for_a_model_that_looks_at_them() -> None:
    assert "key_frames" in names(*SERVER, *NO_OVERLAY)


def test_key_frames_that_nobody_looks_at_are_not_kept() -> None:
    assert "key_frames" not in names(*NO_OVERLAY)


def test_a_stage_on_demand_that_is_switched_off_is_missed_by_name() -> None:
    with pytest.raises(PipelineError, match="'caption' needs KeyFrames: stage 'key_frames'"):
        names(*SERVER, *NO_OVERLAY, "key_frames.enabled=false")
