"""The vlm backend with tiny models in the layout of real ones, random or made to say one thing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.caption import CaptionMeasurement, CaptionStage
from stages.caption_composed import CaptionFacts
from stages.caption_prompt import CaptionRequest
from stages.caption_settings import CaptionSettings
from stages.caption_vlm import VlmBackend
from stages.errors import StageError
from stages.key_frames import encode_jpeg
from tests.stages.caption_clips import clip_views
from tests.stages.chat_server import GOOD

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

PAD_ID, IMAGE_ID, PATCHES = 0, 3, 4
ANSWER = json.dumps(GOOD, ensure_ascii=False)
SPECIAL = ["<pad>", "<s>", "</s>", "<image>", "<user>", "<model>"]
TEMPLATE = (
    "{% for message in messages %}<user>{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}<model>{% endif %}"
)


def save_model(folder: Path, *, says: str | None = None, ends: bool = True) -> Path:
    """Save a LLaVA of a few thousand weights, random or made to say one thing, once or for ever."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*SPECIAL, *alphabet]
    tokenizer = Tokenizer(models.BPE(vocab={w: i for i, w in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    fast.add_special_tokens({"additional_special_tokens": SPECIAL[3:]})
    if says is not None:
        fast.add_tokens([transformers.AddedToken(says, normalized=False)])
    torch.manual_seed(0)
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
            projection_dim=16,
        ),
        text_config=transformers.LlamaConfig(
            vocab_size=len(fast),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            initializer_range=1.0,
            max_position_embeddings=8192,
            pad_token_id=PAD_ID,
            bos_token_id=1,
            eos_token_id=2,
        ),
        image_token_index=IMAGE_ID,
        image_seq_length=PATCHES,
        initializer_range=1.0,
    )
    model = transformers.LlavaForConditionalGeneration(config)
    if says is not None:
        _say(model, fast.convert_tokens_to_ids(says), fast.eos_token_id if ends else None)
    model.generation_config.eos_token_id = fast.eos_token_id
    model.generation_config.pad_token_id = fast.pad_token_id
    model.save_pretrained(folder)
    image_processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
    )
    transformers.LlavaProcessor(
        image_processor=image_processor,
        tokenizer=fast,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    return folder


def _say(model: Any, answer_id: int, end_id: int | None) -> None:
    """Make the next token depend on the last alone: the answer, and after it the end, if any."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.zero_()
        embedded = model.get_input_embeddings().weight
        embedded.zero_()
        embedded[:, 0] = 1
        head = model.get_output_embeddings().weight
        head.zero_()
        head[answer_id, 0] = 1
        if end_id is not None:
            embedded[answer_id, :2] = torch.tensor([0.0, 1.0])
            head[end_id, 1] = 1


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("trained"), says=ANSWER)


@pytest.fixture(scope="module")
def random(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("random"))


def settings(folder: Path, **change: Any) -> CaptionSettings:
    return CaptionSettings(backend="vlm", model=str(folder), max_answer_tokens=32, **change)


def requests(*greys: int) -> list[CaptionRequest]:
    """Clips of one grey each; their prompts differ in length."""
    return [
        CaptionRequest(
            (encode_jpeg(np.full((48, 64, 3), grey, np.uint8), 90),) * 2,
            CaptionFacts(num_faces=2 if number % 2 else 1),
            10.0**number,
        )
        for number, grey in enumerate(greys)
    ]


def test_what_the_model_says_becomes_the_same_record_as_from_a_server(trained: Path) -> None:
    stage = CaptionStage(settings(trained))
    stage.setup()
    records = stage.measure(clip_views(3))
    stage.close()
    parts = {name: value or None for name, value in GOOD.items() if name != "caption"}
    assert records == [CaptionMeasurement(text=GOOD["caption"], source="vlm", **parts)] * 3


def test_an_answer_without_an_end_is_too_long_and_no_caption(tmp_path: Path) -> None:
    stage = CaptionStage(settings(save_model(tmp_path, says=ANSWER, ends=False)))
    stage.setup()
    assert stage.measure(clip_views(1)) == [CaptionMeasurement(failure="TOO_LONG")]


@dataclass
class Heard:
    """What went into a model and what came out, before anybody looked at it."""

    inputs: list[dict[str, Any]]
    tokens: list[list[int]]


def heard(folder: Path, asked: list[CaptionRequest], batch_size: int) -> Heard:
    backend = VlmBackend(settings(folder, batch_size=batch_size))
    heard = Heard([], [])
    generate = backend._model.generate

    def listening(**inputs: Any) -> Any:
        generated = generate(**inputs)
        heard.inputs.append(inputs)
        heard.tokens.extend(generated[:, inputs["input_ids"].shape[1] :].tolist())
        return generated

    backend._model.generate = listening
    backend.describe(asked)
    return heard


def test_a_batch_says_what_each_clip_alone_would(random: Path) -> None:
    asked = requests(0, 90, 255)
    together, alone = heard(random, asked, 3), heard(random, asked, 1)
    assert len({inputs["input_ids"].shape[1] for inputs in alone.inputs}) > 1
    assert without_filling(together.tokens) == without_filling(alone.tokens)


def without_filling(tokens: list[list[int]]) -> list[list[int]]:
    return [[token for token in row if token != PAD_ID] for row in tokens]


def test_every_picture_reaches_the_model_in_the_place_of_its_clip(trained: Path) -> None:
    inputs = heard(trained, requests(0, 90, 255), 3).inputs[0]
    greys = inputs["pixel_values"].mean(dim=(1, 2, 3)).tolist()
    assert [round(grey, 3) for grey in greys] == sorted(round(grey, 3) for grey in greys)
    assert len(set(greys)) == 3
    assert (inputs["input_ids"] == IMAGE_ID).sum(dim=1).tolist() == [2 * PATCHES] * 3


def test_a_folder_without_a_model_is_said_at_setup(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="cannot be loaded"):
        CaptionStage(settings(tmp_path)).setup()


def test_weights_that_are_no_safetensors_are_refused(trained: Path, tmp_path: Path) -> None:
    for entry in trained.iterdir():
        if entry.suffix != ".safetensors":
            (tmp_path / entry.name).write_bytes(entry.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(StageError, match="cannot be loaded"):
        CaptionStage(settings(tmp_path)).setup()
