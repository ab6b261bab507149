from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
import torch
from diffusers import SkyReelsV2Transformer3DModel, WanTransformer3DModel
from safetensors.torch import load_file, save_file

from tests.training.model.tiny_folders import BASES, write_transformer
from training.errors import ModelError
from training.model.audio_windows import latent_audio_windows
from training.model.loading import (
    adapt_base,
    is_adapter_key,
    load_adapter,
    load_transformer,
    save_adapter,
    save_transformer,
    transformer_from_nothing,
)
from training.model.spec import AdapterSpec, BaseFromNothing
from training.model.transformer import AudioWanTransformer3DModel

ADAPTER = AdapterSpec(audio_tokens_per_latent=4, audio_width=10, audio_hidden_width=12)
WEIGHTS = "diffusion_pytorch_model.safetensors"


def adapt(folder: Path, seed: int = 0, adapter: AdapterSpec = ADAPTER, **options):
    return adapt_base(
        folder, adapter, audio_num_layers=2, audio_feature_width=5, seed=seed, **options
    )


def given(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(2)
    return (
        torch.randn(2, 36, 3, 4, 4, dtype=dtype),
        torch.tensor([1000.0, 417.3]),
        torch.randn(2, 512, 32, dtype=dtype),
        torch.randn(2, 5, 40, dtype=dtype),
    )


def audio() -> torch.Tensor:
    torch.manual_seed(3)
    features = torch.randn(40, 2, 5)
    return latent_audio_windows(features, 4, 3)[None, None].expand(2, 1, -1, -1, -1, -1)


def base_from_disk(family: str, folder: Path, **options) -> torch.nn.Module:
    """diffusers' own model, its weights in memory of their own (`building.place` says why)."""
    base = BASES[family].from_pretrained(folder, **options)
    for parameter in base.parameters():
        parameter.data = parameter.data.clone()
    return base


def weights_equal(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def teach(model: torch.nn.Module) -> None:
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if is_adapter_key(name):
                parameter.add_(torch.randn_like(parameter) * 0.1)


@pytest.mark.parametrize("shards", [False, True], ids=["one file", "shards and index"])
@pytest.mark.parametrize("family", BASES)
def test_a_base_on_disk_adapted_gives_its_own_velocity_to_the_last_bit(tmp_path, family, shards):
    write_transformer(tmp_path, family, shards)
    assert (tmp_path / f"{WEIGHTS}.index.json").exists() == shards
    base = base_from_disk(family, tmp_path)
    model = adapt(tmp_path)
    wanted = base(*given(), return_dict=False)[0]
    assert torch.equal(model(*given()), wanted)
    for scope in ("window", "clip"):
        assert torch.equal(model(*given(), audio(), audio_scope=scope), wanted)


@pytest.mark.parametrize("family", BASES)
def test_in_bf16_too_with_the_base_s_own_fp32_parts(tmp_path, family):
    write_transformer(tmp_path, family)
    base = base_from_disk(family, tmp_path, torch_dtype=torch.bfloat16)
    model = adapt(tmp_path, dtype=torch.bfloat16)
    for name, parameter in base.named_parameters():
        assert model.get_parameter(name).dtype == parameter.dtype, name
    wanted = base(*given(torch.bfloat16), return_dict=False)[0]
    assert torch.equal(model(*given(torch.bfloat16), audio()), wanted)


def test_nothing_is_on_meta_and_no_weight_is_raw_memory(tmp_path):
    model = adapt(write_transformer(tmp_path, "wan"))
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    assert not any(tensor.is_meta for tensor in tensors.values())
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    for name, tensor in model.named_parameters():
        if name.startswith("audio_blocks") and name.endswith(".o.weight"):
            assert not tensor.any()
        elif is_adapter_key(name):
            assert tensor.abs().max() <= 1
            assert name.endswith(".bias") or tensor.any(), name


def test_diffusers_own_loading_would_leave_the_adapter_on_meta(tmp_path):
    """Why this package has its own (diffusers 0.42)."""
    write_transformer(tmp_path, "wan")
    theirs = WanTransformer3DModel.from_pretrained.__func__
    model = theirs(AudioWanTransformer3DModel, tmp_path)
    left = {name for name, parameter in model.named_parameters() if parameter.is_meta}
    assert left == {name for name, _ in model.named_parameters() if is_adapter_key(name)}
    with pytest.raises(ValueError, match="low_cpu_mem_usage"):
        theirs(AudioWanTransformer3DModel, tmp_path, low_cpu_mem_usage=False)


def test_every_argument_of_the_base_is_an_argument_of_ours():
    """Others would be dropped without a word and the base's defaults, 14B, be built."""
    theirs = inspect.signature(WanTransformer3DModel.__init__).parameters
    ours = inspect.signature(AudioWanTransformer3DModel.__init__).parameters
    assert list(ours)[: len(theirs)] == list(theirs)


def test_no_weight_of_the_adapter_is_kept_in_fp32_by_the_sound_of_its_name(tmp_path):
    model = adapt(write_transformer(tmp_path, "wan"), dtype=torch.bfloat16)
    kept = {name for name, p in model.named_parameters() if p.dtype == torch.float32}
    assert any(name.endswith("scale_shift_table") for name in kept)
    assert not any(is_adapter_key(name) for name in kept)


def test_the_same_seed_gives_the_same_adapter_and_another_another(tmp_path):
    write_transformer(tmp_path, "wan")
    torch.manual_seed(1)
    first = adapt(tmp_path, seed=3)
    torch.manual_seed(2)
    assert weights_equal(first, adapt(tmp_path, seed=3))
    assert not weights_equal(first, adapt(tmp_path, seed=4))


def test_a_weight_does_not_depend_on_which_other_blocks_hear(tmp_path):
    write_transformer(tmp_path, "wan")
    every = adapt(tmp_path).state_dict()
    some = adapt(tmp_path, adapter=ADAPTER.model_copy(update={"audio_layers": (1,)})).state_dict()
    assert len(some) < len(every)
    assert all(torch.equal(some[key], every[key]) for key in some)


def test_a_model_from_nothing_is_the_same_for_the_same_seed_whatever_the_global_one():
    def make(seed: int) -> torch.nn.Module:
        return transformer_from_nothing(
            BaseFromNothing(num_heads=2, head_width=12, num_layers=2, ffn_width=32),
            ADAPTER,
            text_width=8,
            image_width=9,
            audio_num_layers=2,
            audio_feature_width=5,
            seed=seed,
        )

    torch.manual_seed(1)
    first = make(0)
    torch.manual_seed(2)
    assert weights_equal(first, make(0))
    assert not weights_equal(first, make(1))


@pytest.mark.parametrize("family", BASES)
def test_a_whole_checkpoint_comes_back_bit_for_bit(tmp_path, family):
    model = adapt(write_transformer(tmp_path / "base", family))
    teach(model)
    save_transformer(model, tmp_path / "whole")
    again = load_transformer(tmp_path / "whole")
    assert weights_equal(model, again)
    assert dict(again.config)["base_family"] == family
    assert torch.equal(again(*given(), audio()), model(*given(), audio()))


def test_an_adapter_alone_comes_back_on_a_fresh_base(tmp_path):
    write_transformer(tmp_path / "base", "skyreels_v2")
    model = adapt(tmp_path / "base", seed=0)
    teach(model)
    save_adapter(model, tmp_path / "adapter")
    stored = load_file(tmp_path / "adapter" / "adapter.safetensors")
    assert stored.keys() == {key for key in model.state_dict() if is_adapter_key(key)}
    fresh = adapt(tmp_path / "base", seed=9)
    assert not torch.equal(fresh(*given(), audio()), model(*given(), audio()))
    load_adapter(fresh, tmp_path / "adapter")
    assert weights_equal(model, fresh)


def test_weights_gathered_elsewhere_are_what_is_written(tmp_path):
    model = adapt(write_transformer(tmp_path / "base", "wan"))
    averaged = {key: tensor * 0.5 for key, tensor in model.state_dict().items()}
    save_transformer(model, tmp_path / "whole", averaged)
    save_adapter(model, tmp_path / "adapter", averaged)
    whole = load_transformer(tmp_path / "whole").state_dict()
    assert all(torch.equal(whole[key], averaged[key]) for key in whole)
    load_adapter(model, tmp_path / "adapter")
    own = model.state_dict()
    assert all(torch.equal(own[key], averaged[key]) for key in own if is_adapter_key(key))


def test_a_checkpoint_over_a_larger_one_leaves_nothing_of_it(tmp_path):
    model = adapt(write_transformer(tmp_path / "base", "wan"))
    save_transformer(model, tmp_path / "whole", max_shard_size="20KB")
    assert (tmp_path / "whole" / f"{WEIGHTS}.index.json").exists()
    assert weights_equal(load_transformer(tmp_path / "whole"), model)
    teach(model)
    save_transformer(model, tmp_path / "whole")
    assert sorted(path.name for path in (tmp_path / "whole").iterdir()) == ["config.json", WEIGHTS]
    assert weights_equal(load_transformer(tmp_path / "whole"), model)


def edit_weights(file: Path, change) -> None:
    weights = load_file(file)
    change(weights)
    save_file(weights, file)


def edit_config(folder: Path, **changes) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_folder_without_config_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"config\.json: missing.*fetch it again"):
        adapt(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path):
    (write_transformer(tmp_path, "wan") / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=f"neither {WEIGHTS}.*fetch it again"):
        adapt(tmp_path)


def test_a_missing_shard_is_named(tmp_path):
    write_transformer(tmp_path, "wan", shards=True)
    shard = sorted(tmp_path.glob("*-00002-of-*.safetensors"))[0]
    shard.unlink()
    with pytest.raises(ModelError, match=f"{shard.name}: named by .*index.json and missing"):
        adapt(tmp_path)


def test_a_cut_file_is_damaged(tmp_path):
    file = write_transformer(tmp_path, "wan") / WEIGHTS
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match=f"{WEIGHTS}: damaged"):
        adapt(tmp_path)


