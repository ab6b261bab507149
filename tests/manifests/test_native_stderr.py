"""What native code writes to file descriptor 2 is unheard inside the block, and only there."""

from __future__ import annotations

import os

import pytest

from manifests.native_stderr import unheard


def test_only_what_is_written_inside_is_unheard(capfd):
    os.write(2, b"before ")
    with unheard():
        os.write(2, b"inside ")
    os.write(2, b"after")
    assert capfd.readouterr().err == "before after"


def test_stderr_is_back_after_an_error(capfd):
    with pytest.raises(RuntimeError, match="heard"), unheard():
        raise RuntimeError("heard")
    os.write(2, b"back")
    assert capfd.readouterr().err == "back"


def test_no_file_is_left_open(capfd):
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(5):
        with unheard():
            pass
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after == before
