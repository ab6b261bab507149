"""The face over time: geometry by closed forms, and both stored forms against each other."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest

from manifests.inspection.clip_evidence import read_evidence
from manifests.inspection.clip_rows import ClipRow, filter_clips
from manifests.inspection.face_series import mouth_opening, stored_faces, yaw_deg
from manifests.inspection.place import find_place
from manifests.ledger import Ledger
from manifests.span import Span
from stages.face_track import pack_track, unpack_track

# A face of two mirrored sides, a straight profile and parted lips: x, y, z.
SIDES = {(33, 263): (0.5, -0.3, 0.1), (133, 362): (0.2, -0.3, 0.0), (234, 454): (0.7, 0.1, 0.5)}
SIDES |= {(127, 356): (0.7, -0.3, 0.5), (70, 300): (0.5, -0.5, 0.0)}
MIDDLE = {10: (0, -0.9, 0.1), 152: (0, 0.9, 0.1), 13: (0, 0.4, -0.1), 14: (0, 0.6, -0.1)}


def face() -> tuple[np.ndarray, np.ndarray]:
    """(P, 3) points and their numbers."""
    points = dict(MIDDLE)
    for (right, left), (x, y, z) in SIDES.items():
        points[right], points[left] = (-x, y, z), (x, y, z)
    return np.array(list(points.values()), float), np.array(list(points), np.int16)


def turned(points: np.ndarray, yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Turn points by angles in degrees: `R = yaw * pitch * roll`."""
    y, p, r = np.radians([yaw, pitch, roll])
    yaw_33 = [[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]]
    pitch_33 = [[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]]
    roll_33 = [[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]]
    return points @ (np.array(yaw_33) @ pitch_33 @ roll_33).T


@pytest.mark.parametrize(
    "angles", [(0, 0, 0), (37, 0, 0), (-62, 0, 0), (25, -20, 12), (-40, 15, 5)]
)
def test_yaw_of_a_turned_face_is_the_turn(angles) -> None:
    points, index = face()
    placed = 250 * turned(points, *angles) + [300, 200, 0]
    assert yaw_deg(placed[None], index) == pytest.approx([angles[0]], abs=1e-6)


def test_mouth_opening_knows_neither_size_nor_turn() -> None:
    points, index = face()
    seen = [points, 90 * turned(points, 50, 10, -20) + [10, 20, 30]]
    assert mouth_opening(np.array(seen), index) == pytest.approx([0.2, 0.2])  # 0.2 over 1.0


def test_the_ledgers_track_is_read_as_its_writer_reads_it(real_run) -> None:
    place = find_place(str(real_run))
    clip = filter_clips(place, where="rejected")[0]
    row = Ledger(place.run).evidence(clip.values["source_id"], clip.clip_id)
    track = unpack_track(row["face_track_npz"])
    assert pack_track(track) == row["face_track_npz"]
    faces = stored_faces(row["face_track_npz"], clip.span)
    assert faces.times_s == pytest.approx(track.times_s(clip.span.time_base) - clip.span.start_s)
    assert faces.boxes == pytest.approx(track.boxes, abs=0.002)
    earlier = Span(clip.span.start - 500, clip.span.end, clip.span.time_base)
    moved = stored_faces(row["face_track_npz"], earlier)
    assert moved.times_s == pytest.approx(faces.times_s + 500 * float(clip.span.time_base))
    assert np.abs(faces.yaw_deg - track.angles_deg[:, 0]).max() < 5
    assert np.median(np.abs(faces.yaw_deg - track.angles_deg[:, 0])) < 2


def test_a_packed_face_is_what_the_shard_holds(real_run) -> None:
    place = find_place(str(real_run))
    for clip in filter_clips(place, where="kept"):
        with tarfile.open(real_run / "dataset" / clip.sample["shard"]) as tar:
            data = tar.extractfile(f"{clip.clip_id}.face.npz").read()
        faces = read_evidence(place, clip).faces
        with np.load(io.BytesIO(data)) as arrays:
            assert (faces.boxes == arrays["box"]).all()
            assert (faces.yaw_deg == arrays["head_pose_deg"][:, 0]).all()
            assert (faces.found == (arrays["score"] > 0)).all()
            # The lips' polygons are stored a second time: points 13 and 14 are in the inner one.
            inner = arrays["inner_lip_polygon"]
            lips_px = np.linalg.norm(inner[:, 15] - inner[:, 5], axis=1)
        assert np.corrcoef(faces.mouth_opening, lips_px)[0, 1] > 0.95


def test_both_stored_forms_of_a_clip_agree(real_run) -> None:
    place = find_place(str(real_run))
    clip = filter_clips(place, where="kept")[0]
    packed = read_evidence(place, clip)
    measured = read_evidence(place, ClipRow(clip.values, None))
    near = np.searchsorted(measured.faces.times_s, packed.faces.times_s - 1e-4)
    near = np.minimum(near, len(measured.faces.times_s) - 1)
    assert np.median(np.abs(packed.faces.boxes - measured.faces.boxes[near])) < 2
    assert np.median(np.abs(packed.faces.yaw_deg - measured.faces.yaw_deg[near])) < 5
    shift = round(packed.sound.shifted_by_ms * packed.sound.rate_hz / 1000)
    both = np.array(
        [
            packed.sound.samples[max(0, shift) :][:16000],
            measured.sound.samples[max(0, -shift) :][:16000],
        ]
    )
    assert np.corrcoef(both)[0, 1] > 0.999
