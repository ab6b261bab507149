"""Precomputing: every clip encoded once, by workers on Ray or in this process.

A shard is the unit of work and of resuming: it is written whole, then a note; a shard with the note
of the same plan is not made again. Which worker makes it leaves no trace in its bytes.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from manifests.errors import ManifestError
from manifests.storage import Folder
from training.data.books import BadReason, BadSample
from training.data.buckets import assign, make_buckets, nearest_size
from training.data.clip_table import open_clips
from training.data.encode import Encoders
from training.data.epoch_plan import epoch_buckets
from training.data.latent_making import Making, claim_folder
from training.data.latent_shards import (
    LatentItem,
    LatentPlan,
    finish,
    read_note,
    write_shard,
)
from training.errors import DataError


@dataclass(frozen=True)
class Workers:
    """Who does the work.

    Attributes:
        engine: ``inline``: this process; ``ray``: a pool of Ray actors.
        num_workers: actors of the pool.
        cpus_per_worker: CPUs that an actor reserves.
        gpus_per_worker: GPUs that an actor reserves.
    """

    engine: Literal["inline", "ray"] = "inline"
    num_workers: int = 1
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0


@dataclass(frozen=True)
class Precomputed:
    """What came of it.

    Attributes:
        dataset: the folder of the latents.
        num_samples: samples in it.
        num_shards: shards in it.
        num_shards_kept: of these, shards that an earlier run had written.
        bad: clips that could not be used.
    """

    dataset: str
    num_samples: int
    num_shards: int
    num_shards_kept: int
    bad: tuple[BadSample, ...]


def precompute(
    manifests: Sequence[str],
    out: str,
    make_encoders: Callable[[], Encoders],
    model_digest: str,
    making: Making,
    *,
    workers: Workers = Workers(),
    on_shard: Callable[[int, int], None] = lambda done, total: None,
) -> Precomputed:
    """Encode every clip and write the shards of a dataset of latents.

    Args:
        manifests: the datasets.
        out: folder or URL of the latents.
        make_encoders: makes codec and encoders; called once in every worker.
        model_digest: names codec and encoders with their weights.
        making: how clips are cut, encoded and stored.
        workers: who does it.
        on_shard: told after each shard how many are done, and of how many.

    Returns:
        What came of it.

    Raises:
        DataError: the data cannot be used, the folder holds latents of another making, or a worker
            failed; what was written stays, and the same call goes on with it.
    """
    folder = Folder(out)
    plans = plan_latents(manifests, folder, model_digest, making)
    notes = {plan.name: read_note(folder, plan) for plan in plans}
    left = [plan for plan in plans if notes[plan.name] is None]
    num_kept = len(plans) - len(left)
    run = _inline if workers.engine == "inline" else _on_ray
    on_shard(num_kept, len(plans))
    for done, (name, note) in enumerate(
        run(_ShardEncoder(folder, making, make_encoders), left, workers), 1
    ):
        notes[name] = note
        on_shard(num_kept + done, len(plans))
    whole = [note for note in (notes[plan.name] for plan in plans) if note is not None]
    bad = tuple(
        BadSample(**{**values, "reason": BadReason(values["reason"])})
        for note in whole
        for values in note["bad"]
    )
    num_samples = sum(len(note["samples"]) for note in whole)
    if not num_samples:
        raise DataError(f"{out}: no clip could be read; the first: {bad[0]}")
    finish(folder, manifests, plans, whole)
    return Precomputed(folder.url, num_samples, len(plans), num_kept, bad)


def plan_latents(
    manifests: Sequence[str], folder: Folder, model_digest: str, making: Making
) -> list[LatentPlan]:
    """Choose the clips, claim the folder and divide the samples into shards.

    Args:
        manifests: the datasets.
        folder: folder of the latents.
        model_digest: names codec and encoders with their weights.
        making: how clips are cut, encoded and stored.

    Returns:
        One plan a shard, in the order of the samples' keys.
    """
    data = making.data
    clips = open_clips(
        manifests, sources=data.sources, min_frames=min(data.num_frames), check=data.check
    )
    digest = claim_folder(folder, making.fingerprint(model_digest, clips.digest))
    buckets = make_buckets(data.sizes_px, data.num_frames)
    size_N = nearest_size(clips.width_N, clips.height_N, data.sizes_px)
    as_video, as_picture = assign(clips.num_frames_N, size_N, data.sizes_px, buckets)
    items = []
    for variant in range(making.precompute.num_variants):
        bucket_N = epoch_buckets(as_video, as_picture, data.picture_ratio, data.seed, variant)
        for row, bucket in enumerate(bucket_N):
            key = str(clips.clip_ids[row])
            if making.precompute.num_variants > 1:
                key = f"{key}-{variant}"
            items.append(LatentItem(key, clips.place(row), buckets[bucket], variant))
    items.sort(key=lambda item: item.key)
    size = making.precompute.samples_per_shard
    return [
        LatentPlan(f"shards/{first // size:06d}.tar", tuple(items[first : first + size]), digest)
        for first in range(0, len(items), size)
    ]


class _ShardEncoder:
    """Encodes shards; the encoders are made with the first one, where the work is done."""

    def __init__(
        self, folder: Folder, making: Making, make_encoders: Callable[[], Encoders]
    ) -> None:
        self._folder, self._making, self._make = folder, making, make_encoders
        self._encoders: Encoders | None = None

    def __call__(self, plan: LatentPlan) -> dict[str, Any]:
        if self._encoders is None:
            self._encoders = self._make()
        return write_shard(self._folder, plan, self._making, self._encoders)


def _inline(
    encoder: _ShardEncoder, plans: Sequence[LatentPlan], workers: Workers
) -> Iterator[tuple[str, dict[str, Any]]]:
    for plan in plans:
        yield plan.name, encoder(plan)


def _on_ray(
    encoder: _ShardEncoder, plans: Sequence[LatentPlan], workers: Workers
) -> Iterator[tuple[str, dict[str, Any]]]:
    """One shard a row and a row a block; a source of items, for a read task would wait for CPUs."""
    import ray.data
    from ray import cloudpickle
    from ray.exceptions import RayError

    if not plans:
        return
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    _check_cluster(ray.cluster_resources(), workers)
    ray.data.DataContext.get_current().enable_progress_bars = False
    packed = cloudpickle.dumps(encoder)

    class Actor:
        def __init__(self) -> None:
            self._encoder = cloudpickle.loads(packed)

        def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
            plan = pickle.loads(row["plan"])
            return {"done": pickle.dumps((plan.name, self._encoder(plan)))}

    rows = [{"plan": pickle.dumps(plan)} for plan in plans]
    source = ray.data.from_items(rows, override_num_blocks=len(rows))
    with warnings.catch_warnings():
        # Ray 2.60 announces the end of `ray_remote_args_fn` and has no other way yet to say how
        # often an actor is restarted; by default a clip that kills it is tried for ever.
        warnings.simplefilter("ignore", DeprecationWarning)
        dataset = source.map(
            Actor,
            num_cpus=workers.cpus_per_worker,
            num_gpus=workers.gpus_per_worker,
            compute=ray.data.ActorPoolStrategy(size=min(workers.num_workers, len(rows))),
            ray_remote_args_fn=lambda: {"max_restarts": 2, "max_task_retries": 2},
        )
    try:
        for row in dataset.iter_rows():
            yield pickle.loads(row["done"])
    except (RayError, ManifestError) as error:
        raise DataError(
            f"a worker failed: {error}; the shards that are written stay, call again to go on"
        ) from error


def _check_cluster(resources: Mapping[str, float], workers: Workers) -> None:
    """Refuse a pool that the cluster has no room for; Ray would wait for ever."""
    for name, each in (("CPU", workers.cpus_per_worker), ("GPU", workers.gpus_per_worker)):
        asked, there = workers.num_workers * each, resources.get(name, 0.0)
        if asked > there:
            raise DataError(
                f"{workers.num_workers} workers of {each:g} {name}s each: the Ray cluster has "
                f"{there:g}; ask for fewer workers, or add nodes"
            )
