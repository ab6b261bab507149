"""Two ranks against one with accumulation; the ranks are processes of this machine, with gloo."""

import json
import os
import shutil
from dataclasses import asdict
from datetime import timedelta

import pytest
import torch
from torch import distributed, multiprocessing

from tests.training.trainer.doubles import make_recipe, run
from training.trainer.world import current_world, sharing_clips

PHASES = (
    {"steps": 2, "trainable": "adapter", "audio_scopes": {"clip": 1.0}, "silent_ratio": 0.3},
    {"steps": 3, "trainable": "all_but_text_attention"},
)

ONE_STEP = {"steps": 1, "trainable": "adapter"}
LOWER = {"precision": "bf16"}
LORA = {"steps": 2, "trainable": "adapter_and_lora"}


def _work(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=100),
    )
    try:
        recipe = make_recipe(*PHASES)
        world = current_world()
        runs = {
            "whole": run(recipe, folder / "whole", world),
            "first": run(recipe, folder / "stopped", world, stop_after=4),
        }
        if rank == 0:
            shutil.copytree(folder / "stopped", folder / "for one rank")
        runs["second"] = run(recipe, folder / "stopped", world, resume=True)
        # Clips of two latent frames, one on each rank; computed twice, as large models are.
        sharing = sharing_clips(world, 2)
        again = make_recipe(*PHASES, run={"recompute": True})
        runs["shared"] = run(again, folder / "shared", sharing)
        runs["lower"] = run(make_recipe(ONE_STEP, run=LOWER), folder / "lower", world)
        runs["lora"] = run(make_recipe(LORA, run=LOWER, lora=True), folder / "lora", world)
        reports = {
            name: [asdict(report) for report in result.reports] for name, result in runs.items()
        }
        (folder / f"rank{rank}.json").write_text(json.dumps(reports))
    finally:
        distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """Folder and reports of two ranks: a whole run, and one that stops and resumes."""
    folder = tmp_path_factory.mktemp("two")
    os.environ["OMP_NUM_THREADS"] = "1"
    multiprocessing.spawn(_work, (folder,), nprocs=2)
    one, two = (json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert one == two  # every rank reports the same
    return folder, one


def _accumulating():
    return make_recipe(*({**phase, "accumulation": 2} for phase in PHASES))


def _assert_same_steps(alone, together):
    assert len(together) == len(alone)
    for mine, theirs in zip(alone, together, strict=True):
        assert theirs["num_clips"] == mine.num_clips == 4
        assert theirs["loss"] == pytest.approx(mine.loss, abs=1e-5)
        assert theirs["lip_loss"] == pytest.approx(mine.lip_loss, abs=1e-5)
        assert theirs["gradient_norm"] == pytest.approx(mine.gradient_norm, rel=1e-4)


def test_two_ranks_equal_one_rank_with_accumulation_through_a_change_of_phase(two_ranks, tmp_path):
    alone = run(_accumulating(), tmp_path)
    assert len(alone.reports) == 5
    _assert_same_steps(alone.reports, two_ranks[1]["whole"])


def test_two_ranks_stop_and_resume_as_if_they_had_not(two_ranks):
    runs = two_ranks[1]
    assert [*runs["first"], *runs["second"]] == runs["whole"]


def test_two_ranks_that_share_each_clip_equal_one_rank(two_ranks, tmp_path):
    alone = run(make_recipe(*PHASES), tmp_path)
    shared = two_ranks[1]["shared"]
    assert len(alone.reports) == len(shared) == 5
    for mine, theirs in zip(alone.reports, shared, strict=True):
        assert (theirs["num_clips"], theirs["num_tokens"]) == (mine.num_clips, mine.num_tokens)
        assert theirs["loss"] == pytest.approx(mine.loss, abs=1e-5)
        assert theirs["gradient_norm"] == pytest.approx(mine.gradient_norm, rel=1e-4)


def test_sharding_rounds_nothing_that_one_rank_in_bf16_does_not(two_ranks, tmp_path):
    # FSDP2 would hand positions and modulation to each block in bfloat16: 1e-3 of this loss.
    alone = run(make_recipe({**ONE_STEP, "accumulation": 2}, run=LOWER), tmp_path).reports[0]
    (lower,) = two_ranks[1]["lower"]
    assert lower["loss"] == pytest.approx(alone.loss, abs=1e-6)
    assert lower["gradient_norm"] == pytest.approx(alone.gradient_norm, rel=1e-2)


def test_a_lora_is_sharded_beside_its_frozen_base(two_ranks, tmp_path):
    recipe = make_recipe({**LORA, "accumulation": 2}, run=LOWER, lora=True)
    alone, lora = run(recipe, tmp_path).reports, two_ranks[1]["lora"]
    assert [step["loss"] for step in lora] == pytest.approx([r.loss for r in alone], rel=2e-3)
    assert lora[0]["gradient_norm"] == pytest.approx(alone[0].gradient_norm, rel=2e-2)


def test_one_rank_goes_on_from_the_checkpoint_of_two(two_ranks):
    folder, runs = two_ranks
    alone = run(_accumulating(), folder / "for one rank", resume=True)
    _assert_same_steps(alone.reports, runs["second"])
