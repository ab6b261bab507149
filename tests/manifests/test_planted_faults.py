"""Each kind of damage, planted alone into a copy of a real run, is found and named."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from manifests.faults import WAYS_OUT, Fault, FaultKind
from manifests.inspection.place import find_place
from manifests.inspection.run_faults import verify_place
from manifests.shards import ShardWriter
from tests.manifests.planting import Spoilt, arrays_changed, blanked, cut_by_a_frame, longer

K = FaultKind
RUN_CLIPS = "clips.parquet"


def first(spoilt: Spoilt) -> str:
    return spoilt.keys[0][0]


def _truncated(s: Spoilt) -> None:
    s.shards[0].write_bytes(s.shards[0].read_bytes()[:-5000])


def _garbage(s: Spoilt) -> None:
    s.shards[0].write_bytes(s.shards[0].read_bytes() + b"more")


def _no_text(s: Spoilt) -> None:
    del s.samples[0][first(s)]["txt"]
    s.write(fresh_digests=True)


def _added_member(s: Spoilt) -> None:
    s.samples[0][first(s)]["latent.npy"] = b"added later"
    s.write(fresh_digests=False)


def _twice_in_a_shard(s: Spoilt) -> None:
    two = s.keys[0][:2]
    halves = []
    for key in (*two, two[0]):
        file = io.BytesIO()
        writer = ShardWriter(file)
        writer.add(key, s.samples[0][key])
        writer.finish()
        halves.append(file.getvalue()[:-1024])
    s.shards[0].write_bytes(b"".join(halves) + bytes(1024))


def _twice_over_shards(s: Spoilt) -> None:
    s.samples[1] = {first(s): s.samples[0][first(s)], **s.samples[1]}
    s.write(fresh_digests=True)


def _member_twice(s: Spoilt) -> None:
    whole = s.shards[1].read_bytes()[:-1024]
    s.shards[1].write_bytes(whole + whole + bytes(1024))


def _row_without_sample(s: Spoilt) -> None:
    del s.samples[0][first(s)]
    s.write(fresh_digests=True)


def _sample_without_row(s: Spoilt) -> None:
    key = first(s)
    s.rows(lambda row: [] if row["clip_id"] == key else None)


def _offset(s: Spoilt) -> None:
    def moved(row: dict) -> None:
        row["members"][0]["offset"] += 512

    s.rows(moved)


def _shard_gone(s: Spoilt) -> None:
    s.shards[0].unlink()


def _shard_more(s: Spoilt) -> None:
    shutil.copy(s.shards[0], s.shards[0].with_name("000007.tar"))


def _empty_shard(s: Spoilt) -> None:
    s.samples[1].clear()
    s.write(fresh_digests=True)


def _totals(s: Spoilt) -> None:
    path = s.dataset / "dataset.json"
    path.write_text(path.read_text().replace('"num_shards": 2', '"num_shards": 3'))


def _no_table(s: Spoilt) -> None:
    (s.dataset / RUN_CLIPS).unlink()


def _words(s: Spoilt) -> None:
    word = {"text": "late", "start_s": 1.0, "end_s": 99.0}
    s.described(lambda said: said.update(transcript={"words": [word]}))


def _kept_now(s: Spoilt) -> None:
    s.rows(lambda row: row | {"state": "kept", "failed_gates": []}, RUN_CLIPS)


def _rejected_now(s: Spoilt) -> None:
    s.rows(lambda row: row | {"state": "rejected"}, RUN_CLIPS)


def _other_measurement(s: Spoilt) -> None:
    s.rows(lambda row: row | {"sync.confidence": 0.123})


def _gate_moved(s: Spoilt) -> None:
    s.record(lambda record: record["recipe"]["gates"]["sync.confidence"].update(min=2.0))


def _commit_gone(s: Spoilt) -> None:
    next(iter((s.run / "commits").iterdir())).unlink()


def _fewer_frames(arrays: dict[str, np.ndarray]) -> None:
    for name in arrays.keys() - {"point_index"}:
        arrays[name] = arrays[name][:-1]


def _set(**values: object) -> Callable[[dict], dict]:
    return lambda row: row | values


SOURCES = "sources.parquet"
PLANTED: dict[str, tuple[Callable[[Spoilt], object], FaultKind, str]] = {
    "a bit of the video": (lambda s: s.flip("mp4"), K.MEMBER_SHA256, ".mp4"),
    "a bit of the sound": (lambda s: s.flip("flac"), K.MEMBER_SHA256, ".flac"),
    "a bit of the face track": (lambda s: s.flip("face.npz"), K.MEMBER_SHA256, ".face.npz"),
    "a bit of the description": (lambda s: s.flip("json"), K.MEMBER_SHA256, ".json"),
    "a bit of the caption": (lambda s: s.flip("txt"), K.MEMBER_SHA256, ".txt"),
    "a bit, by the shard": (lambda s: s.flip("mp4"), K.SHARD_SHA256, "shards/000000.tar"),
    "two sounds exchanged": (lambda s: s.swap("flac"), K.MEMBER_SHA256, ".flac"),
    "two videos exchanged": (lambda s: s.swap("mp4"), K.MEMBER_SHA256, ".mp4"),
    "two face tracks exchanged": (lambda s: s.swap("face.npz"), K.MEMBER_SHA256, ".face.npz"),
    "two captions exchanged": (lambda s: s.swap("txt"), K.CAPTION_DIFFERS, ".txt"),
    "a member missing": (_no_text, K.MEMBER_MISSING, ".txt"),
    "a member added": (_added_member, K.MEMBER_UNLISTED, ".latent.npy"),
    "a member twice": (_member_twice, K.MEMBER_DUPLICATE, ".mp4"),
    "a tar cut short": (_truncated, K.TAR_BROKEN, "shards/000000.tar"),
    "garbage behind the tar": (_garbage, K.SHARD_SIZE, "shards/000000.tar"),
    "a sample twice in a shard": (_twice_in_a_shard, K.KEY_DUPLICATE, "000000.tar:"),
    "a sample in two shards": (_twice_over_shards, K.KEY_DUPLICATE, "000001.tar:"),
    "another digest listed": (lambda s: s.entry(sha256="0" * 64), K.SHARD_SHA256, "000000.tar"),
    "another size listed": (lambda s: s.entry(num_bytes=1), K.SHARD_SIZE, "000000.tar"),
    "another count listed": (lambda s: s.entry(num_samples=7), K.NUM_SAMPLES, "000000.tar"),
    "another length listed": (lambda s: s.entry(duration_s=1.0), K.SHARD_DURATION, "000000.tar"),
    "sums that do not add up": (_totals, K.MANIFEST_INVALID, "dataset.json"),
    "a row without its sample": (_row_without_sample, K.ROW_WITHOUT_SAMPLE, RUN_CLIPS),
    "a sample without its row": (_sample_without_row, K.SAMPLE_WITHOUT_ROW, "000000.tar:"),
    "a row twice": (lambda s: s.rows(lambda row: [row, row]), K.ROW_DUPLICATE, RUN_CLIPS),
    "another place listed": (_offset, K.MEMBER_PLACE, ".face.npz"),
    "a shard missing": (_shard_gone, K.SHARD_MISSING, "shards/000000.tar"),
    "a shard too many": (_shard_more, K.SHARD_UNLISTED, "shards/000007.tar"),
    "a shard without samples": (_empty_shard, K.SHARD_EMPTY, "shards/000001.tar"),
    "no table of samples": (_no_table, K.TABLE_INVALID, RUN_CLIPS),
    "a span that gives another id": (
        lambda s: s.rows(lambda row: row | {"start_pts": row["start_pts"] + 1}),
        K.CLIP_ID,
        RUN_CLIPS,
    ),
    "another caption in the row": (
        lambda s: s.rows(_set(caption="Somebody else.")),
        K.CAPTION_DIFFERS,
        ".txt",
    ),
    "another measurement in the row": (_other_measurement, K.JSON_DIFFERS, ".json"),
    "a description of another source": (
        lambda s: s.described(lambda said: said.update(source_id="0" * 20)),
        K.JSON_DIFFERS,
        ".json",
    ),
    "a description that is none": (
        lambda s: s.member("json", lambda data: b"{}"),
        K.JSON_INVALID,
        ".json",
    ),
    "a sound too long": (lambda s: s.member("flac", longer), K.LENGTHS_DIFFER, ".flac"),
    "a frame too few": (lambda s: s.member("mp4", cut_by_a_frame), K.NUM_FRAMES, ".mp4"),
    "a first frame that is damaged": (
        lambda s: s.member("mp4", lambda data: blanked(data, 0)),
        K.VIDEO_UNDECODABLE,
        ".mp4",
    ),
    "a last frame that is damaged": (
        lambda s: s.member("mp4", lambda data: blanked(data, -1)),
        K.VIDEO_UNDECODABLE,
        ".mp4",
    ),
    "a sound that is none": (
        lambda s: s.member("flac", lambda data: b"no sound"),
        K.AUDIO_UNDECODABLE,
        ".flac",
    ),
    "a face track a frame short": (
        lambda s: s.member("face.npz", arrays_changed(_fewer_frames)),
        K.FACE_INVALID,
        ".face.npz",
    ),
    "boxes that are no numbers": (
        lambda s: s.member("face.npz", arrays_changed(lambda arrays: arrays["box"].fill(np.nan))),
        K.FACE_INVALID,
        ".face.npz",
    ),
    "a face track without boxes": (
        lambda s: s.member("face.npz", arrays_changed(lambda arrays: arrays.pop("box"))),
        K.FACE_INVALID,
        ".face.npz",
    ),
    "a face track that is none": (
        lambda s: s.member("face.npz", lambda data: b"PK"),
        K.FACE_INVALID,
        ".face.npz",
    ),
    "words after the end": (_words, K.TRANSCRIPT_TIMES, ".json"),
    "a sample of another recipe": (
        lambda s: s.described(lambda said: said.update(recipe_digest="0" * 16)),
        K.RECIPE_DIFFERS,
        ".json",
    ),
    "a dataset of another recipe": (
        lambda s: s.record(lambda record: record.update(recipe_digest="0" * 16)),
        K.RECIPE_DIFFERS,
        "dataset/dataset.json",
    ),
    "a table of samples of a later version": (
        lambda s: s.version("dataset/clips.parquet"),
        K.SCHEMA_VERSION,
        RUN_CLIPS,
    ),
    "a table of clips of a later version": (
        lambda s: s.version(RUN_CLIPS),
        K.SCHEMA_VERSION,
        RUN_CLIPS,
    ),
    "clips of a source miscounted": (
        lambda s: s.rows(_set(num_clips_found=9), SOURCES),
        K.BOOKS_UNBALANCED,
        SOURCES,
    ),
    "an input that ended nowhere": (
        lambda s: s.rows(_set(state=None), SOURCES),
        K.BOOKS_UNBALANCED,
        SOURCES,
    ),
    "an input that nobody counted": (
        lambda s: s.rows(lambda row: [] if row["state"] == "rejected" else None, SOURCES),
        K.BOOKS_UNBALANCED,
        "run.json",
    ),
    "a dead input without its letter": (
        lambda s: s.rows(_set(state="dead", reason="WorkerDied"), SOURCES),
        K.BOOKS_UNBALANCED,
        SOURCES,
    ),
    "another count of kept clips": (
        lambda s: s.record(lambda record: record.update(num_kept=99)),
        K.BOOKS_UNBALANCED,
        "run.json",
    ),
    "a record that is cut short": (
        lambda s: (s.run / "run.json").write_text('{"recipe": {'),
        K.MANIFEST_INVALID,
        "run.json",
    ),
    "a run that did not end": (
        lambda s: s.record(lambda record: record.update(ended_at=None)),
        K.RUN_UNFINISHED,
        "run.json",
    ),
    "a run without its table": (
        lambda s: (s.run / RUN_CLIPS).unlink(),
        K.RUN_UNFINISHED,
        RUN_CLIPS,
    ),
    "a commit missing": (_commit_gone, K.COMMIT_MISSING, SOURCES),
    "a kept clip that is not packed": (_kept_now, K.CLIP_NOT_PACKED, RUN_CLIPS),
    "a packed clip that is not kept": (_rejected_now, K.PACKED_NOT_KEPT, "dataset/clips.parquet"),
    "a verdict that the gates do not give": (_gate_moved, K.VERDICT_DIFFERS, RUN_CLIPS),
}


def faults_of(run: Path) -> list[Fault]:
    return verify_place(find_place(str(run)))


def test_an_untouched_copy_is_whole(demo_copy: Path) -> None:
    assert faults_of(demo_copy) == []


def test_writing_the_shards_anew_alone_is_no_fault(demo_copy: Path) -> None:
    before = [path.read_bytes() for path in Spoilt(demo_copy).shards]
    Spoilt(demo_copy).write(fresh_digests=False)
    assert [path.read_bytes() for path in Spoilt(demo_copy).shards] == before
    assert faults_of(demo_copy) == []


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found_and_named(demo_copy: Path, name: str) -> None:
    plant, kind, place = PLANTED[name]
    plant(Spoilt(demo_copy))
    found = faults_of(demo_copy)
    assert any(fault.kind is kind and place in fault.place for fault in found), found


def test_every_kind_of_fault_is_planted_and_has_a_way_out() -> None:
    assert {kind for _, kind, _ in PLANTED.values()} == set(FaultKind)
    assert WAYS_OUT.keys() == set(FaultKind)


def test_an_exchanged_sound_of_equal_length_is_found_in_real_clips(
    real_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(real_run, tmp_path / "run"))
    assert faults_of(run) == []
    table = pq.read_table(run / "dataset/clips.parquet").to_pylist()
    spoilt = Spoilt(run)
    same = [row["clip_id"] for row in table if row["num_frames"] == 75]
    assert len(same) == 2
    one, other = (next(s for s in spoilt.samples if key in s)[key] for key in same)
    one["flac"], other["flac"] = other["flac"], one["flac"]
    spoilt.write(fresh_digests=False)
    found = faults_of(run)
    assert {(fault.kind, fault.sample) for fault in found} == {
        (FaultKind.MEMBER_SHA256, key) for key in same
    }
