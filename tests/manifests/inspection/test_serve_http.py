import json
import struct
from pathlib import Path

import pytest

from manifests.inspection.flags import read_flags
from manifests.inspection.guard import TOKEN_HEADER, is_known_host
from manifests.inspection.what_if import what_if
from manifests.shards import read_member
from tests.manifests.inspection.serving import (
    HOSTILE_NAMES,
    Served,
    multiply_clips,
    rename_sources,
    serving,
)


@pytest.fixture(scope="module")
def served(demo_run):
    with serving(demo_run) as server:
        yield server


@pytest.fixture
def writable(demo_copy):
    with serving(demo_copy) as server:
        yield server


def clip_of(served: Served, state: str) -> str:
    rows = served.shown.index.table.select(["clip_id", "state"]).to_pylist()
    return next(row["clip_id"] for row in rows if row["state"] == state)


def member_bytes(served: Served, clip_id: str, ext: str) -> bytes:
    found = served.shown.media.member(clip_id, ext)
    assert found is not None
    shard, member = found
    return read_member(served.shown.place.needs_dataset(), shard, member.offset, member.size)


@pytest.mark.parametrize("ext", ["mp4", "flac"])
def test_a_member_is_served_from_its_byte_range_in_the_shard(served, ext):
    clip_id = clip_of(served, "kept")
    data = member_bytes(served, clip_id, ext)
    status, headers, body = served.ask(f"/media/{clip_id}.{ext}")
    assert (status, body) == (200, data)
    assert headers["accept-ranges"] == "bytes"
    assert headers["content-type"] == {"mp4": "video/mp4", "flac": "audio/flac"}[ext]
    status, headers, body = served.ask(f"/media/{clip_id}.{ext}", {"range": "bytes=100-299"})
    assert (status, body) == (206, data[100:300])
    assert headers["content-range"] == f"bytes 100-299/{len(data)}"
    status, headers, body = served.ask(f"/media/{clip_id}.{ext}", {"range": "bytes=-10"})
    assert (status, body) == (206, data[-10:])


def test_a_range_beyond_the_end_is_answered_416(served):
    clip_id = clip_of(served, "kept")
    size = len(member_bytes(served, clip_id, "mp4"))
    status, headers, _ = served.ask(f"/media/{clip_id}.mp4", {"range": f"bytes={size}-"})
    assert status == 416
    assert headers["content-range"] == f"bytes */{size}"


def test_head_says_the_size_and_sends_nothing(served):
    clip_id = clip_of(served, "kept")
    status, headers, body = served.ask(f"/media/{clip_id}.mp4", method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) == len(member_bytes(served, clip_id, "mp4"))


def test_what_a_browser_has_already_is_not_sent_again(served):
    clip_id = clip_of(served, "kept")
    _, headers, data = served.ask(f"/media/{clip_id}.mp4")
    assert served.ask(f"/media/{clip_id}.mp4", {"if-none-match": headers["etag"]})[0] == 304
    part = {"range": "bytes=0-9", "if-range": headers["etag"]}
    assert served.ask(f"/media/{clip_id}.mp4", part)[0] == 206
    stale = {"range": "bytes=0-9", "if-range": '"other"'}
    assert served.ask(f"/media/{clip_id}.mp4", stale)[2] == data


def test_the_sound_of_a_rejected_clip_comes_from_the_ledger(served):
    clip_id = clip_of(served, "rejected")
    assert served.ask(f"/media/{clip_id}.mp4")[0] == 404
    status, headers, body = served.ask(f"/media/{clip_id}.wav")
    assert (status, headers["content-type"]) == (200, "audio/wav")
    rate_hz, num_bytes = struct.unpack("<I", body[24:28])[0], len(body) - 44
    duration_s = served.shown.index.clip(clip_id).values["duration_s"]
    assert num_bytes / 2 / rate_hz == pytest.approx(duration_s, abs=1 / rate_hz)