def test_a_missing_key_is_named(tmp_path):
    file = write_transformer(tmp_path, "wan") / WEIGHTS
    edit_weights(file, lambda weights: weights.pop("blocks.1.attn2.add_k_proj.weight"))
    with pytest.raises(ModelError, match=r"1 of \d+ weights are missing, first blocks\.1\.attn2"):
        adapt(tmp_path)


def test_an_unknown_key_is_named(tmp_path):
    file = write_transformer(tmp_path, "wan") / WEIGHTS
    edit_weights(file, lambda weights: weights.update({"blocks.0.extra": torch.zeros(1)}))
    with pytest.raises(ModelError, match=r"first blocks\.0\.extra"):
        adapt(tmp_path)


def test_a_wrong_shape_is_named_with_both(tmp_path):
    file = write_transformer(tmp_path, "wan") / WEIGHTS
    edit_weights(file, lambda weights: weights.update({"proj_out.bias": torch.zeros(5)}))
    with pytest.raises(ModelError, match=r"proj_out\.bias has shape \[5\].*wants \[64\]"):
        adapt(tmp_path)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("wan", {"_class_name": "LTXVideoTransformer3DModel"}, "no base of this model"),
        ("wan", {"in_channels": 16}, "text-to-video"),
        ("wan", {"image_dim": None}, "no image branch"),
        ("wan", {"added_kv_proj_dim": None}, "no image branch"),
        ("wan", {"pos_embed_seq_len": 514}, "first-and-last-frame"),
        ("wan", {"patch_size": [2, 2, 2]}, "latent frames"),
        ("skyreels_v2", {"inject_sample_info": True}, "fps embedding"),
        ("skyreels_v2", {"num_frame_per_block": 5}, "causal by blocks"),
    ],
)
def test_models_that_are_no_base_are_refused_with_those_that_are(
    tmp_path, family, changes, message
):
    edit_config(write_transformer(tmp_path, family), **changes)
    with pytest.raises(ModelError, match=message) as error:
        adapt(tmp_path)
    assert "Skywork/SkyReels-V2-I2V-1.3B-540P-Diffusers" in str(error.value)


