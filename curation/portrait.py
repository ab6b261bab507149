"""Persons made from the one photograph: cut out, given other proportions and colours, enlarged.

The photograph is scikit-image's astronaut (NASA, public domain), which ships inside that package,
so nothing is downloaded. In this room: a still portrait and where its landmarks are. Not here:
motion (``talking_photo``).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import mediapipe as mp
import numpy as np
import skimage.data
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Points = NDArray[np.float64]
Colour = tuple[int, int, int]

FOREHEAD, CHIN, NOSE_TIP = 10, 152, 1  # MediaPipe FaceMesh
_EYE_CENTRES = ((33, 133), (263, 362))
_NUM_MESH_POINTS = 468  # the ten iris points after them are left out
_PHOTO_SIDE_PX = 448  # the square of the photograph that holds the person
_FACE_CENTRE_HEIGHT = 0.44  # of the frame: a little above the middle, as a portrait is framed


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody made from the photograph.

    Attributes:
        name: for messages.
        mirrored: left and right exchanged.
        face_width, eye_size, nose_size, jaw_width: proportions, 1.0 as in the photograph.
        suit_hue_deg: turn of the suit's colour on the colour circle.
        hair_tint, skin_tint: factors for red, green and blue.
        walls: two RGB colours of the background, top and bottom.
        seed: of the background and of everything that moves.
    """

    name: str
    mirrored: bool = False
    face_width: float = 1.0
    eye_size: float = 1.0
    nose_size: float = 1.0
    jaw_width: float = 1.0
    suit_hue_deg: float = 0.0
    hair_tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    skin_tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    walls: tuple[Colour, Colour] = ((172, 180, 190), (104, 112, 126))
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Portrait:
    """A still picture of one person.

    Attributes:
        person_rgb: uint8 [height, width, 3].
        opacity: uint8 [height, width], 255 where the person is.
        wall_rgb: uint8 [height, width, 3], what stands behind.
        landmarks_px: float64 [468, 3], FaceMesh in pixels of the picture; z in the same unit.
    """

    person_rgb: Picture
    opacity: Picture
    wall_rgb: Picture
    landmarks_px: Points

    @property
    def face_height_px(self) -> float:
        """From the top of the forehead to the chin."""
        return float(self.landmarks_px[CHIN, 1] - self.landmarks_px[FOREHEAD, 1])


@functools.lru_cache(maxsize=16)
def make_portrait(
    person: Person, width_px: int, height_px: int, face_ratio: float = 0.42
) -> Portrait:
    """Draw a person.

    Args:
        person: who.
        width_px: of the picture.
        height_px: of the picture.
        face_ratio: height of the face as a share of the picture's.

    Returns:
        The still picture; one made before with the same arguments is given again.

    Raises:
        ValueError: the proportions leave no face that FaceMesh can find.
    """
    photo, opacity, points = _photo(person.mirrored)
    map_x, map_y = _proportions(person, points, width_px, height_px, face_ratio)
    enlarged = cv2.remap(photo, map_x, map_y, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101)
    # The photograph is small; enlarged, it lacks the fine contrast that a camera would give.
    softened = cv2.GaussianBlur(enlarged, (0, 0), 1.6)
    enlarged = cv2.addWeighted(enlarged, 1.9, softened, -0.9, 0)
    opacity = cv2.remap(opacity, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    landmarks = _find_face(enlarged)
    if landmarks is None:
        raise ValueError(f"no face is left in person {person.name!r}: use proportions nearer 1.0")
    coloured = _recolour(enlarged, person, landmarks)
    return Portrait(coloured, opacity, _wall(person, width_px, height_px), landmarks)


@functools.lru_cache(maxsize=2)
def _photo(mirrored: bool) -> tuple[Picture, Picture, Points]:
    """The photograph's square: RGB, the person's opacity, landmarks [468, 3]."""
    photo = np.ascontiguousarray(skimage.data.astronaut()[:_PHOTO_SIDE_PX, :_PHOTO_SIDE_PX])
    with mp.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0) as segmenter:
        share = segmenter.process(photo).segmentation_mask
    # Tightened, or the old background shows as a bright rim around the hair.
    opacity = (np.clip((share - 0.5) / 0.4, 0, 1) * 255).astype(np.uint8)
    if mirrored:
        photo, opacity = (
            np.ascontiguousarray(photo[:, ::-1]),
            np.ascontiguousarray(opacity[:, ::-1]),
        )
    landmarks = _find_face(photo)
    if landmarks is None:
        raise ValueError("FaceMesh found no face in the photograph: mediapipe's models are damaged")
    return photo, opacity, landmarks


def _find_face(picture: Picture) -> Points | None:
    """FaceMesh landmarks [468, 3] in pixels, or None."""
    with mp.solutions.face_mesh.FaceMesh(
        static_image_mode=True, refine_landmarks=True, max_num_faces=1
    ) as mesh:
        found = mesh.process(picture).multi_face_landmarks
    if not found:
        return None
    height_px, width_px = picture.shape[:2]
    points = [(p.x * width_px, p.y * height_px, p.z * width_px) for p in found[0].landmark]
    return np.array(points[:_NUM_MESH_POINTS])


