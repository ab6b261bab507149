import numpy as np
import pytest
import torch

from training.errors import SettingError
from training.generation.schedulers import Solver, begin, make_scheduler, step


@pytest.mark.parametrize("solver", list(Solver))
def test_sigmas_are_evenly_spaced_then_shifted_once(solver):
    sigmas = begin(make_scheduler(solver, 5.0), 4)
    even = np.array([1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose(sigmas, 5 * even / (1 + 4 * even), atol=2e-3)


@pytest.mark.parametrize("solver", list(Solver))
@pytest.mark.parametrize("num_steps", [1, 2, 7])
def test_constant_velocity_is_solved_exactly(solver, num_steps):
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 1, 2, 3, 2, 2, generator=generator)
    scheduler = make_scheduler(solver, 3.0)
    latent = noise
    for index in range(len(begin(scheduler, num_steps)) - 1):
        latent = step(scheduler, noise - clean, latent, index)
    torch.testing.assert_close(latent, clean, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("solver", list(Solver))
def test_part_of_the_road_from_a_partly_noised_source_arrives_too(solver):
    clean, noise = torch.randn(2, 1, 2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    scheduler = make_scheduler(solver, 3.0)
    sigmas = begin(scheduler, 10, strength=0.4)
    assert len(sigmas) == 5
    latent = (1 - sigmas[0]) * clean + sigmas[0] * noise
    for index in range(4):
        latent = step(scheduler, noise - clean, latent, index)
    torch.testing.assert_close(latent, clean, atol=1e-4, rtol=1e-4)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(SettingError, match="shift 0"):
        make_scheduler(Solver.UNIPC, 0)
    with pytest.raises(SettingError, match="steps 0"):
        begin(make_scheduler(Solver.UNIPC, 3), 0)
    with pytest.raises(SettingError, match="strength 0"):
        begin(make_scheduler(Solver.UNIPC, 3), 5, strength=0)
