"""Progress of a video on a terminal: passes done, time left, and previews as pictures."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from training.generation.denoising import Watcher
from training.model.interfaces import VideoCodec

_SHOWN_LATENTS = 2
"""Latent frames of a preview: decoding more would cost as much as a step."""


class RichWatcher(Watcher):
    """A bar with the time that is left; previews beside the film."""

    def __init__(
        self,
        *,
        quiet: bool = False,
        preview_to: Path | None = None,
        codec: VideoCodec | None = None,
    ) -> None:
        """Prepare the bar.

        Args:
            quiet: show nothing.
            preview_to: picture that is written anew with each preview.
            codec: decodes previews.
        """
        self.num_passes = 0
        self._preview_to, self._codec = preview_to, codec
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=quiet,
        )
        self._task = self._bar.add_task("denoising", total=None)

    def on_start(self, num_passes: int) -> None:
        """Learn where the bar ends."""
        self._bar.update(self._task, total=num_passes)

    def on_passes(self, num_passes: int) -> None:
        """Move the bar."""
        self.num_passes += num_passes
        self._bar.advance(self._task, num_passes)

    def on_preview(self, clean_BCKhw: torch.Tensor, step_index: int) -> None:
        """Write a few frames side by side."""
        if self._preview_to is None or self._codec is None:
            return
        from PIL import Image

        frames = self._codec.decode(clean_BCKhw[:1, :, :_SHOWN_LATENTS])[0]
        strip = ((frames.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        joined = strip.permute(2, 1, 3, 0).flatten(1, 2).cpu().numpy()
        Image.fromarray(joined).save(self._preview_to)

    def __enter__(self) -> RichWatcher:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
