"""The page of an evaluation: one file that needs nothing else, and the videos beside it.

No script: figures are a table, curves are drawn here, videos stand in the page as long as they
weigh little together, and are linked beyond. Every text goes through `escape`.
"""

from __future__ import annotations

import base64
import io
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
import numpy as np
from PIL import Image

from manifests.inspection.report import asset
from manifests.storage import Folder
from training.evaluation.frames import shown_at
from training.evaluation.intervals import LEVEL
from training.evaluation.metrics import BY_NAME, METRICS
from training.evaluation.results import CLIPS_NAME, RESULTS_NAME, ClipResult, Results, figures
from training.evaluation.side_by_side import (
    PANELS,
    Row,
    best_shift,
    curve_points,
    row_of,
    write_grid,
    write_pair,
)
from training.evaluation.summary import number_text
from training.evaluation.sync import SyncCurve

PAGE_NAME, GRID_NAME, VIDEOS = "index.html", "grid.mp4", "videos"
MAX_VIDEO_BYTES = 24 << 20
"""Of all videos inside the page; the others are linked."""
MAX_GRID_ROWS = 6

_CURVE_WIDTH, _CURVE_HEIGHT = 300.0, 64.0


def write_page(
    results: Results, out: Path, seed: int = 0, max_video_bytes: int = MAX_VIDEO_BYTES
) -> None:
    """Write `index.html`, `grid.mp4` and a video for each clip.

    Args:
        results: the evaluation.
        out: folder of the results.
        seed: seed of the bootstrap.
        max_video_bytes: bytes of video inside the page.
    """
    rows: list[Row] = []
    videos: dict[str, Path] = {}
    for clip in results.clips:
        row = row_of(clip)
        if row is None:
            continue  # it cannot be decoded, which its notes say
        rows.append(row)
        videos[clip.stem] = out / VIDEOS / f"{clip.stem}.mp4"
        write_pair(videos[clip.stem], row)
    if rows:
        write_grid(out / GRID_NAME, rows[:MAX_GRID_ROWS])
    text = page_html(results, videos, bool(rows), seed, max_video_bytes)
    Folder(str(out)).write_bytes(PAGE_NAME, text.encode())


def page_html(
    results: Results,
    videos: dict[str, Path],
    has_grid: bool,
    seed: int = 0,
    max_video_bytes: int = MAX_VIDEO_BYTES,
) -> str:
    """Make the page.

    Args:
        results: the evaluation.
        videos: side-by-side video of each clip, by stem.
        has_grid: the grid was written.
        seed: seed of the bootstrap.
        max_video_bytes: bytes of video inside the page.

    Returns:
        A whole HTML document.
    """
    cards, left = [], max_video_bytes
    for clip in results.clips:
        path = videos.get(clip.stem)
        num_bytes = path.stat().st_size if path else 0
        cards.append(_clip_card(clip, path, is_inside=num_bytes <= left))
        left -= num_bytes if num_bytes <= left else 0
    own_css = (resources.files("training.evaluation") / "assets" / "page.css").read_text("utf-8")
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        "media-src data: 'self' file:; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>talkreel evaluation</title>\n"
        f"<style>{asset('page.css')}{own_css}</style>\n</head>\n<body>\n{_head(results)}<main>\n"
        f"{_figures_card(results, seed, has_grid)}{_missing_card(results)}"
        f"{''.join(cards)}{_made_with_card(results)}</main>\n</body>\n</html>\n"
    )


def _head(results: Results) -> str:
    counts = {
        "generated": len(results.clips),
        "measured": sum(clip.clip_id is not None for clip in results.clips),
        "with a reference": sum(clip.reference is not None for clip in results.clips),
    }
    told = "".join(
        f'<div class="figure"><strong>{num}</strong><span>{name}</span></div>'
        for name, num in counts.items()
    )
    return f'<header class="bar"><h1>Evaluation</h1><div class="figures">{told}</div></header>\n'


