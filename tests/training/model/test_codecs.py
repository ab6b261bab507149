from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file, save_file

from tests.training.model.tiny_folders import write_vae
from training.errors import InputError, ModelError, SettingError
from training.model.codecs import WanCodec
from training.model.patch_codec import PatchCodec
from training.model.pretrained import wan_codec
from training.model.spec import PretrainedBase, WanVaeCodec


@pytest.fixture(scope="module")
def vae_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    write_vae(folder)
    return folder


@pytest.fixture(scope="module")
def wan(vae_folder) -> WanCodec:
    return wan_codec(WanVaeCodec(), PretrainedBase(repo=str(vae_folder)), "cpu")


def moving(length: int = 9, side: int = 32, seed: int = 0) -> torch.Tensor:
    """Soft blobs that move."""
    torch.manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    frames = []
    centre, speed = torch.rand(3, 2) * side, torch.randn(3, 2) * 0.4
    for frame in range(length):
        at = centre + speed * frame
        distance = (y - at[:, 0, None, None]) ** 2 + (x - at[:, 1, None, None]) ** 2
        frames.append(torch.exp(-distance / (side * 2.0)) * 1.6 - 0.8)
    return torch.stack(frames, dim=1)


CODECS = ["wan", "patch"]


def codec_of(request, name: str):
    return request.getfixturevalue("wan") if name == "wan" else PatchCodec.of_smooth_video()


@pytest.mark.parametrize("name", CODECS)
def test_latents_have_the_strides_4_8_8_and_16_channels(request, name):
    codec = codec_of(request, name)
    latent = codec.encode(torch.zeros(1, 3, 9, 16, 24))
    assert latent.shape == (1, 16, 3, 2, 3)
    assert (codec.temporal_stride, codec.spatial_stride, codec.latent_channels) == (4, 8, 16)
    pixels = codec.decode(latent)
    assert pixels.shape == (1, 3, 9, 16, 24)
    assert pixels.abs().max() <= 1


@pytest.mark.parametrize("name", CODECS)
def test_encoding_is_causal(request, name):
    codec, frames = codec_of(request, name), moving()[None]
    changed = frames.clone()
    changed[:, :, 5:] = torch.rand(1, 3, 4, 32, 32)
    first, second = codec.encode(frames), codec.encode(changed)
    torch.testing.assert_close(first[:, :, :2], second[:, :, :2])
    assert not torch.allclose(first[:, :, 2], second[:, :, 2])


@pytest.mark.parametrize("name", CODECS)
def test_lengths_and_sides_that_do_not_divide_are_refused(request, name):
    codec = codec_of(request, name)
    with pytest.raises(SettingError, match=r"4 k \+ 1"):
        codec.encode(torch.zeros(1, 3, 8, 16, 16))
    with pytest.raises(InputError, match="cells of 8 px"):
        codec.encode(torch.zeros(1, 3, 5, 20, 16))
    with pytest.raises(InputError, match="3 colours"):
        codec.encode(torch.zeros(3, 5, 16, 16))


def test_wan_latents_are_the_mode_normalised_by_the_vae_s_own_numbers(vae_folder, wan):
    vae = AutoencoderKLWan.from_pretrained(vae_folder / "vae").eval()
    frames = moving(5, 16)[None]
    with torch.no_grad():
        mode = vae.encode(frames).latent_dist.mode()
    mean = torch.tensor(vae.config.latents_mean).view(1, 16, 1, 1, 1)
    std = torch.tensor(vae.config.latents_std).view(1, 16, 1, 1, 1)
    torch.testing.assert_close(wan.encode(frames), (mode - mean) / std)
    with torch.no_grad():
        wanted = vae.decode(mode).sample.clamp(-1, 1)
    torch.testing.assert_close(wan.decode((mode - mean) / std), wanted, rtol=1e-4, atol=1e-4)


def test_bf16_pixels_and_latents_meet_an_fp32_vae(wan):
    latent = wan.encode(torch.zeros(1, 3, 1, 16, 16, dtype=torch.bfloat16))
    assert latent.dtype == torch.float32
    assert wan.decode(latent.bfloat16()).dtype == torch.float32


def fitted() -> PatchCodec:
    return PatchCodec.fit(moving(12, 32, seed) for seed in range(40))


def test_a_fitted_codec_loses_less_than_one_fitted_on_nothing():
    frames = moving(13, 32, seed=99)[None]
    errors = [
        (codec.decode(codec.encode(frames)) - frames).square().mean()
        for codec in (fitted(), PatchCodec.of_smooth_video())
    ]
    assert errors[0] < errors[1] < 0.2 * frames.var()


def test_latents_of_video_like_that_of_the_fit_have_unit_variance():
    codec = fitted()
    latents = torch.cat([codec.encode(moving(9, 32, seed)[None]) for seed in range(40)])
    deviation = latents[:, :, 1:].std((0, 2, 3, 4))
    assert deviation.max() < 1.6
    assert deviation.min() > 0.6


def test_encoding_what_was_decoded_changes_nothing():
    codec = fitted()
    latent = codec.encode(moving(9, 32, seed=5)[None] * 0.3)
    torch.testing.assert_close(codec.encode(codec.decode(latent)), latent, rtol=1e-3, atol=1e-3)


def test_a_still_picture_has_nearly_one_latent_for_all_time():
    codec = fitted()
    still = moving(1, 32, seed=3)[None].expand(-1, -1, 9, -1, -1)
    latent = codec.encode(still)
    change = (latent[:, :, 1:] - latent[:, :, :1]).square().mean()
    # Latents that have nothing to do with each other differ by twice their square.
    assert change < 0.4 * latent.square().mean()


def test_the_same_clips_give_the_same_codec(tmp_path):
    first, second = fitted(), fitted()
    frames = moving(5, 32)[None]
    assert torch.equal(first.encode(frames), second.encode(frames))
    first.save(tmp_path / "deep" / "codec.safetensors")
    again = PatchCodec.load(tmp_path / "deep" / "codec.safetensors")
    assert torch.equal(again.encode(frames), first.encode(frames))


def test_clips_too_short_to_fit_on_are_refused():
    with pytest.raises(InputError, match="at least four frames"):
        PatchCodec.fit([torch.zeros(3, 3, 16, 16), torch.zeros(3, 9, 4, 16)])


def test_a_codec_of_black_clips_gives_finite_latents():
    codec = PatchCodec.fit([torch.full((3, 8, 16, 16), -1.0)])
    assert torch.isfinite(codec.encode(moving(5, 16)[None])).all()


def test_a_file_that_is_no_codec_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no patch codec can be read"):
        PatchCodec.load(tmp_path / "missing.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x05\x00\x00")
    with pytest.raises(ModelError, match="no patch codec can be read"):
        PatchCodec.load(tmp_path / "cut.safetensors")
    save_file({"mean": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="is no patch codec"):
        PatchCodec.load(tmp_path / "other.safetensors")


def test_a_vae_that_lacks_a_weight_is_refused(vae_folder, tmp_path):
    write_vae(tmp_path)
    file = next((tmp_path / "vae").glob("*.safetensors"))
    weights = load_file(file)
    del weights["post_quant_conv.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"first post_quant_conv\.weight"):
        wan_codec(WanVaeCodec(), PretrainedBase(repo=str(tmp_path)), "cpu")
