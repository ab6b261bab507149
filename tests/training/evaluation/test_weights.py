"""Weights: what is in the cache of the one registry, what is not, and how it gets there."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest

from training.evaluation.measuring import CURATE
from training.evaluation.metrics import BY_NAME
from training.evaluation.weights import NEEDED_BY, find_weights

STAND_IN = """
import json, sys
state = {states}
if sys.argv[1:3] == ["weights", "list"]:
    print(json.dumps([{{"name": name, "state": value, "licence": "free", "files": [
        {{"path": "/cache/" + name, "sha256": "0" * 64}}]}} for name, value in state.items()]))
else:
    print(json.dumps({{name: {faults}.get(name, []) for name in sys.argv[3:-1]}}))
"""


def stand_in(folder: Path, states: dict, faults: dict) -> list[str]:
    script = folder / "curate.py"
    script.write_text(STAND_IN.format(states=states, faults=faults))
    return [sys.executable, str(script)]


def test_metrics_that_need_weights_exist():
    assert {name for names in NEEDED_BY.values() for name in names} <= set(BY_NAME)


def test_only_what_is_present_and_right_is_used(tmp_path):
    command = stand_in(
        tmp_path,
        {"arcface": "present", "i3d-fvd": "present", "inception-fid": "partial"},
        {"i3d-fvd": ["i3d_torchscript.pt has sha256 1, the registry says 2"]},
    )
    shelf = find_weights(command=command)
    assert list(shelf.there) == ["arcface"]
    assert shelf.there["arcface"].sha256 == "0" * 64
    assert set(shelf.lacking) == {"i3d-fvd", "inception-fid", "vgg16-lpips", "syncnet"}
    assert "the registry says 2" in shelf.lacking["i3d-fvd"]


def test_without_curation_every_weight_is_lacking_and_that_is_said():
    shelf = find_weights(command=[sys.executable, "-c", "raise SystemExit(1)"])
    assert not shelf.there
    assert set(shelf.lacking) == set(NEEDED_BY)
    assert all("not installed" in why for why in shelf.lacking.values())


def test_the_real_registry_knows_every_name_and_verifies_what_is_put_there(tmp_path, monkeypatch):
    monkeypatch.setenv("TALKREEL_CACHE", str(tmp_path))
    place = tmp_path / "weights" / "arcface" / "buffalo_l"
    place.mkdir(parents=True)
    (place / "w600k_r50.onnx").write_bytes(b"not the file")
    shelf = find_weights(command=CURATE)
    assert not shelf.there
    assert "not in the cache" in shelf.lacking["inception-fid"]
    found = hashlib.sha256(b"not the file").hexdigest()
    assert found in shelf.lacking["arcface"]


@pytest.mark.parametrize("text", ["", "[1"])
def test_an_answer_that_is_no_json_counts_as_no_registry(text):
    shelf = find_weights(command=[sys.executable, "-c", f"print({json.dumps(text)})"])
    assert not shelf.there
