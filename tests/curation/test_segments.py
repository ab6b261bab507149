"""Segments: about equal parts whose borders lie where nobody speaks."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from curation.cast import ANNA_VOICE
from curation.inputs import identify
from curation.measure import Measurer, Unit
from curation.pipeline import build_pipeline
from curation.recipe import load_recipe
from curation.segments import REACH_S, PauseFinder, num_segments, segment_bounds
from curation.synth_voice import speak
from curation.talking_clip import write_clip
from manifests.ledger import Ledger
from manifests.storage import Folder
from stages.facts import SourceFacts
from stages.speech import SpeechSettings
from stages.voice_activity import Hearing
from tests.stages.footage import facts_of

RATE_HZ = 48_000
LENGTH_S = 10
TEXT = "so many people came to see the boats and none of them went home before dark"
PAUSE_S = (4.0, 4.6)


def film(path: Path, pcm: np.ndarray) -> SourceFacts:
    grey = np.full((256, 256, 3), 128, np.uint8)
    write_clip(path, [grey] * (25 * LENGTH_S), Fraction(25), pcm.astype(np.float32), RATE_HZ)
    return facts_of(path)


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> SourceFacts:
    """Speech with one silence that is longer than its own pauses."""
    pcm = speak(TEXT, ANNA_VOICE, seconds=LENGTH_S, sample_rate_hz=RATE_HZ, lead_in_s=0).pcm.copy()
    first, last = (round(t * RATE_HZ) for t in PAUSE_S)
    pcm[first:last] = 1e-4 * np.random.default_rng(0).standard_normal(last - first)
    return film(tmp_path_factory.mktemp("talk") / "talk.mp4", pcm)


@pytest.fixture(scope="module")
def finder() -> PauseFinder:
    return PauseFinder(SpeechSettings())


@pytest.mark.parametrize("nominal", [Fraction(3), Fraction(43, 10), Fraction(6)])
def test_the_border_lies_in_the_longest_pause_within_reach(
    talk: SourceFacts, finder: PauseFinder, nominal: Fraction
) -> None:
    time = finder(talk, talk.video.start_time + nominal, Fraction(2))
    assert float(time - talk.video.start_time) == pytest.approx(sum(PAUSE_S) / 2, abs=0.1)


def test_without_a_voice_the_border_stays(tmp_path: Path, finder: PauseFinder) -> None:
    silent = film(tmp_path / "silent.mp4", np.zeros(LENGTH_S * RATE_HZ))
    assert finder(silent, Fraction(5), Fraction(2)) == 5


def test_an_unbroken_talk_is_cut_at_its_quietest_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pcm = 0.1 * np.random.default_rng(1).standard_normal(LENGTH_S * RATE_HZ)
    pcm[round(5.7 * RATE_HZ) : round(5.8 * RATE_HZ)] *= 0.1
    facts = film(tmp_path / "hum.mp4", pcm)
    finder = PauseFinder(SpeechSettings())
    monkeypatch.setattr(
        finder._detector,
        "hear",
        lambda samples: Hearing(np.ones(1, np.float32), ((0, len(samples)),)),
    )
    assert float(finder(facts, Fraction(5), Fraction(2))) == pytest.approx(5.75, abs=0.05)


@pytest.mark.parametrize("duration_s", [100.0, 179.9, 181.0, 299.0, 301.0, 3600.0, 3661.0])
def test_parts_are_about_as_long_as_asked(duration_s: float) -> None:
    count = num_segments(duration_s, 120.0)
    assert (count == 1) == (duration_s <= 180)
    assert count == 1 or 80 <= duration_s / count <= 160


def test_a_source_that_does_not_say_its_length_stays_whole() -> None:
    assert num_segments(None, 120.0) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_parts_follow_one_another_whatever_the_pauses(talk: SourceFacts, count: int) -> None:
    def far_off(facts: SourceFacts, time: Fraction, reach: Fraction) -> Fraction:
        assert 0 < reach <= REACH_S
        return time + reach * (-1) ** int(time)  # as far as it may go, now back, now forth

    bounds = [segment_bounds(talk, number, count, far_off) for number in range(count)]
    assert bounds[0][0] is None
    assert bounds[-1][1] is None
    for (_, end), (start, _) in pairwise(bounds):
        assert end == start
    inner = [end for _, end in bounds[:-1]]
    assert all(end is not None for end in inner)
    assert inner == sorted(inner)  # type: ignore[type-var]
    assert len(set(inner)) == len(inner)


def test_files_that_are_clips_stay_whole() -> None:
    assert num_segments(3600.0, load_recipe("generated").segment_s) == 1
    assert num_segments(3600.0, load_recipe("talking_portrait").segment_s) == 30


def test_how_sources_are_cut_is_part_of_the_digest() -> None:
    one, other = (load_recipe("talking_portrait", [f"run.segment_s={n}"]) for n in (60, 120))
    assert one.digest != other.digest


def test_seconds_that_only_the_header_promises_are_not_lost(tmp_path: Path) -> None:
    """Sound that ends late makes a long header; parts without a frame have no seconds."""
    grey = np.full((256, 256, 3), 128, np.uint8)
    silence = np.zeros(9 * RATE_HZ, np.float32)
    write_clip(tmp_path / "short.mkv", [grey] * 75, Fraction(25), silence, RATE_HZ)
    recipe = load_recipe("talking_portrait", ["run.segment_s=3"])
    (source,) = identify([str(tmp_path / "short.mkv")])
    run = Folder(str(tmp_path / "run"))
    measurer = Measurer(run, build_pipeline(recipe))
    count = measurer(Unit(source)).num_segments
    assert count == 3
    for number in range(count):
        measurer(Unit(source, number, count))
    headers = [commit.header for commit in Ledger(run).read(source.source_id)]
    assert [header.duration_s for header in headers[1:]] == [0.0, 0.0]
    assert [header.lost_s for header in headers[1:]] == [{}, {}]
    assert headers[0].duration_s == pytest.approx(3.0, abs=0.1)
