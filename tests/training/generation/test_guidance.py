import itertools

import pytest
import torch

from training.errors import SettingError
from training.generation.guidance import (
    Branch,
    Condition,
    Decay,
    Difference,
    Guidance,
    GuidanceState,
    Projection,
    Weight,
)
from training.generation.guidance_presets import PRESETS, preset, with_image

ON, OFF, NEGATIVE = Condition.ON, Condition.OFF, Condition.NEGATIVE
SHAPE = (2, 4, 3, 5, 6)
EVERY_BRANCH = [
    Branch(*conditions) for conditions in itertools.product((ON, OFF, NEGATIVE), repeat=3)
]


@pytest.fixture
def velocities():
    generator = torch.Generator().manual_seed(0)
    return {branch: torch.randn(SHAPE, generator=generator) for branch in EVERY_BRANCH}


def guided(rule, velocities, sigma=0.5, region=None, state=None):
    """Only the branches that the rule asks for are there."""
    needed = {branch: velocities[branch] for branch in rule.branches(sigma)}
    return rule.combine(needed, sigma, region, state)


@pytest.mark.parametrize("name", PRESETS)
def test_a_weight_of_one_is_the_conditional_branch_to_the_bit(name, velocities):
    rule = preset(name, 1.0, 1.0)
    assert rule.branches(0.5) == (Branch(),)
    assert torch.equal(guided(rule, velocities), velocities[Branch()])


def test_multitalk_and_echomimic_follow_their_published_formulas(velocities):
    u, na = velocities[Branch(NEGATIVE, OFF)], velocities[Branch(NEGATIVE, ON)]
    c0, ca = velocities[Branch(ON, OFF)], velocities[Branch()]
    torch.testing.assert_close(
        guided(preset("multitalk", 5.0, 4.0), velocities), u + 5 * (ca - na) + 4 * (na - u)
    )
    torch.testing.assert_close(
        guided(preset("echomimic", 4.0, 2.9), velocities), u + 4 * (c0 - u) + 2.9 * (ca - c0)
    )
    torch.testing.assert_close(
        guided(preset("audio_only", audio=3.0), velocities), c0 + 3 * (ca - c0)
    )
    torch.testing.assert_close(guided(preset("joint", audio=4.5), velocities), u + 4.5 * (ca - u))


def test_needless_branches_are_not_asked_for():
    assert len(preset("multitalk", 5.0, 4.0).branches(0.5)) == 3
    assert len(preset("multitalk", 4.0, 4.0).branches(0.5)) == 2, "audio without text cancels out"
    assert len(preset("multitalk", 1.0, 4.0).branches(0.5)) == 2
    assert len(preset("multitalk", 5.0, 1.0).branches(0.5)) == 2
    assert len(preset("echomimic", 1.0, 4.0).branches(0.5)) == 2
    assert len(preset("none").branches(0.5)) == 1


def test_a_weight_with_an_interval_needs_one_branch_outside_of_it(velocities):
    rule = preset("audio_only", audio=Weight(4.0, from_sigma=0.1, to_sigma=0.95))
    assert len(rule.branches(0.5)) == 2
    assert rule.branches(0.99) == rule.branches(0.05) == (Branch(),)


def test_weights_decay_from_value_at_noise_to_end_at_clean():
    for decay in (Decay.LINEAR, Decay.COSINE):
        weight = Weight(7.5, decay, end=2.0)
        values = [weight.at(s / 10) for s in range(11)]
        assert values[0] == pytest.approx(2.0)
        assert values[-1] == pytest.approx(7.5)
        assert values == sorted(values)
    assert Weight(7.5, Decay.LINEAR, end=2.0).at(0.5) == pytest.approx(4.75)


def test_outside_of_the_face_audio_is_conditioned_but_not_guided(velocities):
    region = torch.zeros(2, 3, 5, 6)
    region[..., :3] = 1
    rule = Guidance(
        preset("audio_only").base, preset("audio_only", audio=4.0).differences, outside_region=0.0
    )
    result = guided(rule, velocities, region=region)
    everywhere = guided(preset("audio_only", audio=4.0), velocities)
    torch.testing.assert_close(result[..., :3], everywhere[..., :3])
    torch.testing.assert_close(result[..., 3:], velocities[Branch()][..., 3:])


def test_projection_without_its_parts_is_plain_guidance(velocities):
    plain = preset("multitalk", 5.0, 4.0)
    projected = Guidance(
        plain.base, plain.differences, projection=Projection(0.0, max_norm=0.0, parallel=1.0)
    )
    torch.testing.assert_close(guided(projected, velocities), guided(plain, velocities))


def test_projection_removes_what_is_parallel_and_bounds_the_rest(velocities):
    plain = preset("audio_only", audio=4.0)
    rule = Guidance(plain.base, plain.differences, projection=Projection(0.0, max_norm=2.0))
    target = velocities[Branch()]
    step = guided(rule, velocities) - target
    frame = (1, 3, 4)
    torch.testing.assert_close((step * target).sum(frame), torch.zeros(2, 3), atol=1e-3, rtol=0)
    assert (torch.linalg.vector_norm(step, dim=frame) <= 3 * 2.0 + 1e-4).all()


def test_projection_does_not_depend_on_the_length_of_the_sequence(velocities):
    plain = preset("multitalk", 5.0, 4.0)
    rule = Guidance(plain.base, plain.differences, projection=Projection(max_norm=2.0))
    whole = guided(rule, velocities)
    first = guided(rule, {b: v[:, :, :1] for b, v in velocities.items()})
    torch.testing.assert_close(whole[:, :, :1], first)


def test_momentum_carries_over_steps_and_not_over_sequences(velocities):
    plain = preset("audio_only", audio=4.0)
    rule = Guidance(plain.base, plain.differences, projection=Projection(-0.5, 0.0, 1.0))
    state = GuidanceState()
    first = guided(rule, velocities, state=state)
    second = guided(rule, velocities, state=state)
    delta = velocities[Branch()] - velocities[Branch(ON, OFF)]
    torch.testing.assert_close(second, velocities[Branch()] + 3 * 0.5 * delta)
    torch.testing.assert_close(guided(rule, velocities, state=GuidanceState()), first)


def test_image_guidance_of_one_changes_nothing_and_more_adds_its_difference(velocities):
    rule = preset("multitalk", 5.0, 4.0)
    assert set(with_image(rule, 1.0).branches(0.5)) == set(rule.branches(0.5))
    more = guided(with_image(rule, 2.0), velocities) - guided(rule, velocities)
    without = velocities[Branch(image=OFF)]
    torch.testing.assert_close(more, velocities[Branch()] - without, atol=1e-4, rtol=1e-4)


def test_rules_that_cannot_be_are_refused():
    with pytest.raises(SettingError, match="multitalk, echomimic"):
        preset("multitalker")
    with pytest.raises(SettingError, match="no negative"):
        Guidance(Branch(image=NEGATIVE))
    with pytest.raises(SettingError, match="instead of one"):
        loose = Difference(Weight(1.0), Branch(OFF, ON), Branch(NEGATIVE, OFF))
        Guidance(Branch(), (loose,))
    with pytest.raises(SettingError, match="from sigma"):
        Weight(4.0, from_sigma=0.9, to_sigma=0.1)
