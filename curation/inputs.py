"""Inputs: what the user names, and the media files behind it.

An input is a file, a folder (searched recursively), a glob, an fsspec URL or a list (``.txt``,
``.csv``, ``.jsonl``, ``.parquet`` with a ``uri`` column). Every file named is an input of the run
and ends in its books, readable or not; a folder gives the files with a media extension.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import fsspec
import pyarrow.parquet as pq

from curation.errors import InputError
from manifests.errors import ManifestError
from manifests.ids import content_id
from manifests.storage import Folder

MEDIA_EXTENSIONS = frozenset(
    {
        *(".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".m2ts", ".m2v", ".m4v"),
        *(".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".rm", ".rmvb"),
        *(".ts", ".vob", ".webm", ".wmv"),
    }
)
LIST_EXTENSIONS = frozenset({".txt", ".csv", ".jsonl", ".parquet"})
NUM_READERS = 16
"""Threads that read the sampled blocks of the inputs; the work is waiting for storage."""


@dataclass(frozen=True)
class Source:
    """One input file.

    Attributes:
        uri: local path or fsspec URL.
        source_id: id of its content; derived from the URI where it cannot be read.
        num_bytes: size; -1 where it cannot be read.
        error: why it cannot be read, ``None`` if it can.
    """

    uri: str
    source_id: str
    num_bytes: int
    error: str | None = None


def find_inputs(names: Sequence[str]) -> list[str]:
    """List the files behind what the user named.

    Args:
        names: files, folders, globs, URLs or lists.

    Returns:
        URIs, sorted, each once; local paths are absolute.

    Raises:
        InputError: a name matches nothing, or a list cannot be read.
    """
    if not names:
        raise InputError("no input given; name a file, a folder, a glob, a URL or a list")
    uris: set[str] = set()
    for name in names:
        found = list(_expand(name))
        if not found:
            raise InputError(f"input {name!r}: no media file in it")
        uris.update(found)
    return sorted(uris)


def identify(uris: Iterable[str]) -> list[Source]:
    """Read size and sampled blocks of every input.

    Args:
        uris: inputs.

    Returns:
        Sources in the same order; one that cannot be read carries the error.
    """
    with ThreadPoolExecutor(NUM_READERS) as pool:
        return list(pool.map(_identify, uris))


def _identify(uri: str) -> Source:
    try:
        folder, name = Folder.split(uri)
        return Source(uri, content_id(folder, name), folder.size(name))
    except (ManifestError, OSError) as error:
        return Source(uri, f"unread-{_hash(uri)}", -1, str(error))


def _hash(text: str) -> str:
    import hashlib

    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def _expand(name: str) -> Iterable[str]:
    if "://" in name:
        return _expand_url(name)
    if os.path.isdir(name):
        return _media_below(name)
    if os.path.isfile(name):
        extension = os.path.splitext(name)[1].lower()
        return _read_list(name) if extension in LIST_EXTENSIONS else [os.path.abspath(name)]
    matches = [path for path in glob.glob(name, recursive=True) if os.path.isfile(path)]
    if not matches and not glob.has_magic(name):
        raise InputError(f"input {name!r}: there is no such file or folder")
    return [os.path.abspath(path) for path in matches]


def _media_below(folder: str) -> list[str]:
    return [
        os.path.abspath(os.path.join(at, file))
        for at, _, names in os.walk(folder)
        for file in names
        if _is_media(file)
    ]


def _is_media(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in MEDIA_EXTENSIONS


def _expand_url(url: str) -> list[str]:
    if os.path.splitext(url)[1].lower() in LIST_EXTENSIONS:
        return _read_list(url)
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InputError(f"input {url!r}: {error}") from error
    if filesystem.isfile(path):
        return [url]
    if filesystem.isdir(path):
        found = [str(item) for item in filesystem.find(path) if _is_media(str(item))]
    else:
        found = [str(item) for item in filesystem.glob(path)]
    return [filesystem.unstrip_protocol(item) for item in found]


def _read_list(name: str) -> list[str]:
    try:
        with fsspec.open(name, "rb") as file:
            data = file.read()
        uris = _list_uris(name, data)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"list {name!r}: cannot be read: {error!r}") from error
    if any(not isinstance(uri, str) or not uri for uri in uris):
        raise InputError(f"list {name!r}: an entry has no uri; every row needs one")
    return [uri if "://" in uri else os.path.abspath(uri) for uri in uris]


def _list_uris(name: str, data: bytes) -> list[str]:
    extension = os.path.splitext(name)[1].lower()
    if extension == ".parquet":
        return list(pq.read_table(io.BytesIO(data), columns=["uri"])["uri"].to_pylist())
    text = data.decode("utf-8-sig")
    if extension == ".csv":
        return [row["uri"] for row in csv.DictReader(io.StringIO(text))]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if extension == ".jsonl":
        return [json.loads(line)["uri"] for line in lines]
    return lines
