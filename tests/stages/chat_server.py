"""A server in a thread that speaks the chat-completions protocol and answers as a test says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD = {
    "subject": "a person in a grey coat",
    "appearance": "short hair, grey coat",
    "expression": "calm",
    "motion": "",
    "camera": "a still close-up",
    "setting": "a café at dusk, 東京 outside",
    "speech_manner": "slow, with pauses",
    "caption": "A person in a grey coat talks slowly in a café at dusk.",
}


@dataclass(frozen=True)
class Reply:
    """One HTTP answer; ``status`` 0 is silence until the client has gone."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


def said(content: str | None, *, finish: str = "stop", tokens: int = 7, **message: Any) -> Reply:
    """An answer of the model."""
    text = {"role": "assistant", "content": content, **message}
    return Reply(
        body={
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": "m",
            "choices": [{"index": 0, "finish_reason": finish, "message": text}],
            "usage": {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens},
        }
    )


def good(**change: str) -> Reply:
    """A good description."""
    return said(json.dumps({**GOOD, **change}, ensure_ascii=False))


def fault(status: int, code: str | None = None, **headers: str) -> Reply:
    """An error as servers word it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": {"message": f"fault {status}", "code": code}}, named)


@dataclass
class ChatServer:
    """What the server was asked, and what it answers."""

    answer: Callable[[dict[str, Any]], Reply]
    models: Reply
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    num_model_lists: int = 0
    most_at_once: int = 0
    at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def counted(self, body: dict[str, Any]) -> Iterator[None]:
        with self.lock:
            self.asked.append(body)
            self.times_s.append(time.monotonic())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            yield
        finally:
            with self.lock:
                self.at_once -= 1


def in_turn(*replies: Reply) -> Callable[[dict[str, Any]], Reply]:
    """Answers one after the other; the last one for all that follow."""
    left = list(replies)
    lock = threading.Lock()

    def answer(body: dict[str, Any]) -> Reply:
        with lock:
            return left.pop(0) if len(left) > 1 else left[0]

    return answer


NO_LIST = Reply(404, {"error": {"message": "no such page"}})


@contextmanager
def serving(
    answer: Callable[[dict[str, Any]], Reply], models: Reply = NO_LIST
) -> Iterator[ChatServer]:
    """Run a server for the length of a block."""
    chat = ChatServer(answer, models)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            chat.num_model_lists += 1
            self._send(chat.models)

        def do_POST(self) -> None:
            assert self.path == "/v1/chat/completions"
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            chat.keys.append(self.headers["Authorization"])
            with chat.counted(body):
                reply = chat.answer(body)
                if reply.status == 0:
                    chat.over.wait()
                    self.close_connection = True
                    return
            self._send(reply)

        def _send(self, reply: Reply) -> None:
            is_text = isinstance(reply.body, str)
            data = reply.body.encode() if is_text else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            kind = "text/html" if is_text else "application/json"
            headers = {"Content-Type": kind, "Content-Length": str(len(data)), **reply.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    chat.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield chat
    finally:
        chat.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
