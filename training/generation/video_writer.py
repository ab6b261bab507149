"""An mp4 with sound, written frame by frame.

Frames and sound are interleaved as they come, so a film of any length takes the memory of one
frame. Not in the room: where frames come from, and pasting into a source (`paste`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from manifests.x264 import SAME_BYTES
from training.errors import InputError, SettingError
from training.generation.inputs import Size
from training.generation.pixel_formats import Chroma, Fields
from training.generation.sound import mixed_blocks, sound_facts

_AAC_RATES_HZ = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_SUFFIXES = (".mp4", ".m4v", ".mov")
"""Names under which players take an mp4."""
_COARSER_IN_FULL = 6
"""Steps by which x264 quantises the chroma of 4:4:4 more coarsely than that of 4:2:0."""
_BT709 = 1
"""ITU-T H.273: number of BT.709 for primaries, transfer and matrix."""


@dataclass(frozen=True)
class Encoding:
    """How the video is compressed.

    Attributes:
        crf: constant rate factor of x264, lower is better; 17 is nearly transparent.
        preset: of x264, from ultrafast to veryslow.
        chroma: colour resolution.
        bits: of a sample, 8 or 10.
        worst_qp: coarsest quantiser that x264 may choose, in steps of 8 bits; ``None``: its own.
        fields: of an interlaced film; ``None``: it is none.
    """

    crf: float = 17
    preset: str = "medium"
    chroma: Chroma = Chroma.HALF
    bits: int = 8
    worst_qp: int | None = None
    fields: Fields | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.crf <= 51:
            raise SettingError(f"crf {self.crf}: x264 knows 0 to 51; 17 is nearly transparent")

    @property
    def pixel_format(self) -> str:
        """Its name in FFmpeg."""
        return self.chroma.pixel_format(self.bits)

    def checked(self, size: Size) -> Encoding:
        """Refuse a size that this colour resolution has no whole samples of.

        Args:
            size: of the film.

        Returns:
            The same encoding.

        Raises:
            SettingError: If there is half a sample.
        """
        if not self.chroma.fits(size):
            raise SettingError(
                f"{size.width_px}x{size.height_px} in 4:{self.chroma.value[1]}:"
                f"{self.chroma.value[2]}: sides have to be even; use 4:4:4"
            )
        return self

    def options(self) -> dict[str, str]:
        """Return it in x264's words."""
        options = {"crf": f"{self.crf:g}", "preset": self.preset}
        more = list(SAME_BYTES)
        if self.worst_qp is not None:
            options["qmax"] = str(self.worst_qp + 6 * (self.bits - 8))
            if self.chroma is Chroma.FULL:
                more.append(f"chroma-qp-offset={-_COARSER_IN_FULL}")
        if self.fields is not None:
            more.append(f"{self.fields}=1")
        if more:
            options["x264-params"] = ":".join(more)
        return options


FAITHFUL = Encoding(crf=5, preset="medium", worst_qp=7)
"""For edits: outside of the region every frame stays beyond 45 dB PSNR from the source, as RGB.

Ours. The rate factor alone does not promise that: of white noise of 80 grey steps x264 left 42.7 dB
in 4:2:0 and 38.0 in 4:4:4 at crf 5; with a quantiser of at most 7 it left 49.6 and 48.8, for a
third to two thirds more bits. Usual footage lies above 50 dB."""