def test_a_skyreels_model_with_an_fps_embedding_is_refused_from_disk(tmp_path):
    from tests.training.model.tiny_folders import TRANSFORMER

    SkyReelsV2Transformer3DModel(**TRANSFORMER, inject_sample_info=True).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="fps embedding"):
        adapt(tmp_path)


@pytest.mark.parametrize("layers", [(), (0, 2), (-1,), (1, 1)])
def test_audio_layers_that_the_base_has_not_are_refused(tmp_path, layers):
    write_transformer(tmp_path, "wan")
    with pytest.raises(ModelError, match="audio_layers"):
        adapt(tmp_path, adapter=ADAPTER.model_copy(update={"audio_layers": layers}))


def test_a_base_is_no_whole_checkpoint(tmp_path):
    with pytest.raises(ModelError, match="adapt_base"):
        load_transformer(write_transformer(tmp_path, "wan"))


def test_a_whole_checkpoint_without_its_adapter_is_refused(tmp_path):
    save_transformer(adapt(write_transformer(tmp_path / "base", "wan")), tmp_path / "whole")
    edit_weights(
        tmp_path / "whole" / WEIGHTS,
        lambda weights: weights.pop("audio_blocks.1.k.weight"),
    )
    with pytest.raises(ModelError, match=r"missing, first audio_blocks\.1\.k\.weight"):
        load_transformer(tmp_path / "whole")


def test_an_adapter_of_other_sizes_is_refused_with_both(tmp_path):
    write_transformer(tmp_path / "base", "wan")
    save_adapter(adapt(tmp_path / "base"), tmp_path / "adapter")
    wider = adapt(tmp_path / "base", adapter=ADAPTER.model_copy(update={"audio_width": 14}))
    with pytest.raises(ModelError, match="audio_width is 10, the model's 14"):
        load_adapter(wider, tmp_path / "adapter")


def test_an_adapter_of_a_wider_base_is_refused(tmp_path):
    write_transformer(tmp_path / "base", "wan")
    write_transformer(tmp_path / "wide", "wan", attention_head_dim=24, added_kv_proj_dim=48)
    save_adapter(adapt(tmp_path / "wide"), tmp_path / "adapter")
    with pytest.raises(ModelError, match="has shape"):
        load_adapter(adapt(tmp_path / "base"), tmp_path / "adapter")


def test_a_folder_without_adapter_is_refused(tmp_path):
    model = adapt(write_transformer(tmp_path / "base", "wan"))
    with pytest.raises(ModelError, match=r"adapter\.json: cannot be read"):
        load_adapter(model, tmp_path / "base")
