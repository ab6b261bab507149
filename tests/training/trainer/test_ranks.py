"""Two ranks against one with accumulation; the ranks are processes of this machine, with gloo."""

import json
import os
from dataclasses import asdict
from datetime import timedelta

import pytest
import torch
from torch import distributed, multiprocessing

from tests.training.trainer.doubles import make_recipe, run
from training.trainer.world import current_world

PHASES = (
    {"steps": 2, "trainable": "adapter", "tasks": {"image": 1.0}, "silent_ratio": 0.3},
    {"steps": 3, "trainable": "all_but_text_attention"},
)


def _work(rank, folder, options):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=100),
    )
    try:
        phases = [{**phase, "accumulation": 1} for phase in PHASES]
        result = run(make_recipe(*phases), folder / "run", current_world(), **options)
        reports = [asdict(report) for report in result.reports]
        (folder / f"rank{rank}.json").write_text(json.dumps(reports))
    finally:
        distributed.destroy_process_group()


def _two_ranks(folder, **options):
    folder.mkdir(exist_ok=True)
    (folder / "meeting").unlink(missing_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    multiprocessing.spawn(_work, (folder, options), nprocs=2)
    one, two = (json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert one == two  # every rank reports the same step
    return one


def test_two_ranks_equal_one_rank_with_accumulation_through_a_change_of_phase(tmp_path):
    together = _two_ranks(tmp_path / "two")
    alone = run(make_recipe(*({**p, "accumulation": 2} for p in PHASES)), tmp_path / "one")
    assert len(together) == len(alone.reports) == 5
    for mine, theirs in zip(alone.reports, together, strict=True):
        assert theirs["num_clips"] == mine.num_clips == 4
        assert theirs["loss"] == pytest.approx(mine.loss, abs=1e-5)
        assert theirs["lip_loss"] == pytest.approx(mine.lip_loss, abs=1e-5)
        assert theirs["gradient_norm"] == pytest.approx(mine.gradient_norm, rel=1e-4)


def test_two_ranks_stop_and_resume_and_one_rank_reads_their_checkpoint(tmp_path):
    whole = _two_ranks(tmp_path / "whole")
    first = _two_ranks(tmp_path / "stopped", stop_after=4)
    second = _two_ranks(tmp_path / "stopped", resume=True)
    assert [*first, *second] == whole
