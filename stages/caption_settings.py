"""Settings of the caption stage."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field as Setting
from pydantic import ValidationInfo, field_validator

from stages.contract import StageSettings

Backend = Literal["composed", "server", "vlm"]

_COMPOSED = ("enabled", "backend")
_ASKED = ("model", "num_frames", "max_picture_px", "max_words", "max_answer_tokens")
SHAPING_SETTINGS: dict[Backend, tuple[str, ...]] = {
    "composed": _COMPOSED,
    "server": (*_COMPOSED, *_ASKED, "is_greedy"),
    "vlm": (*_COMPOSED, *_ASKED, "revision", "device"),
}
"""Settings that can change a caption. The same model at another address, or with other time-outs,
threads and budgets, is not asked anew."""


class CaptionSettings(StageSettings):
    """Who writes the captions, and how they are asked.

    Attributes:
        backend: ``composed``, from measurements alone; ``server``, an OpenAI-compatible server
            (vLLM and the like); ``vlm``, a vision-language model in the worker.
        model: name under which the server serves it; for ``vlm`` a repository of the Hub or a
            local folder.
        num_frames: pictures of a clip that are shown.
        max_picture_px: longer side of a picture that is shown; larger key frames are reduced.
        max_words: longest caption.
        max_answer_tokens: tokens after which an answer is cut off, and refused.
        base_url: address of the server with its version, as ``http://localhost:8000/v1``.
        key_variable: environment variable that holds the key; empty for a server without keys. The
            key itself never stands in a recipe.
        is_greedy: ask for temperature 0 and a fixed seed; off for models that refuse that.
        timeout_s: longest wait for an answer.
        max_retries: tries after the first, with growing pauses or those the server asks for.
        max_in_flight: requests of one worker at a time.
        max_requests: questions of one worker in one run; beyond, clips have no caption.
        max_total_tokens: completion tokens of one worker in one run; beyond, the same.
        revision: commit of the repository on the Hub; a local folder has none.
        device: where the model runs.
        batch_size: clips that the model describes at a time.
    """

    backend: Backend = "composed"
    model: str = Setting("", validate_default=True)
    num_frames: int = Setting(3, ge=1, le=16)
    max_picture_px: int = Setting(512, ge=32, le=2048)
    max_words: int = Setting(60, ge=10, le=300)
    max_answer_tokens: int = Setting(600, ge=32)
    base_url: str = Setting("", validate_default=True)
    key_variable: str = Setting("OPENAI_API_KEY", pattern=r"^([A-Z_][A-Z0-9_]*)?$")
    is_greedy: bool = True
    timeout_s: float = Setting(120.0, gt=0)
    max_retries: int = Setting(4, ge=0, le=20)
    max_in_flight: int = Setting(4, ge=1, le=256)
    max_requests: int = Setting(100_000, ge=1)
    max_total_tokens: int = Setting(20_000_000, ge=1)
    revision: str = "main"
    device: Literal["cpu", "cuda"] = "cpu"
    batch_size: int = Setting(4, ge=1)

    @field_validator("model")
    @classmethod
    def _has_model(cls, model: str, info: ValidationInfo) -> str:
        if not model and info.data.get("backend") in ("server", "vlm"):
            raise ValueError(f"backend {info.data['backend']!r} needs the name of a model")
        return model

    @field_validator("base_url")
    @classmethod
    def _is_address(cls, base_url: str, info: ValidationInfo) -> str:
        if not base_url:
            if info.data.get("backend") == "server":
                raise ValueError("backend 'server' needs an address, as http://localhost:8000/v1")
            return base_url
        parts = urlsplit(base_url)
        if not re.fullmatch("https?", parts.scheme) or not parts.hostname:
            raise ValueError("write it as http://host:port/v1")
        if parts.username is not None or parts.query:
            raise ValueError("no user, key or query in the address; name key_variable instead")
        return base_url
