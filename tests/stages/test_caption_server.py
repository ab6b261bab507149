"""The server backend against a real server: what it asks, what it believes, when it gives up."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stages.caption import CaptionMeasurement, CaptionStage
from stages.caption_prompt import HINTS, CaptionFailure, answer_schema
from stages.caption_server import Budget
from stages.caption_settings import CaptionSettings
from stages.errors import StageError
from stages.key_frames import KeyFrames, decode_jpeg
from tests.stages.caption_clips import clip_views
from tests.stages.chat_server import (
    GOOD,
    ChatServer,
    Reply,
    fault,
    good,
    in_turn,
    said,
    serving,
)

pytest.importorskip("openai")

KEY = "a-secret-of-the-test"
SOON = {"retry_after_ms": "1"}
CALM_DOWN_S = 1.0
"""More than the client would wait on its own before its first repetition: 0.5 s."""


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_CAPTION_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@contextmanager
def opened(chat: ChatServer, **settings: Any) -> Iterator[CaptionStage]:
    chosen = {
        "backend": "server",
        "model": "some/model",
        "base_url": chat.url,
        "key_variable": "TEST_CAPTION_KEY",
        "max_retries": 2,
        "timeout_s": 30,
        **settings,
    }
    stage = CaptionStage(CaptionSettings(**chosen))
    stage.setup()
    try:
        yield stage
    finally:
        stage.close()


def captions(
    answer: Callable[[dict[str, Any]], Reply], num_clips: int = 1, **settings: Any
) -> tuple[list[CaptionMeasurement], ChatServer]:
    with serving(answer) as chat, opened(chat, **settings) as stage:
        return stage.measure(clip_views(num_clips)), chat


def only(answer: Callable[[dict[str, Any]], Reply], **settings: Any) -> CaptionMeasurement:
    [record] = captions(answer, **settings)[0]
    return record


def words_of(asked: dict[str, Any]) -> str:
    return str(asked["messages"][0]["content"][-1]["text"])


def test_an_answer_becomes_a_caption_and_its_parts_word_for_word() -> None:
    record = only(in_turn(good()))
    parts = {name: value or None for name, value in GOOD.items() if name != "caption"}
    assert record == CaptionMeasurement(text=GOOD["caption"], source="server", **parts)


def test_the_pictures_of_the_clip_are_shown_and_what_was_measured_is_told() -> None:
    views = clip_views(2)
    with serving(in_turn(good())) as chat, opened(chat, max_in_flight=1) as stage:
        stage.measure(views)
    for view, asked in zip(views, chat.asked, strict=True):
        *pictures, words = asked["messages"][0]["content"]
        frames = view.evidence.get(KeyFrames).within(view.clip.span, 3)
        shown = [picture["image_url"]["url"].partition("base64,") for picture in pictures]
        assert [base64.b64decode(data) for _, _, data in shown] == [f.jpeg for f in frames]
        assert {head for head, _, _ in shown} == {"data:image/jpeg;"}
        assert "The camera moves." in words["text"]
        assert "4.0 seconds" in words["text"]
        assert asked["model"] == "some/model"
        assert asked["response_format"]["json_schema"]["schema"] == answer_schema()
        assert (asked["temperature"], asked["seed"]) == (0.0, 0)
    assert set(chat.keys) == {f"Bearer {KEY}"}


def test_pictures_larger_than_asked_are_reduced() -> None:
    _, chat = captions(in_turn(good()), max_picture_px=32)
    *pictures, _ = chat.asked[0]["messages"][0]["content"]
    for picture in pictures:
        data = base64.b64decode(picture["image_url"]["url"].partition("base64,")[2])
        assert decode_jpeg(data).shape == (24, 32, 3)


def test_models_that_refuse_greedy_settings_are_asked_without() -> None:
    _, chat = captions(in_turn(good()), is_greedy=False)
    assert "temperature" not in chat.asked[0]
    assert "seed" not in chat.asked[0]


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    busy = fault(429, retry_after=str(CALM_DOWN_S))
    [record], chat = captions(in_turn(busy, good()))
    assert record.text == GOOD["caption"]
    assert chat.times_s[1] - chat.times_s[0] >= CALM_DOWN_S


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_fault_that_passes_costs_no_caption(status: int) -> None:
    record = only(in_turn(fault(status, **SOON), fault(status, **SOON), good()))
    assert record.text == GOOD["caption"]


@pytest.mark.parametrize(
    ("status", "failure"),
    [(500, CaptionFailure.SERVER_ERROR), (429, CaptionFailure.SERVER_BUSY)],
)
def test_a_clip_the_server_fails_on_has_no_caption_and_the_others_have(
    status: int, failure: CaptionFailure
) -> None:
    views = clip_views(3)
    second = base64.b64encode(views[1].evidence.get(KeyFrames).frames[4].jpeg).decode()

    def answer(asked: dict[str, Any]) -> Reply:
        shown = asked["messages"][0]["content"][0]["image_url"]["url"]
        return fault(status, **SOON) if shown.endswith(second) else good()

    records, chat = captions(answer, 3)
    assert [record.text for record in records] == [GOOD["caption"], None, GOOD["caption"]]
    assert records[1] == CaptionMeasurement(failure=str(failure))
    assert len(chat.asked) == 2 + 3


def test_a_server_that_fails_on_all_clips_fails_the_source_and_not_the_clips() -> None:
    with (
        serving(in_turn(fault(500, **SOON))) as chat,
        opened(chat) as stage,
        pytest.raises(StageError, match=r"none of 2 clips.*fault 500"),
    ):
        stage.measure(clip_views(2))
    assert len(chat.asked) == 2 * 3


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body="<html>a page</html>"),
        Reply(body={"choices": []}),
        Reply(body="{", headers={"Content-Type": "application/json"}),
        fault(400),
    ],
)
def test_what_is_no_answer_of_a_model_is_no_fault_of_the_clips(reply: Reply) -> None:
    with (
        serving(in_turn(reply)) as chat,
        opened(chat) as stage,
        pytest.raises(StageError, match="none of 2 clips"),
    ):
        stage.measure(clip_views(2))


def test_a_server_that_hangs_is_left_after_the_time_out() -> None:
    num_asked = 0
    lock = threading.Lock()

    def answer(_: dict[str, Any]) -> Reply:
        nonlocal num_asked
        with lock:
            num_asked += 1
            return Reply(0) if num_asked == 1 else good()

    records, chat = captions(answer, 2, timeout_s=0.3, max_retries=0, max_in_flight=1)
    assert records[0] == CaptionMeasurement(failure="TIMED_OUT")
    assert records[1].text == GOOD["caption"]
    assert len(chat.asked) == 2


REFUSALS = [
    said(None, refusal="I can't help with that."),
    said("", finish="content_filter"),
    said("I'm sorry, but I can't describe people."),
    fault(400, code="content_policy_violation"),
]


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        *((reply, CaptionFailure.REFUSED) for reply in REFUSALS),
        (said(""), CaptionFailure.EMPTY),
        (said(None), CaptionFailure.EMPTY),
        (Reply(body={"choices": [{"index": 0, "message": None}]}), CaptionFailure.EMPTY),
        (said("A person talks."), CaptionFailure.NOT_JSON),
        (said('{"caption": "A person talks."}'), CaptionFailure.WRONG_FIELDS),
        (said('{"subject": "a per', finish="length"), CaptionFailure.TOO_LONG),
        (good(caption="word " * 99), CaptionFailure.TOO_LONG),
        (good(subject="Marie Curie"), CaptionFailure.NAMES_SOMEBODY),
    ],
)
def test_a_wrong_answer_is_asked_again_with_a_hint_and_then_given_up(
    reply: Reply, failure: CaptionFailure
) -> None:
    [record], chat = captions(in_turn(reply))
    assert record == CaptionMeasurement(failure=str(failure))
    first, second = (words_of(asked) for asked in chat.asked)
    assert second == f"{first}\n{HINTS[failure]}"
    assert only(in_turn(reply, good())).text == GOOD["caption"]


def test_a_server_without_schemas_is_asked_without_one_from_then_on() -> None:
    def answer(asked: dict[str, Any]) -> Reply:
        return fault(400) if "response_format" in asked else good()

    records, chat = captions(answer, 3, max_in_flight=1)
    assert [record.text for record in records] == [GOOD["caption"]] * 3
    assert ["response_format" in asked for asked in chat.asked] == [True, False, False, False]


def test_a_wrong_key_is_said_in_one_line_before_any_clip() -> None:
    with (
        serving(in_turn(good()), models=fault(401)) as chat,
        pytest.raises(StageError, match=r"fault 401.*TEST_CAPTION_KEY") as caught,
        opened(chat),
    ):
        pass
    assert (chat.num_model_lists, chat.asked) == (1, [])
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_model_stops_at_the_first_clip_and_for_good(status: int) -> None:
    with serving(in_turn(fault(status))) as chat, opened(chat, max_in_flight=1) as stage:
        for _ in range(2):
            with pytest.raises(StageError, match=rf"'some/model'.*fault {status}"):
                stage.measure(clip_views(5))
        assert len(chat.asked) == 1


def test_no_key_in_the_environment_is_said_at_setup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_CAPTION_KEY")
    with serving(in_turn(good())) as chat:
        with pytest.raises(StageError, match="TEST_CAPTION_KEY"), opened(chat):
            pass
        with opened(chat, key_variable="") as stage:
            assert stage.measure(clip_views(1))[0].text == GOOD["caption"]


def test_no_server_at_all_is_said_at_setup() -> None:
    with serving(in_turn(good())) as chat:
        gone = ChatServer(chat.answer, chat.models, url=chat.url)
    with pytest.raises(StageError, match="no server answers"), opened(gone, max_retries=0):
        pass


def test_questions_on_their_way_are_bounded_and_answers_keep_their_order() -> None:
    together = threading.Barrier(3)

    def answer(asked: dict[str, Any]) -> Reply:
        together.wait(timeout=20)
        shown = asked["messages"][0]["content"][0]["image_url"]["url"]
        return good(subject=f"number {len(shown)} {shown[-60:]}")

    views = clip_views(9)
    with serving(answer) as chat, opened(chat, max_in_flight=3, num_frames=1) as stage:
        records = stage.measure(views)
    assert chat.most_at_once == 3
    for view, record in zip(views, records, strict=True):
        [frame] = view.evidence.get(KeyFrames).within(view.clip.span, 1)
        assert record.subject.endswith(base64.b64encode(frame.jpeg).decode()[-60:])


def test_beyond_the_budget_of_requests_clips_have_no_caption() -> None:
    with serving(in_turn(good())) as chat, opened(chat, max_requests=3) as stage:
        first, second = stage.measure(clip_views(2)), stage.measure(clip_views(2))
    assert [record.text is None for record in (*first, *second)] == [False, False, False, True]
    assert second[1] == CaptionMeasurement(failure="BUDGET_SPENT")
    assert len(chat.asked) == 3


def test_beyond_the_budget_of_tokens_clips_have_no_caption() -> None:
    reply = said(good().body["choices"][0]["message"]["content"], tokens=50)
    limits = {"max_answer_tokens": 100, "max_total_tokens": 200, "max_in_flight": 1}
    records, chat = captions(in_turn(reply), 5, **limits)
    # 200, 150 and 100 tokens are left before the first three; 50 are too few for the fourth.
    assert [record.failure for record in records] == [None] * 3 + ["BUDGET_SPENT"] * 2
    assert {asked["max_completion_tokens"] for asked in chat.asked} == {100}


def test_an_uncounted_answer_costs_all_that_it_might_have() -> None:
    reply = good()
    del reply.body["usage"]
    records, _ = captions(in_turn(reply), 3, max_answer_tokens=100, max_total_tokens=250)
    assert [record.failure for record in records].count("BUDGET_SPENT") == 1


def test_a_budget_sets_aside_what_is_on_its_way() -> None:
    budget = Budget(max_requests=9, max_tokens=100)
    assert budget.reserve(60)
    assert not budget.reserve(60)
    budget.settle(60, 10)
    assert budget.reserve(60)


def test_a_clip_without_pictures_has_no_caption_and_costs_nothing() -> None:
    with serving(in_turn(good())) as chat, opened(chat) as stage:
        [record] = stage.measure(clip_views(1, has_pictures=False))
    assert record == CaptionMeasurement(failure="NO_PICTURE")
    assert chat.asked == []
