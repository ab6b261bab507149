from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
import webdataset
from safetensors.torch import load

from manifests.dataset import DatasetManifest
from manifests.storage import Folder
from tests.training.data.made_dataset import MadeClip, make_dataset
from tests.training.data.made_encoders import MadeEncoders, made_encoders
from training.data.books import BadReason
from training.data.encode import EncodeSettings, encode_clip
from training.data.encoded import EncodedClip
from training.data.latent_making import Making, PrecomputeSettings
from training.data.precompute import Precomputed, Workers, precompute
from training.data.settings import DataSettings
from training.data.training_data import TrainingData
from training.errors import DataError
from training.model.interfaces import Task
from training.objective.curriculum import Source

DATA = DataSettings(sizes_px=((64, 64), (96, 64)), num_frames=(5, 17), batch_size=2, num_workers=0)
ENCODE = EncodeSettings(extension_frames=5)


def making(**changes: object) -> Making:
    stored = PrecomputeSettings(samples_per_shard=4, dtype="float32")
    return Making(DATA, ENCODE, stored.model_copy(update=changes))


def run(dataset: str, out: Path, **changes: object) -> Precomputed:
    return precompute([dataset], str(out), made_encoders, "model 1", making(**changes))


def bytes_of(folder: Path) -> dict[str, bytes]:
    names = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in names}


def equal(one: EncodedClip, other: EncodedClip) -> bool:
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def test_what_is_read_back_is_what_training_would_have_encoded(
    dataset: str, tmp_path: Path
) -> None:
    run(dataset, tmp_path)
    online = {
        (clip.clip_id, task): encode_clip(clip, task, made_encoders(), ENCODE)
        for batch in TrainingData([dataset], DATA).rest_of_epoch()
        for clip in batch
        for task in Task
    }
    stored = {
        (clip.clip_id, task): encode_clip(clip, task, made_encoders(), ENCODE)
        for batch in TrainingData([str(tmp_path)], DATA).rest_of_epoch()
        for clip in batch
        for task in Task
    }
    assert online.keys() == stored.keys()
    assert all(equal(online[key], stored[key]) for key in online)


def test_variants_are_the_crops_of_as_many_epochs(dataset: str, tmp_path: Path) -> None:
    found = run(dataset, tmp_path, num_variants=2)
    data = TrainingData([dataset], DATA)
    online = [
        encode_clip(clip, Task.IMAGE, made_encoders(), ENCODE)
        for _ in range(2)
        for batch in data.rest_of_epoch()
        for clip in batch
    ]
    stored = [
        clip.encoded(Task.IMAGE)
        for batch in TrainingData([str(tmp_path)], DATA).rest_of_epoch()
        for clip in batch
    ]
    assert found.num_samples == len(stored) == len(online)
    for clip in stored:
        num_same = sum(equal(clip, other) for other in stored)  # two epochs may draw one crop
        assert sum(equal(clip, other) for other in online) == num_same


def test_latents_are_a_dataset_of_the_same_kind_with_the_clips_measurements(
    tmp_path: Path,
) -> None:
    clips = [MadeClip(n, sync_confidence=n / 10) for n in range(6)]
    run(make_dataset(tmp_path / "d", clips), tmp_path / "latents")
    manifest = DatasetManifest.read(Folder(str(tmp_path / "latents")))
    assert manifest.totals.num_samples == 6 and len(manifest.shards) == 2
    gated = DATA.model_copy(update={"sources": (Source(where={"sync.confidence": {"min": 0.35}}),)})
    data = TrainingData([str(tmp_path / "latents")], gated)
    ids = {clip.clip_id for batch in data.rest_of_epoch() for clip in batch}
    assert ids == {clip.clip_id for clip in clips[4:]}


def test_latents_open_with_plain_webdataset(dataset: str, tmp_path: Path) -> None:
    found = run(dataset, tmp_path)
    shards = sorted(str(path) for path in (tmp_path / "shards").iterdir())
    samples = list(webdataset.WebDataset(shards, shardshuffle=False))
    assert len(samples) == found.num_samples
    for sample in samples:
        tensors = load(sample["latents.safetensors"])
        assert tensors["latent"].shape == tensors["condition.image"].shape
        assert tensors["keep_mask.edit"].dtype == torch.uint8


