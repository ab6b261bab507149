"""Faces: tracking with made-up detectors, measuring on made-up tracks."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from manifests.span import Span
from stages.decode import Crop
from stages.face_track import STORED_POINTS, FaceTrack, pack_track, unpack_track
from stages.face_tracker import FaceTracker, TrackerLimits
from stages.faces import (
    FacesSettings,
    expression_motion,
    is_live,
    measure_face,
    mouth_opening,
    occluded_ratio,
    presence,
)
from stages.facts import VideoFacts
from stages.landmarks import INNER_LIP, OUTER_LIP, canonical_face
from stages.mediapipe_faces import Detection

BASE = Fraction(1, 25)
LIMITS = TrackerLimits(
    detect_every_s=0.32,
    confirm_every_s=0.64,
    min_score=0.5,
    min_face_px=20,
    max_tracks=2,
    lost_after_s=1.0,
    min_track_s=0.5,
    min_support_ratio=0.34,
    thumbnail_px=320,
)
VIDEO = VideoFacts(
    index=0,
    codec="h264",
    pixel_format="yuv420p",
    coded_width_px=640,
    coded_height_px=480,
    width_px=640,
    height_px=480,
    rotation_deg=0,
    pixel_aspect=Fraction(1),
    frame_rate=Fraction(25),
    time_base=BASE,
    start_time=Fraction(0),
    is_interlaced=False,
    transfer=2,
)


class Scene:
    """Faces that move over frames without pictures; (x, y, height) of each at a time."""

    def __init__(self, *paths):
        self.paths = paths
        self.time_s = 0.0
        self.num_looks = 0
        self.regions = []

    def faces(self):
        return [face for path in self.paths if (face := path(self.time_s)) is not None]

    def detector(self, picture):
        self.num_looks += 1
        found = []
        for x, y, h in self.faces():
            box = ((x - h / 2) / 640, (y - h / 2) / 480, (x + h / 2) / 640, (y + h / 2) / 480)
            found.append(Detection(box, 0.9))
        return found

    def near_detector(self, picture):
        left, top, side = self.crop
        found = []
        for x, y, h in self.faces():
            if abs(x - left - side / 2) < side / 3 and abs(y - top - side / 2) < side / 3:
                x, y, h = (x - left) / side, (y - top) / side, h / side
                found.append(Detection((x - h / 2, y - h / 2, x + h / 2, y + h / 2), 0.9))
        return found

    def mesher(self, picture, region):
        left, top, side = self.crop
        self.regions.append((left + region.x * side, top + region.y * side, region.side * side))
        for x, y, h in self.faces():
            if abs(x - left - side / 2) < side / 3 and abs(y - top - side / 2) < side / 3:
                mesh = canonical_face() - canonical_face().mean(axis=0)
                mesh *= h / np.ptp(mesh[:, 1])
                mesh[:, :2] += np.array([x - left, y - top])
                return (mesh / side).astype(np.float32)
        return None

    def run(self, num_frames, limits=LIMITS):
        scene = self

        class Frame:
            def thumbnail(self, size):
                return np.zeros((240, 320, 3), np.uint8)

            def crop(self, x, y, side, size):
                scene.crop = (x - side / 2, y - side / 2, side)
                picture = np.zeros((size, size, 3), np.uint8)
                return Crop(picture, x - side / 2, y - side / 2, side, side)

        tracker = FaceTracker(self.detector, self.near_detector, self.mesher, limits, (640, 480))
        for number in range(num_frames):
            self.time_s = number / 25
            frame = Frame()
            frame.pts, frame.time_s = number, self.time_s
            tracker.observe(frame)
        return tracker.finish()


def test_a_face_is_followed_in_every_frame_with_few_looks():
    scene = Scene(lambda t: (200 + 60 * t, 200 + 10 * np.sin(t), 120))
    (track,) = scene.run(75).tracks
    assert track.pts.tolist() == list(range(75))
    assert scene.num_looks <= 6
    assert np.median(track.heights_px) == pytest.approx(120, rel=0.1)
    assert track.support_ratio == 1.0


def test_the_network_looks_where_the_face_was_in_the_frame_before():
    scene = Scene(lambda t: (200 + 100 * t, 240, 120))
    (track,) = scene.run(50).tracks
    boxes = track.boxes
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    np.testing.assert_allclose([r[:2] for r in scene.regions[1:]], centres[:-1], atol=0.01)
    np.testing.assert_allclose([r[2] for r in scene.regions[1:]], sides[:-1], atol=0.01)


def test_two_faces_give_two_tracks_and_the_limit_holds():
    faces = [lambda t, x=x: (x, 240, 100) for x in (120, 320, 520)]
    tracks = Scene(*faces).run(50).tracks
    assert len(tracks) == LIMITS.max_tracks
    assert {len(track.pts) for track in tracks} == {50}


def test_a_lost_face_is_looked_for_at_once_and_comes_back_in_its_track():
    scene = Scene(lambda t: None if 1.0 <= t < 1.4 else (300, 240, 120))
    (track,) = scene.run(75).tracks
    gaps = np.flatnonzero(np.diff(track.pts) > 1)
    assert len(gaps) == 1
    assert len(track.pts) >= 75 - 10 - 9


def test_who_comes_back_late_is_a_new_track():
    scene = Scene(lambda t: None if 1.0 <= t < 2.5 else (300, 240, 120))
    assert len(scene.run(100).tracks) == 2


def test_small_and_short_ones_are_dropped():
    assert Scene(lambda t: (300, 240, 12)).run(50).tracks == ()
    assert Scene(lambda t: (300, 240, 100) if t < 0.3 else None).run(50).tracks == ()


def track_of(num_frames=50, opening=None, sway_px=0.0, noise=0.0, height=200.0, x=320.0):
    """A frontal face; all lips but the middle of the upper one follow ``opening``."""
    rng = np.random.default_rng(1)
    face = canonical_face() - canonical_face().mean(axis=0)
    scale = height / np.ptp(face[:, 1])
    points = np.repeat(face[None], num_frames, axis=0)
    if opening is not None:
        for index in {*OUTER_LIP, *INNER_LIP}:
            points[:, index, 0] += opening
            points[:, index, 1] += opening * (index != 13)
    points = points * scale + rng.normal(0, noise, points.shape)
    points[..., 0] += x + sway_px * np.sin(np.arange(num_frames) / 4)[:, None]
    points[..., 1] += 240
    return FaceTrack(
        number=0,
        pts=np.arange(num_frames, dtype=np.int64),
        landmarks_TPC=points.astype(np.float32),
        score=np.full(num_frames, 0.9, np.float32),
        sharpness=np.full(num_frames, 0.2, np.float32),
        lower_face=np.full((num_frames, 24, 24), 100, np.uint8)
        + rng.integers(0, 20, (24, 24), dtype=np.uint8),
        support_ratio=1.0,
    )


TALK = 0.1 * (1 + np.sin(np.arange(50)))


def test_the_opening_of_the_mouth_is_measured_free_of_pose_and_size():
    closed = mouth_opening(track_of())
    for height in (80.0, 320.0):
        opened = mouth_opening(track_of(opening=TALK, height=height, sway_px=10))
        np.testing.assert_allclose(opened - closed, TALK, atol=0.01)


def test_a_printed_face_is_not_live_a_listener_and_a_speaker_are():
    settings = FacesSettings()
    assert not is_live(track_of(noise=0.1), BASE, settings)
    assert is_live(track_of(noise=0.1, sway_px=6), BASE, settings)
    assert is_live(track_of(opening=TALK), BASE, settings)
    assert expression_motion(track_of(), BASE) == pytest.approx(0, abs=1e-4)


def test_company_counts_if_it_is_large_and_alive():
    mine = track_of(opening=TALK)
    settings = FacesSettings()
    for other, count in (
        (track_of(sway_px=6, x=100), 1),
        (track_of(x=100), 0),
        (track_of(sway_px=6, height=60, x=100), 0),
    ):
        measured = measure_face(mine, [other], 50, VIDEO, settings)
        assert measured.num_others == count
        assert measured.largest_other_ratio is not None


def test_a_face_is_measured_in_shown_pixels():
    measured = measure_face(track_of(opening=TALK), [], 100, VIDEO, FacesSettings())
    assert measured.presence_ratio == 0.5
    assert measured.height_px == pytest.approx(200, rel=0.1)
    assert measured.height_ratio == pytest.approx(200 / 480, rel=0.1)
    assert abs(measured.yaw_deg) < 2
    assert measured.visible_ratio == 1.0
    assert measured.num_others == 0
    cut = measure_face(track_of(x=0), [], 50, VIDEO, FacesSettings())
    assert cut.visible_ratio == pytest.approx(0.5, abs=0.05)


def test_nothing_found_is_missing_not_zero():
    nobody = track_of().within(Span(1000, 1001, BASE))
    measured = measure_face(nobody, [], 50, VIDEO, FacesSettings())
    assert measured.presence_ratio == 0
    assert measured.height_px is None
    assert measured.num_others is None


def test_a_hand_before_the_mouth_is_found_a_beard_is_not():
    track = track_of()
    assert occluded_ratio(track) == 0
    pictures = track.lower_face.copy()
    pictures[:10, 4:20, 4:20] = 230
    assert occluded_ratio(replace(track, lower_face=pictures)) == pytest.approx(0.2)
    pictures[:, 4:20, 4:20] = 30
    assert occluded_ratio(replace(track, lower_face=pictures)) == 0


def test_presence_bridges_short_gaps_only():
    track = replace(track_of(), pts=np.array([0, 1, 2, 5, 6, 20, 21]))
    frames = np.arange(30)
    assert presence(track, frames, 4) == [(0, 6), (20, 21)]
    assert presence(track, frames, 1) == [(0, 2), (5, 6), (20, 21)]
    assert presence(replace(track, pts=np.array([], np.int64)), frames, 4) == []


def test_a_stored_track_is_near_and_its_bytes_are_fixed():
    track = track_of(opening=TALK, sway_px=5)
    data = pack_track(track)
    assert data == pack_track(track)
    again = unpack_track(data)
    stored = list(STORED_POINTS)
    error = np.abs(again.landmarks_TPC[:, stored] - track.landmarks_TPC[:, stored])
    assert error.max() < 200 / 8192
    assert np.isnan(again.landmarks_TPC[:, 300:].mean())
    np.testing.assert_allclose(again.angles_deg, track.angles_deg, atol=0.1)
    assert len(data) < 50 * 1500
