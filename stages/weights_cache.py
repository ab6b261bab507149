"""The cache of weights: where a file stands, and whether it is the one of the registry.

Files are laid out as ``<cache>/weights/<name>/<revision>/<file>`` and may be put there by hand.
The record beside a file (digest, size, time) spares the digest of gigabytes at every start;
whatever changed the file since makes it be read again. How files get there is not in this room
(:mod:`stages.weights_fetch`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from stages.errors import StageError
from stages.weights import WeightFile, Weights

_LOG = logging.getLogger(__name__)

CACHE_VARIABLE = "TALKREEL_CACHE"

State = Literal["absent", "partial", "present"]


@dataclass(frozen=True)
class Record:
    """What a file was when it was last read whole.

    Attributes:
        sha256: its digest.
        num_bytes: its size.
        mtime_ns: when it was changed last.
    """

    sha256: str
    num_bytes: int
    mtime_ns: int


def cache_dir() -> Path:
    """Folder of the cache: ``TALKREEL_CACHE``, or the user's cache folder of the system."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("talkreel")


def folder_of(weights: Weights, cache: Path | None = None) -> Path:
    """Folder of a set of weights.

    Args:
        weights: the entry.
        cache: folder of the cache; ``None`` for :func:`cache_dir`.

    Returns:
        The folder, which need not exist.
    """
    return (cache or cache_dir()) / "weights" / weights.name / weights.revision


def part_of(path: Path) -> Path:
    """Where a file is written until it is whole."""
    return path.with_name(path.name + ".part")


def state_of(weights: Weights, cache: Path | None = None) -> State:
    """Tell how much of a set of weights is in the cache, without reading it.

    Args:
        weights: the entry.
        cache: folder of the cache; ``None`` for :func:`cache_dir`.

    Returns:
        ``present`` if every file is there, ``absent`` if nothing is, else ``partial``.
    """
    paths = [folder_of(weights, cache) / file.name for file in weights.files]
    if all(path.is_file() for path in paths):
        return "present"
    begun = any(path.is_file() or part_of(path).is_file() for path in paths)
    return "partial" if begun else "absent"


def verify(weights: Weights, cache: Path | None = None) -> list[str]:
    """Read weights whole and compare them with the registry, or with the record beside them.

    Args:
        weights: the entry.
        cache: folder of the cache; ``None`` for :func:`cache_dir`.

    Returns:
        Faults in words, empty if every file is right.
    """
    faults = []
    for file in weights.files:
        path = folder_of(weights, cache) / file.name
        if not path.is_file():
            faults.append(f"{path} is absent; `curate weights fetch {weights.name}` fetches it")
            continue
        fault = fault_of(file, measure(path), read_record(path))
        if fault:
            faults.append(f"{path} {fault}; `curate weights fetch {weights.name}` fetches it anew")
    return faults


def digests(weights: Weights, cache: Path | None = None) -> tuple[str, ...]:
    """Digest of each file: of the registry, or where it names none, the recorded one.

    Args:
        weights: the entry.
        cache: folder of the cache; ``None`` for :func:`cache_dir`.

    Returns:
        SHA-256 in hex, in the order of the entry.

    Raises:
        StageError: the registry names no digest, and the file was not fetched yet.
    """
    found = []
    for file in weights.files:
        record = read_record(folder_of(weights, cache) / file.name)
        sha256 = file.sha256 or (record.sha256 if record else None)
        if sha256 is None:
            raise StageError(
                f"{weights.name}: the digest of {file.name} is known after its first fetch only; "
                f"call `curate weights fetch {weights.name}`"
            )
        found.append(sha256)
    return tuple(found)


def is_right(file: WeightFile, path: Path) -> bool:
    """Tell whether a file stands in its place; it is read only if it changed since its record.

    Args:
        file: the file as the registry has it.
        path: its place.

    Returns:
        Whether the file is there and no fault is known. A fault is logged.
    """
    if not path.is_file():
        return False
    record, stat = read_record(path), path.stat()
    if record and (record.num_bytes, record.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
        measured = record
    else:
        measured = measure(path)
    fault = fault_of(file, measured, record)
    if fault:
        _LOG.warning("%s %s", path, fault)
        return False
    if measured is not record:
        keep_record(file, path, measured)
    return True


def fault_of(file: WeightFile, measured: Record, record: Record | None) -> str | None:
    """Say what is wrong with a file.

    Args:
        file: the file as the registry has it.
        measured: the file as it was read.
        record: what stands beside it, which is the measure where the registry names no digest.

    Returns:
        The fault in words that follow the file's name, or ``None``.
    """
    expected = file.sha256 or (record.sha256 if record else None)
    if expected is not None and measured.sha256 != expected:
        source = "registry" if file.sha256 else "record of the first fetch"
        return f"has sha256 {measured.sha256}, the {source} says {expected}"
    if file.num_bytes is not None and measured.num_bytes != file.num_bytes:
        return f"has {measured.num_bytes} bytes, the registry says {file.num_bytes}"
    return None


def measure(path: Path) -> Record:
    """Read a file whole."""
    stat = path.stat()
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Record(sha256, stat.st_size, stat.st_mtime_ns)


def read_record(path: Path) -> Record | None:
    """Read the record beside a file; ``None`` if there is none that can be read."""
    try:
        return Record(**json.loads(_record_of(path).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def keep_record(file: WeightFile, path: Path, measured: Record) -> None:
    """Write the record beside a file, and say so where it is the first word on the file.

    Args:
        file: the file as the registry has it.
        path: its place.
        measured: the file as it was read.

    Raises:
        OSError: the record cannot be written, and nothing else knows the digest.
    """
    if file.sha256 is None and read_record(path) is None:
        _LOG.warning(
            "%s: no source names its digest. This first one is trusted from now on: sha256 %s",
            path,
            measured.sha256,
        )
    place = _record_of(path)
    beside = place.with_name(f"{place.name}.{uuid.uuid4().hex}")
    try:
        beside.write_text(json.dumps(asdict(measured)))
        os.replace(beside, place)
    except OSError:
        # A cache mounted for reading only: the record would merely save time.
        if file.sha256 is None:
            raise


def _record_of(path: Path) -> Path:
    return path.with_name(path.name + ".sha256.json")
