"""How latents were made: settings and the fingerprint that keeps datasets of latents apart.

A dataset of latents says in ``latents.json`` of which clips, with which model and how it was made.
What was made differently is never mixed, neither in one folder nor in one run of training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting

from manifests.dataset import DatasetManifest, find_dataset
from manifests.errors import ManifestError
from manifests.storage import Folder
from training.data.encode import EncodeSettings
from training.data.settings import DataSettings
from training.errors import DataError
from training.model.interfaces import Task

RECIPE_NAME = "latents"
"""In place of the name of a curation recipe in the manifest of a dataset of latents."""

FINGERPRINT_NAME = "latents.json"

_LAYOUT = 1
"""Of the samples; raised when older ones would be misread."""


class PrecomputeSettings(BaseModel):
    """What is precomputed and how it is stored.

    Attributes:
        tasks: tasks that each clip is encoded for.
        num_variants: crops and mirrors of each clip; the n-th is that of the n-th epoch of
            training without precomputing.
        samples_per_shard: samples in a shard.
        dtype: of what is stored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[Task, ...] = Setting(default=tuple(Task), min_length=1)
    num_variants: int = Setting(default=1, ge=1)
    samples_per_shard: int = Setting(default=64, ge=1)
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"


@dataclass(frozen=True)
class Making:
    """How clips become samples.

    Attributes:
        data: how clips are cut.
        encode: how they are encoded.
        precompute: what is stored.
        device: where tensors are put together.
    """

    data: DataSettings
    encode: EncodeSettings
    precompute: PrecomputeSettings
    device: str = "cpu"

    def fingerprint(self, model_digest: str, clips_digest: str) -> dict[str, str]:
        """Say what the samples depend on.

        Args:
            model_digest: names codec and encoders with their weights.
            clips_digest: names the clips.

        Returns:
            Texts by name; equal ones make equal samples.
        """
        cut = self.data.model_dump(
            mode="json",
            include={
                "sizes_px",
                "num_frames",
                "seed",
                "picture_ratio",
                "flip_ratio",
                "speech_crops",
                "face_height_ratio",
            },
        )
        return {
            "layout": str(_LAYOUT),
            "model": model_digest,
            "clips": clips_digest,
            **{name: json.dumps(value) for name, value in cut.items()},
            "encode": self.encode.model_dump_json(),
            **{
                name: json.dumps(value)
                for name, value in self.precompute.model_dump(mode="json").items()
            },
        }


def claim_folder(folder: Folder, fingerprint: Mapping[str, str]) -> str:
    """Say in the folder what it is going to hold.

    Args:
        folder: the dataset's folder.
        fingerprint: what the samples depend on.

    Returns:
        Digest of the fingerprint.

    Raises:
        DataError: the folder holds samples of another making.
    """
    if folder.exists(FINGERPRINT_NAME):
        known = json.loads(folder.read_bytes(FINGERPRINT_NAME))
        differs = differences(known, fingerprint)
        if differs:
            raise DataError(
                f"{folder}: holds latents of another making: {differs}; choose another folder, or "
                "precompute with what this one was made with"
            )
    else:
        text = json.dumps(dict(fingerprint), sort_keys=True, indent=2)
        folder.write_bytes(FINGERPRINT_NAME, f"{text}\n".encode())
    return digest_of(sorted(fingerprint.items()))


def differences(known: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Say in what two fingerprints differ; empty if they do not."""
    names = [name for name in {**known, **wanted} if known.get(name) != wanted.get(name)]
    return "; ".join(f"{name} was {known.get(name)}, is {wanted.get(name)}" for name in names)


def find_fingerprint(manifests: Sequence[str], model_digest: str | None) -> dict[str, str] | None:
    """Tell whether datasets hold latents, and of what making.

    Args:
        manifests: paths or URLs of datasets.
        model_digest: names codec and encoders that the latents have to be of; `None` for any.

    Returns:
        The fingerprint; `None` if they hold clips.

    Raises:
        DataError: a dataset cannot be opened, some hold clips and some latents, or the latents are
            of different makings or of another model.
    """
    found: dict[str, dict[str, str] | None] = {}
    for place in manifests:
        try:
            folder = find_dataset(place)
            is_latents = DatasetManifest.read(folder).recipe_name == RECIPE_NAME
        except ManifestError as error:
            raise DataError(str(error)) from error
        found[place] = read_fingerprint(folder) if is_latents else None
    if not found:
        return None
    first, known = next(iter(found.items()))
    for place, other in found.items():
        if (known is None) != (other is None):
            raise DataError(f"{first} and {place}: clips and latents in one run; give one kind")
        if known is None or other is None:
            continue
        unlike = differences(_of_model(known), _of_model(other))
        if unlike:
            raise DataError(f"{first} and {place} are latents of different makings: {unlike}")
    if known is not None and model_digest not in (None, known["model"]):
        raise DataError(
            f"{first}: latents of the model {known['model']}, but the run has {model_digest}; "
            "precompute with this model"
        )
    return known


def _of_model(fingerprint: Mapping[str, str]) -> dict[str, str]:
    """The part of a fingerprint in which latents that are trained on together have to agree."""
    return {name: fingerprint.get(name, "") for name in ("layout", "model", "encode")}


def read_fingerprint(folder: Folder) -> dict[str, str]:
    """Say of what making a latent dataset is.

    Args:
        folder: the dataset's folder.

    Returns:
        Texts by name.

    Raises:
        DataError: the file that says it is missing.
    """
    if not folder.exists(FINGERPRINT_NAME):
        raise DataError(
            f"{folder.join(FINGERPRINT_NAME)}: it is missing, so nobody knows which model these "
            "latents are for; copy the whole dataset"
        )
    fingerprint: dict[str, str] = json.loads(folder.read_bytes(FINGERPRINT_NAME))
    return fingerprint


def digest_of(values: Any) -> str:
    """Digest of plain values."""
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=16).hexdigest()
