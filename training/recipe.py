"""Training recipes: what model, which curriculum, how it is run.

A recipe is a TOML file, checked strictly: an unknown key is refused with the nearest known one. One
table a part and one ``[[phases]]`` a phase. The resolved recipe is stored with every run; its
digest names it.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from manifests.errors import SchemaError
from manifests.recipe_files import (
    nearest,
    read_recipe,
    recipe_digest,
    shipped_recipes,
    split_override,
)
from training.data.encode import EncodeSettings
from training.data.settings import LoaderSettings
from training.errors import SettingError
from training.model.spec import ModelSpec
from training.objective.curriculum import Phase, Trainable
from training.objective.flow import SigmaDistribution
from training.trainer.optimizer import OptimizerSettings
from training.trainer.parallel import Precision


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FlowSettings(_Table):
    """Which points of the path are trained.

    Attributes:
        sigma_distribution: before the shift.
        sigma_shift: Wan's 3 at 480p, 5 at 720p; smaller pictures need less.
    """

    sigma_distribution: SigmaDistribution = "uniform"
    sigma_shift: float = Field(default=3.0, gt=0)


class RunSettings(_Table):
    """How a run is carried out.

    Attributes:
        seed: of order, noise, sigma, tasks and dropped conditions.
        precision: of the computation; what moves is float32 in either.
        recompute: drop activations and compute them again on the way back.
        compile: compile the blocks.
        context_parallel: devices that share the tokens of one clip.
        ema_decay: of the moving average of the weights; 0 exports the weights themselves.
        log_every_steps: steps between two lines.
        checkpoint_every_steps: steps between two checkpoints.
        num_checkpoints: newest checkpoints that are kept.
        preview_every_steps: steps between two renderings of validation clips; 0 renders none.
        codec_clips: clips that a patch codec is fitted on.
    """

    seed: int = Field(default=0, ge=0)
    precision: Precision = "bf16"
    recompute: bool = True
    compile: bool = False
    context_parallel: int = Field(default=1, ge=1)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    log_every_steps: int = Field(default=10, ge=1)
    checkpoint_every_steps: int = Field(default=500, ge=1)
    num_checkpoints: int = Field(default=3, ge=1)
    preview_every_steps: int = Field(default=0, ge=0)
    codec_clips: int = Field(default=32, ge=1)


class Recipe(_Table):
    """A checked recipe.

    Attributes:
        name: its name.
        description: what it is for.
        model: base, encoders, codec, adapter.
        encode: how clips become latents.
        data: how clips are read.
        flow: which points of the path are trained.
        optimizer: AdamW.
        run: how a run is carried out.
        phases: the curriculum.
    """

    name: str
    description: str = ""
    model: ModelSpec = ModelSpec()
    encode: EncodeSettings = EncodeSettings()
    data: LoaderSettings = LoaderSettings()
    flow: FlowSettings = FlowSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    run: RunSettings = RunSettings()
    phases: tuple[Phase, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        names = [phase.name for phase in self.phases]
        if len(set(names)) != len(names):
            raise ValueError(f"phases: the names {', '.join(names)} have to differ")
        heard, given = self.model.adapter.audio_context_frames, self.encode.audio_context_frames
        if heard != given:
            raise ValueError(
                f"encode.audio_context_frames is {given}, the adapter hears {heard} frames on "
                "either side; set both to one number"
            )
        has_lora = self.model.lora is not None
        for phase in self.phases:
            if phase.trainable is Trainable.ADAPTER_AND_LORA and not has_lora:
                raise ValueError(
                    f"phase {phase.name!r} trains LoRA, but the model has none; give it a "
                    "[model.lora] table"
                )
        if has_lora and self.moves_base:
            raise ValueError(
                "a LoRA is saved beside a base that did not move, but a phase moves the base; "
                "leave [model.lora] out, or train adapter_and_lora there"
            )
        return self

    @property
    def moves_base(self) -> bool:
        """Whether a phase moves the base's own weights, so that the whole model is exported."""
        whole = (Trainable.ALL, Trainable.ALL_BUT_TEXT_ATTENTION)
        return any(phase.trainable in whole for phase in self.phases)

    def resolved(self) -> dict[str, Any]:
        """The recipe with all defaults, as plain values."""
        return self.model_dump(mode="json")

    @cached_property
    def digest(self) -> str:
        """16 hex characters that name everything which shapes the weights."""
        shaping = self.resolved()
        del shaping["description"]
        for name in _SHAPE_NO_WEIGHTS:
            del shaping["run"][name]
        # Of these the last is held to by the state of the data.
        for name in ("num_workers", "num_prefetched", "check", "batches_together"):
            del shaping["data"][name]
        for phase in shaping["phases"]:
            # Twice the ranks with half the accumulation is the same run.
            del phase["accumulation"]
        return recipe_digest(shaping)


