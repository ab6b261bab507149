import av
import numpy as np
import pytest

from training.generation.edit_view import close_view, whole_view
from training.generation.editing import MAX_GAP_FRAMES, Region, feathered, followed_regions
from training.generation.faces import CHIN, FACE_OVAL, FOREHEAD, NOSE_BRIDGE
from training.generation.inputs import Size
from training.generation.paste import pasted

SIZE = Size(320, 240)


def made_face(centre, height=100.0, angle=0.0):
    """An oval of landmarks, its chin at the bottom, eyes at the upper third."""
    points = np.zeros((478, 2))
    turn = np.linspace(0, 2 * np.pi, len(FACE_OVAL), endpoint=False)
    points[list(FACE_OVAL)] = np.stack([0.38 * np.sin(turn), -0.5 * np.cos(turn)], -1)
    points[CHIN], points[FOREHEAD], points[NOSE_BRIDGE] = (0, 0.5), (0, -0.5), (0, -0.1)
    points[33], points[263] = (-0.2, -0.15), (0.2, -0.15)
    points[13], points[14] = (0, 0.2), (0, 0.28)
    spin = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points * height) @ spin.T + centre


def track_of(faces):
    return np.stack(faces).astype(np.float32)


def inside(mask, point):
    x, y = np.rint(point).astype(int)
    return bool(mask[y, x])


@pytest.mark.parametrize("angle", [0.0, 0.4, -0.7])
def test_the_region_holds_mouth_and_chin_and_no_eyes(angle):
    face = made_face((160, 120), angle=angle)
    mask = Region.of_landmarks(track_of([face] * 9), SIZE).frame_mask(4)
    assert inside(mask, face[13])
    assert inside(mask, face[CHIN])
    below = face[CHIN] + 0.18 * (face[CHIN] - face[FOREHEAD])
    assert inside(mask, below), "a chin lowered by a wide mouth"
    assert not inside(mask, face[33])
    assert not inside(mask, face[263])


def test_each_latent_frame_covers_the_mouth_of_all_its_frames():
    faces = [made_face((60 + 7 * t, 120)) for t in range(25)]
    region = Region.of_landmarks(track_of(faces), SIZE)
    for t, mask in enumerate(region.masks()):
        latent = 0 if t == 0 else (t + 3) // 4
        for f in range(max(0, 4 * latent - 3), 4 * latent + 1):
            assert inside(mask, faces[f][13])
            assert inside(mask, faces[f][CHIN])


def test_a_short_gap_is_bridged_and_a_long_one_left_alone():
    faces = [made_face((100 + t, 120)) for t in range(60)]
    track = track_of(faces)
    track[10:15] = np.nan
    track[30 : 31 + MAX_GAP_FRAMES + 1] = np.nan
    shapes = Region.of_landmarks(track, SIZE).shapes_T5
    assert np.isfinite(shapes[10:15]).all()
    assert np.isnan(shapes[30:43]).all()
    assert np.isfinite(shapes[45:]).all()


def test_a_region_scales_with_the_picture():
    region = Region.of_landmarks(track_of([made_face((160, 120))] * 5), SIZE)
    large = region.drawn_in(Size(640, 480)).frame_mask(0)
    small = region.frame_mask(0)
    assert large.mean() == pytest.approx(small.mean(), rel=0.05)
    assert large[::2, ::2][small].mean() > 0.97


def test_a_region_is_drawn_over_the_same_part_of_pixels_of_any_shape():
    region = Region.of_landmarks(track_of([made_face((160, 120), angle=0.5)] * 5), SIZE)
    narrow = region.drawn_in(Size(160, 240)).frame_mask(2)
    wide = region.frame_mask(2)
    both = wide.reshape(240, 160, 2)
    assert (narrow == both.any(2))[both.all(2) == both.any(2)].mean() > 0.999


def test_no_face_gives_an_empty_region():
    track = np.full((10, 478, 2), np.nan, np.float32)
    region = Region.of_landmarks(track, SIZE)
    assert region.is_empty
    assert not region.frame_mask(3).any()


def test_faces_never_seen_together_are_one_speaker_and_others_another():
    left, right, later = made_face((80, 120)), made_face((240, 120), 80), made_face((160, 100))
    rows = [{0: left, 1: right}] * 10 + [{1: right}] * 5 + [{2: later}] * 20
    one = followed_regions(rows, SIZE, 1)
    assert len(one) == 1
    assert np.isfinite(one[0].shapes_T5[15:]).all()
    two = followed_regions(rows, SIZE, 2)
    assert len(two) == 2
    assert np.isfinite(two[1].shapes_T5[:10]).all()
    assert followed_regions([{}] * 5, SIZE, 1) == []


def test_a_cut_moves_the_region_at_once():
    faces = [made_face((80, 120))] * 20 + [made_face((240, 120))] * 20
    region = Region.of_landmarks(track_of(faces), SIZE)
    for t in (3, 19, 21, 36):
        mask = region.frame_mask(t)
        assert inside(mask, faces[t][13])
        assert inside(mask, faces[t][CHIN])
        assert mask.mean() < 0.3


