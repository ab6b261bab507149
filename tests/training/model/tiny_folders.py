"""Tiny pretrained models with random weights, written to disk in the real layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, SkyReelsV2Transformer3DModel, WanTransformer3DModel

TRANSFORMER: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 36,
    "out_channels": 16,
    "text_dim": 32,
    "freq_dim": 32,
    "ffn_dim": 48,
    "num_layers": 2,
    "image_dim": 40,
    "added_kv_proj_dim": 24,
    "rope_max_seq_len": 64,
}
BASES = {"wan": WanTransformer3DModel, "skyreels_v2": SkyReelsV2Transformer3DModel}


def base_transformer(family: str, **changes: Any) -> torch.nn.Module:
    torch.manual_seed(7)
    model = BASES[family](**{**TRANSFORMER, **changes})
    with torch.no_grad():
        for parameter in model.parameters():
            # Norms and biases too: nothing that is one or zero can be mixed up unseen.
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def write_transformer(folder: Path, family: str, shards: bool = False, **changes: Any) -> Path:
    model = base_transformer(family, **changes)
    model.save_pretrained(folder, max_shard_size="20KB" if shards else "10GB")
    return folder


def write_umt5(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

    words = ["<pad>", "</s>", "<unk>", "a", "person", "talks", "sings"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder / "tokenizer")
    torch.manual_seed(0)
    config = UMT5Config(
        vocab_size=len(words), d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=2
    )
    UMT5EncoderModel(config).save_pretrained(folder / "text_encoder")


def write_clip(folder: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=40,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    CLIPVisionModel(config).save_pretrained(folder / "image_encoder")
    (folder / "image_processor").mkdir(parents=True)
    (folder / "image_processor" / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "CLIPImageProcessor",
                "image_mean": [0.48145466, 0.4578275, 0.40821073],
                "image_std": [0.26862954, 0.26130258, 0.27577711],
                "size": {"shortest_edge": 28},
                "crop_size": {"height": 28, "width": 28},
                "resample": 3,
            }
        )
    )


def write_vae(folder: Path) -> None:
    torch.manual_seed(0)
    vae = AutoencoderKLWan(base_dim=8, num_res_blocks=1)
    vae.save_pretrained(folder / "vae")


def write_whisper(folder: Path, num_states: int = 50) -> Path:
    """A Whisper whose chunks are one second long."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=60,
        num_mel_bins=16,
        d_model=16,
        encoder_layers=4,
        encoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        max_source_positions=num_states,
        max_target_positions=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    WhisperModel(config).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=16, chunk_length=1).save_pretrained(folder)
    return folder


def write_wav2vec2(folder: Path) -> Path:
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def write_base(folder: Path, family: str) -> Path:
    """A whole base: transformer, VAE, text and image encoder."""
    write_transformer(folder / "transformer", family)
    write_umt5(folder)
    write_clip(folder)
    write_vae(folder)
    return folder
