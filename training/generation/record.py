"""What lies beside a finished film: how it was made, and where an edit acted.

`STEM.json` is for people and for evaluation, which finds the seams of windows and what was edited
by it. `STEM.region.npz` is for evaluation, which measures what an edit left alone. Both take their
names when they are whole. Not in the room: the film itself (`video_writer`).
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manifests.ids import content_id
from manifests.storage import Folder
from training.generation.settings import GenerationSettings
from training.generation.streaming import latent_windows

REGION_SUFFIX = ".region.npz"


@dataclass(frozen=True)
class Made:
    """A finished file.

    Attributes:
        out: where it is.
        num_frames: frames in it.
        width_px: of its frames.
        height_px: of its frames.
        fps: frames a second.
        seed: of the noise.
        notices: what was repaired of the inputs.
    """

    out: str
    num_frames: int
    width_px: int
    height_px: int
    fps: float
    seed: int
    notices: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def write_record(
    made: Made, settings: GenerationSettings, source: str | Path | None = None
) -> None:
    """Write beside a film how it was made.

    Args:
        made: the film; nothing is written of one without frames.
        settings: with which it was made.
        source: portrait or video that it was made of; told by its way from the film, so that both
            can be moved together, and by its content.
    """
    if not made.num_frames:
        return
    out = Path(made.out)
    record = made.as_dict() | {
        "settings": settings.model_dump(mode="json"),
        "latent_windows": latent_windows(
            math.ceil((made.num_frames - 1) / 4) + 1, settings.sampling()
        ),
    }
    if source is not None:
        where = Path(source).absolute()
        record["source"] = Path(os.path.relpath(where, out.absolute().parent)).as_posix()
        record["source_id"] = content_id(*Folder.split(str(where)))
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    partial = _partial(out.with_suffix(".json"))
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, out.with_suffix(".json"))


def write_region(film: str | Path, masks: Iterable[np.ndarray], num_frames: int) -> None:
    """Write beside a film where an edit acted, a frame at a time.

    The file holds ``region_bits``, [T, H, ceil(W / 8)] uint8, eight pixels a byte as
    ``numpy.packbits`` packs them, and ``width_px``. A minute of 1080p takes some 10 MB at most,
    for a region is smooth and deflated; unpacked it would be 3 GB, and is never in memory whole.

    Args:
        film: the film.
        masks: [H, W] bool of each of its frames.
        num_frames: T.
    """
    target = Path(film).with_suffix(REGION_SUFFIX)
    partial = _partial(target)
    last: np.ndarray | None = None
    packed = b""
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        width_px = 0
        member = None
        for mask in masks:
            if member is None:
                height_px, width_px = mask.shape
                member = archive.open("region_bits.npy", "w", force_zip64=True)
                shape = (num_frames, height_px, -(-width_px // 8))
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, header)
            if mask is not last:
                packed, last = np.packbits(mask, axis=1).tobytes(), mask
            member.write(packed)
        if member is not None:
            member.close()
        with archive.open("width_px.npy", "w") as other:
            np.lib.format.write_array(other, np.array(width_px))
    os.replace(partial, target)


def remove_region(film: str | Path) -> None:
    """Take away the region of an edit that bore a film's name before.

    Args:
        film: the film, which is no edit.
    """
    Path(film).with_suffix(REGION_SUFFIX).unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")
