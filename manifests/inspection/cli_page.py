"""`shards report` and `shards serve`."""

from __future__ import annotations

import json
import socket
import threading
import webbrowser
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from manifests.errors import ManifestError
from manifests.inspection.options import AsJson, PlaceName, refuse
from manifests.inspection.place import find_place

REPORT_EXAMPLE = "Example: shards report runs/first --out first.html"
SERVE_EXAMPLE = "Example: shards serve runs/first --port 8000"


def report(
    place_name: PlaceName,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; report/index.html in the run by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one self-contained page: funnel, limits, thumbnails, refused clips, lineage."""
    try:
        from manifests.inspection.report import write_report
    except ImportError as error:
        _refuse_without(error)
    try:
        address = write_report(find_place(place_name), out)
    except ManifestError as error:
        refuse(error)
    typer.echo(json.dumps({"report": address}) if as_json else address)


def serve(
    place_name: PlaceName,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 0,
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond this machine only if you say so.")
    ] = "127.0.0.1",
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a run in the browser: play clips, move limits, flag clips."""
    try:
        import uvicorn

        from manifests.inspection.guard import is_loopback, known_names
        from manifests.inspection.serve import make_app
    except ImportError as error:
        _refuse_without(error)
    try:
        app = make_app(find_place(place_name), known_names(host))
    except ManifestError as error:
        refuse(error)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        typer.echo(f"shards: {host}:{port} cannot be listened on: {error}", err=True)
        raise typer.Exit(2) from error
    if not is_loopback(host):
        typer.echo(f"shards: whoever reaches {host} can see this run and flag its clips", err=True)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listener.getsockname()[1]}/"
    typer.echo(json.dumps({"url": url}) if as_json else f"{url}  (stop with Ctrl-C)")
    if not no_open:
        threading.Timer(0.5, webbrowser.open, [url]).start()
    config = uvicorn.Config(app, log_level="warning", server_header=False)
    uvicorn.Server(config).run(sockets=[listener])


def _refuse_without(error: ImportError) -> NoReturn:
    typer.echo(
        f"shards: this needs {error.name}: install it with pip install 'talkreel[look]'", err=True
    )
    raise typer.Exit(2) from error