def _figures_card(results: Results, seed: int, has_grid: bool) -> str:
    rows = []
    for name, row in figures(results, seed).items():
        metric = BY_NAME[name]
        unit = f' <span class="quiet">{escape(metric.unit)}</span>' if metric.unit else ""
        of_set = row.get("of_set")
        cells = (
            f'<td class="number">{_interval(of_set)}</td>'
            f'<td class="number">{of_set["num_generated"]} / {of_set["num_reference"]}</td>'
            "<td></td><td></td>"
            if of_set
            else f'<td class="number">{_interval(row.get("generated"))}</td>'
            f'<td class="number">{row["generated"]["num_clips"]}</td>'
            f'<td class="number">{_interval(row.get("reference"))}</td>'
            f'<td class="number">{_interval(row.get("difference"))}</td>'
        )
        rows.append(
            f'<tr title="{escape(metric.meaning)}"><td>{escape(metric.title)}{unit}</td>'
            f'<td class="quiet">{escape(metric.better)}</td>{cells}</tr>'
        )
    grid = f'<p><a href="{GRID_NAME}">All side by side ({GRID_NAME})</a></p>' if has_grid else ""
    return (
        '<section class="card"><h2>Figures</h2><div class="scroll"><table><thead><tr><th>metric'
        '</th><th>better</th><th class="number">generated</th><th class="number">clips</th>'
        '<th class="number">reference</th><th class="number">difference</th></tr></thead><tbody>'
        f"{''.join(rows)}</tbody></table></div>"
        f'<p class="quiet">In brackets the {LEVEL:.0%} interval, bootstrap over clips; the '
        "difference is generated less reference, pair by pair. Rest on a row for its definition."
        f"</p>{grid}</section>\n"
    )


def _missing_card(results: Results) -> str:
    lines = [
        f"<li>{escape(clip.stem)} could not be measured: {escape(clip.unmeasured)}</li>"
        for clip in results.clips
        if clip.unmeasured
    ]
    lines += [
        f"<li>{escape(name)} has no generated clip of its stem</li>"
        for name in dict.fromkeys((*results.reference_only, *results.source_only))
    ]
    by_cause: dict[tuple[str, str], list[str]] = {}
    for one in results.missing:
        by_cause.setdefault((one.why, one.how), []).append(BY_NAME[one.metric].title)
    lines += [
        f"<li><strong>{escape(', '.join(titles))}</strong>: {escape(why)}. "
        f'<span class="quiet">To get it: {escape(how)}</span></li>'
        for (why, how), titles in by_cause.items()
    ]
    if not lines:
        return ""
    return f'<section class="card"><h2>Missing</h2><ul>{"".join(lines)}</ul></section>\n'


def _clip_card(clip: ClipResult, video: Path | None, *, is_inside: bool) -> str:
    parts = [f"<h3>{escape(clip.stem)}</h3>"]
    if clip.unmeasured:
        parts.append(f'<p class="warning">Not measured: {escape(clip.unmeasured)}</p>')
    if video is not None:
        if is_inside:
            data = base64.b64encode(video.read_bytes()).decode()
            address = f"data:video/mp4;base64,{data}"
        else:
            address = quote(f"{VIDEOS}/{video.name}")
        parts.append(
            f'<div class="panels"><video controls muted loop preload="metadata" src="{address}" '
            f'poster="{_poster(video)}"></video></div>'
        )
        parts.append('<div class="three">' + "".join(_curve(clip, name) for name in PANELS))
        parts.append("</div>")
    names = [m.name for m in METRICS if m.name in clip.values]
    told = "".join(
        f"<div><dt>{escape(BY_NAME[name].title)}</dt><dd>{number_text(clip.values[name])}"
        f" {escape(BY_NAME[name].unit)}</dd></div>"
        for name in names
    )
    parts.append(f'<details><summary>{len(names)} figures</summary><dl class="pairs">{told}</dl>')
    ids = f"clip {clip.clip_id or 'none'}, reference clip {clip.reference_clip_id or 'none'}"
    parts.append(f'<p class="quiet"><code>{escape(ids)}</code></p></details>')
    if clip.notes:
        notes = "".join(f"<li>{escape(note)}</li>" for note in clip.notes)
        parts.append(f'<ul class="notes">{notes}</ul>')
    kind = " unmeasured" if clip.unmeasured else ""
    return f'<section class="card{kind}">{"".join(parts)}</section>\n'