_SHAPE_NO_WEIGHTS = (
    "log_every_steps",
    "checkpoint_every_steps",
    "num_checkpoints",
    "preview_every_steps",
    "recompute",
    "compile",
    "context_parallel",
)


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    return shipped_recipes("training")


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read, override and check a recipe.

    Args:
        name_or_path: name of a shipped recipe, or path of a TOML file.
        overrides: ``key=value`` strings: ``run.seed=3``, ``phases.align.steps=500`` for the phase
            of that name, ``phases.*.micro_batch=2`` for all of them.

    Returns:
        The recipe.

    Raises:
        SettingError: there is no such recipe, or a key or value is wrong.
    """
    try:
        tables = read_recipe(name_or_path, "training")
        for override in overrides:
            _override(tables, override)
    except SchemaError as error:
        raise SettingError(str(error)) from error
    return check_recipe(tables, name_or_path)


def check_recipe(tables: Mapping[str, Any], place: str) -> Recipe:
    """Check the tables of a recipe.

    Args:
        tables: parsed TOML.
        place: where they come from, for messages.

    Returns:
        The recipe.

    Raises:
        SettingError: a key is unknown or a value is wrong.
    """
    try:
        return Recipe.model_validate(dict(tables))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the recipe"
        if first["type"] == "extra_forbidden":
            known = _keys_at(first["loc"][:-1])
            raise SettingError(
                f"{place}: unknown key {key}{nearest(str(first['loc'][-1]), known)}"
            ) from error
        if first["type"] == "missing":
            raise SettingError(f"{place}: {key} is missing") from error
        value = "" if isinstance(first["input"], Mapping | BaseModel) else f" = {first['input']!r}"
        raise SettingError(f"{place}: {key}{value}: {first['msg']}") from error


def _override(tables: dict[str, Any], override: str) -> None:
    parts, value = split_override(override)
    if parts[0] != "phases":
        _put(tables, parts, value, override)
        return
    phases = tables.get("phases", [])
    chosen = [phase for phase in phases if parts[1] in ("*", phase.get("name"))]
    if not chosen or len(parts) < 3:
        names = [str(phase.get("name")) for phase in phases]
        raise SettingError(
            f"--set {override!r}: write phases.NAME.key=value with NAME one of "
            f"{', '.join(names)}, or * for all{nearest(parts[1], names)}"
        )
    for phase in chosen:
        _put(phase, parts[2:], value, override)


def _put(table: dict[str, Any], parts: list[str], value: Any, override: str) -> None:
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise SettingError(f"--set {override!r}: {part} is no table")
    table[parts[-1]] = value


def _keys_at(location: Sequence[str | int]) -> list[str]:
    """Keys that the table at a place of the recipe may have, as pydantic names the place."""
    kinds: list[type[BaseModel]] = [Recipe]
    for part in location:
        found = []
        for kind in kinds:
            if part in kind.model_fields:
                found += _tables_in(kind.model_fields[str(part)].annotation)
            elif part == getattr(kind.model_fields.get("kind"), "default", None):
                found.append(kind)
        kinds = found or kinds  # a number in a list leads nowhere further
    return sorted({key for kind in kinds for key in kind.model_fields})


def _tables_in(annotation: Any) -> list[type[BaseModel]]:
    if get_origin(annotation) in (Union, types.UnionType, tuple) or get_args(annotation):
        return [table for part in get_args(annotation) for table in _tables_in(part)]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return []