def checked_out(path: str | Path, inputs: Iterable[str | Path | None] = ()) -> Path:
    """Refuse a place where no film can be written, or should not.

    Args:
        path: where the film is to go.
        inputs: files that it is made of, which it must not take the place of.

    Returns:
        The same path.

    Raises:
        InputError: If its folder is not there or not open to writing, it is a folder itself or one
            of the inputs, or its name is not that of an mp4.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder; make it first")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the name of an mp4")
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"{path}: an mp4 is written; give a name that ends in .mp4")
    for one in inputs:
        if one is not None and path.exists() and Path(one).exists() and path.samefile(one):
            raise InputError(f"{path}: is an input too, and would be lost; give another name")
    try:
        partial = _partial(path)
        partial.touch()
        partial.unlink(missing_ok=True)  # Other ranks look at the same place.
    except OSError as error:
        raise InputError(
            f"{path.parent}: cannot be written to ({error.strerror}); choose another folder"
        ) from error
    return path


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


class VideoWriter:
    """Writes one mp4; it takes its name when it is whole."""

    def __init__(
        self,
        path: str | Path,
        width_px: int,
        height_px: int,
        fps: Fraction | int,
        *,
        sound: Sequence[str | Path] = (),
        encoding: Encoding = Encoding(),
        colours_of: av.VideoFrame | None = None,
        pixel_aspect: Fraction = Fraction(1),
    ) -> None:
        """Open the file.

        Args:
            path: where the film goes.
            width_px: of every frame.
            height_px: of every frame.
            fps: frames a second.
            sound: files that are heard with it, together, from frame 0; none: a silent film.
            encoding: how it is compressed.
            colours_of: frame whose matrix and range are told to players; ``None``: BT.709.
            pixel_aspect: width over height of a pixel, told to players.

        Raises:
            InputError: If the folder is not there.
            SettingError: If the colour resolution does not fit an odd size.
        """
        self.path = checked_out(path)
        encoding.checked(Size(width_px, height_px))
        self.fps = Fraction(fps)
        self.num_frames = 0
        self._size = (width_px, height_px)
        self._partial = _partial(self.path)
        self._out = av.open(
            str(self._partial), "w", format="mp4", options={"movflags": "+faststart"}
        )
        self._video = self._out.add_stream("libx264", rate=self.fps)
        self._video.width, self._video.height = width_px, height_px
        self._video.pix_fmt = encoding.pixel_format
        self._video.options = encoding.options()
        self._video.codec_context.sample_aspect_ratio = pixel_aspect
        self._tag_colours(colours_of)
        self._sound = _SoundTrack(self._out, [Path(path) for path in sound]) if sound else None

    def _tag_colours(self, like: av.VideoFrame | None) -> None:
        context = self._video.codec_context
        context.colorspace = _BT709 if like is None else like.colorspace
        context.color_primaries = _BT709 if like is None else like.color_primaries
        context.color_trc = _BT709 if like is None else like.color_trc
        context.color_range = 1 if like is None else like.color_range

    def write(self, frame: np.ndarray | av.VideoFrame) -> None:
        """Append a frame.

        Args:
            frame: [H, W, 3] uint8 RGB, or a frame in the film's own pixel format and size.

        Raises:
            SettingError: If its size is another one.
        """
        if isinstance(frame, np.ndarray):
            rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            frame = rgb.reformat(
                format=self._video.pix_fmt, dst_colorspace="ITU709", dst_color_range="MPEG"
            )
        if (frame.width, frame.height) != self._size:
            raise SettingError(
                f"{self.path}: frame {self.num_frames} has {frame.width}x{frame.height}, the film "
                f"{self._size[0]}x{self._size[1]}"
            )
        frame.pts, frame.time_base = self.num_frames, 1 / self.fps
        self._out.mux(self._video.encode(frame))
        self.num_frames += 1
        if self._sound is not None:
            self._sound.write_until(self.num_frames / self.fps)

    def close(self) -> Path:
        """Finish the file; sound beyond the last frame is cut, missing sound is silence."""
        self._out.mux(self._video.encode(None))
        if self._sound is not None:
            self._sound.finish()
        self._out.close()
        os.replace(self._partial, self.path)
        return self.path

    def abort(self) -> None:
        """Close and delete what was written."""
        self._out.close()
        self._partial.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: Any, *rest: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


class _SoundTrack:
    """The sound of a film, fed up to a time."""

    def __init__(self, out: Any, paths: Sequence[Path]) -> None:
        facts = [sound_facts(path) for path in paths]
        highest_hz = max(fact.rate_hz for fact in facts)
        self._rate_hz = min(_AAC_RATES_HZ, key=lambda rate: abs(rate - highest_hz))
        self._num_channels = min(2, max(fact.num_channels for fact in facts))
        self._layout = "mono" if self._num_channels == 1 else "stereo"
        self._blocks = mixed_blocks(paths, self._rate_hz, self._num_channels)
        self._pending = np.zeros((self._num_channels, 0), np.float32)
        self._out = out
        self._stream = out.add_stream("aac", rate=self._rate_hz, layout=self._layout)
        self._stream.bit_rate = 96_000 * self._num_channels
        self._num_written = 0

    def write_until(self, time_s: Fraction) -> None:
        wanted = int(time_s * self._rate_hz) - self._num_written
        while self._pending.shape[1] < wanted:
            block = next(self._blocks, None)
            if block is None:
                missing = wanted - self._pending.shape[1]
                block = np.zeros((self._num_channels, missing), np.float32)
            self._pending = np.concatenate([self._pending, block], axis=1)
        block, self._pending = self._pending[:, :wanted], self._pending[:, wanted:]
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(block), format="fltp", layout=self._layout
        )
        frame.sample_rate = self._rate_hz
        frame.pts, frame.time_base = self._num_written, Fraction(1, self._rate_hz)
        self._num_written += wanted
        self._out.mux(self._stream.encode(frame))

    def finish(self) -> None:
        self._out.mux(self._stream.encode(None))