@pytest.mark.parametrize("state", ["kept", "rejected"])
def test_every_clip_has_a_picture_series_and_measurements(served, state):
    clip_id = clip_of(served, state)
    assert served.ask(f"/thumbnails/{clip_id}.jpg")[2][:2] == b"\xff\xd8"
    series = json.loads(served.ask(f"/api/clips/{clip_id}/series")[2])
    assert len(series["peaks"]) > 100
    assert len(series["mouth_opening"]) == len(series["times_s"]) == len(series["boxes"]) > 50
    assert len(series["sync"]["scores"]) == len(series["sync"]["offsets_ms"]) > 10
    about = json.loads(served.ask(f"/api/clips/{clip_id}")[2])
    names = {item["name"] for item in about["measurements"]}
    assert {"sync.offset_ms", "faces.height_px"} <= names
    assert bool(about["verdict"]["failed_gates"]) == (state == "rejected")


@pytest.mark.parametrize(
    "path",
    [
        "/media/..%2f..%2frun.json",
        "/media/../run.json",
        "/media/%2e%2e/run.json.mp4",
        "/media/run.json",
        "/thumbnails/../../run.json.jpg",
        "/api/clips/..%2F..%2Frun.json",
        "/assets/..%2fserve.py",
        "/assets/../serve.py",
        "/assets/page.html",
        "/run.json",
        "/clips.parquet",
        "//etc/passwd",
        "/media/00000000000000000000.mp4",
    ],
)
def test_nothing_but_known_ids_and_assets_is_served(served, path):
    assert served.ask(path)[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_foreign_host_name_is_refused(served, host):
    """A page under a name that was turned to 127.0.0.1 reads nothing."""
    status, _, body = served.ask("/api/overview", {"host": host})
    assert status in (400, 421)
    assert b"recipe" not in body


def test_local_names_and_bare_addresses_are_known():
    known = {"localhost", "box"}
    for header in ("localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "10.0.0.7", "box:1"):
        assert is_known_host(header, known), header
    for header in ("", "localhost.evil", "evil:80", "127.0.0.1.nip.io", "box.evil:1", "[evil]:1"):
        assert not is_known_host(header, known), header


def test_every_answer_forbids_foreign_scripts_and_framing(served):
    for path in ("/", "/assets/app.js", "/api/overview", "/nothing"):
        _, headers, _ = served.ask(path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_the_page_holds_no_inline_script_and_asks_only_for_its_assets(served):
    import re

    html = served.ask("/")[2].decode()
    found = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert len(found) > 5
    for address in found:
        assert address.startswith("assets/")
        assert served.ask(f"/{address}")[0] == 200
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)


def test_assets_never_write_markup():
    folder = Path(__file__).parents[3] / "manifests" / "inspection" / "assets"
    scripts = sorted(folder.glob("*.js"))
    assert len(scripts) > 5
    for path in scripts:
        text = path.read_text()
        for forbidden in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ):
            assert forbidden not in text, path.name


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/", "/api/flags", "/api/overview", "/flags.csv"])
def test_other_methods_are_refused(served, method, path):
    assert served.ask(path, method=method)[0] == 405


def test_what_if_is_that_of_the_command(served):
    answer = json.loads(served.ask("/api/what-if?set=sync.min_confidence%3D0.999999")[2])
    expected = what_if(served.shown.place, ["sync.min_confidence=0.999999"], num_closest=0)
    assert answer == json.loads(json.dumps(expected.to_json()))
    assert answer["num_lost"] > 0
    looser = json.loads(served.ask("/api/what-if?unset=faces.max_num_others")[2])
    assert looser["num_kept"] == what_if(served.shown.place, [], ["faces.max_num_others"]).num_kept


def test_a_limit_on_a_measurement_without_a_gate_can_be_tried(served):
    sets = ["speech.min_peak_dbfs=0"]
    answer = json.loads(served.ask(f"/api/what-if?set={sets[0]}")[2])
    assert answer["num_kept"] == what_if(served.shown.place, sets).num_kept == 0


def test_a_wrong_limit_is_told_with_the_nearest_name(served):
    status, _, body = served.ask("/api/what-if?set=sync.min_confidance%3D0.5")
    assert status == 422
    assert "sync.min_confidence" in json.loads(body)["error"]


def test_rows_come_in_bounded_pages(served):
    num = len(served.shown.index)
    rows = json.loads(served.ask("/api/rows?at=1,0")[2])
    ids = served.shown.index.table["clip_id"].to_pylist()
    assert [row["clip_id"] for row in rows] == [ids[1], ids[0]]
    for at in (str(num), "-1", "x", ",".join(["0"] * 201)):
        assert served.ask(f"/api/rows?at={at}")[0] == 400


def test_the_order_of_clips_comes_as_numbers(demo_copy):
    multiply_clips(demo_copy, 300)
    with serving(demo_copy) as served:
        body = served.ask("/api/clips?order=longest")[2]
    rows = struct.unpack(f"<{len(body) // 4}i", body)
    assert sorted(rows) == list(range(len(served.shown.index)))
    seconds = served.shown.index.numbers("duration_s")[list(rows)]
    assert (seconds[:-1] >= seconds[1:]).all()


def test_a_flag_is_kept_beside_the_run_and_exported(writable, demo_copy):
    clip_id = clip_of(writable, "kept")
    token = json.loads(writable.ask("/api/overview")[2])["token"]
    body = json.dumps({"clip_id": clip_id, "mark": "bad"}).encode()
    status, _, answer = writable.ask("/api/flags", {TOKEN_HEADER: token}, "POST", body)
    assert (status, json.loads(answer)) == (200, {"flags": {clip_id: "bad"}})
    assert read_flags(writable.shown.folder)[clip_id].mark == "bad"
    assert (demo_copy / "flags").is_dir()
    assert f"\n{clip_id},bad," in writable.ask("/flags.csv")[2].decode()
    with serving(demo_copy) as again:
        assert json.loads(again.ask("/api/overview")[2])["flags"] == {clip_id: "bad"}


@pytest.mark.parametrize("headers", [{}, {TOKEN_HEADER: "guessed"}, {TOKEN_HEADER: "\xff"}])
def test_a_flag_without_the_pages_token_is_refused(writable, demo_copy, headers):
    body = json.dumps({"clip_id": clip_of(writable, "kept"), "mark": "bad"}).encode()
    assert writable.ask("/api/flags", headers, "POST", body)[0] == 403
    assert not (demo_copy / "flags").exists()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"clip_id": "x"}', 400),
        (b'{"clip_id": "x", "mark": "good"}', 404),
        (b'{"clip_id": ["x"], "mark": "good"}', 404),
        (b'{"clip_id": "../x", "mark": "good"}', 404),
        (b" " * 10000, 413),
    ],
)
def test_a_malformed_flag_writes_nothing(writable, demo_copy, body, status):
    headers = {TOKEN_HEADER: writable.shown.token}
    assert writable.ask("/api/flags", headers, "POST", body)[0] == status
    assert not (demo_copy / "flags").exists()


