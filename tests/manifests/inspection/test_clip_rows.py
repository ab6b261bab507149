"""Which clips a user means."""

from __future__ import annotations

import pytest

from manifests.errors import DatasetError, SchemaError
from manifests.inspection.clip_rows import filter_clips, find_clip, find_clips
from manifests.inspection.place import find_place
from tests.manifests.inspection.media import clip_of, dataset_of


def ids(rows) -> list[str]:
    return [row.clip_id for row in rows]


def test_a_clip_is_found_by_its_id_its_beginning_and_its_source(tmp_path) -> None:
    place = dataset_of(
        tmp_path,
        [
            {"clip_id": "aa1", "uri": "s3://bucket/one/talk.mp4"},
            {"clip_id": "aa2", "uri": "s3://bucket/one/talk.mp4"},
            {"clip_id": "b1", "uri": "/two/näme [1].mp4"},
        ],
    )
    assert ids(find_clips(place, ["aa2"])) == ["aa2"]
    assert ids(find_clips(place, ["b"])) == ["b1"]
    assert ids(find_clips(place, ["talk.mp4"])) == ["aa1", "aa2"]
    assert ids(find_clips(place, ["näme [1].mp4", "aa1", "b1"])) == ["b1", "aa1"]
    assert find_clip(place, "b").source_name == "näme [1].mp4"


def test_a_name_with_several_meanings_is_refused_with_all_of_them(tmp_path) -> None:
    place = dataset_of(
        tmp_path,
        [
            {"clip_id": "aa1", "uri": "/one/talk.mp4"},
            {"clip_id": "aa2", "uri": "/two/talk.mp4"},
            {"clip_id": "aa3", "uri": "/two/talk.mp4"},
        ],
    )
    with pytest.raises(DatasetError, match="3 clip ids start with 'aa': aa1, aa2, aa3"):
        find_clips(place, ["aa"])
    with pytest.raises(DatasetError, match=r"2 sources end in 'talk.mp4': /one/.*, /two/"):
        find_clips(place, ["talk.mp4"])
    assert ids(find_clips(place, ["one/talk.mp4"])) == ["aa1"]
    with pytest.raises(DatasetError, match=r"'two/talk.mp4' has 2 clips; give one of aa2, aa3"):
        find_clip(place, "two/talk.mp4")


@pytest.mark.parametrize("name", ["lk.mp4", "", "alk.mp4", "/"])
def test_part_of_a_name_is_no_name(tmp_path, name) -> None:
    place = dataset_of(tmp_path, [{"clip_id": "aa1", "uri": "/one/talk.mp4"}])
    with pytest.raises(DatasetError, match="no clip or source is called"):
        find_clips(place, [name])


def test_an_unknown_name_is_refused_with_the_nearest(real_run) -> None:
    place, clip = clip_of(real_run, "kept")
    wrong = clip.clip_id[:7] + ("0" if clip.clip_id[7] != "0" else "1") + clip.clip_id[8:]
    with pytest.raises(DatasetError, match=f"the nearest known one is '{clip.clip_id}'"):
        find_clips(place, [wrong])


def test_a_source_that_gave_no_clip_says_why(real_run) -> None:
    with pytest.raises(
        DatasetError, match=r"d_text\.mp4 is rejected without a clip, reason: UNREADABLE"
    ):
        find_clips(find_place(str(real_run)), ["d_text.mp4"])


def test_clips_are_filtered_by_state_and_reason(real_run) -> None:
    place, refused = clip_of(real_run, "rejected")
    kept = filter_clips(place, where="kept")
    assert all(row.sample is not None for row in kept)
    assert refused.sample is None
    assert len(kept) + len(filter_clips(place, where="REJECTED")) == len(filter_clips(place))
    reason = refused.values["failed_gates"][0]["reason"]
    assert refused.clip_id in ids(filter_clips(place, where=reason.lower()))
    with pytest.raises(DatasetError, match=r"neither a state .* nor a reason .* 'NO_SPEECH'"):
        filter_clips(place, where="no_speach")


def test_sorting_puts_missing_values_last(tmp_path) -> None:
    place = dataset_of(
        tmp_path,
        [
            {"clip_id": name, "num_frames": frames}
            for name, frames in (("a", 9), ("b", None), ("c", 3), ("d", 5))
        ],
    )
    assert ids(filter_clips(place, sort="num_frames")) == ["c", "d", "a", "b"]
    assert ids(filter_clips(place, sort="num_frames", reverse=True)) == ["a", "d", "c", "b"]
    assert ids(filter_clips(place, sort="num_frames", limit=2)) == ["c", "d"]
    with pytest.raises(SchemaError, match="the nearest known one is 'num_frames'"):
        filter_clips(place, sort="num_frame")
    with pytest.raises(SchemaError, match="holds lists"):
        filter_clips(place, sort="members")
