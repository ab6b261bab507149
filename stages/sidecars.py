"""Sidecars: the subtitle file that lies beside a source, on any filesystem.

``clip.mp4`` may have ``clip.vtt``, ``clip.en.vtt``, ``clip.en-orig.json3``, ``clip.mp4.srt`` and
so on. Subtitles in a language that is not spoken are no transcript, so a file without a language
comes first, then yt-dlp's ``-orig``; among several languages nobody guesses.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

import fsspec

from manifests.errors import StorageError
from manifests.storage import Folder
from stages.errors import StageError
from stages.subtitles import Subtitles, read_subtitles

EXTENSIONS = ("json3", "json", "vtt", "srt")
"""Formats, those with the times of words first."""

MAX_BYTES = 64 * 2**20
"""A larger file is no subtitle: ten hours of json3 take about 20 MB."""

_LANGUAGE = re.compile(r"([a-z]{2,3})((?:[-_][a-z0-9]{2,8})*)", re.IGNORECASE)
_FLAGS = frozenset({"auto", "cc", "default", "sdh"})


@dataclass(frozen=True)
class Sidecar:
    """A subtitle file beside a source.

    Attributes:
        name: file name.
        language: ISO 639 code from the name, empty if it has none.
        is_original: yt-dlp says that this language is the one spoken.
    """

    name: str
    language: str
    is_original: bool

    @property
    def extension(self) -> str:
        """Extension in small letters, without the dot."""
        return self.name.rpartition(".")[2].lower()


def read_sidecar(
    uri: str, languages: Sequence[str] = ()
) -> tuple[Subtitles | None, str | None, tuple[str, ...]]:
    """Read the best subtitle file beside a source.

    Args:
        uri: the source, a local path or an fsspec URL.
        languages: languages to take, best first; empty for the one that is spoken.

    Returns:
        The subtitles, or ``None``; their language, if it is known; and why files were passed over,
        in words.
    """
    try:
        folder, name = Folder.split(uri)
        found = ranked(sidecars_of(name, _names_beside(folder, name)), languages)
    except (StageError, StorageError) as error:
        return None, None, (str(error),)
    faults = []
    for sidecar in found:
        try:
            num_bytes = folder.size(sidecar.name)
            if num_bytes > MAX_BYTES:
                raise StageError(f"has {num_bytes} bytes, more than {MAX_BYTES}")
            subtitles = read_subtitles(folder.read_bytes(sidecar.name), sidecar.extension)
        except (StageError, StorageError) as error:
            faults.append(f"{sidecar.name} {error}")
            continue
        return subtitles, sidecar.language or _primary(subtitles.language), tuple(faults)
    return None, None, tuple(faults)


def sidecars_of(source_name: str, names: Sequence[str]) -> list[Sidecar]:
    """Find the subtitle files of a source among the files of its folder.

    Args:
        source_name: file name of the source.
        names: names of all files of the folder.

    Returns:
        Its subtitle files, in the order of their names.
    """
    stem, _, source_extension = source_name.rpartition(".")
    known, found = set(names), []
    for name in sorted(known):
        rest, _, extension = name.rpartition(".")
        base = next((b for b in (source_name, stem) if f"{rest}.".startswith(f"{b}.")), None)
        is_of_another = rest != stem and f"{rest}.{source_extension}" in known
        if extension.lower() not in EXTENSIONS or not base or is_of_another:
            continue
        sidecar = _described(name, [part for part in rest[len(base) :].split(".") if part])
        if sidecar is not None:
            found.append(sidecar)
    return found


def ranked(found: Sequence[Sidecar], languages: Sequence[str]) -> list[Sidecar]:
    """Put subtitle files in order, best first.

    Args:
        found: subtitle files of one source.
        languages: languages to take, best first; empty for the one that is spoken.

    Returns:
        Those that may be taken.

    Raises:
        StageError: there are several languages, and nothing says which is spoken.
    """
    if languages:
        order = [*languages, ""]
        taken = [s for s in found if s.language in order]
        return sorted(taken, key=lambda s: (order.index(s.language), _quality(s)))
    for taken in ([s for s in found if not s.language], [s for s in found if s.is_original]):
        if taken:
            return sorted(taken, key=_quality)
    spoken = sorted({s.language for s in found})
    if len(spoken) > 1:
        raise StageError(
            f"subtitles in {', '.join(spoken)}, and nothing says which is spoken: "
            "set transcript.languages"
        )
    return sorted(found, key=_quality)


def _quality(sidecar: Sidecar) -> tuple[bool, int, str]:
    return not sidecar.is_original, EXTENSIONS.index(sidecar.extension), sidecar.name


def _described(name: str, parts: Sequence[str]) -> Sidecar | None:
    """Read the parts between the source's name and the extension; ``None`` if one is strange."""
    language, is_original = "", False
    for part in parts:
        match = _LANGUAGE.fullmatch(part)
        if part.lower() in _FLAGS:
            continue
        if language or match is None:
            return None
        language = match[1].lower()
        is_original = match[2].lower().endswith("-orig")
    return Sidecar(name, language, is_original)


def _primary(tag: str | None) -> str | None:
    match = _LANGUAGE.fullmatch(tag or "")
    return match[1].lower() if match else None


def _names_beside(folder: Folder, source_name: str) -> list[str]:
    if "://" not in folder.url:
        return os.listdir(folder.url) if os.path.isdir(folder.url) else []
    fs, path = fsspec.core.url_to_fs(folder.url)
    if folder.url.startswith(("http://", "https://")):
        # Web servers list nothing.
        bases = (source_name, source_name.rpartition(".")[0])
        names = [f"{base}.{extension}" for base in bases for extension in EXTENSIONS]
        return [name for name in names if folder.exists(name)]
    try:
        return [str(entry).rstrip("/").rpartition("/")[2] for entry in fs.ls(path, detail=False)]
    except OSError as error:
        raise StageError(f"{folder}: cannot be listed for subtitles: {error}") from error
