"""Weights come whole from a real HTTP server, or not at all, and say what to do then."""

from __future__ import annotations

import hashlib
import http.server
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stages.errors import StageError
from stages.weights import REGISTRY, WeightFile, Weights, find_weights, from_hub
from stages.weights_cache import cache_dir, digests, folder_of, state_of, verify
from stages.weights_fetch import fetch

CONTENT = np.random.default_rng(7).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT at every path; a test says how badly.

    Attributes:
        knows_ranges: it answers 206 to a Range.
        has_files: it has what it is asked for.
        cut_after: connections end after this many bytes each; None for never.
        may_answer: unset, requests are noted and wait.
        requests_seen: (method, path, Range header) of every request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.knows_ranges = True
        self.has_files = True
        self.cut_after: int | None = None
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.requests_seen: list[tuple[str, str, str | None]] = []
        self.address = f"http://127.0.0.1:{self.server_port}"

    @property
    def ranges_seen(self) -> list[str | None]:
        return [wanted for method, _, wanted in self.requests_seen if method == "GET"]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        content, wanted = self.server.content, self.headers.get("Range")
        self.server.requests_seen.append((self.command, self.path, wanted))
        self.server.may_answer.wait()
        if not self.server.has_files:
            self.send_error(404)
            return
        first = 0
        if wanted and self.server.knows_ranges:
            first = int(wanted.removeprefix("bytes=").split("-")[0])
            if first >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - first))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if with_body:
            body = content[first:]
            self.wfile.write(body[: self.server.cut_after])
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def entry(server: Server, sha256: str | None = SHA256, **more: object) -> Weights:
    file = WeightFile("net.pth", f"{server.address}/net.pth", sha256, **more)  # type: ignore[arg-type]
    return Weights("tiny", "v1", "none", "tests", (file,))


def test_a_file_comes_whole_and_is_not_fetched_twice(server: Server, tmp_path: Path) -> None:
    weights = entry(server, num_bytes=len(CONTENT))
    assert state_of(weights, tmp_path) == "absent"
    (path,) = fetch(weights, tmp_path)
    assert path.read_bytes() == CONTENT
    assert path.parent == tmp_path / "weights" / "tiny" / "v1"
    assert state_of(weights, tmp_path) == "present"
    assert verify(weights, tmp_path) == []
    fetch(weights, tmp_path)
    assert server.ranges_seen == [None]
    assert not list(path.parent.glob("*.part"))


def test_a_connection_that_breaks_is_taken_up_where_it_stopped(
    server: Server, tmp_path: Path
) -> None:
    server.cut_after = 150_000
    (path,) = fetch(entry(server), tmp_path)
    assert path.read_bytes() == CONTENT
    first, *later = server.ranges_seen
    starts = [int(str(wanted).removeprefix("bytes=").removesuffix("-")) for wanted in later]
    assert first is None
    assert starts == sorted(set(starts))
    assert starts[0] > 150_000 - (1 << 16)


def test_a_later_call_goes_on_with_what_an_earlier_one_left(server: Server, tmp_path: Path) -> None:
    weights = entry(server)
    folder = folder_of(weights, tmp_path)
    folder.mkdir(parents=True)
    (folder / "net.pth.part").write_bytes(CONTENT[:1000])
    assert state_of(weights, tmp_path) == "partial"
    assert fetch(weights, tmp_path)[0].read_bytes() == CONTENT
    assert server.ranges_seen == ["bytes=1000-"]


def test_a_server_that_gives_nothing_more_is_not_asked_for_ever(
    server: Server, tmp_path: Path
) -> None:
    server.cut_after = 0
    with pytest.raises(StageError, match="cannot be fetched"):
        fetch(entry(server), tmp_path)
    assert server.ranges_seen == [None]


