import itertools

import numpy as np
import pytest
import torch

from tests.training.generation.tiny import sampling, tiny_pipeline, wishes
from training.generation.schedulers import Solver, make_scheduler
from training.generation.streaming import latent_windows, stream_frames, stream_latents
from training.generation.take import take_of
from training.model.patch_codec import PatchCodec

torch.set_num_threads(1)


def test_frames_are_those_of_the_whole_latent_however_it_comes():
    codec = PatchCodec.of_smooth_video()
    latent = torch.randn(1, 16, 7, 4, 4, generator=torch.Generator().manual_seed(0))
    whole = ((codec.decode(latent)[0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    for cuts in ((1, 2), (3,), (6,)):
        pieces = iter(torch.tensor_split(latent, cuts, dim=2))
        frames = np.stack(list(stream_frames(codec, pieces)))
        np.testing.assert_array_equal(frames, whole.permute(1, 2, 3, 0).numpy())


class Still(torch.nn.Module):
    """A model whose velocity is zero: what comes out is the noise that went in."""

    dtype = torch.float32
    is_cache_enabled = False

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, hidden_BCKhw, *_):
        return torch.zeros_like(hidden_BCKhw[:, :16])


def test_noise_depends_on_the_seed_and_not_on_blocks():
    pipeline = tiny_pipeline()
    take = take_of(pipeline.parts, wishes(53))
    made = {}
    for windows in (1, 3, 8):
        latents = stream_latents(
            Still(),
            make_scheduler(Solver.EULER, 3.0),
            take.num_latents,
            (16, 4, 4),
            take.inputs,
            sampling(num_steps=2, block_windows=windows),
            torch.Generator().manual_seed(5),
        )
        made[windows] = torch.cat(list(latents), dim=2)
        assert made[windows].shape[2] == take.num_latents
    assert torch.equal(made[1], made[8])
    assert torch.equal(made[3], made[8])
    generator = torch.Generator().manual_seed(5)
    drawn = [torch.randn(1, 16, 1, 4, 4, generator=generator) for _ in range(take.num_latents)]
    assert torch.equal(made[8], torch.cat(drawn, dim=2))


@pytest.mark.parametrize("num_latents", [1, 4, 7, 8, 19, 40])
def test_listed_windows_cover_the_video_and_overlap_their_neighbours(num_latents):
    windows = latent_windows(num_latents, sampling(window_latents=5, overlap_latents=2))
    assert {k for first, stop in windows for k in range(first, stop)} == set(range(num_latents))
    for (_, stop), (first, _) in itertools.pairwise(windows):
        assert first <= stop - 2
