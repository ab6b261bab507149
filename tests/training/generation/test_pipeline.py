from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.generation.tiny import picture, sampling, tiny_pipeline, voice, wishes
from training.errors import InputError, SettingError
from training.generation.denoising import Passes, Watcher, denoise
from training.generation.guidance import Condition
from training.generation.guidance_presets import preset
from training.generation.inputs import Size
from training.generation.portrait import Portrait
from training.generation.schedulers import Solver, begin
from training.generation.streaming import BlockSpan, plan_blocks
from training.generation.take import take_of
from training.model.conditions import latent_keep_mask, pixel_condition, transformer_input
from training.model.interfaces import Task

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline()


def plain_sampler(pipeline, wish, num_latents, num_steps):
    """The textbook loop over one clip, with nothing of ours but the model's own parts."""
    take = take_of(pipeline.parts, wish)
    frames = torch.zeros(1, 3, 4 * (num_latents - 1) + 1, 32, 32)
    frames[0, :, 0] = torch.from_numpy(wish.portrait.rgb_HWC).permute(2, 0, 1) / 127.5 - 1
    given, keep = pixel_condition(Task.IMAGE, frames)
    condition, keep = pipeline.codec.encode(given), latent_keep_mask(keep, 8)
    audio = torch.stack([v.around(0, num_latents, 2) for v in take.voices])[None]
    generator = torch.Generator().manual_seed(wish.seed)
    latent = torch.cat(
        [torch.randn(1, 16, 1, 4, 4, generator=generator) for _ in range(num_latents)], dim=2
    )
    sigmas = begin(pipeline.scheduler, num_steps)
    for timestep, sigma in zip(pipeline.scheduler.timesteps, sigmas[:-1], strict=True):
        with torch.no_grad():
            velocity = pipeline.transformer(
                transformer_input(latent, keep, condition),
                torch.tensor([sigma * 1000]),
                take.text[Condition.ON],
                take.image[Condition.ON],
                audio,
            )
        latent = pipeline.scheduler.step(velocity, timestep, latent).prev_sample
    pixels = pipeline.codec.decode(latent)[0].permute(1, 2, 3, 0)
    return ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()


@pytest.mark.parametrize("solver", list(Solver))
def test_a_sequence_of_one_window_equals_the_plain_sampler(solver):
    pipeline = tiny_pipeline(solver)
    made = pipeline(wishes(13), sampling(num_steps=4)).frames
    plain = plain_sampler(pipeline, wishes(13), 4, 4)
    np.testing.assert_array_equal(made, plain)


@pytest.mark.parametrize("num_frames", [10, 11, 12, 13, 41, 77])
def test_as_many_frames_as_the_sound_has(pipeline, num_frames):
    assert pipeline(wishes(num_frames), sampling(num_steps=1)).frames.shape == (
        num_frames, 32, 32, 3,
    )  # fmt: skip


def test_the_same_seed_gives_the_same_frames_and_another_one_others(pipeline):
    settings = sampling(block_windows=2)
    first = pipeline(wishes(41), settings).frames
    np.testing.assert_array_equal(first, pipeline(wishes(41), settings).frames)
    assert (first != pipeline(wishes(41, seed=1), settings).frames).mean() > 0.5


def test_sound_and_prompt_change_what_is_made(pipeline):
    base = pipeline(wishes(13), sampling()).frames
    other_voice = replace(wishes(13), recordings=[voice(13 / 25, seed=5)])
    other_words = replace(wishes(13), prompt="somebody else sings")
    assert (pipeline(other_voice, sampling()).frames != base).any()
    assert (pipeline(other_words, sampling()).frames != base).any()


def test_guidance_weights_of_one_give_the_conditional_video(pipeline):
    plain = pipeline(wishes(21), sampling(guidance=preset("none"))).frames
    for name in ("multitalk", "echomimic", "joint", "audio_only"):
        rule = preset(name, 1.0, 1.0)
        np.testing.assert_array_equal(pipeline(wishes(21), sampling(guidance=rule)).frames, plain)


def test_branches_in_a_batch_and_in_sequence_agree(pipeline):
    rule = preset("multitalk", 3.0, 2.0)
    one = pipeline(wishes(21), sampling(guidance=rule)).frames
    batch = pipeline(wishes(21), sampling(guidance=rule, passes=Passes.BATCHED)).frames
    assert np.abs(one.astype(int) - batch).max() <= 1


class Counting(Watcher):
    def __init__(self):
        self.num_passes, self.previews = 0, []

    def on_passes(self, num_passes):
        self.num_passes += num_passes

    def on_preview(self, clean_BCKhw, step_index):
        self.previews.append((clean_BCKhw.shape[2], step_index))


@pytest.mark.parametrize("move_latents", [0, 2])
def test_passes_are_foretold_and_needless_ones_not_made(pipeline, move_latents):
    for rule in (preset("multitalk"), preset("multitalk", 4.0, 4.0), preset("none")):
        settings = sampling(guidance=rule, move_latents=move_latents, block_windows=2)
        watcher = Counting()
        pipeline(wishes(70), settings, watcher=watcher)
        take = take_of(pipeline.parts, wishes(70))
        assert watcher.num_passes == pipeline.count_passes(take, settings)