def test_another_mark_is_refused(writable, demo_copy):
    clip_id = clip_of(writable, "kept")
    body = json.dumps({"clip_id": clip_id, "mark": "great"}).encode()
    assert writable.ask("/api/flags", {TOKEN_HEADER: writable.shown.token}, "POST", body)[0] == 422
    assert not (demo_copy / "flags").exists()


def test_hostile_names_travel_as_json_text(demo_copy):
    chosen = rename_sources(demo_copy)
    with serving(demo_copy) as served:
        num = len(served.shown.index)
        at = ",".join(str(number) for number in range(num))
        _, headers, body = served.ask(f"/api/rows?at={at}")
        assert headers["content-type"] == "application/json"
        names = {row["uri"].removeprefix("/nowhere/") for row in json.loads(body)}
        assert names <= set(chosen.values())
        assert len(names & set(HOSTILE_NAMES)) > 1
        # The picture of a clip whose source is gone is drawn from its landmarks.
        assert served.ask(f"/thumbnails/{clip_of(served, 'rejected')}.jpg")[2][:2] == b"\xff\xd8"


def test_a_dataset_without_its_run_is_served(demo_run):
    with serving(demo_run / "dataset") as served:
        assert json.loads(served.ask("/api/overview")[2])["is_run"] is False
        clip_id = clip_of(served, "kept")
        assert served.ask(f"/media/{clip_id}.mp4", {"range": "bytes=0-9"})[0] == 206
        assert served.ask(f"/api/clips/{clip_id}/series")[0] == 200
