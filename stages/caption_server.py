"""Captions by an OpenAI-compatible server (vLLM and the like), through the ``openai`` client.

The client waits and tries again as servers ask for it: after time-outs, 408, 409, 429 and 5xx,
for as long as ``Retry-After`` says, else 0.5 s doubled each time up to 8 s, less up to a quarter
by chance. Here is what it leaves open: how many questions are on their way, what a run may cost,
which errors are those of one clip and which end the work.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from json import JSONDecodeError
from threading import Lock
from typing import Any

from stages.caption_prompt import (
    CaptionAnswer,
    CaptionFailure,
    CaptionRequest,
    Prompt,
    answer_schema,
    describe,
)
from stages.caption_settings import CaptionSettings
from stages.errors import StageError

_SEED = 0
_NO_KEY = "none"
"""The client demands a key, and servers without keys ignore it."""

_UNANSWERED = frozenset(
    {CaptionFailure.TIMED_OUT, CaptionFailure.SERVER_BUSY, CaptionFailure.SERVER_ERROR}
)


class ServerBackend:
    """Asks a server; many questions at a time.

    Args:
        settings: address, model and limits.
    """

    def __init__(self, settings: CaptionSettings) -> None:
        self._settings = settings
        self._budget = Budget(settings.max_requests, settings.max_total_tokens)
        self._holds_to_schema = True
        self._fatal = ""
        self._last_error = ""
        self._client = _connect(settings)
        self._threads = ThreadPoolExecutor(settings.max_in_flight, "caption")

    def close(self) -> None:
        """Drop the connections."""
        self._threads.shutdown(cancel_futures=True)
        self._client.close()

    def describe(self, requests: Sequence[CaptionRequest]) -> list[CaptionAnswer | CaptionFailure]:
        """Describe the clips of one source.

        Args:
            requests: the clips.

        Returns:
            For each what the model says of it, or why there is nothing.

        Raises:
            StageError: the server refuses the key or does not know the model, or answered not one
                of the questions: then the fault is not with the clips.
        """
        results = describe(self._ask_all, requests, self._settings.max_words)
        asked = [r for r in results if r is not CaptionFailure.NO_PICTURE]
        if asked and all(result in _UNANSWERED for result in asked):
            raise StageError(
                f"caption: {self._settings.base_url} answered for none of {len(asked)} clips, "
                f"the last time with {self._last_error}; look at the server, then `curate retry`"
            )
        return results

    def _ask_all(self, prompts: Sequence[Prompt]) -> list[str | CaptionFailure]:
        return list(self._threads.map(self._ask, prompts))

    def _ask(self, prompt: Prompt) -> str | CaptionFailure:
        import openai

        if self._fatal:
            raise StageError(self._fatal)
        if not self._budget.reserve(self._settings.max_answer_tokens):
            return CaptionFailure.BUDGET_SPENT
        num_tokens = 0
        try:
            completion = self._complete(prompt)
            num_tokens = _tokens_of(completion, self._settings.max_answer_tokens)
            if not getattr(completion, "choices", None):
                self._last_error = "what is no chat completion"
                return CaptionFailure.SERVER_ERROR
            return _said(completion.choices[0])
        except (
            openai.AuthenticationError,
            openai.PermissionDeniedError,
            openai.NotFoundError,
        ) as error:
            self._fatal = _in_one_line(self._settings, error)
            raise StageError(self._fatal) from error
        except openai.APIError as error:
            self._last_error = _text_of(error)
            failure = _failure_of(error)
            if failure is CaptionFailure.TIMED_OUT:
                num_tokens = self._settings.max_answer_tokens
            return failure
        except JSONDecodeError as error:
            self._last_error = f"broken JSON: {error}"
            return CaptionFailure.SERVER_ERROR
        finally:
            self._budget.settle(self._settings.max_answer_tokens, num_tokens)

    def _complete(self, prompt: Prompt) -> Any:
        import openai

        if self._holds_to_schema:
            try:
                return self._create(prompt, response_format=_RESPONSE_FORMAT)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if _failure_of(error) is CaptionFailure.REFUSED:
                    raise
                completion = self._create(prompt)
                self._holds_to_schema = False
                return completion
        return self._create(prompt)

    def _create(self, prompt: Prompt, **more: Any) -> Any:
        if self._settings.is_greedy:
            more |= {"temperature": 0.0, "seed": _SEED}
        return self._client.chat.completions.create(
            model=self._settings.model,
            messages=[{"role": "user", "content": _content(prompt)}],
            max_completion_tokens=self._settings.max_answer_tokens,
            **more,
        )


class Budget:
    """What a worker may still ask; safe among threads.

    Tokens are set aside before a question and settled after it, so that answers on their way
    cannot exceed the limit together.

    Args:
        max_requests: questions.
        max_tokens: completion tokens.
    """

    def __init__(self, max_requests: int, max_tokens: int) -> None:
        self._num_requests = max_requests
        self._num_tokens = max_tokens
        self._lock = Lock()

    def reserve(self, num_tokens: int) -> bool:
        """Set aside one question of at most so many tokens; tell whether there is one."""
        with self._lock:
            if self._num_requests < 1 or self._num_tokens < num_tokens:
                return False
            self._num_requests -= 1
            self._num_tokens -= num_tokens
            return True

    def settle(self, num_reserved: int, num_used: int) -> None:
        """Give back what a question did not use."""
        with self._lock:
            self._num_tokens += num_reserved - num_used


_RESPONSE_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "caption", "strict": True, "schema": answer_schema()},
}


def _connect(settings: CaptionSettings) -> Any:
    """Open the client, and look whether the server takes the key before anything is decoded."""
    try:
        import openai
    except ImportError as error:
        raise StageError(
            "caption: backend 'server' needs the openai client; pip install 'talkreel[caption]'"
        ) from error
    key = os.environ.get(settings.key_variable) if settings.key_variable else _NO_KEY
    if not key:
        raise StageError(
            f"caption: environment variable {settings.key_variable} holds no key for "
            f"{settings.base_url}; set it, or set caption.key_variable to '' for a server "
            "without keys"
        )
    client = openai.OpenAI(
        base_url=settings.base_url,
        api_key=key,
        timeout=settings.timeout_s,
        max_retries=settings.max_retries,
    )
    try:
        client.models.list()
    except openai.APIStatusError as error:
        # Some servers have no list of models; those that have refuse a wrong key here.
        if error.status_code in (401, 403):
            client.close()
            raise StageError(_in_one_line(settings, error)) from error
    except openai.APIConnectionError as error:
        client.close()
        raise StageError(
            f"caption: no server answers at {settings.base_url}: {_text_of(error)}"
        ) from error
    return client


def _content(prompt: Prompt) -> list[dict[str, Any]]:
    pictures = [
        {
            "type": "image_url",
            "image_url": {"url": f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"},
        }
        for jpeg in prompt.jpegs
    ]
    return [*pictures, {"type": "text", "text": prompt.text}]


def _said(choice: Any) -> str | CaptionFailure:
    message = choice.message
    if message is None:
        return CaptionFailure.EMPTY
    if choice.finish_reason == "content_filter" or message.refusal:
        return CaptionFailure.REFUSED
    if choice.finish_reason == "length":
        return CaptionFailure.TOO_LONG
    return message.content if isinstance(message.content, str) else CaptionFailure.EMPTY


def _tokens_of(completion: Any, max_tokens: int) -> int:
    """Completion tokens that the server counted; the most there can be if it says nothing."""
    counted = getattr(getattr(completion, "usage", None), "completion_tokens", None)
    return max_tokens if counted is None else int(counted)


def _failure_of(error: Any) -> CaptionFailure:
    import openai

    if isinstance(error, openai.APITimeoutError):
        return CaptionFailure.TIMED_OUT
    if isinstance(error, openai.RateLimitError):
        return CaptionFailure.SERVER_BUSY
    if error.code in ("content_filter", "content_policy_violation"):
        return CaptionFailure.REFUSED
    return CaptionFailure.SERVER_ERROR


def _in_one_line(settings: CaptionSettings, error: Any) -> str:
    way_out = "see caption.model"
    if error.status_code in (401, 403):
        way_out = f"see the key in {settings.key_variable or 'caption.key_variable'}"
    return (
        f"caption: {settings.base_url} refuses model {settings.model!r}: {_text_of(error)}; "
        f"{way_out}"
    )


def _text_of(error: Any) -> str:
    cause = f": {error.__cause__}" if error.__cause__ else ""
    return " ".join(f"{type(error).__name__}: {error.message}{cause}".split())
