import itertools

import numpy as np
import pytest
import torch

from training.errors import SettingError
from training.generation.schedulers import Solver, begin, make_scheduler, step
from training.generation.windows import fuse, plan_windows


def total_weights(plan):
    total = np.zeros(plan.num_latents)
    for start, row in zip(plan.starts, plan.weights, strict=True):
        total[start : start + plan.length] += row
    return total


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("overlap", range(21))
def test_weights_sum_to_one_for_every_length(overlap, pinned):
    for num_latents in range(1, 401):
        plan = plan_windows(num_latents, 21, overlap, pinned=pinned)
        np.testing.assert_allclose(total_weights(plan), 1, atol=1e-12)
        assert (plan.weights >= 0).all()


def test_weights_sum_to_one_on_every_moved_grid():
    for num_latents in (22, 40, 41, 63, 100):
        for overlap in (0, 1, 5):
            for shift in range(45):
                for pinned in (False, True):
                    plan = plan_windows(num_latents, 21, overlap, pinned=pinned, shift=shift)
                    np.testing.assert_allclose(total_weights(plan), 1, atol=1e-12)


def test_the_last_window_is_shifted_back_and_none_leaves_the_sequence():
    plan = plan_windows(40, 21, 5)
    assert plan.starts == (0, 16, 19)
    for shift in range(40):
        moved = plan_windows(100, 21, 5, shift=shift)
        assert moved.starts[0] == 0
        assert moved.starts[-1] == 79
        assert len(moved.starts) <= len(plan_windows(100, 21, 5).starts) + 1


def test_a_moved_grid_puts_its_seams_elsewhere():
    seams = [set(plan_windows(200, 21, 0, shift=7 * k).starts) for k in range(3)]
    assert seams[0] & seams[1] & seams[2] <= {0, 179}


def test_a_pinned_first_frame_counts_only_in_the_first_window():
    plan = plan_windows(60, 21, 5, pinned=True)
    assert plan.weights[0, 0] > 0
    assert (plan.weights[1:, 0] == 0).all()
    alone = plan_windows(60, 21, 0, pinned=True)
    assert alone.starts[1] == 20, "neighbours share the frame that the reference hides"


def test_repeated_work_is_window_over_window_less_overlap():
    plan = plan_windows(21 + 16 * 20, 21, 5)
    new_latents = plan.num_latents - 5
    assert len(plan.starts) * plan.length / new_latents == pytest.approx(21 / 16)


@pytest.mark.parametrize(("length", "overlap"), [(5, 5), (5, -1), (0, 0)])
def test_an_overlap_that_cannot_be_is_refused(length, overlap):
    with pytest.raises(SettingError, match="overlap"):
        plan_windows(40, length, overlap)


def test_fusing_a_field_that_windows_agree_on_gives_the_field():
    field = torch.randn(1, 3, 37, 2, 2, generator=torch.Generator().manual_seed(0))
    plan = plan_windows(37, 9, 4)
    fused = fuse(plan, field, lambda window, start: window * 2)
    torch.testing.assert_close(fused, field * 2)


def test_another_length_than_planned_is_refused():
    with pytest.raises(SettingError, match="planned for 10"):
        fuse(plan_windows(10, 5, 1), torch.zeros(1, 1, 11, 1, 1), lambda window, start: window)


def velocity(window, start, sigma):
    """Depends on where the window lies, so that windows disagree."""
    wave = torch.arange(window.shape[2], dtype=window.dtype)[:, None, None]
    return torch.sin(window * 1.7 + 0.1 * wave) * (1 + 0.2 * sigma) + 0.03 * start


def fused_sampler(solver, noise, plan, num_steps=6):
    scheduler = make_scheduler(solver, 3.0)
    sigmas = begin(scheduler, num_steps)
    latent = noise
    for index, sigma in enumerate(sigmas[:-1]):
        value = fuse(plan, latent, lambda w, s, sigma=sigma: velocity(w, s, sigma))
        latent = step(scheduler, value, latent, index)
    return latent


@pytest.fixture
def noise():
    return torch.randn(1, 4, 30, 2, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("solver", list(Solver))
def test_one_window_is_the_plain_sampler_to_the_bit(solver, noise):
    plan = plan_windows(30, 41, 5)
    scheduler = make_scheduler(solver, 3.0)
    sigmas = begin(scheduler, 6)
    latent = noise
    for timestep, sigma in zip(scheduler.timesteps, sigmas[:-1], strict=True):
        latent = scheduler.step(velocity(latent, 0, sigma), timestep, latent).prev_sample
    assert torch.equal(fused_sampler(solver, noise, plan), latent)


def test_euler_stepping_each_window_equals_one_fused_step(noise):
    plan = plan_windows(30, 11, 4)
    scheduler = make_scheduler(Solver.EULER, 3.0)
    sigmas = begin(scheduler, 6)
    latent = noise
    for sigma, after in itertools.pairwise(sigmas):
        latent = fuse(plan, latent, lambda w, s, a=after, b=sigma: w + (a - b) * velocity(w, s, b))
    torch.testing.assert_close(fused_sampler(Solver.EULER, noise, plan), latent)


def test_unipc_stepping_each_window_differs_which_is_why_velocities_are_fused(noise):
    plan = plan_windows(30, 11, 4)
    scheduler = make_scheduler(Solver.UNIPC, 3.0)
    sigmas = begin(scheduler, 6)
    latent = noise
    for index, sigma in enumerate(sigmas[:-1]):

        def one(window, start, index=index, sigma=sigma):
            scheduler._step_index = index
            return step(scheduler, velocity(window, start, sigma), window, index)

        latent = fuse(plan, latent, one)
    assert (fused_sampler(Solver.UNIPC, noise, plan) - latent).abs().max() > 0.1


class TwoProcesses:
    """Windows of even and of odd number, the other half added from what was computed before."""

    def __init__(self, rank, others):
        self.rank, self.others = rank, others

    def mine(self, index):
        return index % 2 == self.rank

    def total(self, sum_here):
        return sum_here + sum(self.others)


class Idle:
    """A process that gets no window, beside one that gets all of them."""

    def __init__(self, others):
        self.others = others

    def mine(self, index):
        return False

    def total(self, sum_here):
        assert not sum_here.any()
        return sum_here + self.others


def test_a_process_without_a_window_adds_nothing(noise):
    plan = plan_windows(30, 11, 4)

    def predict(window, start):
        return torch.stack([velocity(window, start, 0.5)] * 3)

    whole = fuse(plan, noise, predict)
    torch.testing.assert_close(fuse(plan, noise, predict, Idle(whole)), whole)


def test_windows_shared_among_processes_add_up_to_the_same(noise):
    plan = plan_windows(30, 11, 4)
    parts = []
    for rank in (0, 1):
        share = TwoProcesses(rank, [])
        parts.append(fuse(plan, noise, lambda w, s: velocity(w, s, 0.5), share))
    whole = fuse(plan, noise, lambda w, s: velocity(w, s, 0.5))
    torch.testing.assert_close(parts[0] + parts[1], whole)
