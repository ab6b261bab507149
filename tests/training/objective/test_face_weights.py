import pytest
import torch

from training.objective.face_weights import latent_region, loss_weights


def test_a_cell_is_the_area_of_its_pixels_in_any_of_its_frames():
    region = torch.zeros(1, 9, 16, 16)
    region[0, 0, :4, :8] = 1  # frame 0: half of a cell
    region[0, 3, 8:, 8:] = 1  # frames 1 to 4 are latent frame 1
    region[0, 4, 8:, :] = 1
    grid = latent_region(region, 8)
    assert grid.shape == (1, 3, 2, 2)
    assert grid[0, 0].tolist() == [[0.5, 0], [0, 0]]
    assert grid[0, 1].tolist() == [[0, 0], [1, 1]]
    assert not grid[0, 2].any()


def test_the_last_frame_of_a_latent_frame_does_not_leak_into_the_next():
    for frame in range(9):
        region = torch.zeros(1, 9, 8, 8)
        region[0, frame] = 1
        hit = latent_region(region, 8)[0, :, 0, 0].nonzero().flatten().tolist()
        assert hit == [0 if frame == 0 else (frame + 3) // 4]


def test_frames_and_pixels_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="8 frames"):
        latent_region(torch.zeros(1, 8, 8, 8), 8)
    with pytest.raises(ValueError, match="12x8 px"):
        latent_region(torch.zeros(1, 9, 8, 12), 8)


def test_a_sample_without_a_face_weighs_one_everywhere():
    face, lips = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    face[0], lips[0, 0, 0, 0] = 1, 0.5
    weights = loss_weights(face, lips, 1.0, 2.0)
    assert weights[0, 0].tolist() == [[3, 2], [2, 2]]
    assert (weights[1] == 1).all()
