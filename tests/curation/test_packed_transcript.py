"""Words of a sample lie on the clock of the sample's own sound."""

from __future__ import annotations

import pytest

from curation.packed_transcript import packed_transcript

ROW = {
    "transcript.text": "one two three",
    "transcript.language": "en",
    "transcript.words": ["one", "two", "three"],
    "transcript.word_starts_s": [0.16, 1.0, 3.9],
    "transcript.word_ends_s": [0.5, 1.25, 4.2],
    "transcript.word_confidences": [0.9, 0.812345, 1.0],
}


@pytest.mark.parametrize("offset_ms", [-160.0, 0.0, 160.0])
def test_words_move_with_the_sound(offset_ms: float) -> None:
    packed = packed_transcript(ROW, offset_ms, 10.0)
    assert packed is not None
    assert (packed["text"], packed["language"]) == ("one two three", "en")
    starts_s = [word["start_s"] for word in packed["words"]]
    assert starts_s == pytest.approx([at - offset_ms / 1000 for at in (0.16, 1.0, 3.9)])
    assert packed["words"][1]["word"] == "two"
    assert packed["words"][1]["confidence"] == 0.8123


def test_words_end_with_the_sample() -> None:
    packed = packed_transcript(ROW, 300.0, 3.75)
    assert packed is not None
    assert packed["words"][0] == {"word": "one", "start_s": 0.0, "end_s": 0.2, "confidence": 0.9}
    assert (packed["words"][2]["start_s"], packed["words"][2]["end_s"]) == (3.6, 3.75)


def test_confidence_is_left_out_where_nobody_says() -> None:
    packed = packed_transcript({**ROW, "transcript.word_confidences": None}, 0.0, 5.0)
    assert packed is not None
    assert all(set(word) == {"word", "start_s", "end_s"} for word in packed["words"])


def test_a_clip_that_was_not_transcribed_has_no_transcript_and_a_silent_one_an_empty_one() -> None:
    assert packed_transcript({}, 0.0, 5.0) is None
    assert packed_transcript({"transcript.words": None}, 0.0, 5.0) is None
    none_said = {key: [] for key in ROW} | {"transcript.text": "", "transcript.language": None}
    assert packed_transcript(none_said, 0.0, 5.0) == {"text": "", "language": None, "words": []}


def test_speakers_travel_where_they_are_known() -> None:
    packed = packed_transcript({**ROW, "transcript.word_speakers": ["A", "", "B"]}, 0.0, 5.0)
    assert packed is not None
    assert [word.get("speaker") for word in packed["words"]] == ["A", None, "B"]
