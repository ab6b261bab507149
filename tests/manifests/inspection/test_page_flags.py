import pytest

from manifests.errors import SchemaError
from manifests.inspection.flags import Flag, FlagLog, flags_csv, marks_of_csv, read_flags
from manifests.storage import Folder


def marks(folder: Folder) -> dict[str, str]:
    return {key: flag.mark for key, flag in read_flags(folder).items()}


def test_the_latest_flag_of_a_clip_stands(tmp_path):
    folder = Folder(str(tmp_path))
    log = FlagLog(folder)
    log.set("a", "good")
    log.set("b", "bad")
    log.set("a", "bad")
    assert marks(folder) == {"a": "bad", "b": "bad"}
    assert FlagLog(folder).marks == log.marks == {"a": "bad", "b": "bad"}


def test_a_flag_can_be_taken_back(tmp_path):
    folder = Folder(str(tmp_path))
    log = FlagLog(folder)
    log.set("a", "good")
    log.set("a", "none")
    assert log.marks == {}
    assert FlagLog(folder).marks == {}


def test_two_sessions_on_one_run_lose_nothing(tmp_path):
    folder = Folder(str(tmp_path))
    first, second = FlagLog(folder), FlagLog(folder)
    first.set("a", "good")
    second.set("b", "bad")
    first.set("c", "good")
    assert marks(folder) == {"a": "good", "b": "bad", "c": "good"}


def test_flags_live_on_an_object_store_too():
    folder = Folder("memory://flags-test")
    FlagLog(folder).set("a", "good")
    assert marks(folder) == {"a": "good"}


def test_another_word_is_refused_and_nothing_is_written(tmp_path):
    log = FlagLog(Folder(str(tmp_path)))
    with pytest.raises(SchemaError, match="'great'"):
        log.set("a", "great")  # type: ignore[arg-type]
    assert list(tmp_path.rglob("*.jsonl")) == []


def test_a_broken_line_is_named(tmp_path):
    FlagLog(Folder(str(tmp_path))).set("a", "good")
    (path,) = tmp_path.rglob("*.jsonl")
    path.write_text(path.read_text() + "{\n")
    with pytest.raises(SchemaError, match=r"\.jsonl, line 2"):
        read_flags(Folder(str(tmp_path)))


def test_the_exported_table_reads_back():
    flags = {
        "b": Flag("b", "bad", 1.0),
        "a": Flag("a", "good", 2.0),
        "c": Flag("c", "none", 3.0),
    }
    text = flags_csv(flags, {"a": {"uri": 'say "hi",\nthere.mp4', "start_s": 0.5}})
    assert text.splitlines()[0].startswith("clip_id,flag,uri")
    assert marks_of_csv(text) == {"a": "good", "b": "bad"}


def test_a_list_without_its_columns_is_refused():
    with pytest.raises(SchemaError, match="flag"):
        marks_of_csv("clip_id\nabc\n")
