import math

import pytest
import torch

from training.objective.losses import LossSettings, draw_uniform, loss_terms
from training.objective.seeding import generator_of


def _tensors(*, batch=2, frames=3, size=4):
    generator = generator_of("losses")
    velocity = torch.randn(batch, 5, frames, size, size, generator=generator)
    target = torch.randn(batch, 5, frames, size, size, generator=generator)
    face, lips = torch.zeros(batch, frames, size, size), torch.zeros(batch, frames, size, size)
    face[:, :, 1:, 1:], lips[:, :, 2, 2] = 1, 1
    return velocity, target, face, lips


def test_face_weight_zero_equals_plain_mean_squared_error():
    velocity, target, face, lips = _tensors()
    terms = loss_terms(velocity, target, face, lips, LossSettings(face_weight=0, lip_weight=0))
    plain = (velocity - target).square().mean(dim=(1, 2, 3, 4))
    torch.testing.assert_close(terms.loss_B, plain)
    torch.testing.assert_close(terms.plain_B, plain)


def test_an_even_error_gives_the_same_loss_for_any_face_and_any_weight():
    target = torch.zeros(1, 5, 3, 8, 8)
    for size in (1, 4, 8):
        face = torch.zeros(1, 3, 8, 8)
        face[:, :, :size, :size] = 1
        for weight in (0.0, 1.0, 100.0):
            settings = LossSettings(
                face_weight=weight, lip_weight=weight, temporal_difference_ratio=0
            )
            terms = loss_terms(target + 0.5, target, face, face, settings)
            assert terms.loss_B.item() == pytest.approx(0.25)


def test_the_loss_is_the_weighted_mean_written_out():
    velocity, target, face, lips = _tensors(batch=1)
    terms = loss_terms(velocity, target, face, lips, LossSettings(face_weight=1, lip_weight=2))
    error, weight = (velocity - target).square(), 1 + face + 2 * lips
    expected = (weight[:, None] * error).sum() / (5 * weight.sum())
    torch.testing.assert_close(terms.loss_B[0], expected)
    torch.testing.assert_close(terms.face_B[0], error[0, :, :, 1:, 1:].mean())
    torch.testing.assert_close(terms.lip_B[0], error[0, :, :, 2, 2].mean())


def test_a_heavier_lip_pulls_harder_on_the_lips():
    velocity, target, face, lips = _tensors(batch=1)
    velocity.requires_grad_(True)
    loss_terms(velocity, target, face, lips, LossSettings()).loss_B.sum().backward()
    pull = velocity.grad / (velocity.detach() - target)
    assert pull[0, 0, 0, 2, 2] / pull[0, 0, 0, 0, 0] == pytest.approx(4.0, rel=1e-3)


def test_a_sample_without_a_face_is_plain_and_its_regions_are_nan():
    velocity, target, face, lips = _tensors()
    face[0], lips[0] = 0, 0
    terms = loss_terms(velocity, target, face, lips, LossSettings())
    torch.testing.assert_close(terms.loss_B[0], terms.plain_B[0])
    assert math.isnan(terms.face_B[0]) and math.isnan(terms.lip_B[0])
    assert terms.loss_B.isfinite().all() and terms.lip_B[1].isfinite()


def test_a_loss_does_not_depend_on_its_neighbours():
    velocity, target, face, lips = _tensors()
    both = loss_terms(velocity, target, face, lips, LossSettings(temporal_difference_ratio=0.3))
    alone = loss_terms(
        *(t[1:] for t in (velocity, target, face, lips)),
        LossSettings(temporal_difference_ratio=0.3),
    )
    torch.testing.assert_close(both.loss_B[1:], alone.loss_B)


def test_the_temporal_term_sees_flicker_but_not_a_constant_shift():
    target, face = torch.zeros(1, 5, 4, 2, 2), torch.zeros(1, 4, 2, 2)
    only = LossSettings(temporal_difference_ratio=1.0)
    flicker = torch.tensor([1.0, -1.0, 1.0, -1.0]).view(1, 1, 4, 1, 1).expand_as(target)
    assert loss_terms(target + 0.7, target, face, face, only).loss_B.item() == 0
    assert loss_terms(flicker, target, face, face, only).loss_B.item() == pytest.approx(4.0)
    still = target[:, :, :1]
    assert loss_terms(still + 1, still, face[:, :1], face[:, :1], only).loss_B.item() == 0


def test_even_samples_ignore_the_weights():
    velocity, target, face, lips = _tensors()
    terms = loss_terms(velocity, target, face, lips, LossSettings(), torch.tensor([True, False]))
    torch.testing.assert_close(terms.loss_B[0], terms.plain_B[0])
    assert not torch.isclose(terms.loss_B[1], terms.plain_B[1])


def test_the_share_of_even_samples_is_as_set_and_a_clips_own():
    ids = tuple(f"clip{i}" for i in range(2000))
    even = draw_uniform(LossSettings(uniform_ratio=0.3), 1, 5, ids)
    assert abs(even.float().mean() - 0.3) < 0.04
    assert torch.equal(draw_uniform(LossSettings(uniform_ratio=0.3), 1, 5, ids[7:9]), even[7:9])
