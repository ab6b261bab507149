"""The network in NumPy: convolution by its definition, batches, torch, storage."""

import numpy as np
import pytest

from stages.face_track import save_arrays
from stages.sync_network import Convolution, TwoTowers

RNG = np.random.default_rng(0)


def layer(channels: int, outputs: int, taps: int, stride: int = 1) -> Convolution:
    weight = RNG.normal(0, (channels * taps) ** -0.5, (taps, channels, outputs))
    return Convolution(weight.astype(np.float32), np.full(outputs, 0.1, np.float32), stride)


def small_network() -> TwoTowers:
    return TwoTowers(
        RNG.normal(size=(195, 24)).astype(np.float32),
        np.ones(55, np.float32),
        (layer(55, 8, 5), layer(8, 6, 1)),
        (layer(40, 8, 7, 2), layer(8, 8, 5, 2), layer(8, 6, 1)),
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_a_layer_is_the_sum_that_defines_it(stride: int) -> None:
    conv, x_SNC = layer(3, 4, 5, stride), RNG.normal(size=(2, 11, 3))
    found = conv(x_SNC)
    assert found.shape == (2, -(-11 // stride), 4)
    for n in range(found.shape[1]):
        want = np.full((2, 4), 0.1)
        for k in range(5):
            place = n * stride + k - 2
            if 0 <= place < 11:
                want += x_SNC[:, place] @ conv.weight_KCD[k]
        assert found[:, n] == pytest.approx(want, abs=1e-6)


def test_a_sequence_in_a_batch_is_as_if_it_were_alone() -> None:
    network = small_network()
    video = [RNG.normal(size=(n, 55)) for n in (30, 75, 1)]
    audio = [RNG.normal(size=(4 * n, 40)) for n in (60, 33, 100)]
    for embed, batch in ((network.embed_video, video), (network.embed_audio, audio)):
        for together, each in zip(embed(batch), batch, strict=True):
            assert together == pytest.approx(embed([each])[0], abs=1e-6)


def test_sound_at_100_hz_becomes_vectors_at_25_hz() -> None:
    assert small_network().embed_audio([np.zeros((4 * 37, 40))])[0].shape == (37, 6)


def test_numpy_equals_torch() -> None:
    torch = pytest.importorskip("torch")
    from stages.sync_training import AUDIO_LAYERS, VIDEO_LAYERS, folded, tower

    torch.set_num_threads(1)
    torch.manual_seed(0)
    video, audio = tower(VIDEO_LAYERS), tower(AUDIO_LAYERS)
    for module in [*video, *audio]:
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 2.0)
            torch.nn.init.normal_(module.bias)
    network = TwoTowers(
        np.zeros((195, 24), np.float32),
        np.ones(55, np.float32),
        folded(video),
        folded(audio),
    )
    for net, embed, shape in (
        (video, network.embed_video, (70, 55)),
        (audio, network.embed_audio, (280, 40)),
    ):
        x = RNG.normal(size=shape).astype(np.float32)
        with torch.no_grad():
            want = net.eval()(torch.from_numpy(x.T[None]))[0].T.numpy()
        assert embed([x])[0] == pytest.approx(want, abs=1e-4)


def test_what_is_stored_is_what_is_read(tmp_path) -> None:
    network = small_network()
    path = tmp_path / "net.npz"
    path.write_bytes(save_arrays(network.to_arrays("network0.")))
    with np.load(path, allow_pickle=False) as arrays:
        again = TwoTowers.from_arrays(dict(arrays), "network0.")
    x = RNG.normal(size=(50, 55))
    assert (again.embed_video([x])[0] == network.embed_video([x])[0]).all()
    assert [one.stride for one in again.audio] == [2, 2, 1]
