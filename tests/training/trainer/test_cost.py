import json
from dataclasses import replace

import pytest
import torch

from training.errors import SettingError
from training.model.spec import tiny_spec
from training.model.transformer import AudioWanTransformer3DModel
from training.objective.curriculum import Phase, Trainable
from training.recipe import load_recipe
from training.trainer.cost import (
    Machine,
    forward_flops,
    moving_parameters,
    phase_cost,
    training_flops,
)
from training.trainer.plan import make_plan, plan_json
from training.trainer.shapes import (
    ClipShape,
    adapter_parameters,
    base_parameters,
    lora_parameters,
    shape_of,
    shape_of_config,
)
from training.trainer.trainable import is_adapter, is_trainable

SIZES = {
    "1.3B": {
        "num_attention_heads": 12,
        "num_layers": 30,
        "ffn_dim": 8960,
        "added_kv_proj_dim": 1536,
    },
    "14B": {"num_attention_heads": 40, "num_layers": 40, "ffn_dim": 13824},
}


@pytest.mark.parametrize("size", SIZES)
def test_parameters_on_paper_are_those_of_the_model_on_the_meta_device(size):
    with torch.device("meta"):
        model = AudioWanTransformer3DModel(**SIZES[size])
    shape = shape_of_config(model.config)
    counts = {name: p.numel() for name, p in model.named_parameters()}
    assert base_parameters(shape) == sum(n for name, n in counts.items() if not is_adapter(name))
    assert adapter_parameters(shape) == sum(n for name, n in counts.items() if is_adapter(name))
    for trainable in (Trainable.ADAPTER, Trainable.ALL_BUT_TEXT_ATTENTION, Trainable.ALL):
        moving = sum(n for name, n in counts.items() if is_trainable(name, trainable))
        assert moving_parameters(shape, trainable, 0) == moving


def test_the_shipped_recipes_have_the_sizes_that_they_name():
    for name, size in (("portrait_1_3b", "1.3B"), ("portrait_14b", "14B")):
        shape = shape_of(load_recipe(name).model)
        with torch.device("meta"):
            model = AudioWanTransformer3DModel(**SIZES[size])
        assert shape == shape_of_config(model.config)


def test_lora_on_paper_is_what_peft_makes():
    from training.model.lora import add_lora
    from training.model.spec import LoraSpec

    with torch.device("meta"):
        model = AudioWanTransformer3DModel(
            num_attention_heads=2, attention_head_dim=12, num_layers=3, ffn_dim=40
        )
        lora = LoraSpec(rank=4)
        add_lora(model, lora, 0)
    made = sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)
    shape = shape_of_config(model.config)
    assert lora_parameters(shape, lora.rank, lora.targets) == made


def test_tokens_are_those_of_the_codec_and_the_patches():
    assert ClipShape(832, 480, 81).num_tokens == 32_760
    assert ClipShape(768, 448, 81).num_tokens == 28_224
    assert ClipShape(1280, 720, 81).num_tokens == 75_600


def test_flops_are_what_torch_counts_in_a_forward_and_backward_pass():
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from training.model.components import load_transformer_of

    spec = tiny_spec()
    transformer = load_transformer_of(
        spec, text_width=32, image_width=192, audio_num_layers=1, audio_feature_width=80
    )
    shape = shape_of_config(transformer.config)
    # The count takes CLIP's 257 image tokens.
    inputs = (
        torch.randn(1, 36, 3, 8, 8),
        torch.tensor([500.0]),
        torch.randn(1, 512, 32),
        torch.randn(1, 257, 192),
        torch.randn(1, 1, 3, 8, 1, 80),
    )
    # The counter knows matrix products, not the fused attention of a CPU.
    plain = sdpa_kernel(SDPBackend.MATH)
    with plain, FlopCounterMode(display=False) as counter:
        transformer(*inputs, audio_scope="window").sum().backward()
    paper = training_flops(forward_flops(shape, 3 * 16, 3), Trainable.ALL)
    # Left out on paper: the timestep's embedding, and that inputs need no gradient.
    assert counter.get_total_flops() == pytest.approx(paper, rel=0.05)


def test_frozen_weights_cost_no_weight_gradient():
    shape = shape_of(load_recipe("portrait_1_3b").model)
    forward = forward_flops(shape, 32_760, 21)
    adapter, most, whole = (
        training_flops(forward, trainable)
        for trainable in (
            Trainable.ADAPTER,
            Trainable.ALL_BUT_TEXT_ATTENTION,
            Trainable.ALL,
        )
    )
    assert 2 * forward.total < adapter < most < whole
    assert whole == pytest.approx(3 * forward.total)


def test_more_gpus_hold_less_each_and_do_more_together():
    shape = shape_of(load_recipe("portrait_14b").model)
    phase = Phase(name="a", steps=100)
    one, eight, many = (phase_cost(shape, phase, n, Machine()) for n in (1, 8, 64))
    assert one.memory.total > 80e9 > eight.memory.total > many.memory.total
    assert eight.tokens_per_s == pytest.approx(8 * one.tokens_per_s)
    assert one.messages_s == 0
    slow = phase_cost(shape, phase, 64, replace(Machine(), network_bytes_per_s=1e9))
    assert slow.step_s == slow.messages_s > many.step_s


def test_the_plan_is_printed_and_given_as_json(capsys):
    from training.trainer.plan import print_plan

    made = make_plan(load_recipe("portrait_14b"), (1, 8, 64), mfu=0.4, price=3.0)
    print_plan(made)
    text = capsys.readouterr().out
    assert "does not fit" in text and "MFU 40%" in text and "assumed (ours" in text
    record = json.loads(plan_json(made))
    assert record["base_parameters"] > 16e9
    assert set(record["gpus"]) == {"1", "8", "64"}
    for refused in ({"num_gpus": (0,)}, {"num_gpus": (1,), "mfu": 1.5}):
        with pytest.raises(SettingError, match="has to be"):
            make_plan(load_recipe("tiny"), **refused)
