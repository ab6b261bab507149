import pytest
import torch
from diffusers import AutoencoderKLWan

from training.errors import InputError, ModelError
from training.generation.codec_streams import open_decoder, open_encoder
from training.model.codecs import WanCodec
from training.model.patch_codec import PatchCodec

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def wan_codec():
    torch.manual_seed(0)
    return WanCodec(AutoencoderKLWan(base_dim=8, z_dim=16, num_res_blocks=1))


@pytest.fixture(params=["wan", "patch"])
def codec(request, wan_codec):
    return wan_codec if request.param == "wan" else PatchCodec.of_smooth_video()


@pytest.mark.parametrize("cuts", [(1, 2, 3), (2,), (3, 4)])
def test_decoding_in_pieces_equals_decoding_at_once(codec, cuts):
    latent = torch.randn(1, 16, 5, 8, 8, generator=torch.Generator().manual_seed(1))
    decoder = open_decoder(codec)
    pieces = [decoder.decode(p) for p in torch.tensor_split(latent, cuts, dim=2)]
    assert pieces[0].shape[2] == 4 * (cuts[0] - 1) + 1
    whole = codec.decode(latent)
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole, atol=1e-5, rtol=1e-5)
    assert whole.std() > 0.01, "a picture that says something"


@pytest.mark.parametrize("cuts", [(1, 5), (5,), (9, 13)])
def test_encoding_in_pieces_equals_encoding_at_once(codec, cuts):
    frames = torch.rand(1, 3, 17, 64, 64, generator=torch.Generator().manual_seed(2)) * 2 - 1
    encoder = open_encoder(codec)
    pieces = [encoder.encode(p) for p in torch.tensor_split(frames, cuts, dim=2)]
    torch.testing.assert_close(torch.cat(pieces, dim=2), codec.encode(frames), atol=1e-4, rtol=1e-4)


def test_two_streams_do_not_disturb_each_other_or_the_codec(wan_codec):
    latent = torch.randn(1, 16, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    one, other = open_decoder(wan_codec), open_decoder(wan_codec)
    pieces = []
    for k in range(3):
        pieces.append(one.decode(latent[:, :, k : k + 1]))
        other.decode(-latent[:, :, k : k + 1])
        wan_codec.decode(latent[:, :, :1])
    torch.testing.assert_close(
        torch.cat(pieces, dim=2), wan_codec.decode(latent), atol=1e-5, rtol=1e-5
    )


def test_pieces_that_end_within_a_latent_frame_are_refused(codec):
    encoder = open_encoder(codec)
    with pytest.raises(InputError, match=r"4 k \+ 1"):
        encoder.encode(torch.zeros(1, 3, 4, 64, 64))
    encoder.encode(torch.zeros(1, 3, 1, 64, 64))
    with pytest.raises(InputError, match="give 4 k of them"):
        encoder.encode(torch.zeros(1, 3, 5, 64, 64))


def test_an_unknown_codec_is_refused():
    with pytest.raises(ModelError, match="object"):
        open_decoder(object())
