import pytest

from training.errors import SettingError
from training.generation.guidance import Branch, Decay
from training.generation.settings import Cache, Preset, make_settings
from training.model.spec import TrainedWith


@pytest.mark.parametrize("name", list(Preset))
def test_every_preset_can_be_sampled(name):
    settings = make_settings(name)
    assert settings.sampling().num_steps == settings.num_steps
    assert settings.rule().target() == Branch()


def test_presets_grow_in_work_from_fast_to_quality():
    work = [
        s.num_steps * len(s.rule().branches(0.5)) for s in (make_settings(name) for name in Preset)
    ]
    assert work == sorted(work)
    assert len(set(work)) == 3


def test_values_and_words_override_the_preset():
    settings = make_settings(
        "fast",
        {"num_steps": 9, "text_guidance": None},
        ["window_latents=13", "guidance_decay=linear", "mag_ratios=[1, 0.9]", "shift=null"],
    )
    assert settings.num_steps == 9
    assert settings.window_latents == 13
    assert settings.guidance_decay is Decay.LINEAR
    assert settings.mag_ratios == (1.0, 0.9)
    assert settings.cache is Cache.FIRST_BLOCK


def test_an_unknown_setting_is_refused_with_the_nearest_known():
    with pytest.raises(SettingError, match="did you mean num_steps"):
        make_settings(overrides=["num_step=3"])
    with pytest.raises(SettingError, match="give key=value"):
        make_settings(overrides=["num_steps"])
    with pytest.raises(SettingError, match=r"num_steps.*greater than or equal to 1"):
        make_settings(overrides=["num_steps=0"])


def test_guidance_of_one_is_none_whatever_its_decay():
    settings = make_settings(
        "quality", {"text_guidance": 1.0, "audio_guidance": 1.0, "guidance_decay": "cosine"}
    )
    assert settings.rule().branches(0.7) == (Branch(),)


def test_what_is_not_set_is_as_the_model_was_trained():
    trained = TrainedWith(area_px=96 * 96, num_latents=5)
    filled = make_settings("balanced").for_model(trained)
    assert (filled.window_latents, filled.overlap_latents, filled.area_px) == (5, 1, 96 * 96)
    asked = make_settings("fast", {"window_latents": 9, "area_px": 4096}).for_model(trained)
    assert (asked.window_latents, asked.overlap_latents, asked.area_px) == (9, 2, 4096)


@pytest.mark.parametrize("ratio", [0.01, 1 / 3, 0.99])
def test_windows_of_any_length_overlap_and_go_forward(ratio):
    for num_latents in range(2, 40):
        trained = TrainedWith(area_px=96 * 96, num_latents=num_latents)
        filled = make_settings("quality", {"overlap_ratio": ratio}).for_model(trained)
        assert 1 <= filled.overlap_latents < filled.window_latents == num_latents
        filled.sampling()


def test_a_model_that_says_nothing_is_used_as_wan_was_trained():
    filled = make_settings().for_model(None)
    assert (filled.window_latents, filled.overlap_latents) == (21, 5)
    assert make_settings("quality").for_model(None).overlap_latents == 7
    assert filled.area_px == 480 * 832


def test_a_colour_resolution_may_look_like_a_number():
    assert make_settings(overrides=["chroma=444"]).chroma == "444"
    with pytest.raises(SettingError, match="chroma"):
        make_settings(overrides=["chroma=411"])
