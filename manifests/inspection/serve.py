"""The page of a run, alive: clips play from the shards, limits are dragged, clips are flagged.

Everything is answered from the run or dataset that the server was started with: ids are looked up
in its table, assets in the package, and no name that a request holds becomes a path. Writing is
one thing only, a flag.
"""

from __future__ import annotations

import json
import secrets
import threading
from functools import cached_property
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from manifests.errors import ManifestError
from manifests.inspection.byte_ranges import RangedBody, ranged_response
from manifests.inspection.clip_index import ORDERS, ClipIndex, Query
from manifests.inspection.clip_media import ClipMedia
from manifests.inspection.flags import FlagLog, flags_csv, read_flags
from manifests.inspection.guard import TOKEN_HEADER, Guard, is_token
from manifests.inspection.histograms import histograms
from manifests.inspection.page import overview
from manifests.inspection.place import Place
from manifests.inspection.report import asset
from manifests.inspection.what_if import changed_gates, columns_of, compare
from manifests.shards import read_member
from manifests.storage import Folder

SCRIPTS = ("dom.js", "charts.js", "run.js", "limits.js", "list.js", "player.js", "app.js")
"""In the order in which the page loads them."""

MAX_ROWS = 200
_MAX_POST_BYTES = 4096
_MEDIA_TYPES = {"mp4": "video/mp4", "flac": "audio/flac"}
_ASSET_TYPES = {
    "svg": "image/svg+xml",
    "js": "text/javascript",
    "css": "text/css",
    "html": "text/html",
}


