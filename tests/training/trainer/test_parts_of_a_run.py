import math
from dataclasses import replace

import pytest
import torch
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
from ray.train.v2.api.exceptions import WorkerGroupError

from tests.training.trainer.doubles import make_recipe
from training.errors import DivergedError, ModelError, SettingError
from training.objective.curriculum import Trainable
from training.trainer.assemble import check_ranks
from training.trainer.checkpoint import Checkpoints, read_tensors
from training.trainer.ema import MovingAverage
from training.trainer.launch import refusal_of
from training.trainer.optimizer import OptimizerSettings, check_optimizer, make_optimizer
from training.trainer.progress import Meter, duration_text
from training.trainer.step import StepReport
from training.trainer.trainable import is_trainable, set_trainable
from training.trainer.weights import initialise_state, optimizer_tensors, take_over
from training.trainer.world import World


def test_the_average_of_a_constant_is_the_constant_and_of_a_line_lags_behind():
    parameter = torch.zeros(3)
    average = MovingAverage({"a": parameter}, 0.9)
    for _ in range(5):
        average.update({"a": parameter})
    assert torch.equal(average.averages["a"], torch.zeros(3))
    for step in range(400):
        average.update({"a": torch.full((3,), float(step))})
    # A line of slope 1 is followed decay / (1 - decay) behind.
    torch.testing.assert_close(
        average.averages["a"], torch.full((3,), 399 - 9.0), atol=1e-3, rtol=0
    )


def test_the_average_forgets_its_beginning_fast_while_it_is_young():
    average = MovingAverage({"a": torch.full((1,), 100.0)}, 0.999)
    for _ in range(20):
        average.update({"a": torch.zeros(1)})
    assert average.averages["a"].item() < 1.0


def test_only_what_takes_part_is_averaged():
    average = MovingAverage({"a": torch.zeros(1), "b": torch.zeros(1)}, 0.5)
    average.update({"a": torch.ones(1)})
    assert average.averages["a"] > 0 and average.averages["b"] == 0


@pytest.mark.parametrize(
    ("name", "moves"),
    [
        ("audio_projector.window.weight", "adapter lora most all"),
        ("audio_blocks.3.o.weight", "adapter lora most all"),
        ("blocks.0.attn1.to_q.lora_A.default.weight", "lora most all"),
        ("blocks.0.attn1.to_q.base_layer.weight", "most all"),
        ("blocks.0.attn2.to_q.weight", "all"),
        ("blocks.0.attn2.norm_k.weight", "all"),
        ("blocks.0.attn2.add_k_proj.weight", "most all"),
        ("condition_embedder.text_embedder.linear_1.weight", "all"),
        ("condition_embedder.image_embedder.norm1.weight", "most all"),
        ("blocks.0.ffn.net.2.bias", "most all"),
    ],
)
def test_each_phase_moves_what_its_name_says(name, moves):
    kinds = {
        "adapter": Trainable.ADAPTER,
        "lora": Trainable.ADAPTER_AND_LORA,
        "most": Trainable.ALL_BUT_TEXT_ATTENTION,
        "all": Trainable.ALL,
    }
    assert [kind for kind, trainable in kinds.items() if is_trainable(name, trainable)] == (
        moves.split()
    )


def test_a_phase_that_moves_nothing_is_refused():
    with pytest.raises(ModelError, match="no such parameters"):
        set_trainable(torch.nn.Linear(2, 2), Trainable.ADAPTER)


def test_weight_decay_is_for_matrices_and_not_for_biases_norms_and_tables():
    sizes = {"proj.weight": (2, 2), "proj.bias": (2,), "norm.weight": (2,)}
    sizes["blocks.0.scale_shift_table"] = (1, 6, 2)
    parameters = {name: torch.nn.Parameter(torch.zeros(size)) for name, size in sizes.items()}
    optimizer = make_optimizer(parameters, OptimizerSettings(), 1e-3)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]
    (decaying,) = optimizer.param_groups[0]["params"]
    assert decaying is parameters["proj.weight"]
    assert optimizer.param_groups[0]["fused"]


