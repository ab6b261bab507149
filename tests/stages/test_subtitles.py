"""Subtitles: what is spoken is told once, in clean words, from the file of the right source."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pytest

from stages.cues import Cue, Piece, words_of
from stages.errors import StageError
from stages.sidecars import ranked, read_sidecar, sidecars_of
from stages.subtitles import read_subtitles
from stages.word_times import joined, split_words, spread

SRT = """\ufeff1
00:00:01,000 --> 00:00:02,500
<i>Hello</i> {\\an8}there.

2
00:00:02,500 --> 00:00:04,000
- How are
you?
"""

YOUTUBE_VTT = """WEBVTT
Kind: captions
Language: en

00:00:00.100 --> 00:00:02.000 align:start position:0%
~
hello<00:00:00.500><c> big</c><00:00:00.900><c> world</c>

00:00:02.000 --> 00:00:02.010 align:start position:0%
hello big world
~

00:00:02.010 --> 00:00:04.000 align:start position:0%
hello big world
how<00:00:02.600><c> are</c><00:00:03.000><c> you</c>

00:00:04.000 --> 00:00:04.010 align:start position:0%
how are you
~

00:00:04.010 --> 00:00:06.000 align:start position:0%
how are you
fine<00:00:05.000><c> thanks</c>
""".replace("~", " ")  # lines that hold a space, as YouTube writes them


def read(text: str, extension: str = "vtt"):  # type: ignore[no-untyped-def]
    return read_subtitles(text.encode(), extension)


def texts(text: str, extension: str = "vtt") -> list[str]:
    return [" ".join(cue.texts) for cue in read(text, extension).cues]


def vtt(*cues: tuple[float, float, str]) -> str:
    blocks = [f"00:{a:06.3f} --> 00:{b:06.3f}\n{text}\n" for a, b, text in cues]
    return "WEBVTT\n\n" + "\n".join(blocks)


def always(start_s: float, end_s: float) -> list[tuple[float, float]]:
    return [(start_s, end_s)]


def timed(text: str, extension: str = "vtt") -> list[tuple[str, float, float]]:
    words = [word for cue in read(text, extension).cues for word in words_of(cue, always)]
    return [(w.text, round(w.start_s, 3), round(w.end_s, 3)) for w in words]


def test_subrip_loses_its_markup() -> None:
    first, second = read(SRT, "srt").cues
    assert (first.start_s, first.end_s, first.texts) == (1.0, 2.5, ("Hello there.",))
    assert second.texts == ("How are", "you?")


def test_rolling_captions_are_told_once_with_the_times_of_their_words() -> None:
    assert timed(YOUTUBE_VTT) == [
        ("hello", 0.1, 0.5),
        ("big", 0.5, 0.9),
        ("world", 0.9, 2.0),
        ("how", 2.01, 2.6),
        ("are", 2.6, 3.0),
        ("you", 3.0, 4.0),
        ("fine", 4.01, 5.0),
        ("thanks", 5.0, 6.0),
    ]
    assert read(YOUTUBE_VTT).language == "en"


def test_captions_that_scroll_without_word_times_are_told_once_and_end_with_the_next() -> None:
    rolling = vtt((0, 4, "one two"), (2, 6, "one two\nthree"), (4, 8, "three\nfour five"))
    assert texts(rolling) == ["one two", "three", "four five"]
    assert [(cue.start_s, cue.end_s) for cue in read(rolling).cues] == [(0, 2), (2, 4), (4, 8)]


def test_what_is_said_twice_stays_twice() -> None:
    said = [(n, n + 1, text) for n, text in enumerate(("No.", "No.", "Why?", "Never.", "Oh\nno"))]
    assert texts(vtt(*said)) == ["No.", "No.", "Why?", "Never.", "Oh no"]
    # A cue that is shown twice at the same time is one.
    assert texts(vtt((0, 2, "Stop."), (0.5, 2, "Stop."), (3, 4, "Go."))) == ["Stop.", "Go."]


@pytest.mark.parametrize(
    ("shown", "spoken"),
    [
        ("[Music]", None),
        ("[door\ncreaks] Who is it?", "Who is it?"),
        ("(laughs) Yes &amp; no", "Yes & no"),
        ("&gt;&gt; MARY ANN: Good day", "Good day"),
        ("<v Bob Jones>Good day</v>", "Good day"),
        ("- Who?\n- Me.", "Who? Me."),
        ("♪ la la la ♪", "la la la"),
        ("It is 12:30 now", "It is 12:30 now"),
        ("Well: he said no", "Well: he said no"),
        ("well-known e-mail", "well-known e-mail"),
    ],
)
def test_only_what_is_spoken_remains(shown: str, spoken: str | None) -> None:
    assert texts(vtt((0, 2, shown), (3, 4, "end"))) == ([spoken] if spoken else []) + ["end"]


def test_notes_styles_and_names_of_cues_are_not_spoken() -> None:
    text = (
        "WEBVTT\n\nSTYLE\n::cue { color: red }\n\nNOTE a remark\n\n"
        "intro-1\n00:01.000 --> 00:02.000\nhello\n\nNOTE the end\n"
    )
    assert texts(text) == ["hello"]


def test_json3_of_automatic_captions() -> None:
    events = [
        {"tStartMs": 0, "dDurationMs": 9000, "id": 1, "wpWinPosId": 1},
        {
            "tStartMs": 1000,
            "dDurationMs": 4000,
            "segs": [{"utf8": "hello", "acAsrConf": 0}, {"utf8": " world", "tOffsetMs": 500}],
        },
        {"tStartMs": 2500, "dDurationMs": 2500, "aAppend": 1, "segs": [{"utf8": "\n"}]},
        {"tStartMs": 3000, "dDurationMs": 2000, "segs": [{"utf8": "[Music]"}]},
        {"tStartMs": 4000, "dDurationMs": 1000, "segs": [{"utf8": "well done"}]},
    ]
    assert timed(json.dumps({"wireMagic": "pb3", "events": events}), "json3") == [
        ("hello", 1.0, 1.5),
        ("world", 1.5, 4.0),
        ("well", 4.0, 4.5),
        ("done", 4.5, 5.0),
    ]


def test_whisperx_keeps_times_and_scores_and_numbers_without_times_fill_the_gap() -> None:
    words = [
        {"word": "in", "start": 0.5, "end": 0.7, "score": 0.9},
        {"word": "2024"},
        {"word": "we", "start": 1.7, "end": 1.9, "score": 0.5},
    ]
    segment = {"start": 0.5, "end": 2.0, "text": " in 2024 we", "words": words}
    stored = json.dumps({"segments": [segment], "word_segments": words, "language": "de"})
    assert read(stored, "json").language == "de"
    (cue,) = read(stored, "json").cues
    found = words_of(cue, always)
    assert [w.text for w in found] == ["in", "2024", "we"]
    assert [w.confidence for w in found] == [None, None, 0.5]
    assert (found[0].start_s, found[2].start_s, found[2].end_s) == (0.5, 1.7, 1.9)
    assert found[0].end_s == found[1].start_s and found[1].end_s == 1.7


@pytest.mark.parametrize(
    ("data", "extension", "words"),
    [
        (b"", "vtt", "not a whole .vtt"),
        (b"", "srt", "not a whole .srt"),
        (b"WEBVTT\n\n00:75.000 --> 00:80.000\nhi\n", "vtt", "no cue"),
        (b"WEBVTT\n\n00:02.000 --> 00:01.000\nhi\n", "vtt", "no cue"),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\nZoë\n".encode("latin-1"), "vtt", "not utf-8"),
        (b"\xff\xfeW", "vtt", "not utf-16"),
        (b'{"events": [{"tStartMs": "soon", "segs": []}]}', "json3", "events.0.tStartMs"),
        (b'{"segments": [{"start": NaN, "end": 1}]}', "json", "segments.0.start"),
        (b'{"segments": [', "json", "not valid JSON"),
        (b"[" * 100_000, "json", "not valid JSON"),
        (b'{"title": "x"}', "json", "no transcript"),
        (b"[]", "json", "no transcript"),
        (b'{"segments": []}', "json", "no cue"),
    ],
)
def test_a_broken_file_is_refused_in_words(data: bytes, extension: str, words: str) -> None:
    with pytest.raises(StageError, match=words):
        read_subtitles(data, extension)


def test_sound_descriptions_alone_are_a_file_without_words() -> None:
    assert read(vtt((0, 2, "[Music]"))).cues == ()


def test_utf_16_with_its_mark_is_read() -> None:
    (cue,) = read_subtitles(vtt((0, 1, "Zoë")).encode("utf-16"), "vtt").cues
    assert cue.texts == ("Zoë",)


def test_words_fill_the_voice_by_their_length_and_never_reach_over_a_pause() -> None:
    words = spread(["aa", "bb", "cccc", "dddd"], [(0.0, 1.0), (5.0, 7.0)])
    assert [(w.text, w.start_s, w.end_s) for w in words] == [
        ("aa", 0.0, 0.5),
        ("bb", 0.5, 1.0),
        ("cccc", 5.0, 6.0),
        ("dddd", 6.0, 7.0),
    ]
    # Two fifths of the voice before the pause are nearer to one word of three than to none.
    uneven = spread(["one", "two", "six"], [(0.0, 0.8), (3.0, 4.2)])
    assert [w.start_s for w in uneven] == pytest.approx([0.0, 3.0, 3.6])
    assert not any(w.start_s < 0.8 and w.end_s > 3.0 for w in uneven)


def test_a_timed_word_ends_with_its_voice() -> None:
    cue = Cue(0.0, 4.0, ((Piece("one", 0.0), Piece(" two", 3.0)),))

    def voiced(start_s: float, end_s: float) -> list[tuple[float, float]]:
        stretches = [(0.1, 0.6), (2.8, 3.5)]  # the second word is heard before its time
        return [(max(a, start_s), min(b, end_s)) for a, b in stretches if b > start_s and a < end_s]

    assert [(w.start_s, w.end_s) for w in words_of(cue, voiced)] == [(0.0, 0.6), (3.0, 3.5)]


def test_a_cue_without_voice_is_filled_evenly() -> None:
    words = words_of(Cue(1.0, 3.0, ((Piece("ab cd"),),)), lambda a, b: [])
    assert [(w.start_s, w.end_s) for w in words] == [(1.0, 2.0), (2.0, 3.0)]


def test_scripts_without_spaces_are_cut_by_letter_and_joined_again() -> None:
    words = split_words("你好。 OK 世界!")
    assert words == ["你", "好。", "OK", "世", "界!"]
    assert joined(words) == "你好。 OK 世界!"
    assert joined(split_words("It's  a -- test ...")) == "It's a test"


NAMES = [
    "clip.mp4",
    "clip.mp4.srt",
    "clip.en.vtt",
    "clip.en.json3",
    "clip.de-orig.VTT",
    "clip.info.json",
    "clip.live_chat.json3",
    "clip.en.forced.srt",
    "clip.one.mp4",
    "clip.one.srt",
    "clipper.vtt",
    "other.vtt",
    "clip.json",
]


def test_a_source_gets_its_own_subtitles() -> None:
    found = {(s.name, s.language, s.is_original) for s in sidecars_of("clip.mp4", NAMES)}
    assert found == {
        ("clip.mp4.srt", "", False),
        ("clip.en.vtt", "en", False),
        ("clip.en.json3", "en", False),
        ("clip.de-orig.VTT", "de", True),
        ("clip.json", "", False),
    }
    assert [s.name for s in sidecars_of("clip.one.mp4", NAMES)] == ["clip.one.srt"]


def test_the_spoken_language_comes_first_and_is_never_guessed() -> None:
    found = sidecars_of("clip.mp4", NAMES)
    assert [s.name for s in ranked(found, ())] == ["clip.json", "clip.mp4.srt"]
    named = [s for s in found if s.language]
    assert [s.name for s in ranked(named, ())] == ["clip.de-orig.VTT"]
    assert [s.name for s in ranked(named, ("en",))] == ["clip.en.json3", "clip.en.vtt"]
    with pytest.raises(StageError, match=r"de, en.*transcript\.languages"):
        ranked(sidecars_of("a.mp4", ["a.de.vtt", "a.en.vtt"]), ())
    assert len(ranked(sidecars_of("a.mp4", ["a.en.vtt", "a.en-GB.srt"]), ())) == 2


def test_a_broken_file_gives_way_to_the_next_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"title": "metadata of a downloader"}')
    (tmp_path / "a.vtt").write_text(vtt((0, 1, "hi")))
    subtitles, language, problems = read_sidecar(str(tmp_path / "a.mp4"))
    assert subtitles is not None and subtitles.cues[0].texts == ("hi",)
    assert language is None
    assert problems[0].startswith("a.json is no transcript")
    assert read_sidecar(str(tmp_path / "b.mp4")) == (None, None, ())


def test_sidecars_are_found_on_other_filesystems_and_odd_names_are_literal() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe("/talks/a [1].de.srt", b"1\n00:00:01,000 --> 00:00:02,000\nhallo\n")
    fs.pipe("/talks/sub/a [1].vtt", vtt((0, 1, "of another")).encode())
    subtitles, language, problems = read_sidecar("memory://talks/a [1].mp4")
    assert subtitles is not None and subtitles.cues[0].texts == ("hallo",)
    assert (language, problems) == ("de", ())