def test_a_server_without_ranges_gives_the_whole_file_anew(server: Server, tmp_path: Path) -> None:
    server.knows_ranges = False
    weights = entry(server)
    folder = folder_of(weights, tmp_path)
    folder.mkdir(parents=True)
    (folder / "net.pth.part").write_bytes(b"x" * 1000)
    assert fetch(weights, tmp_path)[0].read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    weights = entry(server)
    folder = folder_of(weights, tmp_path)
    folder.mkdir(parents=True)
    (folder / "net.pth.part").write_bytes(CONTENT + b"more")
    assert fetch(weights, tmp_path)[0].read_bytes() == CONTENT
    assert server.ranges_seen == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_file_with_another_digest_is_refused_and_removed(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    weights = entry(server)
    with pytest.raises(StageError, match=SHA256):
        fetch(weights, tmp_path)
    assert state_of(weights, tmp_path) == "absent"
    server.content = CONTENT
    assert fetch(weights, tmp_path)[0].read_bytes() == CONTENT


def test_a_file_of_another_size_is_refused_where_only_the_size_is_known(
    server: Server, tmp_path: Path
) -> None:
    with pytest.raises(StageError, match="300000 bytes, the registry says 299999"):
        fetch(entry(server, sha256=None, num_bytes=len(CONTENT) - 1), tmp_path)


def test_without_a_network_the_message_says_what_to_put_where(tmp_path: Path) -> None:
    with Server() as closed:
        weights = entry(closed, num_bytes=len(CONTENT))
    with pytest.raises(StageError) as refused:
        fetch(weights, tmp_path)
    message = str(refused.value)
    folder = folder_of(weights, tmp_path)
    for told in ("net.pth", weights.files[0].url, str(folder), SHA256, "300000 bytes"):
        assert told in message
    (folder / "net.pth").write_bytes(CONTENT)
    assert fetch(weights, tmp_path) == (folder / "net.pth",)
    (folder / "net.pth").write_bytes(b"another")
    with pytest.raises(StageError, match="cannot be fetched"):
        fetch(weights, tmp_path)


def test_a_flipped_byte_is_found_and_mended(server: Server, tmp_path: Path) -> None:
    weights = entry(server)
    (path,) = fetch(weights, tmp_path)
    stat = path.stat()
    path.write_bytes(CONTENT[:5] + bytes([CONTENT[5] ^ 1]) + CONTENT[6:])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (fault,) = verify(weights, tmp_path)
    assert SHA256 in fault
    path.touch()
    assert fetch(weights, tmp_path)[0].read_bytes() == CONTENT
    assert verify(weights, tmp_path) == []


def test_an_unknown_digest_is_trusted_once_and_held_to(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = entry(server, sha256=None)
    with pytest.raises(StageError, match="after its first fetch"):
        digests(weights, tmp_path)
    with caplog.at_level(logging.WARNING):
        (path,) = fetch(weights, tmp_path)
    assert f"trusted from now on: sha256 {SHA256}" in caplog.text
    assert digests(weights, tmp_path) == (SHA256,)
    path.write_bytes(b"another file")
    (fault,) = verify(weights, tmp_path)
    assert "record of the first fetch" in fault
    path.unlink()
    server.content = b"replaced at its origin"
    with pytest.raises(StageError, match=SHA256):
        fetch(weights, tmp_path)


def test_processes_that_ask_at_once_fetch_a_file_once(server: Server, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from stages.weights import WeightFile, Weights\n"
        "from stages.weights_fetch import fetch\n"
        "url, sha256, cache = sys.argv[1:]\n"
        "file = WeightFile('net.pth', url, sha256)\n"
        "print('ready', flush=True)\n"
        "fetch(Weights('tiny', 'v1', 'none', 'tests', (file,)), Path(cache))\n"
    )
    arguments = [f"{server.address}/net.pth", SHA256, str(tmp_path)]
    server.may_answer.clear()
    workers = [
        subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    for worker in workers:
        assert worker.stdout and worker.stdout.readline() == b"ready\n"
    # Whoever asks beside the first is noted until then; nobody does, if they wait for it.
    workers_done = [threading.Thread(target=worker.communicate) for worker in workers]
    for waiting in workers_done:
        waiting.start()
    workers_done[0].join(timeout=1.0)
    server.may_answer.set()
    for waiting in workers_done:
        waiting.join()
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert server.ranges_seen == [None]
    assert verify(entry(server), tmp_path) == []


def test_the_hub_is_asked_for_the_pinned_commit(server: Server, tmp_path: Path) -> None:
    revision = "0" * 40
    weights = from_hub(
        "tiny",
        "owner/tiny",
        revision,
        {"model.bin": (len(CONTENT), SHA256)},
        licence="none",
        used_by="tests",
    )
    (path,) = fetch(weights, tmp_path, hub=server.address)
    assert path.read_bytes() == CONTENT
    assert ("GET", f"/owner/tiny/resolve/{revision}/model.bin", None) in server.requests_seen
    assert sorted(item.name for item in path.parent.iterdir()) == [
        ".lock",
        "model.bin",
        "model.bin.sha256.json",
    ]
    server.content = b"other"
    path.unlink()
    with pytest.raises(StageError, match=SHA256):
        fetch(weights, tmp_path, hub=server.address)
    assert state_of(weights, tmp_path) == "absent"


def test_a_hub_that_has_not_the_file_gives_the_same_message(server: Server, tmp_path: Path) -> None:
    server.has_files = False
    weights = from_hub(
        "tiny", "owner/tiny", "0" * 40, {"model.bin": (5, SHA256)}, licence="", used_by=""
    )
    with pytest.raises(StageError, match=f"put into .*model.bin .sha256 {SHA256}"):
        fetch(weights, tmp_path, hub=server.address)


def test_the_cache_is_where_the_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALKREEL_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("TALKREEL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if sys.platform == "linux":
        assert cache_dir() == tmp_path / "xdg" / "talkreel"


def test_every_entry_is_pinned_and_has_a_name_of_its_own() -> None:
    assert len({weights.name for weights in REGISTRY}) == len(REGISTRY)
    for weights in REGISTRY:
        assert weights.licence and weights.used_by
        for file in weights.files:
            assert file.url.startswith("https://")
            assert Path(file.name).name == file.name
            if file.sha256 is not None:
                assert len(bytes.fromhex(file.sha256)) == 32
            if weights.hub_repo:
                assert len(bytes.fromhex(weights.revision)) == 20
                assert weights.revision in file.url


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(StageError, match="did you mean 'syncnet'"):
        find_weights("sync-net")


class Command:
    """What a pickle may hold: loading it runs a command."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.sign),)


@pytest.mark.parametrize("is_new_format", [True, False])
def test_a_state_dict_loads_and_a_pickle_is_refused(tmp_path: Path, is_new_format: bool) -> None:
    torch = pytest.importorskip("torch")
    from stages.weights_load import load_state_dict

    state = {"layer.weight": torch.arange(6.0).reshape(2, 3)}
    path = tmp_path / "net.model"
    torch.save(state, path, _use_new_zipfile_serialization=is_new_format)
    assert torch.equal(load_state_dict(path)["layer.weight"], state["layer.weight"])
    sign = tmp_path / "executed"
    torch.save({"layer": Command(sign)}, path, _use_new_zipfile_serialization=is_new_format)
    with pytest.raises(StageError, match=r"net\.model: refused"):
        load_state_dict(path)
    assert not sign.exists()
    torch.save([1, 2], path, _use_new_zipfile_serialization=is_new_format)
    with pytest.raises(StageError, match="not a state dict"):
        load_state_dict(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(StageError, match="refused"):
        load_state_dict(path)


def test_safetensors_load(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    from stages.weights_load import load_state_dict

    path = tmp_path / "net.safetensors"
    safetensors.save_file({"w": torch.ones(3)}, path)
    assert torch.equal(load_state_dict(path)["w"], torch.ones(3))
    path.write_bytes(json.dumps({"w": 1}).encode())
    with pytest.raises(StageError, match="safetensors"):
        load_state_dict(path)
