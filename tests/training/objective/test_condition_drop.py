import pytest
import torch
from pydantic import ValidationError

from training.objective.condition_drop import DropRates, draw_dropped

IDS = tuple(f"clip{i}" for i in range(4000))
RATES = DropRates(text=0.2, audio=0.1, text_and_audio=0.05, image=0.3)


def test_a_clips_draw_is_its_own_whoever_shares_the_batch():
    whole = draw_dropped(RATES, 3, 17, IDS)
    for rank in range(2):
        part = draw_dropped(RATES, 3, 17, IDS[rank::2])
        for name in ("text_B", "audio_B", "image_B"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[rank::2])


def test_samples_of_one_batch_differ_and_steps_differ():
    first, second = (draw_dropped(RATES, 3, step, IDS) for step in (1, 2))
    assert first.image_B.any() and not first.image_B.all()
    assert not torch.equal(first.image_B, second.image_B)


def test_rates_are_as_set_and_the_image_is_independent():
    drop = draw_dropped(RATES, 3, 17, IDS)
    both = drop.text_B & drop.audio_B
    for measured, expected in (
        (drop.text_B & ~both, 0.2),
        (drop.audio_B & ~both, 0.1),
        (both, 0.05),
        (drop.image_B, 0.3),
        (drop.image_B & drop.text_B, 0.3 * 0.25),
    ):
        assert abs(measured.float().mean().item() - expected) < 0.025


def test_rate_zero_never_drops_and_one_always():
    never = draw_dropped(DropRates(text=0, audio=0, text_and_audio=0, image=0), 1, 1, IDS[:200])
    assert not (never.text_B.any() or never.audio_B.any() or never.image_B.any())
    always = draw_dropped(DropRates(text=0, audio=0, text_and_audio=1, image=1), 1, 1, IDS[:200])
    assert always.text_B.all() and always.audio_B.all() and always.image_B.all()


def test_rates_that_add_up_to_more_than_one_are_refused():
    with pytest.raises(ValidationError, match=r"add up to 1\.2"):
        DropRates(text=0.6, audio=0.5, text_and_audio=0.1)
