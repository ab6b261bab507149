import base64
import hashlib
import json
import re

import pytest

from manifests.inspection.place import find_place
from manifests.inspection.report import json_in_html, report_html, write_report
from tests.manifests.inspection.serving import HOSTILE_NAMES, rename_sources


def data_of(html: str) -> dict:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert match
    return json.loads(match[1])


def test_the_report_is_written_beside_the_run(demo_copy):
    address = write_report(find_place(str(demo_copy)))
    assert address == str(demo_copy / "report" / "index.html")
    assert "<!doctype html>" in (demo_copy / "report" / "index.html").read_text()


def test_every_kept_and_rejected_clip_of_a_small_run_has_its_picture(demo_run):
    place = find_place(str(demo_run))
    data = data_of(report_html(place))
    rows = place.clips(["clip_id", "state"]).to_pylist()
    kept = {row["clip_id"] for row in rows if row["state"] == "kept"}
    assert {clip["clip_id"] for clip in data["kept"]} == kept
    shown = {clip["clip_id"] for group in data["rejected"] for clip in group["clips"]}
    assert shown == {row["clip_id"] for row in rows} - kept
    for clip in [*data["kept"], *(c for group in data["rejected"] for c in group["clips"])]:
        kind, _, picture = clip["picture"].partition(",")
        assert kind == "data:image/jpeg;base64"
        assert base64.b64decode(picture)[:2] == b"\xff\xd8"


def test_the_report_of_real_clips_says_what_was_refused_and_why(real_run):
    place = find_place(str(real_run))
    data = data_of(report_html(place))
    rows = place.clips(["clip_id", "state", "failed_gates"]).to_pylist()
    refused = {
        row["clip_id"]: {gate["reason"] for gate in row["failed_gates"]}
        for row in rows
        if row["state"] == "rejected"
    }
    shown = {c["clip_id"]: group["reason"] for group in data["rejected"] for c in group["clips"]}
    assert len(data["kept"]) == len(rows) - len(refused)
    assert shown.keys() == refused.keys()
    assert all(reason in refused[clip_id] for clip_id, reason in shown.items())


def test_the_report_needs_nothing_from_elsewhere(demo_run):
    html = report_html(find_place(str(demo_run)))
    assert not re.search(r"""(src|href)=["']?(?!data:)""", html.split('id="data"')[0])
    assert "@import" not in html
    assert "url(" not in html


def test_the_only_script_that_may_run_is_the_one_in_the_report(demo_run):
    html = report_html(find_place(str(demo_run)))
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_json_cannot_end_the_element_it_stands_in(name):
    text = json_in_html({"name": name, name: "\u2028"})
    assert not set(text) & set("<>&\u2028")
    assert json.loads(text) == {"name": name, name: "\u2028"}


def test_hostile_names_reach_the_report_as_text(demo_copy):
    chosen = rename_sources(demo_copy)
    html = report_html(find_place(str(demo_copy)))
    assert html.count("<script") == 2
    names = {clip["uri"].removeprefix("/nowhere/") for clip in data_of(html)["kept"]}
    assert names <= set(chosen.values())
    assert names


def test_pictures_are_bounded_in_bytes(demo_run):
    data = data_of(report_html(find_place(str(demo_run)), max_picture_bytes=1))
    with_picture = [clip for clip in data["kept"] if clip["picture"]]
    assert len(with_picture) == 1


def test_a_dataset_without_its_run_has_a_report(demo_run):
    data = data_of(report_html(find_place(str(demo_run / "dataset"))))
    assert data["run"]["funnel"] is None
    assert data["kept"]
    assert data["rejected"] == []