def test_the_feather_lies_inside():
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    alpha = feathered(mask, 5)
    assert not alpha[~mask].any()
    assert (alpha[mask] > 0).all()
    assert alpha[20, 20] == 1
    assert (np.diff(alpha[20, 10:20]) >= 0).all()


def source_frame(pixel_format, seed=0):
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    return av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pixel_format)


@pytest.mark.parametrize(
    "pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p10le"]
)
def test_outside_of_the_region_every_plane_stays_to_the_bit(pixel_format):
    source = source_frame(pixel_format)
    mask = np.zeros((48, 64), bool)
    mask[11:37, 9:51] = True
    result = pasted(source, np.full((48, 64, 3), 200, np.uint8), mask)
    assert result.format.name == pixel_format
    kind = "<u2" if pixel_format.endswith("10le") else np.uint8
    for before, after in zip(source.planes, result.planes, strict=True):
        before, after = (
            np.frombuffer(plane, kind)
            .reshape(-1, plane.line_size // np.dtype(kind).itemsize)[:, : plane.width]
            .astype(int)
            for plane in (before, after)
        )
        rows, columns = 48 // before.shape[0], 64 // before.shape[1]
        # A sample that several pixels share may change only where all of them may.
        may = mask.reshape(48 // rows, rows, 64 // columns, columns).all(axis=(1, 3))
        assert (before[~may] == after[~may]).all()
        assert (before[may] != after[may]).mean() > 0.5


def test_an_empty_region_returns_the_source_itself():
    source = source_frame("yuv420p")
    assert pasted(source, np.zeros((8, 8, 3), np.uint8), np.zeros((48, 64), bool)) is source


def test_the_middle_of_the_region_shows_what_was_made():
    source = source_frame("yuv444p")
    mask = np.zeros((48, 64), bool)
    mask[4:44, 4:60] = True
    made = np.full((48, 64, 3), (180, 90, 60), np.uint8)
    result = pasted(source, made, mask, match_colours=False).to_ndarray(format="rgb24")
    np.testing.assert_allclose(result[24, 32], (180, 90, 60), atol=4)


def test_a_picture_with_square_pixels_is_brought_to_those_that_are_stored():
    source = source_frame("yuv444p")
    mask = np.zeros((48, 64), bool)
    mask[4:44, 4:60] = True
    made = np.zeros((48, 96, 3), np.uint8)
    made[:, 48:] = (180, 90, 60)
    result = pasted(source, made, mask, match_colours=False).to_ndarray(format="rgb24")
    np.testing.assert_allclose(result[24, 40], (180, 90, 60), atol=4)
    np.testing.assert_allclose(result[24, 24], (0, 0, 0), atol=4)


@pytest.mark.parametrize("matrix", [1, 2, 5, 6])
@pytest.mark.parametrize("color_range", [1, 2])
def test_a_sources_own_picture_pasted_back_hardly_shows(matrix, color_range):
    y, x = np.mgrid[:48, :64]
    rgb = np.stack([60 + 2 * x, 200 - 3 * y, 90 + x + y], -1).astype(np.uint8)
    source = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
        format="yuv444p",
        dst_colorspace="ITU709" if matrix == 1 else "ITU601",
        dst_color_range="JPEG" if color_range == 2 else "MPEG",
    )
    source.colorspace, source.color_range = matrix, color_range
    shown = source.to_ndarray(format="rgb24")
    mask = np.zeros((48, 64), bool)
    mask[4:44, 4:60] = True
    result = pasted(source, shown, mask, match_colours=False).to_ndarray(format="rgb24")
    assert np.abs(result.astype(int) - shown).max() <= 4


def test_a_small_face_is_seen_close_and_put_back_where_it_was():
    size = Size(640, 480)
    region = Region.of_landmarks(track_of([made_face((400, 150), 60)] * 9), size)
    view = close_view([region])
    assert view.size.width_px * view.size.height_px < 0.5 * 640 * 480
    mask = region.frame_mask(4)
    rows, columns = np.nonzero(mask)
    assert view.left_px < columns.min()
    assert columns.max() < view.left_px + view.size.width_px
    assert view.top_px < rows.min()
    assert rows.max() < view.top_px + view.size.height_px
    np.testing.assert_array_equal(view.of(mask), view.seen(region).frame_mask(4))
    picture = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    back = view.put_back(view.of(picture), size)
    np.testing.assert_array_equal(back[mask], picture[mask])


def test_a_large_face_and_no_face_are_seen_whole():
    large = Region.of_landmarks(track_of([made_face((160, 120), 180)] * 5), SIZE)
    assert close_view([large]) == whole_view(SIZE)
    assert close_view([Region.empty(5, SIZE)]) == whole_view(SIZE)
