"""The caption stage: what its settings allow, what it needs, and when captions are made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stages.caption import CaptionMeasurement, CaptionStage
from stages.caption_composed import CaptionFacts, compose
from stages.caption_prompt import prompt_digest
from stages.caption_settings import CaptionSettings
from stages.errors import StageError
from stages.key_frames import KeyFrames
from tests.stages.caption_clips import FACTS, clip_views

SERVER = {"backend": "server", "model": "a", "base_url": "http://localhost:8000/v1"}
VLM = {"backend": "vlm", "model": "owner/name"}


def stage(**settings: Any) -> CaptionStage:
    return CaptionStage(CaptionSettings(**settings))


def test_composed_is_the_default_and_needs_neither_pictures_nor_setup() -> None:
    composed = stage()
    views = clip_views(2, has_pictures=False)
    facts = CaptionFacts(
        face_height_ratio=0.4,
        yaw_deg=3.0,
        head_speed=0.1,
        camera_motion=0.2,
        speech_ratio=0.8,
        snr_db=25.0,
        num_faces=1,
    )
    assert composed.measure(views) == [
        CaptionMeasurement(text=compose(view.clip.clip_id, facts), source="composed")
        for view in views
    ]
    assert KeyFrames not in composed.needs
    assert composed.observer(FACTS) is None
    assert not composed.costly


@pytest.mark.parametrize("settings", [SERVER, VLM])
def test_a_model_needs_pictures_and_is_spared_refused_clips(settings: dict[str, Any]) -> None:
    asked = stage(**settings)
    assert KeyFrames in asked.needs
    assert set(CaptionStage.needs) < set(asked.needs)
    assert asked.costly


def test_only_a_model_on_a_gpu_takes_one() -> None:
    assert stage(**VLM).resources.num_gpus == 0
    assert stage(**VLM, device="cuda").resources.num_gpus == 1
    assert stage(**SERVER, device="cuda").resources.num_gpus == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": ""}, "needs the name of a model"),
        ({"base_url": ""}, "needs an address"),
        ({"base_url": "localhost:8000"}, "http://host"),
        ({"base_url": "http://me:secret@host/v1"}, "key_variable"),
        ({"base_url": "http://host/v1?key=secret"}, "key_variable"),
        ({"key_variable": "sk-123abc"}, "pattern"),
        ({"max_in_flight": 0}, "greater"),
        ({"timeout_s": 0}, "greater"),
        ({"api_key": "secret"}, "Extra inputs"),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        CaptionSettings(**{**SERVER, **change})


def test_a_model_is_not_needed_to_compose() -> None:
    assert CaptionSettings(backend="composed").model == ""


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({}, {"max_words": 99, "model": "b", "timeout_s": 1, "device": "cuda"}),
        (SERVER, {"base_url": "https://elsewhere/v1", "key_variable": "OTHER"}),
        (SERVER, {"timeout_s": 1, "max_retries": 0, "max_in_flight": 9, "max_requests": 5}),
        (VLM, {"batch_size": 1}),
    ],
)
def test_what_cannot_change_a_caption_makes_none_anew(
    settings: dict[str, Any], change: dict[str, Any]
) -> None:
    assert stage(**settings).fingerprint() == stage(**{**settings, **change}).fingerprint()


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({}, SERVER),
        (SERVER, {"model": "b"}),
        (SERVER, {"num_frames": 4}),
        (SERVER, {"max_picture_px": 500}),
        (SERVER, {"max_words": 61}),
        (SERVER, {"max_answer_tokens": 601}),
        (SERVER, {"is_greedy": False}),
        (SERVER, VLM),
        (VLM, {"revision": "0" * 40}),
        (VLM, {"device": "cuda"}),
    ],
)
def test_what_can_change_a_caption_makes_it_anew(
    settings: dict[str, Any], change: dict[str, Any]
) -> None:
    assert stage(**settings).fingerprint() != stage(**{**settings, **change}).fingerprint()


def test_the_wording_of_the_prompt_is_part_of_the_fingerprint() -> None:
    assert stage().weights_digests() == ()
    assert prompt_digest() in stage(**SERVER).weights_digests()[0]
    assert prompt_digest() in stage(**VLM).weights_digests()[0]


def test_other_files_of_a_local_model_make_captions_anew(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    before = stage(backend="vlm", model=str(tmp_path)).fingerprint()
    assert stage(backend="vlm", model=str(tmp_path)).fingerprint() == before
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert stage(backend="vlm", model=str(tmp_path)).fingerprint() != before


def test_a_local_model_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no folder"):
        stage(backend="vlm", model=str(tmp_path / "gone")).fingerprint()


def test_a_backend_that_is_not_set_up_is_said() -> None:
    with pytest.raises(StageError, match="not set up"):
        stage(**SERVER).measure(clip_views(1))
