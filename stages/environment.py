"""What this machine has for a backend: packages and weights; what it lacks, and how to get it.

Weights are chosen by a setting: the name of a registry entry, or the path of a file that the user
has. Looking is cheap and imports nothing, so that the driver can ask before any worker starts.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from stages.errors import StageError
from stages.weights import find_weights
from stages.weights_cache import digests, state_of
from stages.weights_fetch import fetch

INSTALL_TORCH = "pip install 'talkreel[train]'"

MODELS_PYTHON = "TALKREEL_MODELS_PYTHON"
"""Environment variable with the interpreter of the environment of the model stages. What is not in
this process is looked for there; every worker of a run has the same value."""


def check_weights(choice: str) -> str:
    """Check which weights a setting chooses; for pydantic's validators.

    Args:
        choice: name of a registry entry, or path of a file.

    Returns:
        The name; a file by its absolute path, as workers stand elsewhere.

    Raises:
        ValueError: there is neither; the message offers the nearest name.
    """
    if Path(choice).is_file():
        return str(Path(choice).absolute())
    try:
        return find_weights(choice).name
    except StageError as error:
        raise ValueError(f"neither a file nor known weights: {error}") from error


def weights_path(choice: str) -> Path:
    """File of the chosen weights, fetched if need be.

    Args:
        choice: what :func:`check_weights` gave.

    Returns:
        The file.

    Raises:
        StageError: it is not here and cannot be fetched.
    """
    return Path(choice) if Path(choice).is_absolute() else fetch(find_weights(choice))[0]


def weights_digest(choice: str) -> str:
    """SHA-256 of the chosen weights, in hex.

    Args:
        choice: what :func:`check_weights` gave.

    Returns:
        The digest.

    Raises:
        StageError: the file is gone.
    """
    path = Path(choice)
    if not path.is_absolute():
        return digests(find_weights(choice))[0]
    if not path.is_file():
        raise StageError(f"{path}: the weights are gone; driver and workers have to see them")
    return _sha256(path, path.stat().st_mtime_ns)


def models_python() -> str | None:
    """Interpreter of the environment of the model stages; ``None`` if there is none."""
    python = os.environ.get(MODELS_PYTHON)
    # Not resolved: the interpreter of a virtual environment is a link that must stay one.
    return str(Path(python).expanduser().absolute()) if python else None


def absent_packages(packages: Iterable[str]) -> list[str]:
    """Packages that this process cannot import; nothing is imported."""
    return [name for name in packages if importlib.util.find_spec(name) is None]


def lacks(packages: Iterable[str], weights: Iterable[str], how: str) -> str | None:
    """Say what a backend lacks on this machine, and how to get it.

    Args:
        packages: names of the packages it imports.
        weights: the weights that its settings choose.
        how: what installs the packages.

    Returns:
        One line, or ``None`` if everything is here.
    """
    parts = []
    absent = absent_packages(packages)
    if absent and (python := models_python()):
        absent = [name for name in absent if name not in _packages_of(python, tuple(absent))]
    if absent:
        parts.append(f"{', '.join(absent)} is not in this environment ({how})")
    for choice in weights:
        if not Path(choice).is_absolute() and state_of(find_weights(choice)) != "present":
            fetching = f"`curate weights fetch {choice}`"
            parts.append(f"the weights {choice} are not on this machine ({fetching})")
    return "; ".join(parts) or None


def is_downloaded(repo: str, revision: str = "main", file: str = "config.json") -> bool:
    """Tell whether a model of the Hugging Face Hub is in its cache on this machine.

    Args:
        repo: repository, ``owner/name``.
        revision: commit or branch.
        file: the file that is looked for.

    Returns:
        Whether that file is there; a download that broke off may lack others.
    """
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(repo, file, revision=revision), str)


def torch_device(device: str) -> str:
    """Where a network runs.

    Args:
        device: as torch names it; ``auto`` takes a GPU if this worker sees one.

    Returns:
        The device.
    """
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@functools.cache
def _packages_of(python: str, names: tuple[str, ...]) -> frozenset[str]:
    """Which packages another interpreter could import."""
    code = (
        "import importlib.util, sys\n"
        "print(*(n for n in sys.argv[1:] if importlib.util.find_spec(n) is not None))"
    )
    try:
        asked = subprocess.run(
            [python, "-c", code, *names], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise StageError(f"{MODELS_PYTHON}={python}: no Python answers there: {error}") from error
    return frozenset(asked.stdout.split())


@functools.cache
def _sha256(path: Path, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
