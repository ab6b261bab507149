"""Weights on demand: fetched once into the cache, whatever breaks and however many ask.

A file is written beside its place and renamed once its digest is right, so what stands under its
name is whole. A broken download goes on where it stopped. One process fetches a set of weights,
the others wait for it.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from stages.errors import StageError
from stages.weights import WeightFile, Weights
from stages.weights_cache import (
    CACHE_VARIABLE,
    fault_of,
    folder_of,
    is_right,
    keep_record,
    measure,
    part_of,
    read_record,
)

if TYPE_CHECKING:
    import requests

_LOG = logging.getLogger(__name__)

MAX_TRIES = 8
"""Connections for one file; the first that breaks without having brought a byte is the last."""

TIMEOUT_S = (10.0, 60.0)
"""To connect, and between two pieces of the answer."""

_CHUNK_BYTES = 1 << 16
"""What a broken connection may lose of what it brought."""


def fetch(
    weights: Weights, cache: Path | None = None, *, hub: str | None = None
) -> tuple[Path, ...]:
    """Make sure that weights are in the cache and are what the registry says.

    Args:
        weights: the entry.
        cache: folder of the cache; ``None`` for the usual one.
        hub: address of the Hugging Face Hub or a mirror of it; ``None`` for the one that
            ``HF_ENDPOINT`` names.

    Returns:
        Path of each file, in the order of the entry.

    Raises:
        StageError: a file cannot be fetched, or what came is not the file of the registry.
    """
    from filelock import FileLock

    folder = folder_of(weights, cache)
    files = {file: folder / file.name for file in weights.files}
    lacking = [file for file, path in files.items() if not is_right(file, path)]
    if lacking:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".lock"):
                for file in lacking:
                    if not is_right(file, files[file]):
                        _download(weights, file, files[file], hub)
                shutil.rmtree(folder / ".hub", ignore_errors=True)
        except OSError as error:
            raise StageError(_by_hand(weights, folder, error)) from error
    return tuple(files.values())


def _download(weights: Weights, file: WeightFile, path: Path, hub: str | None) -> None:
    known = read_record(path)
    _LOG.info("fetching %s", file.url)
    part = _from_hub(weights, file, path, hub) if weights.hub_repo else _from_url(file, path)
    measured = measure(part)
    fault = fault_of(file, measured, known)
    if fault:
        part.unlink()
        raise StageError(
            f"{weights.name}: what {file.url} gave {fault}. It was removed; either something on "
            "the way changes files, or the file was replaced where it comes from"
        )
    os.replace(part, path)
    keep_record(file, path, measured)


def _from_hub(weights: Weights, file: WeightFile, path: Path, hub: str | None) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        part = hf_hub_download(
            str(weights.hub_repo),
            file.name,
            revision=weights.revision,
            local_dir=path.parent / ".hub",
            endpoint=hub,
        )
    except HTTPError as error:
        raise OSError(str(error)) from error
    return Path(part)


def _from_url(file: WeightFile, path: Path) -> Path:
    """Download beside the place, going on as long as every connection brings something."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    part = part_of(path)
    busy = Retry(3, connect=1, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))
    with requests.Session() as session:
        session.mount("https://", HTTPAdapter(max_retries=busy))
        session.mount("http://", HTTPAdapter(max_retries=busy))
        for tries_left in reversed(range(MAX_TRIES)):
            num_had = _size_of(part)
            if num_had and num_had == file.num_bytes:
                break
            try:
                _go_on(session, file.url, part)
                break
            except requests.RequestException as error:
                if not tries_left or _size_of(part) <= num_had:
                    raise
                _LOG.warning("%s: %s; going on at byte %d", file.url, error, _size_of(part))
    return part


def _go_on(session: requests.Session, url: str, part: Path) -> None:
    """Fetch what the part still lacks; all of it, if the server knows no ranges."""
    num_had = _size_of(part)
    headers = {"Accept-Encoding": "identity"}
    if num_had:
        headers["Range"] = f"bytes={num_had}-"
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        if num_had and answer.status_code == 416:
            # The part is as long as the file or longer: whether it is the file, a new one tells.
            part.unlink()
            _go_on(session, url, part)
            return
        answer.raise_for_status()
        starts_there = answer.headers.get("Content-Range", "").startswith(f"bytes {num_had}-")
        goes_on = answer.status_code == 206 and starts_there
        with part.open("ab" if goes_on else "wb") as file:
            for chunk in answer.iter_content(_CHUNK_BYTES):
                file.write(chunk)


def _by_hand(weights: Weights, folder: Path, error: OSError) -> str:
    lacking = [file for file in weights.files if not is_right(file, folder / file.name)]
    files = "; ".join(
        f"{file.url} as {file.name} (sha256 {file.sha256 or 'unknown'}, "
        f"{'size unknown' if file.num_bytes is None else f'{file.num_bytes} bytes'})"
        for file in lacking
    )
    cause = str(error).partition("\n")[0]
    return (
        f"{weights.name}: cannot be fetched ({type(error).__name__}: {cause}). Call `curate "
        f"weights fetch {weights.name}` where there is a network and share the cache folder "
        f"({CACHE_VARIABLE}), or put into {folder}: {files}"
    )


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
