"""The SyncNet stage: its own face and sound, only where it is wanted and possible."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manifests.records import Clip
from manifests.span import Span
from stages.contract import ClipView, Evidence
from stages.errors import StageError
from stages.face_crops import FaceCrops
from stages.key_frames import encode_jpeg
from stages.pcm import Pcm
from stages.speech import Voice
from stages.syncnet import SyncNet
from stages.syncnet_network import build_network
from stages.syncnet_stage import SyncNetMeasurement, SyncNetSettings, SyncNetStage
from tests.stages.torch_networks import settled

BASE = Fraction(1, 1000)
NUM_CROPS = 60


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch = pytest.importorskip("torch")
    path = tmp_path_factory.mktemp("weights") / "own.model"
    torch.save(settled(build_network(), seed=2).state_dict(), path)
    return path


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALKREEL_CACHE", str(tmp_path))


def crops_of(first_slot: int, seed: int) -> dict[int, bytes]:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (NUM_CROPS, 7, 7, 3), dtype=np.uint8)
    pictures = coarse.repeat(32, axis=1).repeat(32, axis=2)
    return {first_slot + n: encode_jpeg(picture, 95) for n, picture in enumerate(pictures)}


def view(track: int = 1, num_slots: int = NUM_CROPS) -> ClipView:
    """A clip from 2 s on whose faces are 1 and 2, on a source whose frames are 8 ms late."""
    sound = np.random.default_rng(5).normal(scale=0.1, size=8 * 16_000).astype(np.float32)
    by_track = {number: crops_of(50, number) for number in (1, 2)}
    times_s = {slot: slot / 25 + 0.008 for slot in by_track[1]}
    evidence = Evidence(facts=None)  # type: ignore[arg-type]
    evidence.put(FaceCrops(by_track, times_s))
    evidence.put(Voice(Pcm(sound, Fraction(1, 2)), (), np.zeros(0), 0.032, None))  # type: ignore[arg-type]
    span = Span(2000, 2000 + 40 * num_slots, BASE)
    return ClipView(Clip("source", span, track), evidence)


def measure(settings: SyncNetSettings, *views: ClipView) -> list[SyncNetMeasurement]:
    stage = SyncNetStage(settings)
    stage.setup()
    found = stage.measure(views)
    stage.close()
    return found


def test_a_clip_has_the_score_of_its_own_face_and_sound(weights: Path) -> None:
    first, second = view(1), view(2)
    one, two = measure(SyncNetSettings(weights=str(weights)), first, second)
    run = first.evidence.get(FaceCrops).run(1, first.clip.span)
    assert run is not None
    assert run.start_s == pytest.approx(2.008)
    pcm = first.evidence.get(Voice).pcm
    sound = pcm.samples[pcm.index(2.008) :][: NUM_CROPS * 640]
    score = SyncNet.load(weights).score(run.crops_THWC[..., ::-1], sound)
    assert score is not None
    assert one.confidence == pytest.approx(score.confidence, abs=1e-5)
    assert one.distance == pytest.approx(score.distance, abs=1e-5)
    assert one.offset_ms == score.offset_ms
    assert one.abs_offset_ms == abs(score.offset_ms)
    assert one.curve is not None
    assert len(one.curve) == 31
    assert two.distance != pytest.approx(one.distance, abs=1e-4)


def test_two_seconds_are_needed(weights: Path) -> None:
    (short,) = measure(SyncNetSettings(weights=str(weights)), view(num_slots=40))
    assert short == SyncNetMeasurement(problem="less than 2 s of crops")


def test_a_face_without_crops_has_no_score(weights: Path) -> None:
    (lost,) = measure(SyncNetSettings(weights=str(weights)), view(track=7))
    assert lost.confidence is None
    assert lost.problem == "no crops of this face"


def test_without_weights_it_says_so_and_costs_nothing() -> None:
    stage = SyncNetStage(SyncNetSettings())
    assert not stage.costly
    assert FaceCrops not in stage.needs
    assert "curate weights fetch syncnet" in (stage.remark() or "")
    assert stage.lacking() is None
    (nothing,) = measure(SyncNetSettings(), view())
    assert nothing.confidence is None
    assert "syncnet" in (nothing.problem or "")


def test_what_is_demanded_and_absent_is_told_with_the_way_to_get_it() -> None:
    stage = SyncNetStage(SyncNetSettings(backend="syncnet"))
    assert "curate weights fetch syncnet" in (stage.lacking() or "")


def test_weights_that_are_here_are_used_and_name_the_measurement(weights: Path) -> None:
    stage = SyncNetStage(SyncNetSettings(weights=str(weights)))
    assert stage.costly
    assert FaceCrops in stage.needs
    assert stage.lacking() is None
    without = SyncNetStage(SyncNetSettings(backend="none"))
    assert stage.fingerprint() != without.fingerprint()
    other_batch = SyncNetStage(SyncNetSettings(weights=str(weights), batch_size=3))
    assert stage.fingerprint() == other_batch.fingerprint()


def test_weights_that_nobody_knows_are_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'syncnet'"):
        SyncNetSettings(weights="sync-net")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch")
    path = tmp_path / "other.model"
    torch.save({"layer.weight": torch.zeros(3)}, path)
    stage = SyncNetStage(SyncNetSettings(weights=str(path)))
    with pytest.raises(StageError, match="not the weights of SyncNet"):
        stage.setup()
