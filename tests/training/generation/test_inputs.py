from fractions import Fraction

import pytest

from training.errors import InputError
from training.generation.inputs import (
    Notices,
    Size,
    checked_size,
    frame_rate,
    frames_for,
    model_size,
)


@pytest.mark.parametrize("shown", [Size(1920, 1080), Size(333, 777), Size(512, 512), Size(90, 70)])
def test_a_fitted_size_is_divisible_and_near_in_area_and_shape(shown):
    size = model_size(shown, 480 * 832, 16)
    assert size.width_px % 16 == size.height_px % 16 == 0
    assert size.width_px * size.height_px == pytest.approx(480 * 832, rel=0.05)
    ratio = shown.width_px / shown.height_px
    assert size.width_px / size.height_px == pytest.approx(ratio, rel=0.05)


def test_a_ribbon_is_refused_with_its_ratio():
    with pytest.raises(InputError, match=r"portrait.png: 4000x100 is 40.0 times"):
        model_size(Size(4000, 100), 480 * 832, 16, "portrait.png")


def test_a_size_that_is_not_divisible_is_changed_aloud_and_a_tiny_one_refused():
    notices = Notices()
    assert checked_size(Size(500, 300), 16, notices) == Size(496, 304)
    assert "not divisible by 16" in notices.said[0]
    assert checked_size(Size(512, 512), 16, notices) == Size(512, 512)
    assert len(notices.said) == 1
    with pytest.raises(InputError, match="at least 32 px"):
        checked_size(Size(16, 512), 16, notices)


def test_frame_rates_near_the_models_are_kept_and_others_are_not():
    notices = Notices()
    assert frame_rate(Fraction(25), True, "a.mp4", notices) == 25
    assert not notices.said
    assert frame_rate(Fraction(30000, 1001), True, "b.mp4", notices) == Fraction(30000, 1001)
    assert frame_rate(Fraction(60), True, "c.mp4", notices) == 25
    assert frame_rate(Fraction(10), True, "d.mp4", notices) == 25
    assert frame_rate(None, False, "e.mp4", notices) == 25
    assert frame_rate(Fraction(24), False, "f.mp4", notices) == 24
    assert len(notices.said) == 5


@pytest.mark.parametrize("duration_s", [0.4, 1.0, 3.2, 3.24, 3.2400001, 3599.99])
def test_frames_cover_the_sound_and_can_be_generated(duration_s):
    wanted, generated = frames_for(duration_s, 25)
    assert wanted / 25 >= duration_s - 1e-6
    assert (wanted - 1) / 25 < duration_s
    assert generated % 4 == 1
    assert 0 <= generated - wanted < 4
