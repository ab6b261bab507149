"""Sub-commands of `shards` that look at single clips: `show`, `sheet`, `plot`, `extract`.

Exit codes: 0 done, 1 a clip's stored bytes are damaged (a sheet is drawn all the same and says
so), 2 wrong use.
"""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Annotated, Any

import typer
from rich.console import Console

from manifests.errors import DatasetError, ManifestError, ShardError
from manifests.inspection.clip_rows import ClipRow, filter_clips, find_clip, find_clips
from manifests.inspection.clip_view import clip_view
from manifests.inspection.extract import Layout
from manifests.inspection.extract import extract as extract_clips
from manifests.inspection.options import AsJson, PlaceName, find_all, refuse
from manifests.inspection.place import Place
from manifests.inspection.show import print_view
from manifests.records import ClipState
from manifests.storage import Folder

_CLIP = "A clip id, the beginning of one, or the end of a source's path."
_WHERE = "Only clips in a state (kept, rejected, pending) or refused for a reason (NOISY_SPEECH)."

ClipOption = Annotated[
    list[str] | None, typer.Option("--clip", metavar="CLIP", help=f"{_CLIP} May be repeated.")
]
Force = Annotated[bool, typer.Option("--force", help="Write over files that are there.")]

SHOW_EXAMPLE = "Example: shards show runs/first 02fef26c --long"
SHEET_EXAMPLE = "Example: shards sheet runs/first --out refused.png --where SEVERAL_FACES -k 6"
PLOT_EXAMPLE = "Example: shards plot runs/first 02fef26c --out clip.png"
EXTRACT_EXAMPLE = "Example: shards extract s3://bucket/run --to clips --clip 02fef26c"


