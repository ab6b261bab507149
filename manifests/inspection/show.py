"""What `shards show` prints of one clip, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

_STATE_STYLES = {"kept": "bold green", "rejected": "bold red", "pending": "bold yellow"}
_SIGNS = {"min": "\N{GREATER-THAN OR EQUAL TO}", "max": "\N{LESS-THAN OR EQUAL TO}"}
_WORDS_A_LINE = 8


def print_view(console: Console, view: dict[str, Any], *, long: bool) -> None:
    """Print one clip.

    Args:
        console: Where to.
        view: The record of `clip_view`.
        long: With the meaning of every measurement, and the cutting command of each member.
    """
    console.print(Rule(Text(view["clip_id"], style="bold"), align="left"))
    for block in _blocks(view):
        console.print(block)
    if long:
        console.print(_heading("meanings"))
        meanings = [(row["name"], row["meaning"]) for row in view["measurements"]]
        console.print(_facts([(name, meaning) for name, meaning in meanings if meaning]))
    if view["packed"] is not None:
        console.print(_heading("cut out of the shard"))
        members = sorted(view["packed"]["members"], key=lambda member: member["ext"] != "mp4")
        for member in members if long else members[:1]:
            # Unbroken whatever the width, so that it can be copied.
            console.print(Text(member["command"]), soft_wrap=True)


def _blocks(view: dict[str, Any]) -> Iterator[RenderableType]:
    yield _identity(view)
    yield _heading("verdict")
    yield Padding(_verdict(view), (0, 0, 0, 2))
    yield _heading("measurements")
    yield _measurements(view["measurements"])
    if view["caption"]:
        yield _heading("caption")
        yield Padding(Text(view["caption"]), (0, 0, 0, 2))
    if view["transcript"]:
        yield _heading("transcript")
        yield Padding(_transcript(view["transcript"]), (0, 0, 0, 2))
    yield _heading("bytes")
    yield Padding(_packed(view["packed"]), (0, 0, 0, 2))
    yield _heading("lineage")
    yield _lineage(view["lineage"])


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _facts(rows: list[tuple[str, str | Text]]) -> Padding:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value if isinstance(value, Text) else Text(value))
    return Padding(table, (0, 0, 0, 2))


def _identity(view: dict[str, Any]) -> Padding:
    span = view["span"]
    seconds = f"{span['start_s']:.3f} to {span['end_s']:.3f} s ({span['duration_s']:.3f} s)"
    pts = f"pts [{span['start_pts']}, {span['end_pts']}) in units of {span['time_base']} s"
    return _facts(
        [
            ("source", view["uri"]),
            ("span", f"{seconds}, {pts}"),
            ("track", str(view["track"])),
        ]
    )


def _verdict(view: dict[str, Any]) -> Text:
    state = view["verdict"]["state"]
    text = Text(state, style=_STATE_STYLES.get(state, "bold"))
    for gate in view["verdict"]["failed_gates"]:
        measured = "missing" if gate["measured"] is None else gate["measured"]
        text.append(f"\n{gate['reason']}", style="red")
        text.append(f": {gate['field']} is {measured}, {gate['bound']} is {gate['limit']}")
    return text


def _measurements(rows: list[dict[str, Any]]) -> Padding:
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    table.add_column("measurement", no_wrap=True)
    table.add_column("value", justify="right", overflow="fold", max_width=28)
    table.add_column("unit", overflow="fold")
    table.add_column("limit", overflow="fold")
    table.add_column("")
    stage = None
    for row in rows:
        if stage is not None and row["stage"] != stage:
            table.add_row()
        stage = row["stage"]
        if row["name"] == "caption.text":
            continue  # it has a block of its own
        limits = ", ".join(_limit(gate) for gate in row["gates"])
        table.add_row(Text(row["name"]), _value(row), Text(row["unit"]), Text(limits), _mark(row))
    return Padding(table, (0, 0, 0, 2))


def _value(row: dict[str, Any]) -> Text:
    if not row["is_measured"]:
        return Text("not measured", style="dim")
    value = row["value"]
    if value is None:
        return Text("missing", style="dim")
    if isinstance(value, list):
        numbers = [item for item in value if isinstance(item, float)]
        extent = f", {_short(min(numbers))} to {_short(max(numbers))}" if numbers else ""
        return Text(f"{len(value)} values{extent}", style="dim")
    return Text(_short(value))


def _mark(row: dict[str, Any]) -> Text:
    passes = [gate["passes"] for gate in row["gates"]]
    if False in passes:
        return Text("FAIL", style="bold red")
    if not passes or None in passes:
        return Text("")
    return Text("pass", style="green")


def _limit(gate: dict[str, Any]) -> str:
    limit = gate["limit"]
    shown = ", ".join(limit) if isinstance(limit, list) else _short(limit)
    optional = " or missing" if gate["allow_missing"] else ""
    return f"{_SIGNS.get(gate['bound'], gate['bound'].replace('_', ' '))} {shown}{optional}"


def _transcript(transcript: dict[str, Any]) -> Text:
    words = transcript["words"]
    if not words:
        return Text(transcript["text"])
    text = Text()
    for number, word in enumerate(words):
        if number:
            text.append("\n" if number % _WORDS_A_LINE == 0 else "  ")
        text.append(f"{word['start_s']:.2f}", style="dim")
        text.append(f" {word['text']}")
    return text


def _packed(packed: dict[str, Any] | None) -> RenderableType:
    if packed is None:
        return Text("not packed; sound and landmarks are in the run's commits")
    video = packed["video"] or {}
    lines = Text(packed["shard"])
    if video:
        lines.append(
            f"\n{packed['num_frames']} frames, {video['width_px']} \N{MULTIPLICATION SIGN} "
            f"{video['height_px']} px, {video['frame_rate_fps']} fps"
        )
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    table.add_column("member")
    table.add_column("offset", justify="right")
    table.add_column("size", justify="right")
    for member in packed["members"]:
        table.add_row(member["ext"], str(member["offset"]), str(member["size"]))
    return Group(lines, table)


def _lineage(lineage: dict[str, Any]) -> Padding:
    rows: list[tuple[str, str | Text]] = [("source id", lineage["source_id"])]
    source = lineage["source"]
    if source is not None:
        rows.append(
            (
                "input",
                f"{source['state']}, {source['num_bytes']} bytes, {source['duration_s']:.2f} s, "
                f"{source['num_clips_kept']} of {source['num_clips_found']} clips kept",
            )
        )
    rows.append(("recipe", f"{lineage['recipe']}, digest {lineage['recipe_digest']}"))
    packed_with = lineage["packed_with_recipe_digest"]
    if packed_with and packed_with != lineage["recipe_digest"]:
        rows.append(("packed with", f"digest {packed_with}; select and pack have differed since"))
    for stage, fingerprint in lineage["fingerprints"].items():
        rows.append((f"stage {stage}", fingerprint))
    if lineage["versions"]:
        rows.append(("versions", ", ".join(f"{k} {v}" for k, v in lineage["versions"].items())))
    return _facts(rows)


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