def _proportions(
    person: Person, points: Points, width_px: int, height_px: int, face_ratio: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """For every pixel of the portrait the place [height, width] x 2 in the photograph."""
    face_height = points[CHIN, 1] - points[FOREHEAD, 1]
    centre_x, centre_y = (points[CHIN, :2] + points[FOREHEAD, :2]) / 2
    growth = face_ratio * height_px / face_height
    columns, rows = np.meshgrid(np.arange(width_px), np.arange(height_px))
    x = centre_x + (columns - width_px / 2) / growth
    y = centre_y + (rows - height_px * _FACE_CENTRE_HEIGHT) / growth

    def swell(at: Points, radius: float, x_ratio: float, y_ratio: float) -> None:
        nonlocal x, y
        near = np.exp(-((((x - at[0]) ** 2 + (y - at[1]) ** 2) / radius**2) ** 2))
        x, y = (
            x + (x - at[0]) * (1 / x_ratio - 1) * near,
            y + (y - at[1]) * (1 / y_ratio - 1) * near,
        )

    swell(np.array([centre_x, centre_y]), 1.1 * face_height, person.face_width, 1.0)
    swell(points[CHIN, :2], 0.42 * face_height, person.jaw_width, 1.0)
    swell(points[NOSE_TIP, :2], 0.2 * face_height, person.nose_size, person.nose_size)
    for outer, inner in _EYE_CENTRES:
        eye = points[[outer, inner], :2].mean(axis=0)
        swell(eye, 0.17 * face_height, person.eye_size, person.eye_size)
    return x.astype(np.float32), y.astype(np.float32)


def _recolour(picture: Picture, person: Person, landmarks: Points) -> Picture:
    """Other suit, hair and skin, told apart by where they are and what colour they had."""
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    chin_y = landmarks[CHIN, 1]
    rows = np.arange(picture.shape[0])[:, None]
    orange = (hsv[..., 1] > 120) & ((hsv[..., 0] < 16) | (hsv[..., 0] > 172)) & (rows > chin_y)
    turned = hsv.copy()
    turned[..., 0] = (hsv[..., 0].astype(int) + round(person.suit_hue_deg / 2)) % 180
    # Orange is a light colour: the same lightness in blue or green would glow.
    turned[..., 1] = (hsv[..., 1] * 0.62).astype(np.uint8)
    turned[..., 2] = (hsv[..., 2] * 0.72).astype(np.uint8)
    suit = cv2.cvtColor(turned, cv2.COLOR_HSV2RGB)
    face_height = chin_y - landmarks[FOREHEAD, 1]
    oval = cv2.convexHull(landmarks[:, :2].astype(np.float32)).astype(np.int32)
    face = cv2.fillConvexPoly(np.zeros(picture.shape[:2], np.uint8), oval, 255) > 0
    bright = (hsv[..., 2] > 95) & (hsv[..., 1] > 25) & (hsv[..., 0] < 25) & ~orange
    mouth_y = landmarks[[78, 308], 1].mean()
    neck = bright & (rows > mouth_y) & (rows < chin_y + 0.35 * face_height)
    soft = face_height / 50
    skin_share = _softened(face | neck, soft)
    hair_share = _softened((rows < mouth_y) & ~face, soft) * (1 - skin_share)
    result = picture.astype(np.float32)
    if person.suit_hue_deg:
        result += _softened(orange, 1.2) * (suit.astype(np.float32) - result)
    result *= 1 + hair_share * (np.array(person.hair_tint, np.float32) - 1)
    result *= 1 + skin_share * (np.array(person.skin_tint, np.float32) - 1)
    return np.asarray(np.clip(result, 0, 255), np.uint8)


def _softened(chosen: NDArray[np.bool_], sigma_px: float) -> NDArray[np.float32]:
    """Which pixels are chosen, as shares [height, width, 1] with soft edges."""
    soft: NDArray[np.float32] = cv2.GaussianBlur(chosen.astype(np.float32), (0, 0), sigma_px)
    return soft[..., None]


def _wall(person: Person, width_px: int, height_px: int) -> Picture:
    """A room out of focus: two colours with soft lighter and darker places."""
    rng = np.random.default_rng(person.seed)
    top, bottom = (np.array(colour, np.float32) for colour in person.walls)
    down = np.linspace(0, 1, height_px, dtype=np.float32)[:, None, None]
    patches = rng.standard_normal((6, 7)).astype(np.float32)
    light = cv2.resize(patches, (width_px, height_px), interpolation=cv2.INTER_CUBIC)[..., None]
    return np.asarray(np.clip(top + (bottom - top) * down + 9 * light, 0, 255), np.uint8)
