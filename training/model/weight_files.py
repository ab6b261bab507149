"""Weights on disk in diffusers layout: found, checked by their headers, then read.

Everything is checked before the first tensor is read: that each file of an index is there, that
each key is wanted and each wanted key is there, that shapes agree. Only safetensors, which hold no
code. Not here: what the weights are for (`loading.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from training.errors import ModelError

STEM = "diffusion_pytorch_model"
"""Name of weight files of diffusers' models."""

FETCH_AGAIN = (
    "the folder is incomplete or of another model: fetch it again "
    "(hf download REPO --local-dir FOLDER) or name the Hub id itself"
)


@dataclass(frozen=True)
class WeightFiles:
    """Checked weight files.

    Attributes:
        folder: where they lie.
        file_of: key to file.
        shape_of: key to shape.
    """

    folder: Path
    file_of: Mapping[str, Path]
    shape_of: Mapping[str, tuple[int, ...]]


def local_folder(repo: str, revision: str | None, subfolders: list[str]) -> Path:
    """The folder of a repository: itself if it is one, else fetched from the Hub.

    Args:
        repo: local folder or Hub id.
        revision: of the Hub repository.
        subfolders: what is needed of it; an empty name means the files at its top.

    Returns:
        A local folder.

    Raises:
        ModelError: it is no folder and the Hub does not give it.
    """
    if Path(repo).is_dir():
        return Path(repo)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    patterns = [f"{name}/*" if name else "*" for name in subfolders]
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelError(
            f"{repo}: no such folder, and the Hub does not give it "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}); fetch "
            "it where there is a network (hf download) and name the folder"
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.json of a model's folder.

    Args:
        folder: where it lies.

    Returns:
        The configuration.

    Raises:
        ModelError: it is missing or no JSON object.
    """
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text())
    except FileNotFoundError as error:
        raise ModelError(f"{file}: missing; {FETCH_AGAIN}") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{file}: cannot be read ({error}); {FETCH_AGAIN}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{file}: is no JSON object; {FETCH_AGAIN}")
    return config


def find_weights(folder: Path, stem: str = STEM) -> WeightFiles:
    """Find the weight files of a folder, with the shapes that their headers state.

    Args:
        folder: a model's folder.
        stem: name of the files before ``.safetensors`` or ``-00001-of-...``.

    Returns:
        Files and shapes by key.

    Raises:
        ModelError: a file is missing, damaged, or does not hold what the index says.
    """
    index = folder / f"{stem}.safetensors.index.json"
    whole = folder / f"{stem}.safetensors"
    if index.is_file():
        files = _files_of_index(index)
    elif whole.is_file():
        files = [whole]
    else:
        raise ModelError(f"{folder}: neither {whole.name} nor {index.name}; {FETCH_AGAIN}")
    file_of: dict[str, Path] = {}
    shape_of: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            with safe_open(file, "pt") as opened:
                for key in opened.keys():  # noqa: SIM118
                    file_of[key] = file
                    shape_of[key] = tuple(opened.get_slice(key).get_shape())
        except FileNotFoundError as error:
            raise ModelError(f"{file}: named by {index.name} and missing; {FETCH_AGAIN}") from error
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{file}: damaged ({error}); {FETCH_AGAIN}") from error
    return WeightFiles(folder, file_of, shape_of)


def _files_of_index(index: Path) -> list[Path]:
    try:
        weight_map = json.loads(index.read_text())["weight_map"]
        return [index.parent / name for name in sorted(set(weight_map.values()))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index}: is no index of weights ({error}); {FETCH_AGAIN}") from error


def check_keys(
    found: WeightFiles, wanted: Mapping[str, tuple[int, ...]], ignored: tuple[str, ...] = ()
) -> None:
    """Refuse weights that are not exactly the wanted ones.

    Args:
        found: what the files hold.
        wanted: key to shape.
        ignored: parts of keys that may be there and are not used.

    Raises:
        ModelError: the first missing, unknown or misshapen key, and how many there are.
    """
    missing = [key for key in wanted if key not in found.shape_of]
    if missing:
        raise ModelError(
            f"{found.folder}: {len(missing)} of {len(wanted)} weights are missing, first "
            f"{missing[0]}; {FETCH_AGAIN}"
        )
    unknown = [
        key for key in found.shape_of if key not in wanted and not any(i in key for i in ignored)
    ]
    if unknown:
        raise ModelError(
            f"{found.folder}: {len(unknown)} weights are none of this model's, first {unknown[0]} "
            f"in {found.file_of[unknown[0]].name}; its config.json does not fit its weights"
        )
    for key, shape in wanted.items():
        if found.shape_of[key] != tuple(shape):
            raise ModelError(
                f"{found.file_of[key]}: {key} has shape {list(found.shape_of[key])}, the "
                f"configuration wants {list(shape)}; {FETCH_AGAIN}"
            )


def read_weights(found: WeightFiles, keys: Iterable[str]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield weights one after another, on the CPU, so that a large model is never there twice.

    Args:
        found: checked weight files.
        keys: which.

    Yields:
        Key and tensor.
    """
    with ExitStack() as stack:
        opened: dict[Path, Any] = {}
        for key in keys:
            file = found.file_of[key]
            if file not in opened:
                opened[file] = stack.enter_context(safe_open(file, "pt"))
            yield key, opened[file].get_tensor(key)


def write_weights(folder: Path, weights: Mapping[str, torch.Tensor], max_shard_size: str) -> None:
    """Write weights in diffusers layout; what lay there under these names is removed first.

    Args:
        folder: where.
        weights: by key, on any device.
        max_shard_size: of a file; more than one get an index, which is written last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(f"{STEM}*.safetensors*"):
        stale.unlink()
    split = split_torch_state_dict_into_shards(
        dict(weights),
        filename_pattern=STEM + "{suffix}.safetensors",
        max_shard_size=max_shard_size,
    )
    for name, keys in split.filename_to_tensors.items():
        tensors = {key: weights[key].detach().cpu().contiguous() for key in keys}
        save_file(tensors, folder / name, metadata={"format": "pt"})
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (folder / f"{STEM}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
