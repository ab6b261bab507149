"""The report of a run: the funnel, the reasons, and what was kept.

One self-contained page; the inspection command ``shards`` shows single clips.
"""

from __future__ import annotations

import base64
import io
from html import escape
from typing import Any

import av
from PIL import Image

from curation.books import read_table
from curation.run import RunBooks
from manifests.records import ClipState
from manifests.storage import Folder

MAX_PICTURES = 48
"""Kept clips shown with a picture; the page stays below a few megabytes."""


def funnel_table(books: RunBooks) -> str:
    """The funnel as text.

    Args:
        books: books of the run.

    Returns:
        Several lines: inputs, hours in, hours lost for each reason, hours kept.
    """
    funnel, counts = books.funnel, books.counts
    lines = [
        f"inputs   {counts['inputs']} = {counts['done']} done + {counts['rejected']} rejected"
        f" + {counts['dead']} dead",
        f"clips    {books.num_clips} found, {books.num_kept} kept",
        "",
        f"{'hours in':<28}{funnel.in_s / 3600:>10.4f}",
    ]
    lines += [f"  - {reason:<24}{lost / 3600:>10.4f}" for reason, lost in funnel.lost_s.items()]
    if funnel.overlap_s > 0.01:
        lines.append(f"  + {'several tracks at once':<24}{funnel.overlap_s / 3600:>10.4f}")
    share = 100 * funnel.kept_s / funnel.in_s if funnel.in_s else 0.0
    lines.append(f"{'hours kept':<28}{funnel.kept_s / 3600:>10.4f}  ({share:.0f} %)")
    return "\n".join(lines)


def cost_line(books: RunBooks) -> str:
    """What a second of clip cost, as text.

    Args:
        books: books of the run.

    Returns:
        CPU milliseconds of every stage for each second of the clips found, the dearest first;
        what was watched and belongs to no clip is paid by the clips, too.
    """
    if not books.clips_s:
        return ""
    dearest = sorted(books.stage_s.items(), key=lambda item: -item[1])
    costs = [f"{name} {1000 * spent_s / books.clips_s:.1f}" for name, spent_s in dearest]
    return "CPU ms per second of clip: " + ", ".join(costs)


def write_report(run: Folder, books: RunBooks) -> None:
    """Write ``report/index.html``.

    Args:
        run: run directory with its tables and its dataset.
        books: books of the run.
    """
    sources = read_table(run, "sources.parquet").to_pylist()
    packed = read_table(run, "dataset/clips.parquet").to_pylist()
    clips = read_table(run, "clips.parquet").select(
        ["clip_id", "uri", "start_s", "duration_s", "state", "failed_gates"]
    )
    refused = [row for row in clips.to_pylist() if row["state"] == ClipState.REJECTED]
    parts = [
        f"<h1>{escape(run.url.rsplit('/', 1)[-1])}</h1><pre>{escape(funnel_table(books))}</pre>",
        "<h2>Kept</h2><div class=grid>",
        *(_card(run, row) for row in packed[:MAX_PICTURES]),
        "</div><h2>Refused clips</h2>",
        _table(
            ["source", "from", "seconds", "why"],
            [
                [
                    row["uri"].rsplit("/", 1)[-1],
                    f"{row['start_s']:.2f}",
                    f"{row['duration_s']:.2f}",
                    "; ".join(_gate_text(gate) for gate in row["failed_gates"]),
                ]
                for row in refused
            ],
        ),
        "<h2>Inputs</h2>",
        _table(
            ["source", "state", "reason", "clips kept", "detail"],
            [
                [
                    row["uri"].rsplit("/", 1)[-1],
                    row["state"],
                    row["reason"] or "",
                    f"{row['num_clips_kept']} of {row['num_clips_found']}",
                    row["detail"] or "",
                ]
                for row in sources
            ],
        ),
    ]
    page = (
        "<!doctype html><meta charset=utf-8><title>talkreel run</title><style>"
        "body{font:14px/1.4 system-ui,sans-serif;margin:2em auto;max-width:72em;color:#222}"
        "pre{background:#f4f4f4;padding:1em}table{border-collapse:collapse;width:100%}"
        "td,th{border-bottom:1px solid #ddd;padding:.3em .6em;text-align:left;"
        "vertical-align:top}.grid{display:flex;flex-wrap:wrap;gap:1em}"
        "figure{margin:0;width:15em}img{width:100%;border-radius:4px}"
        "figcaption{font-size:12px}</style>" + "".join(parts)
    )
    run.write_bytes("report/index.html", page.encode())


def _gate_text(gate: dict[str, Any]) -> str:
    return f"{gate['reason']} ({gate['field']} {gate['measured']}, {gate['bound']} {gate['limit']})"


def _table(head: list[str], rows: list[list[str]]) -> str:
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{''.join(f'<th>{escape(name)}</th>' for name in head)}</tr>{body}</table>"


def _card(run: Folder, row: dict[str, Any]) -> str:
    member = next(part for part in row["members"] if part["ext"] == "mp4")
    data = run.sub("dataset").read_range(row["shard"], member["offset"], member["size"])
    picture = base64.b64encode(_middle_frame(data)).decode()
    offset = row.get("sync.offset_ms")
    said = "" if offset is None else f", offset {offset:+.0f} ms"
    return (
        f"<figure><img alt='' src='data:image/jpeg;base64,{picture}'><figcaption>"
        f"<b>{escape(row['uri'].rsplit('/', 1)[-1])}</b> {row['start_s']:.1f}+"
        f"{row['duration_s']:.1f} s{said}<br>{escape(row['caption'] or '')}</figcaption></figure>"
    )


def _middle_frame(mp4: bytes) -> bytes:
    with av.open(io.BytesIO(mp4)) as container:
        stream = container.streams.video[0]
        container.seek((stream.duration or 0) // 2, stream=stream)
        frame = next(container.decode(stream))
        picture: Image.Image = frame.to_image()
    picture.thumbnail((240, 240))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
