"""The benchmark of lip sync: who judges whom, and how trials are dealt into groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.sync_accuracy import groups_of, longest_of_each_source, unseen
from stages.sync_estimator import SyncEstimator
from stages.sync_trials import Trial
from tests.stages.test_syncnet_trials import CLIPS


def test_a_clip_is_judged_by_the_first_that_has_not_learned_from_it() -> None:
    blank = SyncEstimator((), np.zeros(6))
    ids = [each.source_id for each in CLIPS]
    first = replace(blank, learned_from=frozenset(ids[1:]))
    second = replace(blank, learned_from=frozenset([ids[0], ids[2]]))
    found = unseen(CLIPS[:3], [first, second])
    assert found[CLIPS[0].name] is first
    assert found[CLIPS[1].name] is second
    assert CLIPS[2].name not in found


def test_one_face_a_source_is_the_one_seen_longest() -> None:
    first, other = CLIPS[:2]
    half = slice(0, len(first.times_s) // 2)
    shorter = replace(
        first, name="a", points_TPC=first.points_TPC[half], times_s=first.times_s[half]
    )
    assert longest_of_each_source([shorter, other, first]) == [other, first]


def test_trials_are_dealt_by_what_was_measured_of_their_clips() -> None:
    judged = [Trial("x", 3.0, "own", np.zeros(6), 0.0, clip=name) for name in "abcd"]
    rows = {
        "a": {"speech.snr_db": 5.0, "transcript.language": "en"},
        "b": {"speech.snr_db": 20.0},
        "c": {"speech.snr_db": None, "transcript.language": "zh"},
    }
    dealt = {name: [t.clip for t in part] for name, part in groups_of(judged, rows)}
    assert dealt == {
        "signal to noise, dB: below 10": ["a"],
        "signal to noise, dB: 20 to 30": ["b"],
        "language: en": ["a"],
        "language: zh": ["c"],
    }
