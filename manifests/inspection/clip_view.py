"""All that is known of one clip, as one record: what `show` prints, and its JSON."""

from __future__ import annotations

import json
import math
import shlex
import sys
from dataclasses import asdict
from typing import Any

from manifests.gates import Gate
from manifests.inspection.clip_evidence import read_sample_member
from manifests.inspection.clip_rows import ClipRow
from manifests.inspection.place import Place
from manifests.inspection.words import read_transcript
from manifests.ledger import Ledger
from manifests.measurement import Field
from manifests.records import ClipState
from manifests.storage import Folder

_SOURCE_NAMES = (
    "state",
    "reason",
    "detail",
    "num_bytes",
    "duration_s",
    "num_frames_decoded",
    "num_clips_found",
    "num_clips_kept",
)


def clip_view(place: Place, clip: ClipRow) -> dict[str, Any]:
    """Gather all that is known of one clip.

    Args:
        place: Run or dataset.
        clip: The clip.

    Returns:
        A record that JSON can hold: identity, `verdict`, `measurements` (each with its gates),
        `words`, `packed` (`None` if it is not) and `lineage`.
    """
    values = clip.values
    sample = clip.sample or {}
    transcript = read_transcript(sample.get("transcript"))
    view = {
        "clip_id": clip.clip_id,
        "uri": values["uri"],
        "track": values["track"],
        "span": {
            "start_s": clip.span.start_s,
            "end_s": clip.span.end_s,
            "duration_s": clip.span.duration_s,
            "start_pts": clip.span.start,
            "end_pts": clip.span.end,
            "time_base": str(clip.span.time_base),
        },
        "verdict": {"state": values["state"], "failed_gates": values["failed_gates"] or []},
        "measurements": _measurements(place, clip),
        "caption": sample.get("caption") or values.get("caption.text"),
        "transcript": None if transcript is None else asdict(transcript),
        "packed": None if clip.sample is None else _packed(place, clip),
        "lineage": _lineage(place, clip),
    }
    return {name: _plain(value) for name, value in view.items()}


def cut_command(url: str, offset: int, size: int, name: str) -> str:
    """Write the command that cuts one member out of a shard.

    Args:
        url: The shard, a local path or an fsspec URL.
        offset: First byte.
        size: Number of bytes.
        name: File to write.

    Returns:
        One line for a POSIX shell.
    """
    if "://" not in url:
        cut = f"tail -c +{offset + 1} {shlex.quote(url)} | head -c {size}"
        return f"{cut} > {shlex.quote(name)}"
    script = (
        "import fsspec, sys; fs, path = fsspec.core.url_to_fs(sys.argv[1]); "
        f"sys.stdout.buffer.write(fs.cat_file(path, {offset}, {offset + size}))"
    )
    return shlex.join([sys.executable, "-c", script, url]) + f" > {shlex.quote(name)}"


def _measurements(place: Place, clip: ClipRow) -> list[dict[str, Any]]:
    measured_stages = clip.values["measured_stages"] or []
    gates: dict[str, list[Gate]] = {}
    for gate in place.gates:
        gates.setdefault(gate.field.name, []).append(gate)
    return [
        _measurement(field, clip.values[field.name], gates.get(field.name, []), measured_stages)
        for field in place.fields.values()
    ]


def _measurement(
    field: Field, value: Any, gates: list[Gate], measured_stages: list[str]
) -> dict[str, Any]:
    stage = field.name.partition(".")[0]
    is_measured = stage in measured_stages
    return {
        "name": field.name,
        "stage": stage,
        "is_measured": is_measured,
        "value": value,
        "unit": field.unit,
        "meaning": field.meaning,
        "gates": [
            {
                "bound": gate.bound,
                "limit": gate.limit,
                "allow_missing": gate.allow_missing,
                "passes": gate.failure(value) is None if is_measured else None,
            }
            for gate in gates
        ],
    }


def _packed(place: Place, clip: ClipRow) -> dict[str, Any]:
    assert clip.sample is not None
    url = place.needs_dataset().join(clip.sample["shard"])
    description = json.loads(read_sample_member(place, clip, "json"))
    return {
        "shard": url,
        "num_frames": clip.sample["num_frames"],
        "video": description.get("video"),
        "audio": description.get("audio"),
        "members": [
            {
                **member,
                "command": cut_command(
                    url, member["offset"], member["size"], f"{clip.clip_id}.{member['ext']}"
                ),
            }
            for member in clip.sample["members"]
        ],
    }


def _lineage(place: Place, clip: ClipRow) -> dict[str, Any]:
    """Say where the clip comes from and what measured it."""
    record = place.run_record
    manifest = place.manifest
    lineage: dict[str, Any] = {
        "source_id": clip.values["source_id"],
        "measured_stages": clip.values["measured_stages"] or [],
        "recipe": record.get("recipe", {}).get("name") or (manifest and manifest.recipe_name),
        "recipe_digest": record.get("recipe_digest") or (manifest and manifest.recipe_digest),
        "packed_with_recipe_digest": manifest.recipe_digest if manifest and clip.sample else None,
        "versions": record.get("versions", {}),
        "fingerprints": {},
        "source": None,
    }
    if place.run is not None:
        lineage["fingerprints"] = _fingerprints(place.run, clip)
        source = place.source(clip.values["source_id"], clip.values["uri"])
        if source is not None:
            lineage["source"] = {name: source[name] for name in _SOURCE_NAMES}
    return lineage


def _fingerprints(run: Folder, clip: ClipRow) -> dict[str, str]:
    for commit in Ledger(run).read(clip.values["source_id"]):
        if clip.clip_id in commit.clips["clip_id"].to_pylist():
            return dict(commit.header.fingerprints)
    return {}


def _plain(value: Any) -> Any:
    """Replace what JSON cannot hold: numbers that are not finite, tuples, enums."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, ClipState) else value
