"""How a film stores its pictures: colour resolution, and lines that belong to two moments."""

from __future__ import annotations

from enum import StrEnum

from training.generation.inputs import Size


class Chroma(StrEnum):
    """Colour resolution: 4:2:0 plays everywhere, 4:4:4 keeps every pixel's colour."""

    HALF = "420"
    ROWS = "422"
    FULL = "444"

    def pixel_format(self, bits: int = 8) -> str:
        """Return its name in FFmpeg.

        Args:
            bits: of a sample, 8 or 10.

        Returns:
            The name.
        """
        return f"yuv{self.value}p" + ("" if bits == 8 else f"{bits}le")

    def fits(self, size: Size) -> bool:
        """Return whether a picture of this size has whole samples of colour.

        Args:
            size: of the picture.

        Returns:
            False for odd sides that would have to be even.
        """
        return not (
            (self is not Chroma.FULL and size.width_px % 2)
            or (self is Chroma.HALF and size.height_px % 2)
        )


class Fields(StrEnum):
    """Which of a frame's two fields is shown first, in x264's words."""

    TOP_FIRST = "tff"
    BOTTOM_FIRST = "bff"
