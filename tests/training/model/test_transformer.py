from __future__ import annotations

import pytest
import torch

from tests.training.model.tiny_folders import BASES, TRANSFORMER, base_transformer
from training.errors import ModelError
from training.model.transformer import AudioWanTransformer3DModel

AUDIO = {
    "audio_num_layers": 2,
    "audio_feature_width": 5,
    "audio_width": 10,
    "audio_hidden_width": 12,
    "audio_tokens_per_latent": 4,
}
B, A, K, H, W = 2, 3, 3, 4, 8


def adapted(family: str, **changes) -> tuple[torch.nn.Module, AudioWanTransformer3DModel]:
    """A base and the same with an adapter whose every weight is drawn, but for its outputs."""
    base = base_transformer(family)
    torch.manual_seed(1)
    model = AudioWanTransformer3DModel(**TRANSFORMER, **AUDIO, base_family=family, **changes).eval()
    missing, unexpected = model.load_state_dict(base.state_dict(), strict=False)
    assert not unexpected
    assert all(key.startswith(("audio_projector.", "audio_blocks.")) for key in missing)
    return base, model


def inputs(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    return {
        "hidden_states_BCKhw": torch.randn(B, 36, K, H, W, dtype=dtype),
        "timestep_B": torch.tensor([1000.0, 417.3]),
        "text_BLD": torch.randn(B, 512, TRANSFORMER["text_dim"], dtype=dtype),
        "image_BLD": torch.randn(B, 5, TRANSFORMER["image_dim"], dtype=dtype),
    }


def audio(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    torch.manual_seed(3)
    return torch.randn(B, A, K, 8, 2, 5, dtype=dtype)


def region() -> torch.Tensor:
    torch.manual_seed(4)
    return torch.rand(B, A, K, H, W)


def velocity_of_base(base: torch.nn.Module, given: dict[str, torch.Tensor]) -> torch.Tensor:
    return base(*given.values(), return_dict=False)[0]


def teach(model: AudioWanTransformer3DModel) -> None:
    """Outputs that are no longer zero."""
    torch.manual_seed(5)
    for attention in model.audio_blocks.values():
        torch.nn.init.normal_(attention.o.weight, std=0.3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("scope", [None, "window", "clip"])
@pytest.mark.parametrize("with_region", [False, True])
@pytest.mark.parametrize("family", BASES)
def test_a_new_adapter_hears_and_changes_no_bit(family, with_region, scope, dtype):
    base, model = adapted(family)
    base, model, given = base.to(dtype), model.to(dtype), inputs(dtype)
    wanted = velocity_of_base(base, given)
    got = model(**given, audio_BAKVSD=audio(dtype), audio_scope=scope,
                audio_region_BAKhw=region() if with_region else None)  # fmt: skip
    assert torch.equal(got, wanted)


@pytest.mark.parametrize("family", BASES)
def test_without_audio_it_is_the_base_whatever_it_has_learned(family):
    base, model = adapted(family)
    teach(model)
    given = inputs()
    wanted = velocity_of_base(base, given)
    assert torch.equal(model(**given), wanted)
    assert not torch.equal(model(**given, audio_BAKVSD=audio()), wanted)


def test_each_base_needs_its_own_timestep_sinusoids():
    base, _ = adapted("skyreels_v2")
    _, as_wan = adapted("wan")
    as_wan.load_state_dict(base.state_dict(), strict=False)
    given = inputs()
    wanted, got = velocity_of_base(base, given), as_wan(**given)
    assert not torch.equal(got, wanted)
    torch.testing.assert_close(got, wanted, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("family", BASES)
def test_recompute_gives_the_same_velocity_and_the_same_gradients(family):
    def step(recompute: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        _, model = adapted(family)
        teach(model)
        if recompute:
            model.enable_gradient_checkpointing()
        out = model(**inputs(), audio_BAKVSD=audio(), audio_region_BAKhw=region())
        out.square().mean().backward()
        return out, {name: p.grad for name, p in model.named_parameters()}

    plain, recomputed = step(False), step(True)
    assert torch.equal(plain[0], recomputed[0])
    assert all(torch.equal(plain[1][name], recomputed[1][name]) for name in plain[1])


def test_a_new_adapter_under_recompute_changes_no_bit():
    base, model = adapted("wan")
    model.enable_gradient_checkpointing()
    given = inputs()
    got = model(**given, audio_BAKVSD=audio(), audio_region_BAKhw=region())
    assert got.requires_grad
    assert torch.equal(got, velocity_of_base(base, given))


def test_every_adapter_weight_learns_once_the_outputs_are_not_zero():
    _, model = adapted("wan")
    teach(model)
    model(**inputs(), audio_BAKVSD=audio()).square().mean().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_audio_acts_in_the_window_of_its_latent_frame_first():
    _, model = adapted("wan")
    teach(model)
    given, sound = inputs(), audio()
    before = model(**given, audio_BAKVSD=sound)
    sound[:, :, 2] += 1
    change = (model(**given, audio_BAKVSD=sound) - before).abs().mean((0, 1, 3, 4))
    assert change.argmax() == 2


def test_audio_in_some_blocks_only_has_the_keys_of_those_blocks():
    base, model = adapted("wan", audio_layers=(1,))
    assert {key.split(".")[1] for key in model.state_dict() if key.startswith("audio_blocks")} == {
        "1"
    }
    given = inputs()
    assert torch.equal(model(**given, audio_BAKVSD=audio()), velocity_of_base(base, given))
    teach(model)
    assert not torch.equal(model(**given, audio_BAKVSD=audio()), velocity_of_base(base, given))


def test_samples_of_a_batch_do_not_see_each_other():
    _, model = adapted("wan")
    teach(model)
    given, sound, where = inputs(), audio(), region()
    both = model(**given, audio_BAKVSD=sound, audio_region_BAKhw=where)
    second = {name: tensor[1:] for name, tensor in given.items()}
    alone = model(**second, audio_BAKVSD=sound[1:], audio_region_BAKhw=where[1:])
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-5)


def test_the_configured_scope_holds_where_none_is_given():
    _, window = adapted("wan")
    _, clip = adapted("wan", audio_scope="clip")
    for model in (window, clip):
        teach(model)
    given, sound = inputs(), audio()
    assert torch.equal(
        clip(**given, audio_BAKVSD=sound), window(**given, audio_BAKVSD=sound, audio_scope="clip")
    )
    assert not torch.equal(clip(**given, audio_BAKVSD=sound), window(**given, audio_BAKVSD=sound))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text_BLD": torch.zeros(B, 300, 32)}, "300 text tokens.*pad with zeros to 512"),
        ({"hidden_states_BCKhw": torch.zeros(B, 16, K, H, W)}, "16 input channels"),
        ({"hidden_states_BCKhw": torch.zeros(B, 36, K, 5, W)}, "multiples of 16 pixels"),
        ({"image_BLD": torch.zeros(1, 5, 40)}, "1 pictures"),
        ({"audio_BAKVSD": torch.zeros(B, A, K + 1, 8, 2, 5)}, "audio features of shape"),
        ({"audio_BAKVSD": torch.zeros(B, A, K, 8, 3, 5)}, "layer groups"),
        ({"audio_BAKVSD": None}, "regions of speakers without audio"),
        ({"audio_region_BAKhw": torch.zeros(B, 1, K, H, W)}, "regions of shape"),
    ],
)
def test_shapes_that_the_base_would_take_and_use_wrongly_are_refused(change, message):
    _, model = adapted("wan")
    given = {**inputs(), "audio_BAKVSD": audio(), "audio_region_BAKhw": region(), **change}
    with pytest.raises(ModelError, match=message):
        model(**given)


def test_from_pretrained_is_refused_because_it_leaves_the_adapter_unwritten(tmp_path):
    with pytest.raises(ModelError, match="adapt_base"):
        AudioWanTransformer3DModel.from_pretrained(tmp_path)


def test_the_first_block_cache_of_diffusers_takes_our_block():
    from diffusers import FirstBlockCacheConfig

    _, model = adapted("wan")
    model.enable_cache(FirstBlockCacheConfig(threshold=0.0))
    assert model.is_cache_enabled
    model.disable_cache()


def test_the_model_compiles_without_a_graph_break():
    _, model = adapted("wan")
    teach(model)
    given = {**inputs(), "audio_BAKVSD": audio(), "audio_region_BAKhw": region()}
    with torch.no_grad():
        compiled = torch.compile(model, backend="eager", fullgraph=True)(**given)
        torch.testing.assert_close(compiled, model(**given), rtol=1e-5, atol=1e-6)
    torch._dynamo.reset()