def test_an_interrupted_run_goes_on_and_leaves_the_same_bytes(dataset: str, tmp_path: Path) -> None:
    run(dataset, tmp_path / "whole")
    done: list[int] = []

    def stop_at_two(num_done: int, total: int) -> None:
        done.append(num_done)
        if num_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        precompute(
            [dataset],
            str(tmp_path / "again"),
            made_encoders,
            "model 1",
            making(),
            on_shard=stop_at_two,
        )
    with pytest.raises(DataError, match=r"dataset\.json"):
        TrainingData([str(tmp_path / "again")], DATA)
    assert run(dataset, tmp_path / "again").num_shards_kept == 2
    assert bytes_of(tmp_path / "again") == bytes_of(tmp_path / "whole")


def test_a_finished_run_encodes_nothing_again(dataset: str, tmp_path: Path) -> None:
    run(dataset, tmp_path)

    def never() -> MadeEncoders:
        raise AssertionError

    again = precompute([dataset], str(tmp_path), never, "model 1", making())
    assert again.num_shards_kept == again.num_shards


def test_another_making_in_the_same_folder_is_refused(dataset: str, tmp_path: Path) -> None:
    run(dataset, tmp_path)
    with pytest.raises(DataError, match="model was model 1, is model 2; choose another folder"):
        precompute([dataset], str(tmp_path), made_encoders, "model 2", making())
    with pytest.raises(DataError, match="dtype was"):
        run(dataset, tmp_path, dtype="bfloat16")


def test_latents_of_another_model_or_beside_clips_are_refused(dataset: str, tmp_path: Path) -> None:
    run(dataset, tmp_path / "one")
    precompute([dataset], str(tmp_path / "two"), made_encoders, "model 2", making())
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    with pytest.raises(DataError, match="latents of the model model 1, but the run has model 9"):
        TrainingData([one], DATA, model_digest="model 9")
    with pytest.raises(DataError, match="different makings: model was"):
        TrainingData([one, two], DATA)
    with pytest.raises(DataError, match="clips and latents"):
        TrainingData([one, dataset], DATA)
    assert TrainingData([one], DATA, model_digest="model 1").latents is not None


def test_a_task_that_was_not_precomputed_is_refused(dataset: str, tmp_path: Path) -> None:
    run(dataset, tmp_path, tasks=(Task.IMAGE, Task.TEXT))
    clip = next(iter(TrainingData([str(tmp_path)], DATA)))[0]
    assert (clip.encoded(Task.TEXT).image_LD == 0).all()
    assert clip.encoded(Task.IMAGE).image_LD.any()
    with pytest.raises(DataError, match="not precomputed for task edit, only for image, text"):
        clip.encoded(Task.EDIT)


def test_bad_clips_are_reported_and_cost_nobody_else(tmp_path: Path) -> None:
    clips = [MadeClip(0, members={"mp4": b"none"}), *(MadeClip(n) for n in range(1, 4))]
    dataset = make_dataset(tmp_path / "d", clips)
    for _ in range(2):  # the second time from the notes
        found = run(dataset, tmp_path / "latents")
        assert found.num_samples == 3
        assert [(bad.clip_id, bad.reason) for bad in found.bad] == [
            (clips[0].clip_id, BadReason.VIDEO_UNREADABLE)
        ]


def test_ray_writes_the_bytes_that_one_process_writes(dataset: str, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    run(dataset, tmp_path / "inline")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        with pytest.raises(DataError, match="the Ray cluster has 1; ask for fewer workers"):
            precompute(
                [dataset],
                str(tmp_path / "ray"),
                made_encoders,
                "model 1",
                making(),
                workers=Workers(engine="ray", num_workers=2),
            )
        precompute(
            [dataset],
            str(tmp_path / "ray"),
            made_encoders,
            "model 1",
            making(),
            workers=Workers(engine="ray", num_workers=1),
        )
    finally:
        ray.shutdown()
    assert bytes_of(tmp_path / "ray") == bytes_of(tmp_path / "inline")
