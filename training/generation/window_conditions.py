"""What is given of the video in each window: a reference picture, given frames, or a source.

An image-to-video base expects the first latent frame of each window to be the picture it is given.
Windows after the first show it again (StableAvatar), which re-anchors identity; `windows` gives
that frame of theirs no weight. An edit shows each window its part of the source instead, encoded
once from the video's beginning on, as the causal codec wants it.

Not in the room: text and audio, and the region of an edit (`editing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch

from training.errors import InputError
from training.generation.codec_streams import open_encoder
from training.generation.edit_view import View
from training.generation.editing import Region
from training.generation.inputs import Size
from training.generation.source_video import SourceVideo
from training.model.conditions import latent_keep_mask
from training.model.interfaces import Task, VideoCodec


class Given(NamedTuple):
    """What one window is given.

    Attributes:
        keep_mask_BCKhw: 4 channels, 1 = given.
        condition_BCKhw: latents of the given pixels.
    """

    keep_mask_BCKhw: torch.Tensor
    condition_BCKhw: torch.Tensor


class SourcePart(NamedTuple):
    """The source of an edit in one block.

    Attributes:
        latent_BCKhw: of the source itself.
        region_BKhw: 1 where the edit acts.
    """

    latent_BCKhw: torch.Tensor
    region_BKhw: torch.Tensor


class WindowConditions(Protocol):
    """What is given over a whole video; blocks are asked for from its beginning on."""

    @property
    def pinned(self) -> bool:
        """Whether a window's first latent frame is the reference picture."""
        ...

    def begin_block(self, first_latent: int, num_latents: int) -> None:
        """Prepare for windows within these latent frames; earlier ones are forgotten."""
        ...

    def given(self, start: int, length: int) -> Given:
        """Return what the window of these latent frames is given."""
        ...

    def source(self) -> SourcePart | None:
        """Return the source in the present block, for an edit that looks at it."""
        ...


def pixels(rgb_HWC: np.ndarray) -> torch.Tensor:
    """Return a picture as [1, 3, 1, H, W] in [-1, 1]."""
    values = torch.from_numpy(np.ascontiguousarray(rgb_HWC)).float() / 127.5 - 1
    return values.permute(2, 0, 1)[None, :, None]


class ReferenceConditions:
    """Text, image, first and last image, or the end of another video."""

    def __init__(
        self,
        codec: VideoCodec,
        size: Size,
        num_latents: int,
        *,
        first_frames: Iterable[np.ndarray] = (),
        last_image: np.ndarray | None = None,
    ) -> None:
        """Take what is given.

        Args:
            codec: encodes it.
            size: of the video.
            num_latents: K of the whole video.
            first_frames: [H, W, 3] uint8, 4 m + 1 of them; none: from text alone.
            last_image: [H, W, 3] uint8, the video's last frame.

        Raises:
            InputError: If first frames are not 4 m + 1, or a last image comes without a first.
        """
        self._codec, self._size, self._num_latents = codec, size, num_latents
        self._first = list(first_frames)
        self._last = last_image
        self._made: dict[tuple[bool, bool, int], Given] = {}
        self._reference = self._first[0] if self._first else None
        if self._first and len(self._first) % 4 != 1:
            raise InputError(f"{len(self._first)} given frames: give 4 m + 1, as 1, 5 or 17")
        if last_image is not None and not self._first:
            raise InputError("a last image without a first one: give both")

    @property
    def task(self) -> Task:
        """What this is in training's terms."""
        if self._last is not None:
            return Task.FIRST_LAST
        if len(self._first) > 1:
            return Task.EXTENSION
        return Task.IMAGE if self._first else Task.TEXT

    @property
    def pinned(self) -> bool:
        """Whether windows after the first begin with the reference picture."""
        return self._reference is not None

    def anchor(self, rgb_HWC: np.ndarray) -> None:
        """Take the first generated frame as reference where none was given."""
        if self._reference is None:
            self._reference = rgb_HWC
            self._made.clear()

    def begin_block(self, first_latent: int, num_latents: int) -> None:
        """Nothing to prepare: windows differ only at the ends of the video."""

    def given(self, start: int, length: int) -> Given:
        """Return what a window is given; equal ones are encoded once."""
        is_first, is_last = start == 0, start + length >= self._num_latents
        key = (is_first, is_last and self._last is not None, length)
        if key not in self._made:
            self._made[key] = self._encoded(*key)
        return self._made[key]

    def source(self) -> None:
        """There is none."""

    def _encoded(self, is_first: bool, has_last: bool, length: int) -> Given:
        shown = self._first if is_first else [self._reference]
        shown = [picture for picture in shown if picture is not None]
        num_frames = 4 * (length - 1) + 1
        if len(shown) >= num_frames + has_last:
            raise InputError(
                f"{len(shown)} given frames in a window of {num_frames}: nothing is left to make; "
                "give fewer frames or a longer window"
            )
        height, width = self._size.height_px, self._size.width_px
        keep = torch.zeros(1, num_frames, height, width)
        keep[:, : len(shown)] = 1
        if has_last:
            keep[:, -1] = 1
        encoder = open_encoder(self._codec)
        latents = []
        for begin in [0, *range(1, num_frames, 4)]:
            piece = torch.zeros(1, 3, 1 if begin == 0 else 4, height, width)
            for t in range(piece.shape[2]):
                if begin + t < len(shown):
                    piece[:, :, t : t + 1] = pixels(shown[begin + t])
                elif has_last and begin + t == num_frames - 1 and self._last is not None:
                    piece[:, :, t : t + 1] = pixels(self._last)
            latents.append(encoder.encode(piece))
        return Given(latent_keep_mask(keep, self._codec.spatial_stride), torch.cat(latents, dim=2))


