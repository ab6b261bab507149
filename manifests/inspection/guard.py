"""Who may ask the page's server, and what a browser may do with its answers.

A server on this machine is reached by every page that a browser has open. A page under a foreign
name whose address was turned to 127.0.0.1 (DNS rebinding) is told by the `Host` header; writing
takes a token that only the page itself can read.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_HEADER = "x-talkreel-token"

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """Refuses requests under a foreign name, and gives every answer its headers.

    Args:
        app: The application behind it.
        names: Names under which the server may be asked, besides bare addresses: no address can
            be turned to another by a name server.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self._names = {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        if not is_known_host(Headers(scope=scope).get("host", ""), self._names):
            refusal = PlainTextResponse("this server is not known under that name\n", 421)
            await refusal(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def known_names(host: str) -> set[str]:
    """Names under which a server that listens on `host` is asked."""
    names = {"localhost", host.lower()}
    return names if is_loopback(host) else names | {socket.gethostname().lower(), socket.getfqdn()}


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_known_host(header: str, names: Collection[str]) -> bool:
    """Judge a `Host` header.

    Args:
        header: Its value, with or without a port.
        names: Known names, in lower case.

    Returns:
        True for a bare address and for a known name.
    """
    name = header.rpartition(":")[0] if header.rpartition(":")[2].isdigit() else header
    bare = name.removeprefix("[").removesuffix("]").lower()
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return bare in names
    return True


def is_token(given: str | None, token: str) -> bool:
    """Compare tokens in constant time."""
    return given is not None and secrets.compare_digest(given.encode(), token.encode())
