"""Byte ranges of HTTP (RFC 9110, section 14): one range a request, as media players ask."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

_PIECE_BYTES = 1 << 20
_ONE_RANGE = re.compile(r"bytes\s*=\s*(\d*)\s*-\s*(\d*)", re.ASCII | re.IGNORECASE)


class UnsatisfiableError(Exception):
    """The range lies beyond the end: answer 416."""


def parse_range(header: str | None, num_bytes: int) -> tuple[int, int] | None:
    """Read a `Range` header.

    Args:
        header: Its value; `None` if the request has none.
        num_bytes: Size of what is served.

    Returns:
        First byte and the one after the last; `None` where the whole is to be sent: no header,
        another unit, several ranges, or no valid one (RFC 9110 lets a server ignore those).

    Raises:
        UnsatisfiableError: If no byte of it exists.
    """
    match = _ONE_RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if first == "":
        start, end = max(0, num_bytes - int(last)), num_bytes
    else:
        start, end = int(first), min(int(last) + 1 if last else num_bytes, num_bytes)
        if last and int(last) < int(first):
            return None
    if start >= num_bytes or start >= end:
        raise UnsatisfiableError
    return start, end


@dataclass(frozen=True)
class RangedBody:
    """Bytes that are served whole or in part.

    Attributes:
        num_bytes: how many there are.
        etag: tag that changes whenever they do, in quotes.
        media_type: what they are.
        read: returns `size` bytes from `start`, for `(start, size)` within them.
    """

    num_bytes: int
    etag: str
    media_type: str
    read: Callable[[int, int], bytes]

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """Read a stretch piece by piece, so that no clip is held in memory."""
        for begin in range(start, end, _PIECE_BYTES):
            yield self.read(begin, min(_PIECE_BYTES, end - begin))


def ranged_response(request: Request, body: RangedBody) -> Response:
    """Answer a GET or HEAD for some bytes.

    Args:
        request: The request; its `Range`, `If-Range` and `If-None-Match` are heeded.
        body: The bytes.

    Returns:
        200, 206, 304 or 416.
    """
    headers = {"accept-ranges": "bytes", "etag": body.etag, "cache-control": "private, no-cache"}
    if request.headers.get("if-none-match") == body.etag:
        return Response(status_code=304, headers=headers)
    asked = request.headers.get("range")
    if request.headers.get("if-range", body.etag) != body.etag:
        asked = None
    try:
        wanted = parse_range(asked, body.num_bytes)
    except UnsatisfiableError:
        return Response(status_code=416, headers={"content-range": f"bytes */{body.num_bytes}"})
    start, end = wanted or (0, body.num_bytes)
    headers["content-length"] = str(end - start)
    if wanted:
        headers["content-range"] = f"bytes {start}-{end - 1}/{body.num_bytes}"
    status = 206 if wanted else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=body.media_type)
    pieces = body.pieces(start, end)
    return StreamingResponse(pieces, status, headers=headers, media_type=body.media_type)
