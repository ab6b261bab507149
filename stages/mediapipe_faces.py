"""MediaPipe's face networks, run without the wrappers of its solutions.

The full-range detector, the short-range one and the FaceMesh with refined landmarks, whose models
ship in the wheel. The wrappers (`mediapipe.solutions`) make a class and two copies of every answer,
hand each picture to threads of their own, and start a graph for each face that is followed; here a
graph runs in the calling thread, and one mesh network serves every face, since the place to look at
is given with the picture: the square around the mesh of the frame before, which in the wrapper lags
behind by the motion of the head (landmarks then jitter by a quarter to three quarters more, seen on
six files of ours). The networks, their inputs and their thresholds are the same.

Not in the room: which face is followed, and where to (``face_tracker``).
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from manifests.native_stderr import unheard

_STEP_US = 40_000
"""Between time stamps; a graph asks only that they grow."""

_DETECTOR = """
input_stream: "image"
output_stream: "found"
executor { type: "ApplicationThreadExecutor" }
node {
  calculator: "FaceDetection%sRangeCpu"
  input_stream: "IMAGE:image"
  output_stream: "DETECTIONS:found"
  options { [mediapipe.FaceDetectionOptions.ext] { min_score_thresh: %.6f } }
}
"""

_MESHER = """
input_stream: "image"
input_stream: "region"
output_stream: "found"
input_side_packet: "with_attention"
executor { type: "ApplicationThreadExecutor" }
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:region"
  input_side_packet: "WITH_ATTENTION:with_attention"
  output_stream: "LANDMARKS:found"
}
"""

_LANDMARK = np.dtype(
    [("head", "u1", 2)]
    + [item for axis in "xyz" for item in ((f"{axis}_tag", "u1"), (axis, "<f4"))]
)
"""A landmark on the wire: tag and length of the message, then three tagged floats."""


@dataclass(frozen=True)
class Detection:
    """One detected face.

    Attributes:
        box: left, top, right, bottom; in [0, 1] of the picture's sides, or in shown pixels.
        score: confidence of the detector in [0, 1].
        roll_rad: how far the line from the right to the left eye is turned, clockwise.
    """

    box: tuple[float, float, float, float]
    score: float
    roll_rad: float = 0.0


@dataclass(frozen=True)
class FaceRegion:
    """Where a face is, as the mesh network wants it: a square, turned with the head.

    Attributes:
        x: centre.
        y: centre.
        side: longer side of the face's box.
        roll_rad: as of a detection.
    """

    x: float
    y: float
    side: float
    roll_rad: float


class _Graph:
    """A MediaPipe graph that answers a picture with at most one packet, in the calling thread."""

    def __init__(self, config: str, side_packets: dict[str, Any]) -> None:
        import mediapipe
        from google.protobuf import text_format
        from mediapipe.framework import calculator_pb2
        from mediapipe.modules.face_detection import face_detection_pb2  # noqa: F401
        from mediapipe.python import (
            CalculatorGraph,
            ImageFormat,
            packet_creator,
            resource_util,
        )

        # Models are named from the folder that holds the package.
        resource_util.set_resource_dir(str(Path(mediapipe.__file__).parents[1]))
        self._create = packet_creator
        self._rgb = ImageFormat.SRGB
        self._found: list[Any] = []
        self._time_us = 0
        parsed = text_format.Parse(config, calculator_pb2.CalculatorGraphConfig())
        self._graph = CalculatorGraph(graph_config=parsed)
        self._graph.observe_output_stream("found", lambda _, packet: self._found.append(packet))
        self._graph.start_run(side_packets)

    def __call__(self, picture: np.ndarray, **others: Any) -> Any | None:
        """Run one picture (H, W, 3), RGB, with other packets; return the packet, if one came."""
        self._found.clear()
        image = self._create.create_image_frame(image_format=self._rgb, data=picture)
        # A network is loaded, and announces itself, with the first picture.
        with nullcontext() if self._time_us else unheard():
            self._time_us += _STEP_US
            for stream, packet in {"image": image, **others}.items():
                self._graph.add_packet_to_input_stream(stream, packet.at(self._time_us))
            self._graph.wait_until_idle()
        return self._found[0] if self._found else None

    def close(self) -> None:
        self._graph.close()


class MediaPipeDetector:
    """MediaPipe's BlazeFace.

    Args:
        reach: ``Full`` for faces of any size in a picture of 192 x 192 pixels, ``Short`` for those
            that fill a good part of 128 x 128.
        min_score: detections below are dropped.
    """

    def __init__(self, reach: Literal["Full", "Short"], min_score: float) -> None:
        from mediapipe.framework.formats.detection_pb2 import Detection as Message
        from mediapipe.python._framework_bindings import _packet_getter

        self._message = Message
        self._wires = _packet_getter._get_serialized_proto_list
        self._graph = _Graph(_DETECTOR % (reach, min_score), {})

    def __call__(self, picture: np.ndarray) -> list[Detection]:
        """Detect faces.

        Args:
            picture: RGB (H, W, 3), uint8.

        Returns:
            Detections, the surest first; their boxes are in [0, 1] of the picture's sides.
        """
        packet = self._graph(picture)
        if packet is None:
            return []
        messages = [self._message.FromString(wire) for wire in self._wires(packet)]
        return [_read(message, picture.shape[1] / picture.shape[0]) for message in messages]

    def close(self) -> None:
        """Free the network."""
        self._graph.close()


def _read(message: Any, aspect: float) -> Detection:
    box = message.location_data.relative_bounding_box
    right_eye, left_eye = message.location_data.relative_keypoints[:2]
    return Detection(
        box=(box.xmin, box.ymin, box.xmin + box.width, box.ymin + box.height),
        score=float(message.score[0]),
        roll_rad=math.atan2(left_eye.y - right_eye.y, aspect * (left_eye.x - right_eye.x)),
    )


class MediaPipeMesher:
    """MediaPipe's FaceMesh with refined lips, eyes and irises; it remembers nothing."""

    REGION_RATIO = 1.5
    """Side of what the network sees over that of the face: `FaceLandmarkLandmarksToRoi`."""

    def __init__(self) -> None:
        from mediapipe.framework.formats.rect_pb2 import NormalizedRect
        from mediapipe.python import packet_creator
        from mediapipe.python._framework_bindings import _packet_getter

        self._rect = NormalizedRect
        self._create = packet_creator.create_proto
        # The public getter parses the message, which would have to be written again to be read as
        # one array.
        self._wire = _packet_getter._get_serialized_proto
        self._graph = _Graph(_MESHER, {"with_attention": packet_creator.create_bool(True)})

    def __call__(self, picture: np.ndarray, region: FaceRegion) -> np.ndarray | None:
        """Find the mesh of one face.

        Args:
            picture: RGB (S, S, 3), uint8.
            region: where the face is, in [0, 1] of the picture's sides.

        Returns:
            (478, 3) in [0, 1] of the picture's sides, z in units of its width; ``None`` if there
            is no face.
        """
        side = self.REGION_RATIO * region.side
        rect = self._rect(
            x_center=region.x, y_center=region.y, width=side, height=side, rotation=region.roll_rad
        )
        packet = self._graph(picture, region=self._create(rect))
        if packet is None:
            return None
        wire = np.frombuffer(self._wire(packet), _LANDMARK)
        return np.stack([wire[axis] for axis in "xyz"], axis=1)

    def close(self) -> None:
        """Free the network."""
        self._graph.close()
