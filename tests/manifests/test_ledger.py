"""Commits: all or nothing, whole sources only, segments stitched."""

import pyarrow as pa

from manifests.ledger import Commit, CommitHeader, Ledger, is_current
from manifests.measurement import Field
from manifests.records import EVIDENCE_COLUMNS, SourceState, clip_schema
from manifests.storage import Folder

SCHEMA = clip_schema([Field("faces.height_px", float)], EVIDENCE_COLUMNS)
ID = "0123456789abcdef0123"


def commit(source_id=ID, segment=0, num_segments=1, clips=("a", "b"), **header):
    rows = [
        {"clip_id": name, "source_id": source_id, "state": "kept", "audio_flac": name.encode() * 9}
        for name in clips
    ]
    return Commit(
        CommitHeader(
            source_id,
            "file.mp4",
            SourceState.DONE,
            num_segments=num_segments,
            segment=segment,
            facts={"uri": "file.mp4"},
            **header,
        ),
        pa.Table.from_pylist(rows, schema=SCHEMA),
    )


def test_what_is_written_is_read_without_its_evidence(tmp_path):
    ledger = Ledger(Folder(str(tmp_path)))
    ledger.write(commit(fingerprints={"faces": "1"}, lost_s={"NO_FACE": 1.5}))
    (found,) = ledger.read_all()
    assert found.header.lost_s == {"NO_FACE": 1.5}
    assert found.header.state is SourceState.DONE
    assert found.clips["clip_id"].to_pylist() == ["a", "b"]
    assert "audio_flac" not in found.clips.schema.names


def test_evidence_of_a_single_clip_is_found_in_any_segment(tmp_path):
    ledger = Ledger(Folder(str(tmp_path)))
    ledger.write(commit(segment=0, num_segments=2, clips=("a",)))
    ledger.write(commit(segment=1, num_segments=2, clips=("b",)))
    assert ledger.evidence(ID, "b")["audio_flac"] == b"b" * 9
    assert ledger.evidence(ID, "a")["facts"] == {"uri": "file.mp4"}


def test_a_source_counts_when_all_its_segments_are_there(tmp_path):
    ledger = Ledger(Folder(str(tmp_path)))
    ledger.write(commit(segment=0, num_segments=3))
    ledger.write(commit(segment=2, num_segments=3))
    assert ledger.source_ids() == set()
    assert list(ledger.read_all()) == []
    assert ledger.has_segment(ID, 2, 3)
    assert not ledger.has_segment(ID, 1, 3)
    ledger.write(commit(segment=1, num_segments=3))
    assert ledger.source_ids() == {ID}
    assert [c.header.segment for c in ledger.read_all()] == [0, 1, 2]


def test_segments_of_another_cut_are_never_mixed_in(tmp_path):
    ledger = Ledger(Folder(str(tmp_path)))
    ledger.write(commit(segment=0, num_segments=3, clips=("old",)))
    ledger.write(commit(segment=0, num_segments=2, clips=("a",)))
    assert ledger.source_ids() == set()
    ledger.write(commit(segment=1, num_segments=2, clips=("b",)))
    for found in (ledger.read(ID), list(ledger.read_all())):
        assert [c.clips["clip_id"].to_pylist() for c in found] == [["a"], ["b"]]


def test_changed_fingerprints_are_forgotten_and_current_ones_stay(tmp_path):
    ledger = Ledger(Folder(str(tmp_path)))
    ledger.write(commit(fingerprints={"faces": "1"}))
    ledger.forget(ID, lambda commit: is_current(commit.header, {"faces": "1"}))
    assert ledger.source_ids() == {ID}
    ledger.forget(ID, lambda commit: is_current(commit.header, {"faces": "2"}))
    assert ledger.source_ids() == set()


def test_a_commit_is_current_only_if_every_stage_is_as_it_was():
    header = commit(fingerprints={"faces": "1", "sync": "2"}).header
    assert is_current(header, {"faces": "1", "sync": "2"})
    assert not is_current(header, {"faces": "1", "sync": "3"})
    assert not is_current(header, {"faces": "1"})
