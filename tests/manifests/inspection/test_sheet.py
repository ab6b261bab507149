"""Contact sheets: the right frames, the face where the track says, and text that fits."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from PIL import Image
from typer.testing import CliRunner

from manifests.inspection.clip_frames import ShownFace, ShownFrame, _upright, clip_frames, face_at
from manifests.inspection.clip_rows import filter_clips
from manifests.inspection.face_series import FaceSeries
from manifests.inspection.place import find_place
from manifests.inspection.sheet import (
    FACE_FILLED_IN,
    FACE_FOUND,
    Fonts,
    _wrap,
    draw_page,
    frame_cell,
    sheet_entry,
)
from manifests.ledger import Ledger
from stages.face_track import unpack_track
from tests.manifests.inspection.media import app, clip_of

K = 3


def packed_member(run, clip, ext: str) -> bytes:
    with tarfile.open(run / "dataset" / clip.sample["shard"]) as tar:
        return tar.extractfile(f"{clip.clip_id}.{ext}").read()


def all_frames(file) -> list[VideoFrame]:
    with av.open(file) as container:
        return list(container.decode(video=0))


def test_frames_of_a_packed_clip_are_those_of_its_video(real_run) -> None:
    place, clip = clip_of(real_run, "kept")
    frames = all_frames(io.BytesIO(packed_member(real_run, clip, "mp4")))
    with np.load(io.BytesIO(packed_member(real_run, clip, "face.npz"))) as arrays:
        boxes = arrays["box"]
    shown = clip_frames(place, clip, K)
    assert len(shown) == K
    for number, frame in enumerate(shown):
        middle_s = clip.values["duration_s"] * (2 * number + 1) / (2 * K)
        index = int(middle_s * 25)  # the frame that shows at that time
        assert frame.time_s == pytest.approx(index / 25)
        assert (np.array(frame.picture) == frames[index].to_ndarray(format="rgb24")).all()
        assert frame.face.box == pytest.approx(boxes[index].tolist())


def test_frames_of_a_refused_clip_come_from_its_source(real_run) -> None:
    place, clip = clip_of(real_run, "rejected")
    row = Ledger(place.run).evidence(clip.values["source_id"], clip.clip_id)
    track = unpack_track(row["face_track_npz"])
    frames = {frame.pts: frame for frame in all_frames(clip.values["uri"])}
    for number, shown in enumerate(clip_frames(place, clip, K)):
        middle = clip.span.start_time + clip.span.duration * (2 * number + 1) / (2 * K)
        pts = max(pts for pts in frames if pts * clip.span.time_base <= middle)
        assert (np.array(shown.picture) == frames[pts].to_ndarray(format="rgb24")).all()
        box = track.boxes[track.pts.tolist().index(pts)]
        assert shown.face.box == pytest.approx(box.tolist(), abs=0.002)


def test_the_box_is_drawn_where_the_track_says(real_run) -> None:
    place, clip = clip_of(real_run, "kept")
    frame = clip_frames(place, clip, 1)[0]
    cell = np.array(frame_cell(frame, Fonts.load())).astype(int)
    scale = max(cell.shape[:2]) / max(frame.picture.size)
    left, top, right, bottom = (round(value * scale) for value in frame.face.box)
    drawn = (cell == FACE_FOUND).all(axis=2)
    rows, columns = np.nonzero(drawn)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (left, top, right, bottom)
    assert drawn[top, left : right + 1].all()
    assert drawn[bottom, left : right + 1].all()
    assert drawn[top : bottom + 1, left].all()
    assert drawn[top : bottom + 1, right].all()
    assert not drawn[top + 3 : bottom - 2, left + 3 : right - 2].any()


def test_a_face_that_was_filled_in_is_grey() -> None:
    black = Image.new("RGB", (400, 200))
    cell = np.array(
        frame_cell(ShownFrame(0.0, black, ShownFace((100, 50, 200, 150), False)), Fonts.load())
    )
    assert (cell == FACE_FILLED_IN).all(axis=2).any()
    assert not (cell == FACE_FOUND).all(axis=2).any()


def test_a_time_without_a_face_has_no_box() -> None:
    times = np.array([0.0, 0.04, 0.08, 1.0, 1.04])
    faces = FaceSeries(times, np.arange(20.0).reshape(5, 4), times < 1, times, times)
    assert face_at(faces, 0.04).box == (4, 5, 6, 7)
    assert face_at(faces, 0.05).is_found
    assert not face_at(faces, 1.0).is_found
    assert face_at(faces, 0.5) is None


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_turned_source_is_shown_upright(turn) -> None:
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:20, :30] = 255  # white is up and to the left
    coded = np.rot90(upright, turn // 90)  # a player turns it back, clockwise
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(coded), format="rgb24")
    assert (np.array(_upright(frame, turn, (60, 40))) == upright).all()


def test_a_source_that_is_gone_or_changed_is_said_on_the_sheet(real_run, tmp_path) -> None:
    place, clip = clip_of(real_run, "rejected")
    other = tmp_path / "other.mp4"
    other.write_bytes(b"not what was measured")
    for uri, told in (
        (str(tmp_path / "gone.mp4"), "the source cannot be read any more"),
        (str(other), "the source has changed since it was measured"),
    ):
        moved = dataclasses.replace(clip, values={**clip.values, "uri": uri})
        entry = sheet_entry(place, moved, K)
        assert entry.frames == ()
        assert told in entry.trouble
        page = draw_page([sheet_entry(place, clip, K), entry], K, Fonts.load())
        assert page.width == draw_page([sheet_entry(place, clip, K)], K, Fonts.load()).width


def test_a_damaged_shard_is_said_on_the_sheet(demo_copy, tmp_path) -> None:
    for shard in (demo_copy / "dataset" / "shards").glob("*.tar"):
        shard.write_bytes(shard.read_bytes()[:4096])
    out = tmp_path / "sheet.png"
    result = CliRunner().invoke(
        app, ["sheet", str(demo_copy), "--out", str(out), "--where", "kept", "--json"]
    )
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    told = {trouble["clip_id"]: trouble["reason"] for trouble in record["without_pictures"]}
    assert list(told) == record["clips"]
    assert all("run `shards verify`" in reason for reason in told.values())
    assert Image.open(out).width > 1000


@pytest.mark.parametrize("text", ["one two three " * 40, "näme_" * 60, "a " + "b" * 200, "", "a"])
def test_text_fits_its_column(text) -> None:
    font = Fonts.load().plain
    lines = _wrap(text, 300, font, 4)
    assert len(lines) <= 4
    assert all(font.getlength(line) <= 300 for line in lines)
    whole = "".join(lines).replace(" ", "")
    bare = text.replace(" ", "")
    if whole.endswith("\N{HORIZONTAL ELLIPSIS}"):
        assert len(lines) == 4
        assert bare.startswith(whole[:-1])
    else:
        assert whole == bare


def test_many_clips_make_numbered_pages(real_run, tmp_path) -> None:
    out = tmp_path / "bögen [1].png"
    arguments = ["sheet", str(real_run), "--out", str(out), "-k", "2", "--page", "3", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    clips = filter_clips(find_place(str(real_run)))
    assert record["clips"] == [clip.clip_id for clip in clips]
    assert record["without_pictures"] == []
    assert record["pages"] == [f"{tmp_path}/bögen [1]-{n:04d}.png" for n in (1, 2)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bögen [1]-0001.png",
        "bögen [1]-0002.png",
    ]
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    assert CliRunner().invoke(app, [*arguments, "--force"]).exit_code == 0


def test_a_sheet_holds_the_clips_that_were_asked_for(real_run, tmp_path) -> None:
    _, refused = clip_of(real_run, "rejected")
    reason = refused.values["failed_gates"][0]["reason"]
    for number, chosen in enumerate((["--where", reason], ["--clip", refused.source_name])):
        out = tmp_path / f"{number}.png"
        result = CliRunner().invoke(
            app, ["sheet", str(real_run), "--out", str(out), *chosen, "--json"]
        )
        assert json.loads(result.stdout)["clips"] == [refused.clip_id]
    assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--out", "sheet.jpg"],
        ["--out", "sheet.png", "--where", "NOTHING"],
        ["--out", "sheet.png", "--where", "pending"],
        ["--out", "sheet.png", "--sort", "size"],
        ["--out", "sheet.png", "--clip", "zzz"],
        ["--out", "sheet.png", "--clip", "a", "--where", "kept"],
        ["--out", "sheet.png", "--font", "nothing.ttf"],
    ],
)
def test_wrong_use_is_one_line_and_exit_2(real_run, tmp_path, monkeypatch, arguments) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["sheet", str(real_run), *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("shards: ")
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