def _poster(video: Path) -> str:
    """The middle of a video as a data URL, so that the page shows something when printed too."""
    with av.open(str(video)) as container:
        middle_s = (container.duration or 0) / av.time_base / 2
    shown = next(iter(shown_at(video, [middle_s])))
    data = io.BytesIO()
    Image.fromarray(shown.picture_HWC).save(data, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def _curve(clip: ClipResult, panel: str) -> str:
    curve = clip.curves.get(panel)
    if curve is None:
        told = "" if panel == "source" else "no sync curve"
        return f"<figure><figcaption>{told}</figcaption></figure>"
    best = best_shift(curve)
    shift_ms = curve.offsets_ms[best]
    caption = f"{curve.estimator}: best at {shift_ms:+.0f} ms ({curve.values[best]:.2f})"
    return (
        f"<figure>{curve_svg(curve, f'{panel}, {caption}')}"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def curve_svg(curve: SyncCurve, label: str) -> str:
    """Draw a sync curve with its best shift, dashed, and the shift of zero.

    Args:
        curve: the curve.
        label: what it shows, for those who do not see it.

    Returns:
        An SVG element.
    """
    xs, ys = curve_points(curve, _CURVE_WIDTH, _CURVE_HEIGHT)
    path = "M" + "L".join(f"{x:.1f} {y + 5:.1f}" for x, y in zip(xs, ys, strict=True))
    best_x, zero_x = xs[best_shift(curve)], float(np.interp(0.0, curve.offsets_ms, xs))
    bottom = _CURVE_HEIGHT + 10
    return (
        f'<svg class="curve" viewBox="0 0 {_CURVE_WIDTH:.0f} {bottom:.0f}" role="img" '
        f'preserveAspectRatio="none" aria-label="{escape(label)}">'
        f'<line x1="{zero_x:.1f}" x2="{zero_x:.1f}" y1="0" y2="{bottom:.0f}"/>'
        f'<line class="best" x1="{best_x:.1f}" x2="{best_x:.1f}" y1="0" y2="{bottom:.0f}"/>'
        f'<path d="{path}"/></svg>'
    )


def _made_with_card(results: Results) -> str:
    made = results.made_with
    lines = [
        ("versions", ", ".join(f"{k} {v}" for k, v in made.get("versions", {}).items())),
        (
            "weights",
            ", ".join(f"{k} {v['sha256'][:16]}" for k, v in made.get("weights", {}).items()),
        ),
        *((name, _run_text(made.get(f"{name}_run"))) for name in ("generated", "reference")),
    ]
    told = "".join(
        f'<tr><td class="quiet">{escape(name)}</td><td>{escape(text) or "none"}</td></tr>'
        for name, text in lines
    )
    return (
        f'<section class="card"><h2>Made with</h2><table>{told}</table>'
        f'<p class="quiet">All of it, with the ids of all clips: {RESULTS_NAME}, {CLIPS_NAME}.'
        "</p></section>\n"
    )


def _run_text(run: Any) -> str:
    return "" if not run else f"recipe {run['recipe']}, digest {run['recipe_digest']}"


def _interval(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    mean = number_text(row["mean"])
    if row["low"] is None:
        return mean
    return (
        f'{mean}<span class="range">({number_text(row["low"])} to '
        f"{number_text(row['high'])})</span>"
    )
