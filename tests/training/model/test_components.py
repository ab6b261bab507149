from __future__ import annotations

import shutil

import pytest
import torch
from pydantic import ValidationError

from tests.training.model.tiny_folders import (
    BASES,
    write_base,
    write_wav2vec2,
    write_whisper,
)
from training.errors import ModelError
from training.model.audio_windows import latent_audio_windows
from training.model.components import Components, load_components
from training.model.conditions import latent_keep_mask, pixel_condition, transformer_input
from training.model.interfaces import Task
from training.model.patch_codec import PatchCodec
from training.model.saved import SPEC_FILE, load_spec, save_components
from training.model.spec import (
    AdapterSpec,
    BaseFromNothing,
    LoraSpec,
    ModelSpec,
    PretrainedBase,
    UMT5Text,
    Wav2Vec2Audio,
    WhisperAudio,
    tiny_spec,
)

ADAPTER = AdapterSpec(audio_tokens_per_latent=4, audio_width=10, audio_hidden_width=12)
TINY = tiny_spec(
    base=BaseFromNothing(num_heads=2, head_width=12, num_layers=2, ffn_width=32), adapter=ADAPTER
)


def velocity(components: Components) -> torch.Tensor:
    """From pixels, caption and sound to a velocity, through every part."""
    torch.manual_seed(0)
    frames, pcm = torch.rand(1, 3, 5, 32, 32) * 2 - 1, torch.randn(3200) * 0.1
    given, keep = pixel_condition(Task.IMAGE, frames)
    codec = components.codec
    latent = codec.encode(frames)
    features = components.audio_encoder.encode(pcm, 5, 25.0)
    with torch.no_grad():
        return components.transformer(
            transformer_input(
                torch.randn_like(latent),
                latent_keep_mask(keep, codec.spatial_stride),
                codec.encode(given),
            ),
            torch.tensor([500.0]),
            components.text_encoder.encode(["a person talks"]),
            components.image_encoder.encode(frames[:, :, 0]),
            latent_audio_windows(features, 0, 2)[None, None],
        )


def teach(components: Components) -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in components.transformer.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    for family in BASES:
        write_base(folder / family, family)
    write_whisper(folder / "whisper")
    write_wav2vec2(folder / "wav2vec2")
    return folder


def pretrained(bases, family: str, **changes) -> ModelSpec:
    audio = {
        "wan": WhisperAudio(repo=str(bases / "whisper"), overlap_s=0.2),
        "skyreels_v2": Wav2Vec2Audio(repo=str(bases / "wav2vec2"), chunk_s=1.0, overlap_s=0.2),
    }[family]
    base = PretrainedBase(repo=str(bases / family))
    return ModelSpec(base=base, audio=audio, adapter=ADAPTER, **changes)


def test_the_tiny_model_is_built_from_nothing_and_is_the_same_each_time():
    first, second = load_components(TINY), load_components(TINY)
    for components in (first, second):
        teach(components)
    assert velocity(first).shape == (1, 16, 2, 4, 4)
    assert velocity(first).abs().max() > 0
    assert torch.equal(velocity(first), velocity(second))


@pytest.mark.parametrize("family", BASES)
def test_a_whole_base_on_disk_is_built_and_runs(bases, family):
    components = load_components(pretrained(bases, family))
    assert components.transformer.config.base_family == family
    assert torch.isfinite(velocity(components)).all()


def test_a_tiny_model_comes_back_from_its_folder(tmp_path):
    components = load_components(TINY)
    components.codec = PatchCodec.fit(torch.rand(2, 3, 8, 16, 16))
    teach(components)
    save_components(components, TINY, tmp_path)
    assert (tmp_path / SPEC_FILE).exists()
    again = load_components(load_spec(tmp_path))
    assert torch.equal(velocity(again), velocity(components))


def test_a_saved_folder_can_be_moved(tmp_path):
    components = load_components(TINY)
    teach(components)
    save_components(components, TINY, tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    again = load_components(load_spec(tmp_path / "there"))
    assert torch.equal(velocity(again), velocity(components))


@pytest.mark.parametrize("lora", [None, LoraSpec(rank=2)], ids=["adapter", "adapter and LoRA"])
def test_an_adapter_comes_back_on_its_base(bases, tmp_path, lora):
    spec = pretrained(bases, "skyreels_v2", lora=lora)
    components = load_components(spec)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in components.transformer.named_parameters():
            if name.startswith("audio_") or "lora_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    save_components(components, spec, tmp_path)
    assert not (tmp_path / "transformer").exists()
    again = load_components(load_spec(tmp_path))
    assert torch.equal(velocity(again), velocity(components))
    assert not torch.equal(velocity(load_components(spec)), velocity(components))


def test_a_trained_base_is_saved_whole(bases, tmp_path):
    spec = pretrained(bases, "wan")
    components = load_components(spec)
    teach(components)
    save_components(components, spec, tmp_path, whole=True)
    assert torch.equal(velocity(load_components(load_spec(tmp_path))), velocity(components))


def test_the_adapter_alone_of_a_model_from_nothing_is_refused(tmp_path):
    with pytest.raises(ModelError, match="save it whole"):
        save_components(load_components(TINY), TINY, tmp_path, whole=False)


def test_a_whole_model_with_a_lora_in_it_is_refused(bases, tmp_path):
    spec = pretrained(bases, "wan", lora=LoraSpec(rank=2))
    with pytest.raises(ModelError, match="merge it first"):
        save_components(load_components(spec), spec, tmp_path, whole=True)


def test_a_folder_without_spec_and_a_spec_of_another_version_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"model\.json: cannot be read"):
        load_spec(tmp_path)
    (tmp_path / SPEC_FILE).write_text('{"sead": 3}')
    with pytest.raises(ModelError, match="sead"):
        load_spec(tmp_path)


def test_a_checkpoint_with_other_encoders_is_refused(tmp_path):
    components = load_components(TINY)
    save_components(components, TINY, tmp_path)
    spec = load_spec(tmp_path)
    other = spec.model_copy(update={"audio": spec.audio.model_copy(update={"num_mels": 20})})
    with pytest.raises(ModelError, match="audio_feature_width of the transformer is 40"):
        load_components(other)


def test_pretrained_encoders_without_a_base_are_refused():
    with pytest.raises(ModelError, match="no base to take it from"):
        load_components(TINY.model_copy(update={"text": UMT5Text()}))


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValidationError, match="sead"):
        ModelSpec.model_validate({"sead": 3})


@pytest.mark.parametrize("part", ["text_encoder", "image_encoder", "vae", "tokenizer"])
def test_a_base_without_one_of_its_parts_is_refused(bases, tmp_path, part):
    shutil.copytree(bases / "wan", tmp_path / "wan")
    shutil.rmtree(tmp_path / "wan" / part)
    spec = pretrained(bases, "wan").model_copy(
        update={"base": PretrainedBase(repo=str(tmp_path / "wan"))}
    )
    with pytest.raises(ModelError, match=f"{part}.*fetch it again"):
        load_components(spec)