class Shown:
    """A place and what is known of it while it is shown; what the first page needs is made here.

    Args:
        place: The run or dataset.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.index = ClipIndex(place)
        self.media = ClipMedia(place, self.index)
        folder = place.run or place.dataset
        assert folder is not None
        self.folder: Folder = folder
        self.flags = FlagLog(folder)
        self.token = secrets.token_urlsafe(24)
        self.overview = overview(place, self.index)
        self._judging = threading.Lock()

    @cached_property
    def histograms(self) -> list[dict[str, Any]]:
        """Every measurement, counted."""
        return histograms(self.index, self.place.gates)

    @cached_property
    def _judged(self) -> Any:
        columns = columns_of(self.place, self.place.gates)
        table = self.place.clips(columns)
        for name in self.index.fields:
            if name not in table.column_names:
                table = table.append_column(
                    self.index.table.schema.field(name), self.index.table[name]
                )
        return table

    def what_if(self, sets: list[str], unsets: list[str]) -> dict[str, Any]:
        """Judge all clips with other gates; one at a time."""
        gates = changed_gates(self.place, sets, unsets)
        with self._judging:
            result = compare(self._judged, self.place.rules, gates, num_closest=0)
        return result.to_json()


def make_app(place: Place, names: set[str]) -> Starlette:
    """Make the application.

    Args:
        place: The run or dataset to show.
        names: Names under which it may be asked.

    Returns:
        An ASGI application; `state.shown` holds what it shows.
    """
    routes = [
        Route("/", _page),
        Route("/assets/{name}", _asset),
        Route("/api/overview", _overview),
        Route("/api/histograms", _histograms),
        Route("/api/clips", _clips),
        Route("/api/rows", _rows),
        Route("/api/clips/{clip_id}", _clip),
        Route("/api/clips/{clip_id}/series", _series),
        Route("/api/what-if", _what_if),
        Route("/api/flags", _flag, methods=["POST"]),
        Route("/flags.csv", _flags_csv),
        Route("/thumbnails/{clip_id}.jpg", _thumbnail),
        Route("/media/{clip_id}.{ext:str}", _media, methods=["GET", "HEAD"]),
    ]
    middleware = [Middleware(Guard, names=names)]
    handlers: Any = {ManifestError: _refused}
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)
    app.state.shown = Shown(place)
    return app


def _shown(request: Request) -> Shown:
    shown: Shown = request.app.state.shown
    return shown


def _clip_id(request: Request) -> str:
    clip_id = str(request.path_params["clip_id"])
    if clip_id not in _shown(request).index:
        raise HTTPException(404, "no clip has this id")
    return clip_id


def _refused(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 422)


def _page(request: Request) -> Response:
    return Response(asset("page.html"), media_type="text/html")


def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in (*SCRIPTS, "page.css", "icon.svg"):
        raise HTTPException(404)
    return Response(asset(name), media_type=_ASSET_TYPES[name.rpartition(".")[2]])


def _overview(request: Request) -> Response:
    shown = _shown(request)
    live = {"token": shown.token, "flags": shown.flags.marks, "orders": ORDERS}
    return JSONResponse({**shown.overview, **live})


def _histograms(request: Request) -> Response:
    return JSONResponse(_shown(request).histograms)


def _clips(request: Request) -> Response:
    """Numbers of the clips that a filter picks, as little-endian int32."""
    shown, asked = _shown(request), request.query_params
    try:
        query = Query(
            **{name: asked[name] for name in ("state", "reason", "text", "flag") if name in asked},
            order=asked.get("order", "nearest"),
            field=asked.get("field", ""),
            low=float(asked.get("low", "-inf")),
            high=float(asked.get("high", "inf")),
        )
    except ValueError as error:
        raise HTTPException(400, str(error)) from error
    flagged = [key for key, mark in shown.flags.marks.items() if mark == query.flag]
    rows = shown.index.find(query, flagged)
    return Response(rows.astype("<i4").tobytes(), media_type="application/octet-stream")


def _rows(request: Request) -> Response:
    index = _shown(request).index
    try:
        rows = [int(text) for text in request.query_params.get("at", "").split(",") if text]
    except ValueError as error:
        raise HTTPException(400, str(error)) from error
    if len(rows) > MAX_ROWS or any(not 0 <= row < len(index) for row in rows):
        raise HTTPException(400, f"ask for at most {MAX_ROWS} clips, by their numbers")
    return JSONResponse(index.summaries(rows))


def _clip(request: Request) -> Response:
    return JSONResponse(_shown(request).media.describe(_clip_id(request)))


def _series(request: Request) -> Response:
    return JSONResponse(_shown(request).media.series(_clip_id(request)))


def _what_if(request: Request) -> Response:
    asked = request.query_params
    return JSONResponse(_shown(request).what_if(asked.getlist("set"), asked.getlist("unset")))


async def _flag(request: Request) -> Response:
    shown = _shown(request)
    if not is_token(request.headers.get(TOKEN_HEADER), shown.token):
        raise HTTPException(403, "only the page itself may flag; load it again")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MAX_POST_BYTES:
            raise HTTPException(413)
    try:
        wanted = json.loads(body)
        clip_id, mark = wanted["clip_id"], wanted["mark"]
    except (ValueError, TypeError, KeyError) as error:
        raise HTTPException(400, "send clip_id and mark") from error
    if not isinstance(clip_id, str) or clip_id not in shown.index:
        raise HTTPException(404, "no clip has this id")
    await run_in_threadpool(shown.flags.set, clip_id, mark)
    return JSONResponse({"flags": shown.flags.marks})


def _flags_csv(request: Request) -> Response:
    shown = _shown(request)
    flags = read_flags(shown.folder)
    known = {key: shown.index.clip(key).values for key in flags if key in shown.index}
    headers = {"content-disposition": 'attachment; filename="flags.csv"'}
    return PlainTextResponse(flags_csv(flags, known), headers=headers, media_type="text/csv")


def _thumbnail(request: Request) -> Response:
    picture = _shown(request).media.thumbnail(_clip_id(request))
    headers = {"cache-control": "private, max-age=3600"}
    return Response(picture, media_type="image/jpeg", headers=headers)


def _media(request: Request) -> Response:
    clip_id, ext = _clip_id(request), request.path_params["ext"]
    return ranged_response(request, _body(_shown(request), clip_id, ext))


def _body(shown: Shown, clip_id: str, ext: str) -> RangedBody:
    found = shown.media.member(clip_id, ext) if ext in _MEDIA_TYPES else None
    if found is not None:
        shard, member = found
        entries = shown.place.manifest.shards if shown.place.manifest else ()
        sha256 = next((entry.sha256[:16] for entry in entries if entry.path == shard), "")
        etag = f'"{sha256}-{member.offset}-{member.size}"'
        folder = shown.place.needs_dataset()

        def read(start: int, size: int) -> bytes:
            return read_member(folder, shard, member.offset + start, size)

        return RangedBody(member.size, etag, _MEDIA_TYPES[ext], read)
    if ext != "wav":
        raise HTTPException(404, "the clip has no such media")
    data = shown.media.stored_sound(clip_id)
    return RangedBody(
        len(data),
        f'"{clip_id}-{len(data)}"',
        "audio/wav",
        lambda start, size: data[start : start + size],
    )
