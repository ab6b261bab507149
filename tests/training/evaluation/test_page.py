"""The page: whatever a name or note says stays text, and the videos show three panels."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import av
import numpy as np
import pytest

from tests.training.evaluation.media import grey, noise, write_video
from training.evaluation.metrics import Missing
from training.evaluation.page import curve_svg, page_html, write_page
from training.evaluation.results import ClipResult, Results
from training.evaluation.side_by_side import (
    GAP_PX,
    PANEL_PX,
    best_shift,
    curve_picture,
    curve_points,
)
from training.evaluation.sync import SyncCurve

EVIL = "<script>alert(1)</script>&\"'"
CURVE = SyncCurve("embedded", (-40.0, 0.0, 40.0), (0.1, 0.2, 0.5))


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text.append(data)


def evil_results() -> Results:
    clip = ClipResult(EVIL, Path(f"/g/{EVIL}.mp4"), unmeasured=EVIL, notes=[EVIL])
    clip.put("psnr_db", 30.0)
    clip.curves["generated"] = CURVE
    return Results([clip], missing=[Missing("fid", EVIL, EVIL)], reference_only=(EVIL,))


def test_no_text_becomes_markup():
    reader = Reader()
    reader.feed(page_html(evil_results(), {}, has_grid=False))
    assert "script" not in reader.tags
    assert sum(EVIL in text for text in reader.text) >= 4


def test_the_page_runs_no_script_and_asks_for_nothing_from_elsewhere():
    page = page_html(Results([]), {}, has_grid=False)
    assert "default-src 'none'" in page and "script-src" not in page
    assert "http://" not in page and "https://" not in page


def test_a_curve_is_highest_where_voice_and_lips_go_together():
    xs, ys = curve_points(CURVE, 100, 50)
    assert xs == pytest.approx([0, 50, 100])
    assert ys == pytest.approx([50, 37.5, 0])
    assert best_shift(CURVE) == 2
    assert best_shift(SyncCurve("syncnet", (-40.0, 0.0, 40.0), (9.0, 6.0, 8.0))) == 1
    assert 'class="best" x1="300.0"' in curve_svg(CURVE, "curve")
    assert curve_picture(CURVE).std() > 0 == curve_picture(None)[..., 0].std()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("page")
    sound = (8000 * np.sin(np.arange(16_000) / 20)).astype(np.int16)
    generated = write_video(out / "a b#.mkv", [grey(200)] * 25, sound=sound)
    reference = write_video(out / "r.mkv", [grey(90)] * 10, fps=10)
    (out / "text.mp4").write_text("no video")
    clips = [
        ClipResult("a b#", generated, reference, duration_s=1.0, frame_rate_fps=25.0),
        ClipResult("broken", out / "text.mp4", unmeasured="UNREADABLE: text"),
        ClipResult(
            "alone",
            write_video(out / "alone.mkv", [noise(1)] * 30),
            duration_s=1.2,
            frame_rate_fps=25.0,
        ),
    ]
    write_page(Results(clips), out, max_video_bytes=10_000)
    return out


def test_panels_stand_beside_each_other_and_the_generated_clip_is_heard(written):
    with av.open(str(written / "videos" / "a b#.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.audio[0].codec_context.name == "aac"
    assert len(frames) == 25
    middle = frames[12][100 : 100 + PANEL_PX // 2]
    steps = PANEL_PX + GAP_PX
    values = [middle[:, n * steps + PANEL_PX // 2].mean() for n in range(3)]
    assert values == pytest.approx([27, 200, 90], abs=6)


def test_a_clip_that_cannot_be_decoded_has_a_card_and_the_others_go_on(written):
    page = (written / "index.html").read_text()
    assert "UNREADABLE: text" in page
    assert page.count("<video") == 2
    with av.open(str(written / "grid.mp4")) as container:
        assert container.streams.video[0].height > 2 * PANEL_PX


def test_videos_beyond_the_bound_are_linked_by_an_address_that_works(written):
    page = (written / "index.html").read_text()
    sizes = {path.name: path.stat().st_size for path in (written / "videos").iterdir()}
    assert sum(sizes.values()) > 10_000
    linked = [name for name in ("a%20b%23.mp4", "alone.mp4") if f'src="videos/{name}"' in page]
    inside = page.count("data:video/mp4;base64,")
    assert len(linked) + inside == 2 and linked