def test_previews_come_when_asked(pipeline):
    watcher = Counting()
    pipeline(wishes(13), sampling(num_steps=6, preview_every=2), watcher=watcher)
    assert watcher.previews == [(4, 1), (4, 3), (4, 5)]


def test_blocks_cover_the_video_and_each_begins_in_the_one_before():
    for num_latents in range(1, 120):
        for windows in (1, 2, 5):
            settings = sampling(window_latents=7, overlap_latents=3, block_windows=windows)
            blocks = plan_blocks(num_latents, settings)
            done = 0
            for index, block in enumerate(blocks):
                assert block.first + block.num_frozen == done
                if index:
                    assert block.num_frozen >= 3
                    assert block.first >= blocks[index - 1].first
                done = block.stop
            assert done == num_latents


def test_frames_come_while_later_blocks_are_not_begun(pipeline):
    settings = sampling(block_windows=1, overlap_latents=2)
    watcher = Counting()
    frames = pipeline.frames(wishes(53), settings, watcher=watcher)
    seen = []
    for _ in frames:
        seen.append(watcher.num_passes)
    assert len(seen) == 53
    assert seen[:13] == [3] * 13, "one window of three steps"
    assert seen[13:21] == [6] * 8, "the next adds two latent frames"


def test_a_frozen_beginning_is_returned_to_the_bit_and_what_follows_depends_on_it(pipeline):
    take = take_of(pipeline.parts, wishes(53))
    settings = sampling(overlap_latents=2)
    inputs = take.inputs(BlockSpan(3, 9, 2))
    noise, frozen = torch.randn(2, 1, 16, 6, 4, 4, generator=torch.Generator().manual_seed(0))

    def made(frozen):
        return denoise(
            pipeline.transformer, pipeline.scheduler, noise, inputs, settings, frozen_BCKhw=frozen
        )

    first = made(frozen[:, :, :2])
    assert torch.equal(first[:, :, :2], frozen[:, :, :2])
    other = made(-frozen[:, :, :2])
    assert (first[:, :, 2:] - other[:, :, 2:]).abs().max() > 1e-3


def test_from_text_alone_and_with_a_last_image(pipeline):
    from_text = wishes(29, portrait=None, size=Size(48, 32))
    assert pipeline(from_text, sampling(block_windows=1)).frames.shape == (29, 32, 48, 3)
    both = replace(wishes(29), last_image=picture(seed=3))
    first = wishes(29)
    assert (pipeline(both, sampling()).frames != pipeline(first, sampling()).frames).any()


def test_a_video_goes_on_from_its_end(pipeline):
    given = [picture(seed=k) for k in range(5)]
    wish = replace(wishes(20, portrait=None), given_frames=given)
    take = take_of(pipeline.parts, wish)
    assert take.conditions.task is Task.EXTENSION
    assert take.num_latents == 7, "25 frames, of which 5 were given"
    assert pipeline(wish, sampling()).frames.shape == (20, 32, 32, 3)
    louder = replace(wish, given_sound_N=np.full(16_000, 0.3, np.float32))
    assert (pipeline(louder, sampling()).frames != pipeline(wish, sampling()).frames).any()


def test_each_speaker_of_two_is_heard_where_their_face_is(pipeline):
    left, right = np.random.default_rng(0).uniform(0, 12, (2, 478, 2)).astype(np.float32)
    portrait = Portrait(picture(64, 32), (left + np.float32([2, 8]), right + np.float32([48, 8])))
    base = wishes(13, portrait=portrait)
    both = replace(base, recordings=[voice(13 / 25), voice(13 / 25, 1)])
    take = take_of(pipeline.parts, both)
    inputs = take.inputs(plan_blocks(take.num_latents, sampling())[0])
    region = inputs.audio_region_BAKhw[0]
    assert region[0, 0, 1, 0] == 1
    assert region[1, 0, 1, 0] == 0
    assert region[1, 0, 1, 6] == 1
    made = pipeline(both, sampling()).frames
    swapped = pipeline(replace(both, recordings=both.recordings[::-1]), sampling()).frames
    assert (made != swapped).any()


def test_wishes_that_do_not_go_together_are_refused(pipeline):
    with pytest.raises(InputError, match="neither portrait nor size"):
        take_of(pipeline.parts, replace(wishes(13), portrait=None))
    with pytest.raises(InputError, match="as many faces"):
        take_of(pipeline.parts, replace(wishes(13), recordings=[voice(1), voice(1)]))
    with pytest.raises(InputError, match="one of them"):
        take_of(pipeline.parts, replace(wishes(13), given_frames=[picture()] * 5))
    with pytest.raises(SettingError, match="overlap 0"):
        sampling(overlap_latents=0)
    with pytest.raises(SettingError, match=r"strength 0.5.*only an edit"):
        pipeline(wishes(13), sampling(strength=0.5))
