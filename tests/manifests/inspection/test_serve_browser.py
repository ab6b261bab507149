"""The page in a real Chromium: what a person sees is what the files say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from manifests.inspection.flags import read_flags
from manifests.inspection.place import find_place
from manifests.inspection.report import write_report
from manifests.inspection.what_if import what_if
from manifests.storage import Folder
from tests.manifests.inspection.serving import (
    Served,
    give_words,
    multiply_clips,
    rename_sources,
    serving,
)

playwright_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required")
_TIMEOUT_MS = 60_000

# Sound and picture both run, and are less than two frames apart.
_PLAYS = """() => {
  const { audio, video, seconds, node } = talkreel.app.player;
  return audio && video && !audio.paused && seconds > 0.5 && video.currentTime > 0.5 &&
    Math.abs(Number(node.dataset.driftMs)) < 80;
}"""


@pytest.fixture(scope="module")
def browser():
    with playwright_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[*_ARGUMENTS])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser) -> Iterator:
    """A page; errors in its scripts, and refusals of its policy, fail the test."""
    errors: list[str] = []
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.set_default_timeout(_TIMEOUT_MS)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    yield page
    page.close()
    assert errors == []


@contextmanager
def showing(page, run: Path) -> Iterator[Served]:
    """Serve a run and open it; the page is left before the server stops."""
    with serving(run) as server:
        opened(page, server)
        yield server
        page.goto("about:blank")


@pytest.fixture
def served(page, demo_copy):
    with showing(page, demo_copy) as server:
        yield server


def opened(page, served: Served) -> None:
    page.goto(served.url)
    page.wait_for_selector(".cell .title")
    page.wait_for_selector(".lanes .curve")


def widest(page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


def test_a_clip_plays_with_its_sound_in_step(page, served):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    opened(page, served)  # once more, so that every request is seen
    page.keyboard.press("Space")
    page.wait_for_function(_PLAYS)
    assert float(page.evaluate("document.querySelector('.lanes .cursor').style.left.slice(0, -1)"))
    page.keyboard.press("Space")
    page.wait_for_function("() => talkreel.app.player.audio.paused")
    assert all(address.startswith(served.url) for address in asked)
    assert any(address.endswith(".mp4") for address in asked)
    assert any(address.endswith(".flac") for address in asked)


def test_a_real_clip_plays(page, real_run):
    with showing(page, real_run):
        page.keyboard.press("Space")
        page.wait_for_function(_PLAYS)


def test_words_follow_the_playback_and_lead_to_their_time(page, demo_copy):
    give_words(demo_copy, [("one", 0.2, 0.6), ("<b>two</b>", 1.0, 1.5)])
    with showing(page, demo_copy):
        assert page.locator(".words .word").all_inner_texts() == ["one", "<b>two</b>"]
        assert page.locator(".words .said").count() == 0
        page.locator(".words .word").nth(1).click()
        page.wait_for_function("() => document.querySelector('.words .said')")
        assert page.locator(".words .said").all_inner_texts() == ["<b>two</b>"]
        assert page.evaluate("talkreel.app.player.seconds") == pytest.approx(1.0, abs=0.01)


def test_another_offset_is_heard_without_losing_the_picture(page, served):
    page.evaluate("talkreel.app.player.seek(1)")
    page.keyboard.press("]")
    page.keyboard.press("]")
    page.keyboard.press("[")
    page.wait_for_function("() => !talkreel.app.player.video.seeking")
    sound, picture = page.evaluate(
        "[talkreel.app.player.audio.currentTime, talkreel.app.player.video.currentTime]"
    )
    assert sound - picture == pytest.approx(-0.04, abs=0.002)


def test_the_kept_clips_follow_a_dragged_limit_as_what_if_says(page, served):
    page.keyboard.press("2")
    handle = page.locator('[data-key="sync.min_confidence"]')
    handle.scroll_into_view_if_needed()
    before = page.locator("[data-num-kept]").get_attribute("data-num-kept")
    box = handle.bounding_box()
    chart = page.locator('[data-name="sync.confidence"] .histogram').bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(chart["x"] + chart["width"] * 0.7, box["y"] + 20, steps=4)
    page.mouse.move(chart["x"] + chart["width"], box["y"] + 20, steps=8)
    page.mouse.up()
    assert told_equals_what_if(page, served, "sync.min_confidence") != int(before)
    for key in ("ArrowLeft", "ArrowLeft", "Home"):
        page.keyboard.press(key)
        told_equals_what_if(page, served, "sync.min_confidence")


def told_equals_what_if(page, served: Served, key: str) -> int:
    page.wait_for_selector("div.limits:not(.waiting)")
    limit = page.locator(f'[data-key="{key}"]').get_attribute("aria-valuenow")
    told = int(page.locator("[data-num-kept]").get_attribute("data-num-kept"))
    assert f"--set={key}={limit}" in page.locator(".command").inner_text()
    assert told == what_if(served.shown.place, [f"{key}={limit}"]).num_kept
    return told


def test_one_question_at_a_time_and_the_last_one_wins(page, served):
    page.keyboard.press("2")
    page.wait_for_selector('[data-key="sync.min_confidence"]')
    running = {"now": 0, "most": 0, "all": 0}

    def begins(request) -> None:
        if "what-if" in request.url:
            running["all"] += 1
            running["now"] += 1
            running["most"] = max(running["most"], running["now"])

    def ends(request) -> None:
        if "what-if" in request.url:
            running["now"] -= 1

    page.on("request", begins)
    page.on("requestfinished", ends)
    page.locator('[data-key="sync.min_confidence"]').focus()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    told_equals_what_if(page, served, "sync.min_confidence")
    assert running["most"] == 1
    assert running["all"] >= 1


def test_a_flag_is_found_again_after_a_reload(page, served, demo_copy):
    page.keyboard.press("j")
    page.wait_for_function("() => talkreel.app.list.at === 1 && talkreel.app.picked")
    clip_id = page.evaluate("talkreel.app.picked.clip_id")
    page.keyboard.press("g")
    page.wait_for_selector(".cell[aria-selected=true] .mark.good")
    assert read_flags(Folder(str(demo_copy)))[clip_id].mark == "good"
    page.reload()
    page.wait_for_selector(".cell .mark.good")
    page.select_option("[aria-label=Flag]", "good")
    page.wait_for_function("() => talkreel.app.list.order.length === 1 && talkreel.app.picked")
    page.wait_for_function(f"() => talkreel.app.picked.clip_id === {json.dumps(clip_id)}")
    page.keyboard.press("g")
    page.wait_for_function("() => Object.keys(talkreel.app.flags).length === 0")
    assert read_flags(Folder(str(demo_copy)))[clip_id].mark == "none"


def test_keys_step_filter_and_explain(page, served):
    for key, position in (("j", 1), ("j", 2), ("k", 1)):
        page.keyboard.press(key)
        page.wait_for_function(f"() => talkreel.app.list.at === {position}")
    page.keyboard.press("/")
    page.keyboard.type("no such clip")
    page.wait_for_function("() => talkreel.app.list.order.length === 0")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.locator("dialog[open] kbd").count() > 5
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_rejected_clips_come_nearest_first_and_are_heard(page, served):
    page.select_option("[aria-label=State]", "rejected")
    page.wait_for_selector(".badge.rejected")
    page.wait_for_selector(".lanes .curve")
    page.keyboard.press("Space")
    page.wait_for_function("() => talkreel.app.player.seconds > 0.3")
    assert page.locator(".side b").first.inner_text() in served.shown.index.reasons()


def test_nothing_scrolls_sideways_at_1200_px(page, served):
    for key, wanted in (("1", ".lanes"), ("2", ".histogram"), ("3", ".funnel")):
        page.keyboard.press(key)
        page.wait_for_selector(wanted)
        assert widest(page) == 0


def test_names_that_mean_harm_are_shown_as_text(page, demo_copy):
    chosen = rename_sources(demo_copy)
    with showing(page, demo_copy):
        shown = page.locator(".cell .title bdi").all_inner_texts()
        assert set(shown) <= {name.rpartition("/")[2] for name in chosen.values()}
        page.keyboard.press("3")
        page.wait_for_selector(".funnel")
        assert page.evaluate("window.pwned") is None
        assert page.locator("script:not([src])").count() == 0


def test_the_report_opens_from_disk_and_runs_only_its_own_script(page, demo_copy):
    chosen = rename_sources(demo_copy)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"file://{write_report(find_place(str(demo_copy)))}")
    page.wait_for_selector(".tiles img")
    shown = page.locator(".tiles bdi").all_inner_texts()
    assert set(shown) <= {name.rpartition("/")[2] for name in chosen.values()}
    assert page.evaluate("window.pwned") is None
    assert page.locator(".histogram").count() > 20
    assert widest(page) == 0
    assert [address for address in asked if not address.startswith(("file:", "data:"))] == []


def test_only_what_is_in_sight_is_in_the_document(page, demo_copy):
    multiply_clips(demo_copy, 3000)
    with showing(page, demo_copy) as served:
        num = len(served.shown.index)
        assert page.evaluate("talkreel.app.list.order.length") == num
        assert page.locator(".cell").count() < 60
        page.evaluate("talkreel.app.list.node.scrollTop = 1e9")
        page.wait_for_selector(f'.cell[aria-posinset="{num}"] .title')
        assert page.locator(".cell").count() < 60
        assert page.evaluate("talkreel.app.list.pages.size") <= 40
