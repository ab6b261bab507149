"""Captions by a vision-language model in the worker, through transformers.

Any model that ``AutoModelForImageTextToText`` knows and whose chat template takes several
pictures: Qwen2.5-VL and its like. Answers are greedy, so that the same clip gets the same words.
Weights are safetensors, and no code comes with them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from PIL import Image

from stages.caption_prompt import (
    CaptionAnswer,
    CaptionFailure,
    CaptionRequest,
    Prompt,
    describe,
)
from stages.caption_settings import CaptionSettings
from stages.errors import StageError


class VlmBackend:
    """A loaded model.

    Args:
        settings: which model, where it runs, how much it may say.
    """

    def __init__(self, settings: CaptionSettings) -> None:
        self._settings = settings
        self._processor, self._model = _load(settings)

    def close(self) -> None:
        """Free the model."""
        del self._model, self._processor

    def describe(self, requests: Sequence[CaptionRequest]) -> list[CaptionAnswer | CaptionFailure]:
        """Describe the clips of one source.

        Args:
            requests: the clips.

        Returns:
            For each what the model says of it, or why that is not believed.
        """
        return describe(self._ask_all, requests, self._settings.max_words)

    def _ask_all(self, prompts: Sequence[Prompt]) -> list[str | CaptionFailure]:
        size = self._settings.batch_size
        batches = (prompts[first : first + size] for first in range(0, len(prompts), size))
        return [answer for batch in batches for answer in self._ask(batch)]

    def _ask(self, prompts: Sequence[Prompt]) -> list[str | CaptionFailure]:
        texts = [
            self._processor.apply_chat_template(
                _conversation(prompt), add_generation_prompt=True, tokenize=False
            )
            for prompt in prompts
        ]
        begin = self._processor.tokenizer.bos_token
        inputs = self._processor(
            text=texts,
            images=[[_picture(jpeg) for jpeg in prompt.jpegs] for prompt in prompts],
            padding=True,
            return_tensors="pt",
            # Some templates write the token that begins a text, and some leave it to the tokenizer.
            add_special_tokens=not (begin and texts[0].startswith(begin)),
        ).to(self._model.device, self._model.dtype)
        generated = self._model.generate(
            **inputs, do_sample=False, max_new_tokens=self._settings.max_answer_tokens
        )
        answers = generated[:, inputs["input_ids"].shape[1] :]
        texts = self._processor.batch_decode(answers, skip_special_tokens=True)
        ends = _end_tokens(self._model)
        return [
            text if ends.intersection(tokens) else CaptionFailure.TOO_LONG
            for text, tokens in zip(texts, answers.tolist(), strict=True)
        ]


def _load(settings: CaptionSettings) -> tuple[Any, Any]:
    try:
        from transformers import AutoModelForImageTextToText, AutoProcessor
    except ImportError as error:
        raise StageError(
            "caption: backend 'vlm' needs transformers and torch; pip install 'talkreel[vlm]'"
        ) from error
    name, revision = settings.model, settings.revision
    try:
        processor = AutoProcessor.from_pretrained(name, revision=revision)
        model = AutoModelForImageTextToText.from_pretrained(
            name,
            revision=revision,
            dtype="bfloat16" if settings.device == "cuda" else "float32",
            use_safetensors=True,
        )
    except (OSError, ValueError, ImportError) as error:
        cause = " ".join(str(error).split())
        raise StageError(
            f"caption: model {name!r} at revision {revision!r} cannot be loaded: {cause}; "
            "caption.model is a repository of the Hub, or the absolute path of a folder that "
            "`hf download` filled"
        ) from error
    # Answers of a batch begin at the same place only if shorter prompts are filled up before them.
    processor.tokenizer.padding_side = "left"
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor, model.to(settings.device).eval()


def _conversation(prompt: Prompt) -> list[dict[str, Any]]:
    pictures = [{"type": "image"} for _ in prompt.jpegs]
    return [{"role": "user", "content": [*pictures, {"type": "text", "text": prompt.text}]}]


def _picture(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg)).convert("RGB")


def _end_tokens(model: Any) -> set[int]:
    ends = model.generation_config.eos_token_id
    return {ends} if isinstance(ends, int) else set(ends or ())
