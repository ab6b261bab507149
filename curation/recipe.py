"""Recipes: which stages run with which settings, which gates decide, how clips are packed.

A recipe is a TOML file, checked strictly: an unknown key is refused with the nearest known one.
One table a stage, ``[clips]`` for the cutter, ``[gates]`` for the bounds, ``[pack]`` and
``[run]``. A recipe may extend another by name or path, and then names only what differs: settings
and gates of its own replace those of the other, one by one. The resolved recipe, all defaults
written out, is stored with every output; its digest names it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic import Field as Setting

from curation.errors import RecipeError
from manifests.errors import SchemaError
from manifests.gates import BOUNDS, Bounds, bound_of
from manifests.measurement import Field, fields_of
from manifests.recipe_files import (
    nearest,
    read_recipe,
    recipe_digest,
    shipped_recipes,
    split_override,
)
from stages.clips import ClipSettings
from stages.contract import Settings
from stages.registry import STAGES


class PackSettings(Settings):
    """How kept clips become samples.

    Attributes:
        frame_rate_fps: constant frame rate of the video.
        crf: x264's constant rate factor.
        preset: x264's preset.
        max_side_px: longer side of the video; larger shots are scaled down. ``0`` keeps all.
        keyframe_every_s: distance of key frames, so that a trainer can seek.
        samples_per_shard: samples in a shard.
    """

    frame_rate_fps: int = Setting(25, ge=1, le=120)
    crf: int = Setting(18, ge=0, le=51)
    preset: str = "veryfast"
    max_side_px: int = Setting(1920, ge=0)
    keyframe_every_s: float = Setting(1.0, gt=0)
    samples_per_shard: int = Setting(64, ge=1)


class RunSettings(Settings):
    """How the work is cut and how much may fail.

    Attributes:
        segment_s: sources longer than one and a half of this are measured in segments.
        deadline_s: a unit of work that takes longer is ended and counted dead.
        max_dead_ratio: share of dead inputs above which a run ends with exit code 1.
        models_workers: worker processes in the environment of the model stages, if that is another.
    """

    segment_s: float = Setting(120.0, ge=1)
    deadline_s: float = Setting(3600.0, gt=0)
    max_dead_ratio: float = Setting(0.0, ge=0, le=1)
    models_workers: int = Setting(1, ge=1)


class Recipe(BaseModel):
    """A checked recipe.

    Attributes:
        name: name of the recipe.
        description: what it is for.
        stages: settings of every stage by name.
        clips: settings of the cutter.
        gates: bounds by measurement.
        pack: how kept clips become samples.
        run: how the work is cut.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    stages: dict[str, Any]
    clips: ClipSettings
    gates: dict[str, Bounds]
    pack: PackSettings
    run: RunSettings

    def resolved(self) -> dict[str, Any]:
        """The recipe with all defaults, as plain values."""
        return {
            "name": self.name,
            "description": self.description,
            **{name: settings.model_dump(mode="json") for name, settings in self.stages.items()},
            "clips": self.clips.model_dump(mode="json"),
            "gates": {
                name: bounds.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
                for name, bounds in self.gates.items()
            },
            "pack": self.pack.model_dump(mode="json"),
            "run": self.run.model_dump(mode="json"),
        }

    @property
    def segment_s(self) -> float:
        """Length of the parts that long sources are measured in; infinite for whole files."""
        return math.inf if self.clips.whole_files else self.run.segment_s

    @cached_property
    def digest(self) -> str:
        """16 hex characters that name everything which shapes the dataset."""
        shaping = {k: v for k, v in self.resolved().items() if k not in ("run", "description")}
        return recipe_digest({**shaping, "segment_s": self.run.segment_s})

    @cached_property
    def fields(self) -> dict[str, Field]:
        """All measurements of the enabled stages by name."""
        return {
            field.name: field
            for stage in STAGES
            if stage.measurement and self.stages[stage.name].enabled
            for field in fields_of(stage.measurement, stage.name)
        }


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    return shipped_recipes("curation")


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read, override and check a recipe.

    Args:
        name_or_path: name of a shipped recipe, or path of a TOML file.
        overrides: ``key=value`` strings: ``faces.detect_every_s=0.2`` for a setting,
            ``sync.min_confidence=0.5`` for a gate, ``pack.crf=20``.

    Returns:
        The recipe.

    Raises:
        RecipeError: there is no such recipe, or a key or value is wrong.
    """
    tables = _read_tables(name_or_path, ())
    for override in overrides:
        _override(tables, override)
    return check_recipe(tables, name_or_path)


def _read_tables(name_or_path: str, extended_by: tuple[str, ...]) -> dict[str, Any]:
    """Tables of a recipe, laid over those of the recipe that it extends."""
    if name_or_path in extended_by:
        raise RecipeError(f"recipe {name_or_path!r} extends itself: {' > '.join(extended_by)}")
    try:
        tables = read_recipe(name_or_path, "curation")
    except SchemaError as error:
        raise RecipeError(str(error)) from error
    base = tables.pop("extends", None)
    if base is None:
        return tables
    if not isinstance(base, str):
        raise RecipeError(f"{name_or_path}: extends = {base!r}: name a recipe or a .toml file")
    if base not in recipe_names() and not Path(base).is_absolute():
        base = str(Path(name_or_path).parent / base)
    merged = _read_tables(base, (*extended_by, name_or_path))
    for key, value in tables.items():
        known = merged.get(key)
        is_table = isinstance(value, Mapping) and isinstance(known, Mapping)
        merged[key] = {**known, **value} if is_table else value  # type: ignore[dict-item]
    return merged


def override_recipe(recipe: Recipe, overrides: Sequence[str], place: str) -> Recipe:
    """Apply overrides to a recipe that is already resolved.

    Args:
        recipe: the recipe.
        overrides: ``key=value`` strings, as in :func:`load_recipe`.
        place: where the recipe comes from, for messages.

    Returns:
        The changed recipe.
    """
    tables = recipe.resolved()
    for override in overrides:
        _override(tables, override)
    return check_recipe(tables, place)


def check_recipe(tables: Mapping[str, Any], place: str) -> Recipe:
    """Check the tables of a recipe.

    Args:
        tables: parsed TOML.
        place: where they come from, for messages.

    Returns:
        The recipe.

    Raises:
        RecipeError: a key is unknown or a value is wrong.
    """
    stage_names = [stage.name for stage in STAGES]
    known = ["name", "description", *stage_names, "clips", "gates", "pack", "run"]
    _refuse_unknown(tables, known, place, "table")
    stages = {
        stage.name: _checked(stage.settings_type, tables.get(stage.name, {}), place, stage.name)
        for stage in STAGES
    }
    all_fields = [
        field.name
        for stage in STAGES
        if stage.measurement
        for field in fields_of(stage.measurement, stage.name)
    ]
    gates = tables.get("gates", {})
    _refuse_unknown(gates, all_fields, f"{place}: [gates]", "measurement")
    return Recipe(
        name=str(tables.get("name", place)),
        description=str(tables.get("description", "")),
        stages=stages,
        clips=_checked(ClipSettings, tables.get("clips", {}), place, "clips"),
        gates={
            name: _checked(Bounds, bounds, place, f"gates.{name}")
            for name, bounds in gates.items()
            if stages[name.split(".", 1)[0]].enabled
        },
        pack=_checked(PackSettings, tables.get("pack", {}), place, "pack"),
        run=_checked(RunSettings, tables.get("run", {}), place, "run"),
    )


def _override(tables: dict[str, Any], override: str) -> None:
    try:
        (table, *rest), value = split_override(override)
    except SchemaError as error:
        raise RecipeError(str(error)) from error
    name = ".".join(rest)
    models: dict[str, type[BaseModel]] = {stage.name: stage.settings_type for stage in STAGES}
    models |= {"clips": ClipSettings, "pack": PackSettings, "run": RunSettings}
    if table not in models:
        raise RecipeError(f"--set {override!r}: no table {table!r}{nearest(table, models)}")
    if name in models[table].model_fields:
        tables.setdefault(table, {})[name] = value
        return
    measurement = next((stage.measurement for stage in STAGES if stage.name == table), None)
    names = [field.name for field in fields_of(measurement, table)] if measurement else []
    found = bound_of(f"{table}.{name}", names)
    if found:
        field, bound = found
        tables.setdefault("gates", {}).setdefault(field, {})[bound] = value
        return
    gate_keys = (f"{bound}_{name.split('.', 1)[1]}" for name in names for bound in BOUNDS)
    choices = [*models[table].model_fields, *gate_keys]
    raise RecipeError(
        f"--set {override!r}: {table!r} has no setting or gate {name!r}{nearest(name, choices)}"
    )


def _checked(model: type[Any], values: Any, place: str, table: str) -> Any:
    if not isinstance(values, Mapping):
        raise RecipeError(f"{place}: [{table}] must be a table, not {values!r}")
    _refuse_unknown(values, model.model_fields, f"{place}: [{table}]", "key")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RecipeError(
            f"{place}: [{table}] {key} = {first['input']!r}: {first['msg']}"
        ) from error


def _refuse_unknown(values: Iterable[str], known: Iterable[str], place: str, what: str) -> None:
    known = list(known)
    for key in values:
        if key not in known:
            raise RecipeError(f"{place}: unknown {what} {key!r}{nearest(key, known)}")
