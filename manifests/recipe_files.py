"""What every recipe has in common: shipped names, TOML files, overrides, hints and a digest.

Not here: which tables and keys a recipe has; those are of the package that reads it.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from manifests.errors import SchemaError


def shipped_recipes(package: str) -> list[str]:
    """Names of the recipes that ship with a package, in its folder ``recipes``."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in files(package).joinpath("recipes").iterdir()
        if entry.name.endswith(".toml")
    )


def read_recipe(name_or_path: str, package: str) -> dict[str, Any]:
    """Read the tables of a recipe.

    Args:
        name_or_path: name of a shipped recipe, or path of a TOML file.
        package: whose recipes are meant.

    Returns:
        Its tables, unchecked.

    Raises:
        SchemaError: there is no such recipe, or it is not TOML.
    """
    shipped = shipped_recipes(package)
    if name_or_path in shipped:
        text = files(package).joinpath("recipes", f"{name_or_path}.toml").read_text("utf-8")
    elif name_or_path.endswith(".toml") and Path(name_or_path).is_file():
        text = Path(name_or_path).read_text("utf-8")
    else:
        raise SchemaError(
            f"recipe {name_or_path!r}: neither a shipped recipe ({', '.join(shipped)}) "
            f"nor a .toml file{nearest(name_or_path, shipped)}"
        )
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SchemaError(f"recipe {name_or_path}: not valid TOML: {error}") from error


def split_override(override: str) -> tuple[list[str], Any]:
    """Take an override apart.

    Args:
        override: ``table.key=value`` with two parts or more before the equals sign; the value is
            TOML, and what is no TOML is text.

    Returns:
        The parts of the key, and the value.

    Raises:
        SchemaError: it is not written so.
    """
    key, equals, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or len(parts) < 2 or not all(parts):
        raise SchemaError(f"--set {override!r}: write it as table.key=value")
    try:
        return parts, tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return parts, text.strip()


def nearest(name: str, known: Iterable[str]) -> str:
    """Return what to add to a message about an unknown name: the nearest known one, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"; did you mean {near[0]!r}?" if near else ""


def recipe_digest(values: Any) -> str:
    """Return 16 hex characters that name plain values, whatever the order of their keys."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