class SourceConditions:
    """A source video whose pixels are given outside of a region."""

    def __init__(
        self,
        codec: VideoCodec,
        source: SourceVideo,
        view: View,
        regions: Sequence[Region],
        size: Size,
        *,
        with_latents: bool = False,
    ) -> None:
        """Begin to read the source.

        Args:
            codec: encodes it.
            source: the video.
            view: the part of it that the model sees.
            regions: where it is made anew, one a speaker, in frames of this size.
            size: of the frames that the model sees.
            with_latents: encode the source itself too, for `source`.
        """
        self._codec = codec
        self._regions = regions
        self._size = size
        self._frames = self._padded(source, view)
        self._given_encoder = open_encoder(codec)
        self._source_encoder = open_encoder(codec) if with_latents else None
        self._begin = 0
        self._keep: list[torch.Tensor] = []
        self._condition: list[torch.Tensor] = []
        self._latent: list[torch.Tensor] = []

    @property
    def pinned(self) -> bool:
        """The source stands in for a reference."""
        return False

    def begin_block(self, first_latent: int, num_latents: int) -> None:
        """Read on as far as the block reaches, and forget what lies before it."""
        done = first_latent - self._begin
        for kept in (self._keep, self._condition, self._latent):
            del kept[:done]
        self._begin = first_latent
        while len(self._keep) < num_latents:
            self._read(self._begin + len(self._keep))

    def given(self, start: int, length: int) -> Given:
        """Return a window's part of the source."""
        part = slice(start - self._begin, start - self._begin + length)
        return Given(torch.cat(self._keep[part], dim=2), torch.cat(self._condition[part], dim=2))

    def source(self) -> SourcePart | None:
        """Return the source's latents and the region in the present block."""
        if not self._latent:
            return None
        region = 1 - torch.cat(self._keep, dim=2).amin(dim=1)
        return SourcePart(torch.cat(self._latent, dim=2), region)

    def _read(self, latent: int) -> None:
        frames = [next(self._frames) for _ in range(1 if latent == 0 else 4)]
        video = torch.cat([pixels(frame) for frame in frames], dim=2)
        mask = np.any([region.frame_mask(4 * latent) for region in self._regions], axis=0)
        outside = torch.from_numpy(~mask)
        keep_THW = outside.float().expand(video.shape[2], -1, -1)
        self._condition.append(self._given_encoder.encode(torch.where(outside, video, 0.0)))
        if self._source_encoder is not None:
            self._latent.append(self._source_encoder.encode(video))
        # A piece after the first is no whole video: its mask is that of four frames after one.
        led = keep_THW if latent == 0 else torch.cat([keep_THW[:1], keep_THW])
        keep = latent_keep_mask(led[None], self._codec.spatial_stride)
        self._keep.append(keep[:, :, -1:])

    def _padded(self, source: SourceVideo, view: View) -> Iterator[np.ndarray]:
        """Frames as the model sees them, the last one for ever."""
        import cv2

        last = None
        for picture in source.pictures():
            seen = np.ascontiguousarray(view.of(picture))
            last = cv2.resize(seen, tuple(self._size), interpolation=cv2.INTER_AREA)
            yield last
        if last is None:
            raise InputError(f"{source.path}: no frame of it can be decoded")
        while True:
            yield last
