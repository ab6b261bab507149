"""One clip on one time axis: sound, words, mouth, face size and turn, and the sync curve.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart.
"""

from __future__ import annotations

import io
import textwrap
import unicodedata
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from manifests.inspection.clip_rows import ClipRow
from manifests.inspection.plot_series import HOP_S, PlotSeries, SyncCurve
from manifests.inspection.words import Word

_BLUE, _SKY, _GREEN, _ORANGE, _RED = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00"
_GREY = "#6f6f6f"
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlepad": 4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "lines.linewidth": 1.3,
    "legend.fontsize": 9,
    "legend.frameon": False,
}
_WIDTH_IN, _DPI = 12.0, 100
_PANEL_IN = {"sound": 1.5, "words": 0.9, "mouth": 1.3, "height": 1.3, "yaw": 1.3, "sync": 1.7}
_AROUND_IN = 0.62  # title, tick labels and air of each panel
_MAX_COLUMNS = 1200
_NUM_WORD_ROWS = 4
_STEPS = [1, 2, 2.5, 5, 10]


def draw_plot(clip: ClipRow, series: PlotSeries) -> bytes:
    """Draw a clip's plot.

    Args:
        clip: The clip, for its name.
        series: What to draw.

    Returns:
        A PNG.
    """
    buffer = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        make_figure(clip, series).savefig(buffer, format="png")
    return buffer.getvalue()


def make_figure(clip: ClipRow, series: PlotSeries) -> Figure:
    """Lay the panels of a clip's plot out, one below the other.

    Args:
        clip: The clip, for its name.
        series: What to draw.

    Returns:
        The figure; its axes are labelled `sound`, `words` (if there are any), `mouth`, `height`,
        `yaw`, `sync`.
    """
    names = [name for name in _PANEL_IN if series.words or name != "words"]
    heights = [_PANEL_IN[name] for name in names]
    figure = Figure(
        figsize=(_WIDTH_IN, sum(heights) + _AROUND_IN * len(names) + 0.5),
        dpi=_DPI,
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(names), 1, gridspec_kw={"height_ratios": heights})
    panels = dict(zip(names, axes, strict=True))
    for name, panel in panels.items():
        panel.set_label(name)
    figure.suptitle(_title(clip), x=0.01, ha="left", fontsize=11)
    _draw_sound(panels["sound"], series)
    if series.words:
        _draw_words(panels["words"], series.words)
    _draw_face(panels["mouth"], panels["height"], panels["yaw"], series)
    time_panels = [panels[name] for name in names if name != "sync"]
    for panel in time_panels:
        panel.set_xlim(0, series.duration_s)
        panel.tick_params(labelbottom=panel is time_panels[-1])
    time_panels[-1].set_xlabel("time from the start of the clip (s)")
    _draw_sync(panels["sync"], series.sync)
    figure.align_ylabels(list(panels.values()))
    return figure


def envelope(samples: np.ndarray, num_columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reduce a waveform to the lowest and highest sample of each column.

    Args:
        samples: (N,) samples.
        num_columns: Most columns.

    Returns:
        (C,) first sample of each column, (C,) lowest, (C,) highest value.
    """
    if not len(samples):
        return np.zeros(0, int), np.zeros(0), np.zeros(0)
    starts = np.unique(np.linspace(0, len(samples), num_columns, endpoint=False).astype(int))
    return starts, np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)


def runs_of(is_active: np.ndarray) -> list[tuple[int, int]]:
    """Find stretches of truth.

    Args:
        is_active: (N,) truth values.

    Returns:
        First and one past the last index of each.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_active, [False]]).astype(int)))
    return [(int(first), int(last)) for first, last in zip(edges[::2], edges[1::2], strict=True)]


def _title(clip: ClipRow) -> str:
    values = clip.values
    name = textwrap.shorten(unicodedata.normalize("NFC", clip.source_name), 70, placeholder="…")
    reasons = list(dict.fromkeys(gate["reason"] for gate in values["failed_gates"] or []))
    why = textwrap.shorten(", ".join(reasons), 110, placeholder=" …")
    end_s = values["start_s"] + values["duration_s"]
    lines = [
        f"{clip.clip_id}   {name}   {values['start_s']:.2f}\N{EN DASH}{end_s:.2f} s, "
        f"track {values['track']}",
        f"{values['state']}{': ' + why if why else ''}",
    ]
    return "\n".join(lines).replace("$", r"\$")


