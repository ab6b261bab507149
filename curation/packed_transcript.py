"""The transcript of a packed sample: words on the clock of the sample's own sound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def packed_transcript(
    row: Mapping[str, Any], offset_ms: float, duration_s: float
) -> dict[str, Any] | None:
    """Make the transcript that a sample carries.

    The sound of a sample is cut as much later as the AV offset says, so its words come as much
    earlier.

    Args:
        row: the clip with its measurements.
        offset_ms: AV offset by which the sound was shifted, + = audio later than picture.
        duration_s: length of the sample.

    Returns:
        ``text``, ``language`` and ``words``: each with ``word``, ``start_s`` and ``end_s`` from the
        start of the sample, to the millisecond, and ``confidence`` and ``speaker`` where they are
        known. ``None`` if the clip was not transcribed.
    """
    if row.get("transcript.words") is None:
        return None
    texts = row["transcript.words"]
    confidences = row.get("transcript.word_confidences") or [None] * len(texts)
    speakers = row.get("transcript.word_speakers") or [""] * len(texts)
    times = zip(row["transcript.word_starts_s"], row["transcript.word_ends_s"], strict=True)
    words = []
    for text, span_s, confidence, speaker in zip(texts, times, confidences, speakers, strict=True):
        start_s, end_s = (
            round(min(max(0.0, time_s - offset_ms / 1000), duration_s), 3) for time_s in span_s
        )
        word = {"word": text, "start_s": start_s, "end_s": end_s}
        if confidence is not None:
            word["confidence"] = round(confidence, 4)
        if speaker:
            word["speaker"] = speaker
        words.append(word)
    return {
        "text": row["transcript.text"],
        "language": row.get("transcript.language"),
        "words": words,
    }
