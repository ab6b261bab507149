"""Sync: each estimator under its own names; one is never given for the other."""

from __future__ import annotations

from training.evaluation.side_by_side import best_shift
from training.evaluation.sync import sync_of

EMBEDDED = {
    "sync.offset_ms": 35.0,
    "sync.confidence": 0.9,
    "sync.score": 0.4,
    "sync.curve_offsets_ms": [-40.0, 0.0, 40.0],
    "sync.curve": [0.1, 0.2, 0.4],
}
SYNCNET = {"syncnet.offset_ms": -80.0, "syncnet.confidence": 6.5, "syncnet.distance": 7.5}


def test_without_syncnet_its_scores_are_missing_and_the_embedded_offset_says_whose_it_is():
    sync = sync_of(EMBEDDED)
    assert sync.figures["sync_c"] is None and sync.figures["sync_d"] is None
    assert (sync.offset_by, sync.figures["av_offset_ms"]) == ("embedded", 35.0)
    assert sync.figures["sync_confidence"] == 0.9


def test_syncnets_offset_goes_first():
    sync = sync_of({**EMBEDDED, **SYNCNET})
    assert (sync.offset_by, sync.figures["av_offset_ms"]) == ("syncnet", -80.0)
    assert sync.figures["abs_av_offset_ms"] == 80.0
    assert (sync.figures["sync_c"], sync.figures["sync_d"]) == (6.5, 7.5)


def test_the_score_unshifted_is_read_off_the_curve():
    assert sync_of(EMBEDDED).figures["sync_score_at_zero"] == 0.2


def test_an_estimator_that_could_not_tell_leaves_everything_missing():
    sync = sync_of(
        {**EMBEDDED, **dict.fromkeys(("sync.offset_ms", "sync.confidence", "sync.score"))}
    )
    assert sync.offset_by is None and sync.curve is None
    assert set(sync.figures.values()) == {None}


def test_syncnets_curve_has_a_frame_of_25_fps_between_its_points_and_is_best_where_lowest():
    distances = [9.0] * 31
    distances[17] = 6.0
    sync = sync_of({**EMBEDDED, **SYNCNET, "syncnet.curve": distances})
    assert sync.curve.estimator == "syncnet"
    assert (sync.curve.offsets_ms[0], sync.curve.offsets_ms[-1]) == (-600.0, 600.0)
    assert sync.curve.offsets_ms[best_shift(sync.curve)] == 80.0
