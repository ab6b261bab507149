"""The embedding stage: means, cosines and scores in closed form, and the real loading of models.

open_clip is not in the default environment: what loads a real (tiny) model skips without it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manifests.records import Clip
from manifests.span import Span
from stages.aesthetic import AestheticHead
from stages.caption import CaptionMeasurement
from stages.clip_model import ClipModel
from stages.contract import ClipView, Evidence
from stages.embedding import EmbeddingSettings, EmbeddingStage, embed_clips
from stages.errors import StageError
from stages.key_frames import KeyFrame, KeyFrames, encode_jpeg

BASE = Fraction(1, 10)
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALKREEL_CACHE", str(tmp_path))


class ColourModel:
    """Embeds a picture as its mean colour, and a text as the colour that it names."""

    def __init__(self) -> None:
        self.num_calls = 0

    def embed_pictures(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        self.num_calls += 1
        rows = np.stack([picture.mean(axis=(0, 1)) for picture in pictures])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        names = {"red": 0, "green": 1, "blue": 2}
        return np.eye(3, dtype=np.float32)[[names[text] for text in texts]]


def view(start_s: float, end_s: float, caption: str | None = None) -> ClipView:
    """A clip of a source that is red, green, blue, a second each, one key frame a second."""
    evidence = Evidence(facts=None)  # type: ignore[arg-type]
    pictures = [np.full((48, 64, 3), colour, np.uint8) for colour in COLOURS]
    frames = [KeyFrame(10 * n, encode_jpeg(picture, 98)) for n, picture in enumerate(pictures)]
    evidence.put(KeyFrames(BASE, tuple(frames)))
    clip = Clip("source", Span(round(start_s * 10), round(end_s * 10), BASE), 0)
    return ClipView(clip, evidence, {CaptionMeasurement: CaptionMeasurement(text=caption)})


def test_a_clip_is_the_mean_of_its_own_key_frames() -> None:
    model = ColourModel()
    red, blue_green = embed_clips([view(0, 1, "red"), view(1, 3, "blue")], model, None, 4)
    np.testing.assert_allclose(red.vector or (), (1, 0, 0), atol=0.02)
    assert red.text_similarity == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(blue_green.vector or (), (0, 0.5**0.5, 0.5**0.5), atol=0.02)
    assert blue_green.text_similarity == pytest.approx(0.5**0.5, abs=0.02)
    assert blue_green.frame_agreement == pytest.approx(0.5**0.5, abs=0.02)
    assert model.num_calls == 1


def test_a_clip_without_caption_or_pictures_misses_only_that() -> None:
    silent, unseen = embed_clips([view(0, 1), view(5, 6, "red")], ColourModel(), None, 4)
    assert silent.vector is not None
    assert silent.text_similarity is None
    assert unseen.vector is None
    assert unseen.problem == "no key frame in the clip"


def test_the_mean_of_scores_is_given_for_embeddings_of_the_heads_size() -> None:
    head = AestheticHead(np.array([6.0, 2.0, 1.0]), 0.5)
    (clip,) = embed_clips([view(0, 2)], ColourModel(), head, 4)
    assert clip.aesthetic_score == pytest.approx(0.5 + (6 + 2) / 2, abs=0.1)
    (clip,) = embed_clips([view(0, 2)], ColourModel(), AestheticHead(np.ones(768), 0), 4)
    assert clip.aesthetic_score is None


def head_file(folder: Path, *, with_relu: bool = False) -> tuple[Path, Any]:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(3)
    layers = nn.Sequential(
        nn.Linear(24, 12), nn.Dropout(0.2), nn.Linear(12, 8), nn.Dropout(0.2), nn.Linear(8, 6),
        nn.Dropout(0.1), nn.Linear(6, 4), nn.Linear(4, 1),
    )  # fmt: skip
    path = folder / "head.pth"
    torch.save({f"layers.{k}": v for k, v in layers.state_dict().items()}, path)
    return path, layers.eval()


def test_the_head_is_the_chain_of_its_layers(tmp_path: Path) -> None:
    path, layers = head_file(tmp_path)
    import torch

    rows = np.random.default_rng(1).normal(size=(5, 24)).astype(np.float32)
    with torch.inference_mode():
        expected = layers(torch.from_numpy(rows))[:, 0].numpy()
    head = AestheticHead.load(path)
    assert head.num_features == 24
    np.testing.assert_allclose(head.score(rows), expected, atol=1e-6)


def test_a_file_with_other_layers_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "other.pth"
    torch.save({"layers.0.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(StageError, match="not the aesthetic head"):
        AestheticHead.load(path)


def test_without_weights_it_says_so_and_keeps_no_pictures() -> None:
    stage = EmbeddingStage(EmbeddingSettings())
    assert KeyFrames not in stage.needs
    assert "curate weights fetch clip-vit-l-14" in (stage.remark() or "")
    stage.setup()
    (nothing,) = stage.measure([view(0, 1)])
    assert nothing.vector is None
    assert "laion-aesthetic" in (nothing.problem or "")
    demanded = EmbeddingStage(EmbeddingSettings(backend="open_clip"))
    assert "curate weights fetch laion-aesthetic" in (demanded.lacking() or "")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no open_clip_config\.json"):
        EmbeddingSettings(model=str(tmp_path))


TINY = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model as open_clip saves one, for its ``local-dir`` schema."""
    open_clip = pytest.importorskip("open_clip")
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(5)
    save_file(open_clip.CLIP(**TINY).state_dict(), folder / "open_clip_model.safetensors")
    preprocess = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "size": [32, 32]}
    config = {"model_cfg": TINY, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


def test_a_real_model_embeds_pictures_and_texts_in_any_batch(tiny_model: Path) -> None:
    rng = np.random.default_rng(2)
    pictures = [rng.integers(0, 255, (40 + 9 * n, 60, 3), dtype=np.uint8) for n in range(5)]
    rows = ClipModel.load(str(tiny_model), "cpu", 2).embed_pictures(pictures)
    assert rows.shape == (5, 24)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    again = ClipModel.load(str(tiny_model), "cpu", 16).embed_pictures(pictures)
    np.testing.assert_allclose(rows, again, atol=1e-5)
    assert np.abs(rows[0] - rows[1]).max() > 1e-4
    texts = ClipModel.load(str(tiny_model)).embed_texts(["a person speaks", "word " * 500])
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)


def test_the_stage_runs_whole_on_a_real_model(tiny_model: Path, tmp_path: Path) -> None:
    head, _ = head_file(tmp_path)
    settings = EmbeddingSettings(model=str(tiny_model), aesthetic=str(head), device="cpu")
    stage = EmbeddingStage(settings)
    assert stage.costly
    assert KeyFrames in stage.needs
    assert len(stage.weights_digests()) == 3
    stage.setup()
    found = stage.measure([view(0, 3, "a person speaks"), view(5, 6)])
    stage.close()
    assert len(found[0].vector or ()) == 24
    assert found[0].aesthetic_score is not None
    assert -1 <= (found[0].text_similarity or 9) <= 1
    assert found[1].problem == "no key frame in the clip"


def test_weights_that_do_not_fit_are_told(tiny_model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    wider = {**TINY, "embed_dim": 32}
    (other / "open_clip_config.json").write_text(json.dumps({"model_cfg": wider}))
    weights = (tiny_model / "open_clip_model.safetensors").read_bytes()
    (other / "open_clip_model.safetensors").write_bytes(weights)
    with pytest.raises(StageError, match="open_clip cannot load it"):
        ClipModel.load(str(other))
