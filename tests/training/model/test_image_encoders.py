from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.model.tiny_folders import write_clip
from training.errors import ModelError
from training.model.image_encoders import ThumbnailEncoder
from training.model.pretrained import clip_vision_encoder
from training.model.spec import ClipVisionImage, PretrainedBase


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    write_clip(folder)
    return folder


def clip(folder):
    base = PretrainedBase(repo=str(folder))
    return clip_vision_encoder(ClipVisionImage(), base, "cpu", torch.float32)


def smooth(height: int, width: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.sin(y / 9), torch.cos(x / 7), torch.sin((x + y) / 11)]) * 0.8


def test_the_states_are_the_penultimate_of_clip(folder):
    from transformers import CLIPVisionModel

    encoder, pictures = clip(folder), torch.stack([smooth(56, 84), smooth(56, 84).flip(-1)])
    states = encoder.encode(pictures)
    assert states.shape == (2, encoder.num_tokens, encoder.width) == (2, 5, 40)
    model = CLIPVisionModel.from_pretrained(folder / "image_encoder").eval()
    with torch.no_grad():
        every = model(encoder.pixels(pictures), output_hidden_states=True).hidden_states
    assert torch.equal(states, every[-2])


@pytest.mark.parametrize("size", [(56, 56), (60, 100), (120, 64)])
def test_pixels_are_those_of_an_image_library(folder, size):
    """Shorter side to 28, bicubic, middle 28 x 28, mean and deviation: by Pillow."""
    picture = smooth(*size)
    image = Image.fromarray(((picture.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy())
    ratio = 28 / min(size)
    height, width = int(size[0] * ratio), int(size[1] * ratio)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    top, left = (height - 28) // 2, (width - 28) // 2
    pixels = np.asarray(image, np.float32)[top : top + 28, left : left + 28] / 255
    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    std = np.array([0.26862954, 0.26130258, 0.27577711])
    wanted = torch.from_numpy((pixels - mean) / std).permute(2, 0, 1).float()
    torch.testing.assert_close(clip(folder).pixels(picture[None])[0], wanted, atol=0.03, rtol=0)


def test_a_processor_without_mean_is_refused(folder, tmp_path):
    write_clip(tmp_path)
    (tmp_path / "image_processor" / "preprocessor_config.json").write_text("{}")
    with pytest.raises(ModelError, match="image_mean"):
        clip(tmp_path)


def test_a_thumbnail_is_the_picture_in_patches():
    encoder = ThumbnailEncoder(side_px=16, patch_px=8)
    picture = torch.zeros(1, 3, 64, 32)
    picture[:, 1, :32, 16:] = 1
    states = encoder.encode(picture)
    assert states.shape == (1, 4, 192) == (1, encoder.num_tokens, encoder.width)
    assert states[0].mean(1).argmax() == 1
    # The three colours of the lit corner, away from its edges.
    corner = states[0, 1].view(3, 8, 8)[:, 0, 7]
    torch.testing.assert_close(corner, torch.tensor([0.0, 1.0, 0.0]))
