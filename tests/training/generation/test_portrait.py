import numpy as np
import pytest
from PIL import Image

from training.errors import InputError
from training.generation.inputs import Notices, Size
from training.generation.portrait import open_portrait


class Finder:
    """Sees as many faces as it is told, each smaller than the one before."""

    def __init__(self, *heights_px):
        self.heights_px = heights_px

    def find(self, rgb_HWC):
        line = np.linspace(0, 1, 478)[:, None]
        return [np.float32(line * [height * 0.8, height] + 5) for height in self.heights_px]


def gradient(width, height):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 / width, y * 255 / height, np.zeros_like(x)], -1).astype(np.uint8)


@pytest.fixture
def saved(tmp_path):
    def saved(picture, name="portrait.png", **options):
        picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        picture.save(tmp_path / name, **options)
        return tmp_path / name

    return saved


def opened(path, size=None, area_px=96 * 96, **options):
    notices = Notices()
    return open_portrait(path, size, area_px, 16, notices, **options), notices.said


def test_a_fitting_picture_is_taken_as_it_is(saved):
    portrait, said = opened(saved(gradient(96, 96)))
    np.testing.assert_array_equal(portrait.rgb_HWC, gradient(96, 96))
    assert said == []


@pytest.mark.parametrize("shown", [(97, 103), (200, 300), (640, 360)])
def test_sizes_that_do_not_divide_are_fitted(saved, shown):
    portrait, _ = opened(saved(gradient(*shown)), area_px=256 * 256)
    assert portrait.size.width_px % 16 == portrait.size.height_px % 16 == 0
    assert portrait.rgb_HWC[0, 0, 0] < 12
    assert portrait.rgb_HWC[-1, -1, 1] > 240, "the whole height is there"


def test_exif_orientation_is_applied_aloud(saved):
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = gradient(96, 128)
    turned = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
    path = saved(turned, "turned.png", exif=exif)
    portrait, said = opened(path, Size(96, 128))
    assert "EXIF" in said[0]
    np.testing.assert_array_equal(portrait.rgb_HWC, upright)


def test_transparency_is_laid_on_grey_aloud(saved):
    rgba = np.dstack([gradient(96, 96), np.full((96, 96), 255, np.uint8)])
    rgba[:48, :, 3] = 0
    portrait, said = opened(saved(rgba))
    assert "transparent" in said[0]
    assert (portrait.rgb_HWC[:48] == 128).all()
    np.testing.assert_array_equal(portrait.rgb_HWC[48:], gradient(96, 96)[48:])
    rgba[..., 3] = 255
    assert opened(saved(rgba))[1] == [], "an alpha channel that hides nothing is no news"


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "I;16"])
def test_other_modes_become_rgb(saved, mode):
    if mode == "I;16":
        values = np.linspace(0, 65535, 96 * 96).reshape(96, 96).astype(np.uint16)
        path = saved(Image.fromarray(values), "deep.png")
    else:
        path = saved(Image.fromarray(gradient(96, 96)).convert(mode), "other.tiff")
    portrait, _ = opened(path)
    assert portrait.rgb_HWC.shape == (96, 96, 3)
    assert np.ptp(portrait.rgb_HWC) > 100


def test_tiny_is_refused_and_small_enlarged_aloud(saved):
    with pytest.raises(InputError, match=r"portrait.png: 40x60; at least 64 px"):
        opened(saved(gradient(40, 60)))
    _, said = opened(saved(gradient(64, 64)), Size(256, 256))
    assert "enlarged" in said[0]


def test_huge_is_made_smaller_aloud(saved):
    _, said = opened(saved(gradient(2000, 2000)))
    assert "made smaller" in said[0]


def test_what_is_cut_off_is_said(saved):
    portrait, said = opened(saved(gradient(96, 96)), Size(64, 96))
    assert portrait.size == Size(64, 96)
    assert "left out" in said[0]


def test_faces_are_counted_against_speakers(saved):
    path = saved(gradient(96, 96))
    with pytest.raises(InputError, match=r"no faces found, 1 needed.*--no-face-check"):
        opened(path, finder=Finder())
    with pytest.raises(InputError, match="1 face found, 2 needed"):
        opened(path, finder=Finder(60), num_speakers=2)
    portrait, said = opened(path, finder=Finder(60, 50))
    assert len(portrait.faces) == 2
    assert "the largest 1 will speak" in said[0]
    _, said = opened(path, finder=Finder(20))
    assert "20 px" in said[0]


def test_of_an_animation_the_first_picture_is_used_aloud(tmp_path):
    pictures = [Image.fromarray(np.full((96, 96, 3), v, np.uint8)) for v in (40, 200, 90)]
    path = tmp_path / "moving.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    portrait, said = opened(path)
    assert "3 pictures in it; the first is used" in said[0]
    np.testing.assert_allclose(portrait.rgb_HWC, 40, atol=2)


def test_what_is_no_picture_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        opened(tmp_path / "nobody.png")
    letter = tmp_path / "letter.png"
    letter.write_bytes(b"Dear Sir or Madam")
    with pytest.raises(InputError, match="cannot be read as a picture"):
        opened(letter)
