import random
from dataclasses import asdict, replace

import pytest
import torch
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from tests.training.trainer.doubles import MadeData, make_parts, make_recipe, run
from training.errors import DivergedError, ModelError, SettingError
from training.trainer.checkpoint import read_run, read_tensors
from training.trainer.loop import train
from training.trainer.world import World


def _tensors(checkpoint, tmp_path):
    """Everything in a checkpoint, flat by name."""
    file = tmp_path / f"{checkpoint.parent.parent.name}.pt"
    dcp_to_torch_save(checkpoint, file)
    flat = {}

    def walk(tree, name):
        if isinstance(tree, dict):
            for key, value in tree.items():
                walk(value, f"{name}/{key}")
        else:
            flat[name] = tree

    walk(torch.load(file, weights_only=False), "")
    return flat


def _assert_same_bits(one, other, tmp_path):
    a, b = (_tensors(result.checkpoint, tmp_path) for result in (one, other))
    assert a.keys() == b.keys() and any("average" in name for name in a)
    for name, tensor in a.items():
        assert torch.equal(torch.as_tensor(tensor), torch.as_tensor(b[name])), name


PHASES = (
    {"steps": 5, "trainable": "adapter", "audio_scopes": {"clip": 0.5, "window": 0.5}},
    {"steps": 6, "trainable": "all", "plateau": {"window_steps": 2, "min_gain_ratio": 0.0}},
)


def test_stop_and_resume_at_a_random_step_equals_no_stop_to_the_last_bit(tmp_path):
    recipe = make_recipe(*PHASES, run={"checkpoint_every_steps": 2})
    whole = run(recipe, tmp_path / "whole")
    assert whole.is_finished
    stop = random.randint(1, whole.step - 1)
    first = run(recipe, tmp_path / "stopped", stop_after=stop)
    assert not first.is_finished and first.step == stop
    torch.manual_seed(stop)  # the global generator plays no part
    second = run(recipe, tmp_path / "stopped", resume=True)
    assert second.is_finished and second.step == whole.step, stop
    assert [asdict(r) for r in (*first.reports, *second.reports)] == [
        asdict(r) for r in whole.reports
    ], stop
    _assert_same_bits(whole, second, tmp_path)


def test_a_resumed_run_is_in_the_phase_and_at_the_step_where_it_stopped(tmp_path):
    recipe = make_recipe({"steps": 3, "trainable": "adapter"}, {"steps": 4})
    for stop, expected in ((2, (0, 2)), (3, (1, 0)), (5, (1, 2))):
        result = run(recipe, tmp_path, stop_after=stop, resume=stop > 2)
        state = read_run(result.checkpoint)
        curriculum = state["curriculum"]
        assert (curriculum["phase_index"], curriculum["phase_step"]) == expected
        assert state["step"] == stop


def test_a_phase_moves_what_it_says_and_nothing_else(tmp_path):
    recipe = make_recipe({"steps": 2, "trainable": "adapter"}, {"steps": 2, "trainable": "all"})
    first = run(recipe, tmp_path / "run", stop_after=2)
    names = set(_tensors(first.checkpoint, tmp_path))
    assert all("/audio_" in name for name in names if name.startswith("/model/"))
    second = run(recipe, tmp_path / "run", resume=True)
    later = _tensors(second.checkpoint, tmp_path)
    assert "/model/blocks.0.attn2.to_q.weight" in later
    assert "/model/blocks.0.ffn.net.0.proj.weight" in later


