"""`shards show`: everything of a clip, and nothing that the tables do not say."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess

import pytest
from rich.console import Console
from typer.testing import CliRunner

from manifests.inspection.clip_view import clip_view, cut_command
from manifests.inspection.show import print_view
from manifests.inspection.words import Word, read_transcript
from tests.manifests.inspection.media import app, clip_of


def shown(*arguments: str) -> list[dict]:
    result = CliRunner().invoke(app, ["show", *arguments, "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)["clips"]


def test_every_measurement_is_there_with_its_limits(real_run) -> None:
    place, clip = clip_of(real_run, "kept")
    (view,) = shown(str(real_run), clip.clip_id[:12])
    assert view["span"]["start_pts"] == clip.values["start_pts"]
    assert view["caption"] == clip.values["caption.text"]
    rows = {row["name"]: row for row in view["measurements"]}
    assert set(rows) == set(place.fields)
    for name, row in rows.items():
        assert row["value"] == clip.values[name]
        assert (row["unit"], row["meaning"]) == (
            place.fields[name].unit,
            place.fields[name].meaning,
        )
    bounds = place.run_record["recipe"]["gates"]
    limits = {
        (name, gate["bound"]): gate["limit"] for name, row in rows.items() for gate in row["gates"]
    }
    assert limits == {
        (name, bound): limit
        for name, values in bounds.items()
        for bound, limit in values.items()
        if bound != "allow_missing"
    }


@pytest.mark.parametrize("state", ["kept", "rejected"])
def test_pass_and_fail_are_the_stored_verdict(real_run, state) -> None:
    _, clip = clip_of(real_run, state)
    (view,) = shown(str(real_run), clip.clip_id)
    failed = {
        (row["name"], gate["bound"])
        for row in view["measurements"]
        for gate in row["gates"]
        if gate["passes"] is False
    }
    assert failed == {(gate["field"], gate["bound"]) for gate in clip.values["failed_gates"]}
    assert bool(failed) is (state == "rejected")
    assert (view["packed"] is None) is (state == "rejected")


def test_a_stage_that_spared_the_clip_neither_passes_nor_fails(real_run) -> None:
    place, clip = clip_of(real_run, "kept")
    spared = dataclasses.replace(clip, values={**clip.values, "measured_stages": ["probe"]})
    marks = {
        row["stage"]: (row["is_measured"], gate["passes"])
        for row in clip_view(place, spared)["measurements"]
        for gate in row["gates"]
    }
    assert marks["sync"] == marks["faces"] == (False, None)


def test_the_command_cuts_each_member_out(real_run, tmp_path) -> None:
    _, clip = clip_of(real_run, "kept")
    (view,) = shown(str(real_run), clip.clip_id)
    shard = (real_run / "dataset" / clip.sample["shard"]).read_bytes()
    for member in view["packed"]["members"]:
        subprocess.run(member["command"], shell=True, cwd=tmp_path, check=True)
        data = (tmp_path / f"{clip.clip_id}.{member['ext']}").read_bytes()
        assert data == shard[member["offset"] :][: member["size"]]
        assert len(data) == member["size"]


def test_the_command_cuts_from_urls_and_odd_names(tmp_path) -> None:
    shard = tmp_path / "it's a $HOME [näme].tar"
    shard.write_bytes(bytes(range(200)))
    for url in (str(shard), f"file://{shard}"):
        command = cut_command(url, 20, 30, "a b.bin")
        assert "\n" not in command
        subprocess.run(command, shell=True, cwd=tmp_path, check=True)
        assert (tmp_path / "a b.bin").read_bytes() == bytes(range(20, 50))
        (tmp_path / "a b.bin").unlink()


def test_lineage_leads_to_the_source_and_its_stages(real_run) -> None:
    place, clip = clip_of(real_run, "rejected")
    (view,) = shown(str(real_run), clip.source_name)
    lineage = view["lineage"]
    assert lineage["recipe_digest"] == place.run_record["recipe_digest"]
    assert set(clip.values["measured_stages"]) <= set(lineage["fingerprints"])
    assert lineage["source"]["num_clips_kept"] == 0
    assert lineage["source"]["state"] == "done"


def test_a_dataset_alone_has_no_limits_but_the_same_values(real_run) -> None:
    _, clip = clip_of(real_run, "kept")
    (of_run,) = shown(str(real_run), clip.clip_id)
    (alone,) = shown(str(real_run / "dataset"), clip.clip_id)
    assert all(row["gates"] == [] for row in alone["measurements"])
    assert [row["value"] for row in alone["measurements"]] == [
        row["value"] for row in of_run["measurements"]
    ]
    assert alone["packed"] == of_run["packed"]
    assert alone["lineage"]["recipe_digest"] == of_run["lineage"]["recipe_digest"]
    assert alone["lineage"]["source"] is None


def test_people_read_verdict_limits_and_an_unbroken_command(real_run) -> None:
    _, kept = clip_of(real_run, "kept")
    _, refused = clip_of(real_run, "rejected")
    result = CliRunner().invoke(
        app, ["show", str(real_run), kept.clip_id, refused.clip_id, "--long"]
    )
    assert result.exit_code == 0
    (view,) = shown(str(real_run), kept.clip_id)
    for member in view["packed"]["members"]:
        assert member["command"] in result.stdout
    for gate in refused.values["failed_gates"]:
        assert f"{gate['reason']}: {gate['field']}" in result.stdout
    assert result.stdout.count("FAIL") == len(
        {gate["field"] for gate in refused.values["failed_gates"]}
    )
    assert "≥ 0.9" in result.stdout
    assert "one or two English sentences" in result.stdout


def test_wrong_use_is_one_line_and_exit_2(real_run, tmp_path) -> None:
    for arguments in (
        [str(real_run), "no such clip"],
        [str(tmp_path), "a"],
        ["nosuch://bucket/run", "a"],
    ):
        result = CliRunner().invoke(app, ["show", *arguments])
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("shards: ")
        assert result.stderr.count("\n") == 1


def test_markup_in_a_name_is_a_name(real_run) -> None:
    _, clip = clip_of(real_run, "kept")
    (view,) = shown(str(real_run), clip.clip_id)
    view |= {"uri": "/x/[bold]näme[/bold].mp4", "caption": "[red]so :smile:"}
    file = io.StringIO()
    print_view(Console(file=file, width=80, highlight=False), view, long=False)
    assert "/x/[bold]näme[/bold].mp4" in file.getvalue()
    assert "[red]so :smile:" in file.getvalue()


def test_words_are_read_with_and_without_times() -> None:
    word = {"word": "so", "start_s": 0.5, "end_s": 0.75}
    stored = json.dumps({"text": "so [um]", "words": [word, {"word": "[um]", "start_s": None}]})
    transcript = read_transcript(stored)
    assert transcript.text == "so [um]"
    assert transcript.words == (Word("so", 0.5, 0.75),)
    assert read_transcript("so um").text == "so um"
    assert read_transcript("12").text == "12"
    assert read_transcript(None) is None
