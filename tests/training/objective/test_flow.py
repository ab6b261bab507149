import pytest
import torch

from training.objective.flow import noisy_latent, sample_sigma, shift_sigma, velocity_target
from training.objective.seeding import generator_of


def test_shift_keeps_both_ends_and_is_undone_by_its_inverse():
    sigma = torch.linspace(0, 1, 11, dtype=torch.float64)
    for shift in (0.5, 1.0, 3.0, 8.0):
        shifted = shift_sigma(sigma, shift)
        assert shifted[0] == 0 and shifted[-1] == 1
        torch.testing.assert_close(shift_sigma(shifted, 1 / shift), sigma)
    assert shift_sigma(torch.tensor(0.5), 3.0) == 0.75


def test_a_shift_of_zero_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        shift_sigma(torch.tensor(0.5), 0.0)


def test_sigma_is_distributed_as_its_name_says():
    draws = sample_sigma(20_000, generator_of(1), "uniform", 1.0)
    assert abs(draws.mean() - 0.5) < 0.01 and abs(draws.var() - 1 / 12) < 0.005
    logits = torch.logit(sample_sigma(20_000, generator_of(2), "logit_normal", 1.0).double())
    assert abs(logits.mean()) < 0.03 and abs(logits.std() - 1) < 0.03
    median = sample_sigma(20_000, generator_of(3), "uniform", 3.0).median()
    assert abs(median - 0.75) < 0.02


def test_one_euler_step_along_the_velocity_ends_at_either_side():
    latent, noise = torch.randn(2, 3, 4, 3, 2, 2, generator=generator_of(0)).double()
    sigma = torch.tensor([0.3, 1.0, 0.0], dtype=torch.float64)
    noisy, velocity = noisy_latent(latent, noise, sigma), velocity_target(latent, noise)
    steps = sigma.view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(noisy - steps * velocity, latent)
    torch.testing.assert_close(noisy + (1 - steps) * velocity, noise)


def test_a_generator_depends_on_every_part_and_on_nothing_else():
    draws = {
        torch.rand(1, generator=generator_of(*parts)).item()
        for parts in ((1, 2, "a"), (1, 2, "b"), (1, 3, "a"), (2, 2, "a"), (1, "2", "a"), (1, "2a"))
    }
    assert len(draws) == 6
    torch.manual_seed(5)
    assert torch.equal(
        torch.rand(4, generator=generator_of(7, "x")), torch.rand(4, generator=generator_of(7, "x"))
    )
