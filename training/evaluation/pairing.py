"""Pairing: which generated clip belongs to which reference and source, by the stem of its file.

Every file ends in a pair or is reported; two files of one stem are refused, for either would be a
guess. Sidecars (`STEM.json`, `STEM.region.npz`) are not media and are read in `sidecars`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.errors import InputError

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm"})
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


@dataclass(frozen=True)
class Pair:
    """One generated clip and what it is held against.

    Attributes:
        stem: file name without its extension; names the pair everywhere.
        generated: the generated video.
        reference: real video that says the same; ``None`` if there is none of that stem.
        source: what was given to the generator, a video or a portrait; ``None`` if not told.
    """

    stem: str
    generated: Path
    reference: Path | None
    source: Path | None


@dataclass(frozen=True)
class Pairing:
    """All pairs, and the files that found no partner.

    Attributes:
        pairs: a pair for each generated clip, by stem.
        without_reference: stems of generated clips without a reference.
        reference_only: names of reference files that no generated clip has the stem of.
        source_only: the same of sources.
    """

    pairs: tuple[Pair, ...]
    without_reference: tuple[str, ...]
    reference_only: tuple[str, ...]
    source_only: tuple[str, ...]


def pair_folders(generated: Path, reference: Path | None, source: Path | None) -> Pairing:
    """Pair the files of two or three folders.

    Args:
        generated: folder with generated videos.
        reference: folder with reference videos; ``None`` to evaluate without.
        source: folder with what was given to the generator, videos or pictures.

    Returns:
        The pairs in the order of their stems.

    Raises:
        InputError: a folder is not there, holds nothing, or holds two files of one stem.
    """
    mine = _by_stem(generated, VIDEO_SUFFIXES, "--generated")
    theirs = _by_stem(reference, VIDEO_SUFFIXES, "--reference") if reference else {}
    given = _by_stem(source, VIDEO_SUFFIXES | IMAGE_SUFFIXES, "--source") if source else {}
    pairs = tuple(Pair(stem, mine[stem], theirs.get(stem), given.get(stem)) for stem in mine)
    return Pairing(
        pairs,
        tuple(stem for stem in mine if stem not in theirs),
        tuple(path.name for stem, path in theirs.items() if stem not in mine),
        tuple(path.name for stem, path in given.items() if stem not in mine),
    )


def _by_stem(folder: Path, suffixes: frozenset[str], option: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"{option} {folder}: is no folder; give one that holds the clips")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.suffix.lower() not in suffixes or not path.is_file():
            continue
        if path.stem in found:
            raise InputError(
                f"{option} {folder}: {found[path.stem].name} and {path.name} have one stem, and "
                "files are paired by stem; rename or move one of them"
            )
        found[path.stem] = path
    if not found:
        raise InputError(
            f"{option} {folder}: holds no file that ends in {', '.join(sorted(suffixes))}"
        )
    return found
