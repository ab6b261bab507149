import json

import numpy as np
import pytest
import torch

from tests.training.generation.tiny import tiny_pipeline, wishes
from training.errors import SettingError
from training.generation.settings import make_settings
from training.generation.speed import apply, measure_mag_ratios

torch.set_num_threads(1)
BASE = {
    "num_steps": 6,
    "window_latents": 4,
    "overlap_latents": 1,
    "guidance": "audio_only",
    "audio_guidance": 2.0,
}


def made(**changes):
    """Frames, and how often the last block was computed."""
    pipeline = tiny_pipeline()
    settings = make_settings("quality", BASE | changes)
    apply(pipeline, settings)
    calls = []
    last = pipeline.transformer.blocks[-1].attn1
    last.register_forward_hook(lambda *_: calls.append(1))
    frames = pipeline(wishes(29), settings.sampling()).frames
    return frames, len(calls)


@pytest.fixture(scope="module")
def plain():
    return made()


@pytest.mark.parametrize("passes", ["sequential", "batched"])
def test_a_first_block_cache_that_allows_no_change_changes_nothing(plain, passes):
    frames, _ = made(cache="first_block", cache_threshold=1e-9, passes=passes)
    assert np.abs(frames.astype(int) - plain[0]).max() <= 1


def test_a_cache_that_allows_any_change_computes_each_window_and_branch_once(plain):
    _, num = made(cache="first_block", cache_threshold=10.0)
    assert num == plain[1] / 6, "in the first of six steps only"


NUM_STEPS, NUM_WINDOWS, NUM_BRANCHES = 16, 3, 2


@pytest.fixture(scope="module")
def long_plain():
    return made(num_steps=NUM_STEPS)


def test_mag_cache_counts_its_steps_for_each_window_and_branch_alone(long_plain):
    assert long_plain[1] == NUM_STEPS * NUM_WINDOWS * NUM_BRANCHES
    _, num = made(num_steps=NUM_STEPS, cache="mag", mag_ratios=[1.0] * NUM_STEPS)
    # Of 16 steps the first fifth is kept whole (3), then one in four: diffusers' MagCacheConfig.
    assert num == 6 * NUM_WINDOWS * NUM_BRANCHES


@pytest.mark.parametrize(
    ("cache", "threshold", "most_computed"), [("first_block", 0.2, 0.65), ("mag", 0.06, 0.55)]
)
def test_caches_skip_much_and_change_little_under_windows_and_guidance(
    long_plain, cache, threshold, most_computed
):
    settings = make_settings("quality", BASE | {"num_steps": NUM_STEPS})
    ratios = measure_mag_ratios(tiny_pipeline(), wishes(13), settings)
    frames, num = made(
        num_steps=NUM_STEPS, cache=cache, cache_threshold=threshold, mag_ratios=list(ratios)
    )
    assert num <= most_computed * long_plain[1]
    unguided, _ = made(num_steps=NUM_STEPS, text_guidance=1.0, audio_guidance=1.0)
    plain = long_plain[0].astype(float)
    assert np.abs(frames - plain).mean() < 0.1 * np.abs(unguided - plain).mean()


def test_a_cache_forgets_between_videos():
    pipeline = tiny_pipeline()
    settings = make_settings("quality", BASE | {"cache": "first_block", "cache_threshold": 0.5})
    apply(pipeline, settings)
    first = pipeline(wishes(29), settings.sampling()).frames
    pipeline(wishes(41, seed=3), settings.sampling())
    np.testing.assert_array_equal(first, pipeline(wishes(29), settings.sampling()).frames)


def test_settings_are_taken_off_again(plain):
    pipeline = tiny_pipeline()
    apply(pipeline, make_settings("fast"))
    assert pipeline.transformer.is_cache_enabled
    settings = make_settings("quality", BASE)
    apply(pipeline, settings)
    np.testing.assert_array_equal(pipeline(wishes(29), settings.sampling()).frames, plain[0])


def test_weights_in_8_bits_take_less_and_give_nearly_the_same(plain):
    pipeline = tiny_pipeline()
    settings = make_settings("quality", BASE | {"layerwise_casting": True})
    apply(pipeline, settings)
    stored = {p.dtype for n, p in pipeline.transformer.named_parameters() if "ffn" in n}
    wide = {p.dtype for p in pipeline.transformer.audio_projector.parameters()}
    assert torch.float8_e4m3fn in stored and torch.float8_e4m3fn not in wide
    frames = pipeline(wishes(29), settings.sampling()).frames
    assert np.abs(frames.astype(float) - plain[0]).mean() < 20


def test_combinations_that_cannot_be_are_refused():
    with pytest.raises(SettingError, match="move_latents 2"):
        apply(tiny_pipeline(), make_settings("fast", {"move_latents": 2}))
    with pytest.raises(SettingError, match="mag_ratios"):
        apply(tiny_pipeline(), make_settings("quality", {"cache": "mag"}))
    if not torch.cuda.is_available():
        with pytest.raises(SettingError, match="no GPU"):
            apply(tiny_pipeline(), make_settings("quality", {"offload": "group"}))


def test_mag_ratios_are_those_that_diffusers_calibrates(capsys):
    from diffusers import MagCacheConfig

    pipeline = tiny_pipeline()
    settings = make_settings("quality", BASE | {"guidance": "none"})
    measured = measure_mag_ratios(pipeline, wishes(13), settings)
    config = MagCacheConfig(num_inference_steps=6, calibrate=True)
    pipeline.transformer.enable_cache(config)
    pipeline(wishes(13), settings.sampling())
    printed = capsys.readouterr().out
    calibrated = json.loads(printed[printed.index("[1.0") : printed.rindex("]") + 1])
    np.testing.assert_allclose(measured, calibrated, rtol=1e-4)
    with pytest.raises(SettingError, match="one window"):
        measure_mag_ratios(pipeline, wishes(41), settings)