def test_eight_bits_without_a_gpu_are_refused_with_the_way_out():
    with pytest.raises(SettingError, match=r"optimizer\.kind=adamw"):
        check_optimizer(OptimizerSettings(kind="adamw_8bit"), torch.device("cpu"), 1)


def test_previews_are_refused_where_devices_share_clips():
    recipe = make_recipe({"num_frames": [5]}, run={"context_parallel": 2, "preview_every_steps": 5})
    check_ranks(recipe, 2, torch.device("cpu"))
    with pytest.raises(SettingError, match="leave --preview-clip out"):
        check_ranks(recipe, 2, torch.device("cpu"), has_previews=True)


class _CountingSgd(torch.optim.SGD):
    """Counts its steps in a plain number, as bitsandbytes does."""

    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                state["step"] = state.get("step", 0) + 1


def test_an_optimiser_that_counts_in_plain_numbers_goes_on_counting(tmp_path):
    def made():
        parameter = torch.nn.Parameter(torch.ones(2))
        return {"a": parameter}, _CountingSgd([parameter], lr=0.1, momentum=0.9)

    world = World(torch.device("cpu"))
    moving, optimizer = made()
    for _ in range(5):
        moving["a"].grad = torch.ones(2)
        optimizer.step()
    checkpoints = Checkpoints(tmp_path, 1, world)
    checkpoints.save(5, {"optimizer": optimizer_tensors(optimizer, moving)}, {})
    checkpoints.finish()
    later, resumed = made()
    initialise_state(resumed, later)
    tensors = {"optimizer": optimizer_tensors(resumed, later)}
    take_over(resumed, later, read_tensors(checkpoints.newest(), tensors, world)["optimizer"])
    old, new = optimizer.state[moving["a"]], resumed.state[later["a"]]
    assert new["step"] == old["step"] == 5
    assert torch.equal(new["momentum_buffer"], old["momentum_buffer"])


def test_a_checkpoint_that_cannot_be_written_stops_the_run_in_words(tmp_path):
    checkpoints = Checkpoints(tmp_path, 1, World(torch.device("cpu")))
    checkpoints.save(1, {"model": {"a": lambda: None}}, {})  # DCP pickles what is no tensor
    with pytest.raises(ModelError, match=r"step_00000001: could not be written.*--resume"):
        checkpoints.finish()
    assert checkpoints.newest() is None


def test_speeds_are_sums_and_losses_means_since_the_last_line():
    now = [10.0]
    meter = Meter(clock=lambda: now[0])
    meter.restart()
    report = StepReport(1.0, 1.0, math.nan, math.nan, 1.0, num_clips=4, num_tokens=100)
    for _ in range(2):
        now[0] += 5
        meter.add(report, data_wait_s=1.0, flops=1e12)
    rates = meter.rates(peak_flops_per_s=1e12)
    assert rates["clips_per_s"] == 0.8 and rates["tokens_per_s"] == 20
    assert rates["data_wait_ratio"] == 0.2 and rates["step_s"] == 5 and rates["mfu"] == 0.2
    assert "mfu" not in meter.rates(None)
    meter.add(replace(report, loss=4.0, lip_loss=3.0), data_wait_s=0.0, flops=0.0)
    assert meter.mean("loss") == 2.0 and meter.mean("lip_loss") == 3.0
    assert math.isnan(meter.mean("face_loss"))
    meter.restart()
    assert math.isnan(meter.mean("loss"))
    assert duration_text(3725) == "1 h 02 min" and duration_text(65) == "1 min 05 s"


def test_what_a_ray_worker_refuses_is_said_as_it_said_it():
    refused = DivergedError("step 3: loss is nan")
    wrapped = UserExceptionWithTraceback(refused, "Traceback: a page of it")
    failed = WorkerGroupError("a page", {1: RuntimeError("lost the others"), 0: wrapped})
    assert refusal_of(failed) is refused
    assert "a worker failed" in str(refusal_of(WorkerGroupError("died", {0: RuntimeError("x")})))