def show(
    where: PlaceName,
    clips: Annotated[list[str], typer.Argument(metavar="CLIP...", help=_CLIP)],
    long: Annotated[
        bool, typer.Option("--long", help="Meaning of each measurement, commands for all members.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of single clips.

    Identity, every measurement beside its limit, verdict, words, bytes, lineage.
    """
    with _refusing():
        place = _only_place(where)
        views = [clip_view(place, clip) for clip in find_clips(place, clips)]
    if as_json:
        _print_json({"clips": views})
        return
    console = Console(highlight=False)
    for view in views:
        print_view(console, view, long=long)


def sheet(
    where: PlaceName,
    out: Annotated[str, typer.Option(metavar="FILE.png", help="Picture to write.")],
    only: Annotated[
        str | None, typer.Option("--where", metavar="STATE|REASON", help=_WHERE)
    ] = None,
    clip: ClipOption = None,
    num_frames: Annotated[
        int, typer.Option("-k", "--frames", min=1, max=12, help="Frames a clip.")
    ] = 4,
    limit: Annotated[int, typer.Option(min=1, help="Most clips.")] = 60,
    page: Annotated[int, typer.Option(min=1, max=200, help="Most clips a page.")] = 20,
    sort: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Sort by a column, as sync.confidence.")
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Largest first.")] = False,
    font: Annotated[
        str | None,
        typer.Option(metavar="FILE.ttf", help="Font; the default has no Chinese or Japanese."),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Draw a contact sheet: frames of clips with face box, offset, words, reasons.

    Frames of clips that are not packed are read from their sources. Several pages are numbered,
    FILE-0001.png. Needs the extra `look`.
    """
    with _refusing():
        _needs_look("matplotlib", "PIL")
        place = _only_place(where)
        if clip and (only or sort or reverse):
            raise DatasetError("--clip names clips one by one: leave --where and --sort out")
        rows = (
            find_clips(place, clip)
            if clip
            else filter_clips(place, where=only, sort=sort, reverse=reverse, limit=limit)
        )
        if not rows:
            raise DatasetError(f"{place.given}: no clip is {only or 'there'}")
        record = _write_sheets(place, rows, out, page, num_frames, font, force)
    if as_json:
        _print_json(record)
    else:
        for name in record["pages"]:
            typer.echo(name)
        for trouble in record["without_pictures"]:
            typer.echo(f"no pictures of {trouble['clip_id']}: {trouble['reason']}", err=True)


def plot(
    where: PlaceName,
    clip: Annotated[str, typer.Argument(metavar="CLIP", help=_CLIP)],
    out: Annotated[str, typer.Option(metavar="FILE.png", help="Picture to write.")],
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Plot one clip over time: sound, words, mouth, face height, yaw, and the sync curve.

    Works for refused clips, too. Needs the extra `look`.
    """
    with _refusing():
        _needs_look("matplotlib")
        from manifests.inspection.plot import draw_plot
        from manifests.inspection.plot_series import plot_series

        place = _only_place(where)
        row = find_clip(place, clip)
        (target,) = _targets(out, 1, force)
        _write(target, draw_plot(row, plot_series(place, row)))
    if as_json:
        _print_json({"clip_id": row.clip_id, "plot": target})
    else:
        typer.echo(target)


def extract(
    where: PlaceName,
    to: Annotated[str, typer.Option("--to", metavar="DIR", help="Folder to write into.")],
    clip: ClipOption = None,
    state: Annotated[
        ClipState | None, typer.Option(help="Only packed clips whose verdict is now this.")
    ] = None,
    layout: Annotated[
        Layout,
        typer.Option(
            "--format",
            help="files: members as they are. hf: beside them the metadata.jsonl with which "
            "datasets.load_dataset('videofolder', data_dir=DIR) opens the folder.",
        ),
    ] = Layout.FILES,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Copy packed clips out of their shards, byte for byte: video, sound, words, face.

    All packed clips by default.
    """
    with _refusing():
        place = _only_place(where)
        place.needs_dataset()
        if clip and state:
            raise DatasetError("--clip names clips one by one: leave --state out")
        rows = find_clips(place, clip) if clip else filter_clips(place, where=state)
        unpacked = [row for row in rows if row.sample is None]
        if clip and unpacked:
            raise DatasetError(
                f"{place.given}: clip {unpacked[0].clip_id} is {unpacked[0].values['state']} and "
                "not packed, so it has no files; look at it with `shards plot`"
            )
        rows = [row for row in rows if row.sample is not None]
        if not rows:
            raise DatasetError(f"{place.given}: no packed clip is {state or 'there'}")
        target = Folder(to)
        done = extract_clips(place, rows, target, layout, force=force)
    record = {
        "to": str(target),
        "format": str(layout),
        "num_clips": len(rows),
        "num_bytes": done.num_bytes,
        "files": list(done.names),
    }
    if as_json:
        _print_json(record)
    else:
        typer.echo(f"{target}: {len(rows)} clips, {len(done.names)} files, {done.num_bytes} bytes")


def _write_sheets(
    place: Place,
    rows: list[ClipRow],
    out: str,
    page_size: int,
    num_frames: int,
    font: str | None,
    force: bool,
) -> dict[str, Any]:
    """Draw and write page by page, so that only one page's frames are in memory."""
    from manifests.inspection.sheet import Fonts, draw_page, sheet_entry

    fonts = Fonts.load(font)
    pages = [rows[first : first + page_size] for first in range(0, len(rows), page_size)]
    targets = _targets(out, len(pages), force)
    without = []
    for target, page in zip(targets, pages, strict=True):
        entries = [sheet_entry(place, row, num_frames) for row in page]
        buffer = io.BytesIO()
        draw_page(entries, num_frames, fonts).save(buffer, format="PNG")
        _write(target, buffer.getvalue())
        without += [
            {"clip_id": entry.clip.clip_id, "reason": entry.trouble}
            for entry in entries
            if entry.trouble is not None
        ]
    return {
        "pages": targets,
        "clips": [row.clip_id for row in rows],
        "without_pictures": without,
    }


def _targets(out: str, num_pages: int, force: bool) -> list[str]:
    """Return where each page goes, and refuse before any work if something is there."""
    if PurePosixPath(out).suffix.lower() != ".png":
        raise DatasetError(f"--out {out}: has to end in .png")
    stem = out[: -len(".png")]
    names = [out] if num_pages == 1 else [f"{stem}-{n:04d}.png" for n in range(1, num_pages + 1)]
    for name in names:
        folder, file = Folder.split(name)
        if not force and folder.exists(file):
            raise DatasetError(f"{name}: exists already; give another name, or --force")
    return names


def _write(target: str, data: bytes) -> None:
    folder, name = Folder.split(target)
    folder.write_bytes(name, data)


def _only_place(where: str) -> Place:
    return find_all([where])[0]


def _needs_look(*modules: str) -> None:
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise DatasetError(
                f"drawing needs {module}, which is not installed: pip install 'talkreel[look]'"
            )


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn errors into one line: exit 1 if stored bytes are damaged, else 2."""
    try:
        yield
    except ShardError as error:
        typer.echo(f"shards: {error}", err=True)
        raise typer.Exit(1) from error
    except ManifestError as error:
        refuse(error)


def _print_json(record: dict[str, Any]) -> None:
    typer.echo(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False))
