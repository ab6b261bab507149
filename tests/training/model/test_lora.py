from __future__ import annotations

import pytest
import torch

from training.errors import ModelError
from training.model.components import load_components
from training.model.lora import LORA_FILE, add_lora, load_lora, save_lora
from training.model.spec import BaseFromNothing, LoraSpec, tiny_spec

SIZES = BaseFromNothing(num_heads=2, head_width=12, num_layers=2, ffn_width=32)
LORA = LoraSpec(rank=3, alpha=6)


def transformer():
    model = load_components(tiny_spec(base=SIZES)).transformer
    torch.manual_seed(0)
    torch.nn.init.normal_(model.proj_out.weight)
    return model


def given(model) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    config = model.config
    return (
        torch.randn(1, 36, 2, 4, 4),
        torch.tensor([300.0]),
        torch.randn(1, 512, config.text_dim),
        torch.randn(1, 3, config.image_dim),
    )


def names_of_lora(model) -> set[str]:
    return {name for name, _ in model.named_parameters() if "lora_" in name}


def teach(model) -> None:
    torch.manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)


def test_a_new_lora_changes_no_bit_and_leaves_the_adapter_trainable():
    model = transformer()
    wanted = model(*given(model))
    add_lora(model, LORA, seed=0)
    assert torch.equal(model(*given(model)), wanted)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name.startswith("audio_") or "lora_" in name), name


def test_every_target_of_every_block_gets_one_and_audio_none():
    model = transformer()
    add_lora(model, LORA, seed=0)
    # Two attentions of four linear layers and a feed-forward network of two, two weights each.
    assert len(names_of_lora(model)) == 2 * (2 * 4 + 2) * 2
    assert all(name.startswith("blocks.") for name in names_of_lora(model))


def test_the_same_seed_gives_the_same_lora():
    first, second, third = transformer(), transformer(), transformer()
    for model, seed in ((first, 0), (second, 0), (third, 1)):
        torch.rand(seed + 3)
        add_lora(model, LORA, seed)
    a, b, c = (model.state_dict() for model in (first, second, third))
    lora = names_of_lora(first)
    assert all(torch.equal(a[name], b[name]) for name in lora)
    assert any(not torch.equal(a[name], c[name]) for name in lora)


def test_a_lora_comes_back_from_disk(tmp_path):
    model = transformer()
    add_lora(model, LORA, seed=0)
    teach(model)
    save_lora(model, tmp_path)
    again = transformer()
    assert not torch.equal(again(*given(again)), model(*given(model)))
    load_lora(again, tmp_path)
    assert torch.equal(again(*given(again)), model(*given(model)))


def test_it_loads_into_a_bare_wan_transformer_too(tmp_path):
    from diffusers import WanTransformer3DModel

    model = transformer()
    bare = WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=36, text_dim=32, freq_dim=64,
        ffn_dim=32, num_layers=2, image_dim=192, added_kv_proj_dim=24,
    )  # fmt: skip
    bare.load_state_dict({k: v for k, v in model.state_dict().items() if "audio" not in k})
    add_lora(model, LORA, seed=0)
    teach(model)
    save_lora(model, tmp_path)
    bare.load_lora_adapter(tmp_path, prefix=None, weight_name=LORA_FILE)
    assert torch.equal(bare(*given(model), return_dict=False)[0], model(*given(model)))


def test_a_target_that_is_no_layer_is_refused_with_those_that_are():
    with pytest.raises(ModelError, match=r"to_k2.*attn1\.to_q"):
        add_lora(transformer(), LoraSpec(targets=("to_q", "to_k2")), seed=0)


def test_a_folder_without_lora_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no LoRA of this model"):
        load_lora(transformer(), tmp_path)


def test_a_lora_of_a_wider_base_is_refused(tmp_path):
    wide = load_components(tiny_spec(base=SIZES.model_copy(update={"head_width": 24}))).transformer
    add_lora(wide, LORA, seed=0)
    save_lora(wide, tmp_path)
    with pytest.raises(ModelError, match="no LoRA of this model"):
        load_lora(transformer(), tmp_path)