def test_a_checkpoint_is_whole_or_not_there_and_old_ones_go(tmp_path):
    recipe = make_recipe({"steps": 9}, run={"checkpoint_every_steps": 2, "num_checkpoints": 2})
    half = tmp_path / "checkpoints" / ".step_00000007"
    half.mkdir(parents=True)
    run(recipe, tmp_path)
    kept = sorted(place.name for place in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step_00000008", "step_00000009"]
    dcp.FileSystemReader(tmp_path / "checkpoints" / kept[-1]).read_metadata()


def test_a_loss_that_is_not_finite_stops_before_the_weights_move_and_names_the_clips(tmp_path):
    recipe = make_recipe({"steps": 6}, run={"checkpoint_every_steps": 1})
    with pytest.raises(DivergedError, match=r"step 3: loss is nan, from clips clip7;"):
        run(recipe, tmp_path / "spoilt", spoil=3)
    # The checkpoint that was being written is there all the same.
    assert (tmp_path / "spoilt" / "checkpoints" / "step_00000003").is_dir()
    # What the last checkpoint before it holds is what an unspoilt run has there.
    whole = run(recipe, tmp_path / "whole", stop_after=3)
    resumed = run(recipe, tmp_path / "spoilt", stop_after=3, resume=True)
    _assert_same_bits(whole, resumed, tmp_path)


def test_clips_that_only_keep_ranks_in_step_do_not_count(tmp_path):
    padded = run(make_recipe({"steps": 1, "accumulation": 2}), tmp_path / "a", padding=1)
    plain = run(make_recipe({"steps": 1}), tmp_path / "b")
    assert padded.reports[0].num_clips == 2
    assert padded.reports[0].loss == pytest.approx(plain.reports[0].loss, rel=1e-6)
    assert padded.reports[0].gradient_norm == pytest.approx(plain.reports[0].gradient_norm, 1e-5)


def test_the_loss_falls_where_there_is_something_to_learn(tmp_path):
    recipe = make_recipe({"steps": 60, "learning_rate": 1e-2})
    world = World(torch.device("cpu"))

    class OneBatch(MadeData):
        def next_batches(self, step):
            self.position = 0
            return super().next_batches(step)

    parts = make_parts(recipe, world)
    parts = type(parts)(
        parts.make_transformer, lambda phase: OneBatch(1, world), parts.null_text_LD
    )
    losses = [report.loss for report in train(recipe, parts, tmp_path, world).reports]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_an_existing_run_is_not_written_over_and_another_recipe_does_not_resume(tmp_path):
    recipe = make_recipe({"steps": 2})
    run(recipe, tmp_path, stop_after=1)
    with pytest.raises(SettingError, match="--resume"):
        run(recipe, tmp_path)
    with pytest.raises(SettingError, match="same recipe"):
        run(make_recipe({"steps": 3}), tmp_path, resume=True)
    with pytest.raises(SettingError, match="no checkpoint to resume"):
        run(recipe, tmp_path / "other", resume=True)


def test_lora_moves_with_the_adapter_and_the_base_stays(tmp_path):
    recipe = make_recipe({"steps": 2, "trainable": "adapter_and_lora"}, lora=True)
    result = run(recipe, tmp_path / "run")
    names = [n for n in _tensors(result.checkpoint, tmp_path) if n.startswith("/model/")]
    assert any("lora_" in name for name in names)
    assert all("lora_" in name or "/audio_" in name for name in names)


def test_a_checkpoint_of_another_shape_is_refused_in_words(tmp_path):
    recipe = make_recipe({"steps": 2})
    result = run(recipe, tmp_path / "run")
    wanted = {"model": {"audio_projector.hidden.weight": torch.zeros(3, 3)}}
    with pytest.raises(ModelError, match="does not fit this model"):
        read_tensors(result.checkpoint, wanted, World(torch.device("cpu")))
    with pytest.raises(ModelError, match="not a whole checkpoint"):
        read_run(tmp_path)


def test_recompute_changes_no_step(tmp_path):
    plain = run(make_recipe({"steps": 3}), tmp_path / "plain")
    again = run(make_recipe({"steps": 3}, run={"recompute": True}), tmp_path / "again")
    assert [asdict(report) for report in again.reports] == [
        asdict(report) for report in plain.reports
    ]


def test_what_a_phase_learned_is_not_rounded_in_one_that_leaves_it_alone(tmp_path):
    phases = {"steps": 2, "trainable": "all"}, {"steps": 1, "trainable": "adapter"}
    recipe = make_recipe(*phases, run={"precision": "bf16"})
    learned = _tensors(run(recipe, tmp_path / "a", stop_after=2).checkpoint, tmp_path)
    later = _tensors(run(recipe, tmp_path / "a", resume=True).checkpoint, tmp_path)
    frozen = [name for name in later if name.startswith("/model/blocks.")]
    assert frozen and all(torch.equal(later[name], learned[name]) for name in frozen)


def test_a_model_whose_writing_was_cut_short_is_written_again(tmp_path):
    recipe, world = make_recipe({"steps": 1}), World(torch.device("cpu"))
    written = []

    def finish(*, resume):
        parts = make_parts(recipe, world)
        export = lambda transformer, state, place: written.append(place)  # noqa: E731
        train(recipe, replace(parts, export=export), tmp_path, world, resume=resume)

    finish(resume=False)
    (tmp_path / "model" / "transformer").mkdir(parents=True)
    finish(resume=True)
    (tmp_path / "model" / "model.json").touch()
    finish(resume=True)
    assert written == [tmp_path / "model"] * 2


def test_bf16_keeps_what_moves_in_float32_and_the_loss_near(tmp_path):
    phase = {"steps": 2, "trainable": "adapter"}
    plain = run(make_recipe(phase), tmp_path / "plain")
    lower = run(make_recipe(phase, run={"precision": "bf16"}), tmp_path / "lower")
    assert lower.reports[-1].loss == pytest.approx(plain.reports[-1].loss, rel=0.02)
    tensors = _tensors(lower.checkpoint, tmp_path)
    assert {t.dtype for name, t in tensors.items() if name.startswith("/model/")} == {torch.float32}
