"""Text drawn over footage is found, read and told from text in the scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from manifests.reasons import Reason
from manifests.records import Clip
from manifests.span import Span
from stages.contract import ClipView, Evidence
from stages.decode import DecodeCount, decode_frames
from stages.face_track import FaceTrack, FaceTracks
from stages.key_frames import KeyFrames, KeyFramesSettings, KeyFramesStage
from stages.landmarks import NUM_LANDMARKS, OUTER_LIP
from stages.overlay import OverlayMeasurement, OverlaySettings, OverlayStage
from stages.overlay_lines import is_same_text
from stages.overlay_text import TextDetector, boxes_of, model_digests
from tests.stages.footage import ASTRONAUT, COFFEE, facts_of, real, write_video

FPS = 4
WIDTH, HEIGHT = 640, 360
FACE = (260, 60, 380, 220)
"""Left, top, right, bottom of the face that the evidence claims, in pixels."""

Draw = Callable[[np.ndarray, float], None]


@pytest.fixture(scope="module")
def stage() -> OverlayStage:
    stage = OverlayStage(OverlaySettings(sample_s=1.5))
    stage.setup()
    return stage


def footage(photo: np.ndarray, num_s: float, draw: Draw | None = None) -> list[np.ndarray]:
    """A photograph as a soft scene that sways, with something drawn over each frame."""
    scene = cv2.GaussianBlur(cv2.resize(photo, (WIDTH + 40, HEIGHT + 40)), (0, 0), 1.0)
    frames = []
    for number in range(round(num_s * FPS)):
        x, y = (round(20 + 10 * np.sin(number / rate)) for rate in (3, 5))
        frame = scene[y : y + HEIGHT, x : x + WIDTH].copy()
        if draw:
            draw(frame, number / FPS)
        frames.append(frame)
    return frames


def put(frame: np.ndarray, text: str, x: float, y: float, size: float = 0.9) -> None:
    for colour, width in (((0, 0, 0), 5), ((255, 255, 255), 2)):
        at = (round(x), round(y))
        cv2.putText(frame, text, at, cv2.FONT_HERSHEY_DUPLEX, size, colour, width, cv2.LINE_AA)


def subtitles(frame: np.ndarray, time_s: float) -> None:
    texts = ("WHERE WERE YOU BORN", "NEAR THE OLD HARBOUR", "MY FAMILY LIVES THERE")
    put(frame, texts[int(time_s / 2) % 3], 130, 335)


def logo(frame: np.ndarray, time_s: float) -> None:
    put(frame, "CHANNEL", 480, 40)


def ticker(frame: np.ndarray, time_s: float) -> None:
    frame[315:350] = (20, 30, 120)
    put(frame, "STORMY WEEKEND AHEAD", 330 - 50 * time_s, 341)


def over_the_mouth(frame: np.ndarray, time_s: float) -> None:
    put(frame, "CENSORED", 250, 190)


def face_track(pts: np.ndarray) -> FaceTrack:
    """A track whose lips are in the lower third of the face."""
    left, top, right, bottom = FACE
    points = np.zeros((len(pts), NUM_LANDMARKS, 3), np.float32)
    points[..., 0] = np.linspace(left, right, NUM_LANDMARKS)
    points[..., 1] = np.linspace(top, bottom, NUM_LANDMARKS)
    lips = list(OUTER_LIP)
    points[:, lips, 0] = np.linspace(295, 345, len(lips))
    points[:, lips, 1] = np.linspace(170, 195, len(lips))
    ones = np.ones(len(pts), np.float32)
    return FaceTrack(0, pts, points, ones, ones, np.zeros((len(pts), 0, 0), np.uint8), 1.0)


def pictures_of(
    path: Path, start: Fraction | None = None, end: Fraction | None = None
) -> tuple[KeyFrames, np.ndarray]:
    facts = facts_of(path)
    observer = KeyFramesStage(KeyFramesSettings()).observer(facts)
    pts = []
    for frame in decode_frames(facts, DecodeCount(), start=start, end=end):
        observer.observe(frame)
        pts.append(frame.pts)
    return observer.finish(), np.array(pts, np.int64)


def measure_spans(
    stage: OverlayStage, path: Path, pictures: KeyFrames, pts: np.ndarray, spans: Sequence[Span]
) -> list[OverlayMeasurement]:
    evidence = Evidence(facts_of(path))
    evidence.put(pictures)
    evidence.put(FaceTracks((face_track(pts),), pts))
    views = [ClipView(Clip("source", span, 0), evidence) for span in spans]
    return stage.measure(views)


def measure(stage: OverlayStage, path: Path, end: Fraction | None = None) -> OverlayMeasurement:
    pictures, pts = pictures_of(path, end=end)
    whole = Span(int(pts[0]), int(pts[-1]) + 1, pictures.time_base)
    return measure_spans(stage, path, pictures, pts, [whole])[0]


def filmed(path: Path, photo: np.ndarray, num_s: float, draw: Draw | None = None) -> Path:
    return write_video(path, footage(photo, num_s, draw), fps=FPS)


def test_textured_scene_has_no_text(stage: OverlayStage, tmp_path: Path) -> None:
    for photo in (ASTRONAUT[:300], COFFEE):
        found = measure(stage, filmed(tmp_path / "scene.mp4", photo, 6))
        assert found == OverlayMeasurement(
            num_samples=4,
            area_ratio=0.0,
            largest_area_ratio=0.0,
            changing_ratio=0.0,
            scrolling_ratio=0.0,
            static_ratio=0.0,
            face_ratio=0.0,
            mouth_ratio=0.0,
            scene_area_ratio=found.scene_area_ratio,
            texts=(),
        )


def test_subtitles_change_and_are_read(stage: OverlayStage, tmp_path: Path) -> None:
    found = measure(stage, filmed(tmp_path / "subtitles.mp4", ASTRONAUT, 6, subtitles))
    assert found.num_samples == 4
    assert found.changing_ratio == 1
    assert found.static_ratio == found.scrolling_ratio == found.face_ratio == 0
    assert 0.03 < found.area_ratio < 0.08
    words = [text.replace(" ", "").upper() for text in found.texts]
    assert len(words) == 3
    assert "BORN" in words[0]
    assert "HARBOUR" in words[1]
    assert "FAMILY" in words[2]


def test_logo_stays(stage: OverlayStage, tmp_path: Path) -> None:
    found = measure(stage, filmed(tmp_path / "logo.mp4", ASTRONAUT, 6, logo))
    assert found.static_ratio == 1
    assert found.changing_ratio == found.scrolling_ratio == 0
    assert [text.upper() for text in found.texts] == ["CHANNEL"]
    assert 0.01 < found.area_ratio < 0.03


def test_ticker_runs(stage: OverlayStage, tmp_path: Path) -> None:
    found = measure(stage, filmed(tmp_path / "ticker.mp4", ASTRONAUT, 6, ticker))
    assert found.scrolling_ratio == 1
    assert found.changing_ratio == found.static_ratio == 0


def test_text_over_the_mouth_is_told_from_text_below(stage: OverlayStage, tmp_path: Path) -> None:
    over = measure(stage, filmed(tmp_path / "over.mp4", COFFEE, 3, over_the_mouth))
    below = measure(stage, filmed(tmp_path / "below.mp4", COFFEE, 3, subtitles))
    assert over.mouth_ratio == over.face_ratio == 1
    assert below.mouth_ratio == below.face_ratio == 0
    assert below.area_ratio > 0


def test_sign_in_the_scene_is_no_overlay(stage: OverlayStage, tmp_path: Path) -> None:
    """The sign sways with the scene; the subtitles before it do not."""
    photo = cv2.resize(ASTRONAUT, (WIDTH + 40, HEIGHT + 40))
    cv2.rectangle(photo, (40, 60), (280, 130), (240, 240, 240), -1)
    sign = cv2.putText(photo, "BAKERY", (55, 115), 2, 1.7, (20, 20, 20), 4, cv2.LINE_AA)
    found = measure(stage, filmed(tmp_path / "sign.mp4", sign, 6))
    assert found.scene_area_ratio > 0.02
    assert found.area_ratio == found.largest_area_ratio == 0
    assert found.texts == ()
    titled = measure(stage, filmed(tmp_path / "titled.mp4", sign, 6, subtitles))
    assert titled.changing_ratio == 1
    assert titled.scene_area_ratio > 0.02
    assert not any("BAKERY" in text for text in titled.texts)


def test_blur_and_scale_do_not_hide_an_overlay(stage: OverlayStage, tmp_path: Path) -> None:
    """Crispness is relative: a copy that was made small and enlarged again keeps its subtitles."""
    frames = [
        cv2.resize(cv2.resize(frame, (426, 240), interpolation=cv2.INTER_AREA), (WIDTH, HEIGHT))
        for frame in footage(ASTRONAUT, 6, subtitles)
    ]
    found = measure(stage, write_video(tmp_path / "soft.mp4", frames, fps=FPS))
    assert found.changing_ratio == 1


def test_rotated_source_is_searched_upright(stage: OverlayStage, tmp_path: Path) -> None:
    upright = footage(ASTRONAUT, 6, subtitles)
    path = write_video(tmp_path / "coded.mp4", [np.rot90(f) for f in upright], fps=FPS)
    turned = _with_rotation(path, tmp_path / "rotated.mp4")
    assert facts_of(turned).video.rotation_deg in (90, 270)
    found = measure(stage, turned)
    assert found.changing_ratio == 1
    assert "BORN" in found.texts[0].upper()


def test_segments_see_what_the_whole_sees(stage: OverlayStage, tmp_path: Path) -> None:
    path = filmed(tmp_path / "long.mp4", ASTRONAUT, 12, subtitles)
    whole, pts = pictures_of(path)
    second, second_pts = pictures_of(path, start=Fraction(25, 4))
    late = Span.from_seconds(7, 11, whole.time_base)
    assert measure_spans(stage, path, whole, pts, [late]) == measure_spans(
        stage, path, second, second_pts, [late]
    )


def test_only_the_clip_counts(stage: OverlayStage, tmp_path: Path) -> None:
    def late(frame: np.ndarray, time_s: float) -> None:
        if time_s >= 6:
            subtitles(frame, time_s)

    path = filmed(tmp_path / "late.mp4", ASTRONAUT, 12, late)
    pictures, pts = pictures_of(path)
    spans = [
        Span.from_seconds(a, b, pictures.time_base) for a, b in ((0, 6), (6, 12), (0.25, 0.75))
    ]
    before, after, between = measure_spans(stage, path, pictures, pts, spans)
    assert before.area_ratio == before.largest_area_ratio == 0
    assert after.changing_ratio == 1
    assert between == OverlayMeasurement(num_samples=0)


def test_box_grows_from_the_core_of_a_line() -> None:
    core = np.zeros((64, 128))
    core[20:30, 40:90] = 0.9
    core[50:52, 10:30] = 0.9
    (box,) = boxes_of(core)
    grow = 50 * 10 * 1.6 / (2 * 60)
    assert (box.left * 128, box.right * 128) == pytest.approx((40 - grow, 90 + grow))
    assert (box.top * 64, box.bottom * 64) == pytest.approx((20 - grow, 30 + grow))
    assert box.score == pytest.approx(0.9)
    assert boxes_of(core * 0.5) == []


def test_words_of_one_row_are_one_line() -> None:
    core = np.zeros((64, 128))
    core[20:30, 10:50] = core[21:30, 62:110] = 0.9
    core[44:54, 10:50] = 0.9
    assert [round(box.right * 128) for box in boxes_of(core)] == [116, 56]


def test_readings_of_one_text_are_one() -> None:
    assert is_same_text("I think it is important", "1 ThiNK IT IS ImPORTaNT")
    assert is_same_text("@somechannel", "omechann")
    assert not is_same_text("where were you born", "my family lives there")


def test_digests_are_of_three_files_and_enter_the_fingerprint(stage: OverlayStage) -> None:
    assert len(set(model_digests())) == 3
    assert stage.weights_digests() == model_digests()
    assert stage.fingerprint() != OverlayStage(OverlaySettings(sample_s=2)).fingerprint()


def test_no_text_in_flat_and_tiny_pictures() -> None:
    detector = TextDetector()
    assert detector(np.full((90, 160, 3), 128, np.uint8)) == []
    assert detector(np.zeros((2, 2, 3), np.uint8)) == []


def test_reasons_are_told_apart() -> None:
    reasons = {field.name: field.high for field in OverlayStage(OverlaySettings()).fields()}
    assert reasons["overlay.changing_ratio"] == Reason.SUBTITLES
    assert reasons["overlay.mouth_ratio"] == Reason.TEXT_ON_FACE
    assert reasons["overlay.area_ratio"] == Reason.OVERLAY_TEXT


@pytest.mark.parametrize(
    ("name", "low", "high", "static_ratio", "in_scene"),
    [
        ("d_subtitles_burned.mp4", 0.05, 0.1, 1, False),
        ("sv_side3.mp4", 0.005, 0.03, 1, False),
        ("sv_full3.mp4", 0, 0, 0, True),
        ("sv_head5.mp4", 0, 0, 0, False),
    ],
)
def test_real_overlays_and_a_real_sign(
    stage: OverlayStage, name: str, low: float, high: float, static_ratio: float, in_scene: bool
) -> None:
    found = measure(stage, real(name), end=Fraction(4))
    assert low <= found.area_ratio <= high
    assert found.static_ratio == static_ratio
    assert found.changing_ratio == 0
    assert (found.scene_area_ratio > 0) == in_scene


def _with_rotation(path: Path, turned: Path) -> Path:
    """The same packets, to be shown turned by a quarter: matrix of the track header."""
    data = bytearray(path.read_bytes())
    header = data.index(b"tkhd")
    matrix = header + 4 + 40
    quarter = np.array([0, 1, 0, -1, 0, 0, 0, 0, 0x4000], np.int64) * 0x10000
    data[matrix : matrix + 36] = quarter.astype(">i4").tobytes()
    turned.write_bytes(bytes(data))
    with av.open(str(turned)) as container:
        assert container.streams.video
    return turned
