"""Contact sheets: clips one below the other, some frames of each, and what was decided.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart. The face box
is yellow where the face was found in the frame, grey where it was filled in from its neighbours.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from manifests.errors import DatasetError, ManifestError
from manifests.inspection.clip_frames import ShownFace, ShownFrame, clip_frames
from manifests.inspection.clip_rows import ClipRow
from manifests.inspection.place import Place
from manifests.inspection.words import read_transcript
from manifests.records import ClipState

FACE_FOUND = (240, 228, 66)
FACE_FILLED_IN = (150, 150, 150)
_INK, _GREY, _RULE, _PAPER = (20, 20, 20), (95, 95, 95), (205, 205, 205), (255, 255, 255)
_STATE_COLOURS = {
    ClipState.KEPT: (0, 114, 178),
    ClipState.REJECTED: (190, 74, 0),  # their vermilion, darker: white letters stand on it
    ClipState.PENDING: (95, 95, 95),
}
_CELL_PX = 248
_MARGIN_PX = 12
_TEXT_PX = 430
_MAX_CAPTION_LINES = 4
_MAX_WORD_LINES = 3
_MAX_REASONS = 6


@dataclass(frozen=True)
class SheetEntry:
    """One clip of a sheet.

    Attributes:
        clip: the clip.
        frames: its frames; none if they cannot be had.
        trouble: why they cannot; `None` if they can.
    """

    clip: ClipRow
    frames: tuple[ShownFrame, ...]
    trouble: str | None


@dataclass(frozen=True)
class Fonts:
    """The letters of a sheet."""

    plain: ImageFont.FreeTypeFont
    bold: ImageFont.FreeTypeFont
    small: ImageFont.FreeTypeFont

    @classmethod
    def load(cls, path: str | None = None) -> Fonts:
        """Load a font.

        Args:
            path: A TrueType file; DejaVu Sans, which comes with matplotlib, by default. It has
                Latin, Greek, Cyrillic and more, but no Chinese, Japanese or Korean.

        Returns:
            The font in the sizes of a sheet.

        Raises:
            DatasetError: If the file is no font.
        """
        folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        plain = path or str(folder / "DejaVuSans.ttf")
        bold = path or str(folder / "DejaVuSans-Bold.ttf")
        try:
            return cls(
                ImageFont.truetype(plain, 14),
                ImageFont.truetype(bold, 14),
                ImageFont.truetype(plain, 12),
            )
        except OSError as error:
            raise DatasetError(f"{path}: no font that can be read: {error}") from error


def sheet_entry(place: Place, clip: ClipRow, num_frames: int) -> SheetEntry:
    """Gather the frames of one clip.

    Args:
        place: Run or dataset.
        clip: The clip.
        num_frames: Frames to show.

    Returns:
        The entry; frames that cannot be had are no error but are said on the sheet.
    """
    try:
        return SheetEntry(clip, tuple(clip_frames(place, clip, num_frames)), None)
    except ManifestError as error:
        return SheetEntry(clip, (), str(error))


def draw_page(entries: Sequence[SheetEntry], num_frames: int, fonts: Fonts) -> Image.Image:
    """Draw one page.

    Args:
        entries: Its clips, at least one.
        num_frames: Frames a clip.
        fonts: Letters.

    Returns:
        The page, RGB.
    """
    bands = [_draw_band(entry, num_frames, fonts) for entry in entries]
    width = bands[0].width
    page = Image.new("RGB", (width, sum(band.height for band in bands)), _PAPER)
    top = 0
    for number, band in enumerate(bands):
        page.paste(band, (0, top))
        if number:
            ImageDraw.Draw(page).line((0, top, width, top), fill=_RULE)
        top += band.height
    return page


def draw_face(picture: Image.Image, face: ShownFace, scale: float) -> None:
    """Draw a face's box into a picture.

    Args:
        picture: The picture, already scaled.
        face: The face, in pixels of the unscaled picture.
        scale: Pixels of the picture for one unscaled pixel.
    """
    box = tuple(round(value * scale) for value in face.box)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1), outline=(0, 0, 0), width=4)
    draw.rectangle(box, outline=FACE_FOUND if face.is_found else FACE_FILLED_IN, width=2)


def frame_cell(frame: ShownFrame, fonts: Fonts) -> Image.Image:
    """Scale one frame to a cell and draw the face and the time into it.

    Args:
        frame: The frame.
        fonts: Letters.

    Returns:
        The picture, its longer side as long as a cell.
    """
    scale = _CELL_PX / max(frame.picture.size)
    size = tuple(max(1, round(side * scale)) for side in frame.picture.size)
    picture = frame.picture.convert("RGB").resize((size[0], size[1]), Image.Resampling.LANCZOS)
    if frame.face is not None:
        draw_face(picture, frame.face, scale)
    draw = ImageDraw.Draw(picture)
    label = f"{frame.time_s:.2f} s"
    left, top, right, bottom = draw.textbbox((5, picture.height - 19), label, font=fonts.small)
    draw.rectangle((left - 4, top - 2, right + 4, bottom + 3), fill=(0, 0, 0))
    draw.text((5, picture.height - 19), label, fill=_PAPER, font=fonts.small)
    return picture


def _draw_band(entry: SheetEntry, num_frames: int, fonts: Fonts) -> Image.Image:
    cells = [frame_cell(frame, fonts) for frame in entry.frames]
    pitch = _CELL_PX + 6
    text_left = _MARGIN_PX + num_frames * pitch + _MARGIN_PX
    lines = list(_text_lines(entry.clip, fonts))
    text_height = sum(height for *_, height in lines)
    height = 2 * _MARGIN_PX + max([text_height, 120, *(cell.height for cell in cells)])
    band = Image.new("RGB", (text_left + _TEXT_PX + _MARGIN_PX, height), _PAPER)
    draw = ImageDraw.Draw(band)
    for number, cell in enumerate(cells):
        left = _MARGIN_PX + number * pitch + (_CELL_PX - cell.width) // 2
        band.paste(cell, (left, _MARGIN_PX))
    if not cells:
        box = (_MARGIN_PX, _MARGIN_PX, text_left - 2 * _MARGIN_PX, height - _MARGIN_PX)
        draw.rectangle(box, outline=_RULE)
        told = _wrap(f"No pictures: {entry.trouble}", box[2] - box[0] - 24, fonts.plain, 5)
        draw.text((box[0] + 12, box[1] + 12), "\n".join(told), fill=_GREY, font=fonts.plain)
    _draw_badge(draw, text_left, _MARGIN_PX, entry.clip, fonts)
    top = _MARGIN_PX
    for indent, text, font, colour, line_height in lines:
        draw.text((text_left + indent, top), text, fill=colour, font=font)
        top += line_height
    return band


_Line = tuple[int, str, ImageFont.FreeTypeFont, tuple[int, int, int], int]


def _text_lines(clip: ClipRow, fonts: Fonts) -> Iterator[_Line]:
    """Yield indent, text, font, colour and height of each line beside the frames."""
    values = clip.values
    state = ClipState(values["state"])
    badge_px = round(fonts.bold.getlength(state.upper())) + 20
    yield badge_px, clip.clip_id, fonts.bold, _INK, 24
    for line in _wrap(clip.source_name, _TEXT_PX, fonts.plain, 2):
        yield 0, line, fonts.plain, _INK, 19
    end_s = values["start_s"] + values["duration_s"]
    where = f"{values['start_s']:.2f}\N{EN DASH}{end_s:.2f} s, track {values['track']}"
    size = _size_text(values)
    yield 0, f"{where}{size}", fonts.small, _GREY, 17
    yield 0, _sync_text(values), fonts.small, _GREY, 19
    gates = values["failed_gates"] or []
    for gate in gates[:_MAX_REASONS]:
        for line in _wrap(_reason_text(gate), _TEXT_PX, fonts.small, 2):
            yield 0, line, fonts.small, _STATE_COLOURS[ClipState.REJECTED], 17
    if len(gates) > _MAX_REASONS:
        more = f"and {len(gates) - _MAX_REASONS} more"
        yield 0, more, fonts.small, _STATE_COLOURS[ClipState.REJECTED], 17
    sample = clip.sample or {}
    caption = sample.get("caption") or values.get("caption.text")
    if caption:
        yield 0, "", fonts.small, _INK, 4
        for line in _wrap(caption, _TEXT_PX, fonts.plain, _MAX_CAPTION_LINES):
            yield 0, line, fonts.plain, _INK, 19
    transcript = read_transcript(sample.get("transcript"))
    if transcript is not None:
        quoted = f"\N{LEFT DOUBLE QUOTATION MARK}{transcript.text}\N{RIGHT DOUBLE QUOTATION MARK}"
        yield 0, "", fonts.small, _INK, 4
        for line in _wrap(quoted, _TEXT_PX, fonts.plain, _MAX_WORD_LINES):
            yield 0, line, fonts.plain, _GREY, 19


def _draw_badge(
    draw: ImageDraw.ImageDraw, left: int, top: int, clip: ClipRow, fonts: Fonts
) -> None:
    state = ClipState(clip.values["state"])
    width = round(fonts.bold.getlength(state.upper())) + 12
    draw.rectangle((left, top - 2, left + width, top + 18), fill=_STATE_COLOURS[state])
    draw.text((left + 6, top), state.upper(), fill=_PAPER, font=fonts.bold)


def _size_text(values: dict[str, object]) -> str:
    width, height = values.get("probe.width_px"), values.get("probe.height_px")
    face = values.get("faces.height_px")
    text = f", {width} \N{MULTIPLICATION SIGN} {height} px" if width and height else ""
    return text + (f", face {face:.0f} px" if isinstance(face, float) else "")


def _sync_text(values: dict[str, object]) -> str:
    parts = []
    for name, label, shape in (
        ("sync.offset_ms", "AV offset", "{:+.0f} ms"),
        ("sync.confidence", "confidence", "{:.2f}"),
    ):
        if name in values:
            value = values[name]
            parts.append(f"{label} {'missing' if value is None else shape.format(value)}")
    return ", ".join(parts)


def _reason_text(gate: dict[str, str | None]) -> str:
    measured = "missing" if gate["measured"] is None else gate["measured"]
    return f"{gate['reason']}: {gate['field']} {measured}, {gate['bound']} {gate['limit']}"


def _wrap(text: str, width_px: int, font: ImageFont.FreeTypeFont, max_lines: int) -> list[str]:
    """Break text into lines that fit; what is left over ends in an ellipsis."""
    lines: list[str] = []
    rest = unicodedata.normalize("NFC", " ".join(text.split()))  # single letters, not accents apart
    while rest and len(lines) < max_lines:
        is_last = len(lines) == max_lines - 1
        if font.getlength(rest) <= width_px:
            lines.append(rest)
            break
        mark = "\N{HORIZONTAL ELLIPSIS}" if is_last else ""
        length = len(rest)
        while length > 1 and font.getlength(rest[:length] + mark) > width_px:
            length -= 1
        blank = rest.rfind(" ", 1, length + 1)
        if blank > length // 2:  # a long name without blanks is cut where the line ends
            length = blank
        lines.append(rest[:length].rstrip() + mark)
        rest = rest[length:].lstrip()
    return lines
