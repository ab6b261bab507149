"""A served run for tests: the server in a thread, and runs with names that mean harm."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import uvicorn
from starlette.applications import Starlette

from manifests.inspection.guard import known_names
from manifests.inspection.place import find_place
from manifests.inspection.serve import Shown, make_app

HOSTILE_NAMES = (
    "<script>window.pwned=1</script>.mp4",
    "\"'><img src=x onerror=window.pwned=1>.mp4",
    "</script><script>window.pwned=1</script>.mp4",
    "\u202egpj.4pm \u05e9\u05dc\u05d5\u05dd \U0001f3ac {{7*7}} ${7*7}.mp4",
    "../../../../etc/passwd%00&amp;\\u003c.mp4",
)


@dataclass(frozen=True)
class Served:
    """A running server."""

    app: Starlette
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def shown(self) -> Shown:
        shown: Shown = self.app.state.shown
        return shown

    def ask(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        body: bytes | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request as it is written; return status, headers in lower case, and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read()
        finally:
            connection.close()


@contextmanager
def serving(run: Path) -> Iterator[Served]:
    """Serve a run; requests that come before the server is ready wait in the listener's queue."""
    app = make_app(find_place(str(run)), known_names("127.0.0.1"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Served(app, listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()


def rename_sources(run: Path, names: tuple[str, ...] = HOSTILE_NAMES) -> dict[str, str]:
    """Give the sources of a run other names in all its tables; return the name of each source."""
    folder = "/nowhere/"
    ids = sorted(set(pq.read_table(run / "sources.parquet")["source_id"].to_pylist()))
    chosen = {source: names[number % len(names)] for number, source in enumerate(ids)}
    for name in ("sources.parquet", "clips.parquet", "dataset/clips.parquet"):
        table = pq.read_table(run / name)
        uris = [folder + chosen[source] for source in table["source_id"].to_pylist()]
        index = table.schema.get_field_index("uri")
        table = table.set_column(index, table.schema.field("uri"), pa.array(uris, pa.string()))
        pq.write_table(table, run / name)
    return chosen


def give_words(run: Path, words: list[tuple[str, float, float]]) -> None:
    """Write the same words with their times into every packed sample's row."""
    path = run / "dataset" / "clips.parquet"
    table = pq.read_table(path)
    keys = ("word", "start_s", "end_s")
    record = {"text": "", "words": [dict(zip(keys, word, strict=True)) for word in words]}
    column = pa.array([json.dumps(record)] * len(table))
    index = table.schema.get_field_index("transcript")
    pq.write_table(table.set_column(index, table.schema.field("transcript"), column), path)


def multiply_clips(run: Path, factor: int) -> None:
    """Repeat the rows of a run's table of clips under new ids."""
    table = pq.read_table(run / "clips.parquet")
    index = table.schema.get_field_index("clip_id")
    ids = table["clip_id"].to_pylist()
    parts = [table]
    for copy in range(1, factor):
        column = pa.array([f"{copy:06d}{key}"[:20] for key in ids])
        parts.append(table.set_column(index, table.schema.field("clip_id"), column))
    pq.write_table(pa.concat_tables(parts), run / "clips.parquet")
