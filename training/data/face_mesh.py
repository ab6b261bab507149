"""Which points of the face mesh are which, as far as training needs to know.

The mesh is MediaPipe's FaceMesh with 478 points; "left" and "right" are the person's own. Contours
are in drawing order (mediapipe/python/solutions/face_mesh_connections.py, Apache-2.0).
"""

from __future__ import annotations

import numpy as np

FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
CHIN = 152
NOSE_BASE = 2
"""Below the tip, between the nostrils; it hardly moves when the mouth does."""

_PAIRS = (
    # outer lip, inner lip
    (61, 291), (146, 375), (91, 321), (181, 405), (84, 314), (185, 409), (40, 270), (39, 269),
    (37, 267), (78, 308), (95, 324), (88, 318), (178, 402), (87, 317), (191, 415), (80, 310),
    (81, 311), (82, 312),
    # oval
    (338, 109), (297, 67), (332, 103), (284, 54), (251, 21), (389, 162), (356, 127), (454, 234),
    (323, 93), (361, 132), (288, 58), (397, 172), (365, 136), (379, 150), (378, 149), (400, 176),
    (377, 148),
    # eyes, irises
    (33, 263), (7, 249), (163, 390), (144, 373), (145, 374), (153, 380), (154, 381), (155, 382),
    (133, 362), (173, 398), (157, 384), (158, 385), (159, 386), (160, 387), (161, 388), (246, 466),
    (469, 476), (470, 475), (471, 474), (472, 477),
    # chin, cheeks, nose, brows
    (201, 421), (205, 425), (50, 280), (187, 411), (206, 426), (122, 351), (196, 419), (48, 278),
    (70, 300), (107, 336),
)  # fmt: skip

LIP_MIRROR = tuple((10 - point) % 20 for point in range(20))
"""Order of a lip contour's 20 points after mirroring; both begin at the person's right corner."""


def mirror_order(point_index_P: np.ndarray) -> np.ndarray:
    """Where to find, in a mirrored picture, the point that each place is for.

    Args:
        point_index_P: (P,) mesh numbers of the stored points.

    Returns:
        (P,) such that ``mirrored_points[order]`` has the same mesh numbers again. A point whose
        partner is not stored stays where it is.
    """
    partner = {a: b for pair in _PAIRS for a, b in (pair, pair[::-1])}
    place = {int(point): index for index, point in enumerate(point_index_P)}
    return np.array(
        [place.get(partner.get(int(p), int(p)), i) for i, p in enumerate(point_index_P)]
    )