def _draw_sound(panel: Axes, series: PlotSeries) -> None:
    sound = series.sound
    starts, low, high = envelope(sound.samples, _MAX_COLUMNS)
    for number, (first, last) in enumerate(runs_of(series.is_active)):
        label = "louder than the level threshold" if number == 0 else None
        panel.axvspan(first * HOP_S, last * HOP_S, color=_SKY, alpha=0.3, lw=0, label=label)
    panel.fill_between(starts / sound.rate_hz, low, high, color=_BLUE, lw=0.3)
    peak = max(0.02, float(np.abs(sound.samples).max(initial=0)))
    panel.set_ylim(-1.1 * peak, 1.1 * peak)
    panel.set_ylabel("amplitude")
    panel.yaxis.set_major_locator(MaxNLocator(4, steps=_STEPS))
    shift = f"shifted by {sound.shifted_by_ms:+.0f} ms" if sound.shifted_by_ms else "not shifted"
    facts = [f"Sound, {shift}"]
    if series.threshold_dbfs is None:
        facts.append("silent")
    else:
        share = float(series.is_active.mean())
        facts.append(f"shaded: level above {series.threshold_dbfs:.0f} dBFS ({share:.0%})")
    if series.speech_ratio is not None:
        facts.append(f"voice activity of the speech stage: {series.speech_ratio:.0%}")
    panel.set_title("; ".join(facts))


def _draw_words(panel: Axes, words: tuple[Word, ...]) -> None:
    for number, word in enumerate(words):
        row = number % _NUM_WORD_ROWS
        panel.barh(
            -row, word.end_s - word.start_s, left=word.start_s, height=0.9, color=_SKY, alpha=0.5
        )
        middle_s = (word.start_s + word.end_s) / 2
        text = word.text.replace("$", r"\$")
        panel.text(middle_s, -row, text, ha="center", va="center", fontsize=8.5, clip_on=True)
    panel.set_ylim(-_NUM_WORD_ROWS + 0.4, 0.6)
    panel.set_yticks([])
    panel.grid(False)
    panel.set_title("Words")


def _draw_face(mouth: Axes, height: Axes, yaw: Axes, series: PlotSeries) -> None:
    faces = series.faces
    for panel, values, colour in (
        (mouth, faces.mouth_opening, _GREEN),
        (height, faces.heights_px, _ORANGE),
        (yaw, faces.yaw_deg, _RED),
    ):
        panel.plot(faces.times_s, np.where(faces.found, values, np.nan), color=colour)
        filled = ~faces.found & np.isfinite(values)
        if filled.any():
            # From the last frame seen to the next one, so that short gaps show at all.
            near = filled | np.roll(filled, 1) | np.roll(filled, -1)
            panel.plot(faces.times_s, np.where(near, values, np.nan), color=_GREY, ls=":")
        panel.yaxis.set_major_locator(MaxNLocator(4, steps=_STEPS))
    opening = faces.mouth_opening
    mouth.set_ylim(0, 1.1 * max(0.1, float(np.nanmax(opening, initial=0))))
    mouth.set_title("Mouth opening (distance of the inner lips / distance of the eye corners)")
    mouth.set_ylabel("ratio")
    limit_px = series.min_face_height_px or 1.0
    height.set_ylim(0, 1.25 * max(limit_px, float(np.nanmax(faces.heights_px, initial=0))))
    height.set_title("Face height, chin to upper forehead")
    height.set_ylabel("px")
    if series.min_face_height_px is not None:
        height.axhline(series.min_face_height_px, color=_GREY, ls="--", lw=1)
        note = f"gate: at least {series.min_face_height_px:g} px"
        height.annotate(
            note,
            (1, series.min_face_height_px),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 2),
            textcoords="offset points",
            ha="right",
            va="bottom",
            color=_GREY,
            fontsize=9,
        )
    largest = max(22.0, 1.1 * float(np.nanmax(np.abs(faces.yaw_deg), initial=0)))
    yaw.set_ylim(-largest, largest)
    yaw.axhline(0, color=_GREY, lw=0.8)
    yaw.set_title("Head yaw (+ = towards the picture's right)")
    yaw.set_ylabel("degrees")


def _draw_sync(panel: Axes, sync: SyncCurve | None) -> None:
    panel.set_xlabel("audio offset (ms), + = audio later than picture")
    panel.set_ylabel("score")
    if sync is None:
        panel.set_title("Sync score over offsets: not measured")
        panel.set_yticks([])
        panel.grid(False)
        return
    panel.plot(sync.offsets_ms, sync.scores, color=_BLUE, marker="o", ms=3)
    panel.set_xlim(sync.offsets_ms[0], sync.offsets_ms[-1])
    panel.axvline(0, color=_GREY, lw=0.8)
    facts = ["Sync score over offsets"]
    if sync.peak_ms is not None:
        panel.axvline(sync.peak_ms, color=_RED, ls="--", lw=1.4)
        facts.append(f"measured offset {sync.peak_ms:+.0f} ms (dashed)")
    if sync.confidence is not None:
        facts.append(f"confidence {sync.confidence:.2f}")
    limit_ms = sync.max_abs_offset_ms
    if limit_ms is not None:
        for first_ms, last_ms in (
            (sync.offsets_ms[0], -limit_ms),
            (limit_ms, sync.offsets_ms[-1]),
        ):
            if first_ms < last_ms:
                panel.axvspan(first_ms, last_ms, color=_GREY, alpha=0.18, lw=0)
        facts.append(f"shaded: refused by the gate (beyond \N{PLUS-MINUS SIGN}{limit_ms:g} ms)")
    panel.set_title("; ".join(facts))
