"""WhisperX: the real package on tiny models made here; what needs it skips without it.

Who said a word, and what stands in where nothing can be aligned, is tested without the package.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stages.diarisation import Diariser, Turn, speaker_of
from stages.errors import StageError
from stages.sound_pieces import Sound
from stages.transcript import TranscriptSettings, TranscriptStage
from stages.whisperx_asr import Aligner, WhisperX
from stages.word_times import Word
from tests.stages.reciting_whisper import write_whisper

RATE = 16_000
RECITED = ("Guten", "Tag,", "mein", "lieber", "Freund.")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALKREEL_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("start_s", "end_s", "speaker"), [(0.1, 0.4, "A"), (0.8, 1.6, "B"), (5.0, 5.2, None)]
)
def test_a_word_is_said_by_whose_turn_covers_most_of_it(
    start_s: float, end_s: float, speaker: str | None
) -> None:
    turns = [Turn(0.0, 1.0, "A"), Turn(0.9, 2.0, "B"), Turn(2.0, 3.0, "A")]
    word = speaker_of(Word("yes", start_s, end_s, 0.9), turns)
    assert word == Word("yes", start_s, end_s, 0.9, speaker)


def test_speakers_are_named_in_the_order_in_which_they_are_heard() -> None:
    pytest.importorskip("torch")
    given = [(2.0, 3.0, "SPEAKER_00"), (0.5, 1.0, "SPEAKER_01"), (4.0, 5.0, "SPEAKER_01")]

    class Annotation:
        def itertracks(self, yield_label: bool) -> Any:
            return ((SimpleNamespace(start=a, end=b), "_", name) for a, b, name in given)

    turns = Diariser(lambda sound: Annotation()).turns(np.zeros(RATE, np.float32))
    assert [turn.speaker for turn in turns] == ["A", "B", "A"]
    assert [turn.start_s for turn in turns] == [0.5, 2.0, 4.0]


def test_a_demand_that_cannot_be_met_is_told_with_the_way_out() -> None:
    stage = TranscriptStage(TranscriptSettings(backend="whisperx"))
    assert "curate weights fetch whisper-small" in (stage.lacking() or "")
    assert "whisperx" in stage.packages


def sound(duration_s: float, *voiced: tuple[float, float], seed: int = 0) -> Sound:
    samples = np.random.default_rng(seed).standard_normal(round(duration_s * RATE)) * 0.1
    return Sound(samples.astype(np.float32), voiced)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("whisperx")
    return write_whisper(tmp_path_factory.mktemp("weights") / "reciting", RECITED)


@pytest.fixture(scope="module")
def align_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav2vec2 with a CTC head, random and tiny, in the layout of the Hub."""
    pytest.importorskip("whisperx")
    import torch
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2Processor,
    )

    folder = tmp_path_factory.mktemp("align")
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"]
    (folder / "vocab.json").write_text(json.dumps({c: n for n, c in enumerate(letters)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(folder)
    torch.manual_seed(4)
    config = Wav2Vec2Config(
        vocab_size=len(letters), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, conv_dim=(8,) * 7, num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    Wav2Vec2ForCTC(config).save_pretrained(folder, safe_serialization=True)
    return folder


def test_words_are_those_of_whisper_and_lie_in_the_voice(weights: Path, align_model: Path) -> None:
    asr = WhisperX.load(weights, "cpu", align_model=str(align_model), batch_size=3)
    sounds = [sound(2.0 + n, (0.5, 1.7 + n), seed=n) for n in range(3)]
    heard = asr.transcribe([*sounds, sound(2.0)])
    for n, one in enumerate(heard[:3]):
        assert tuple(word.text for word in one.words) == RECITED
        assert one.language == "de"
        starts = [word.start_s for word in one.words]
        assert starts == sorted(starts)
        assert starts[0] > 0.05
        assert one.words[-1].end_s <= 2.0 + n
        assert all(word.confidence is not None for word in one.words)
    assert heard[3].words == ()
    again = asr.transcribe(sounds[::-1])
    assert [one.words for one in again[::-1]] == [one.words for one in heard[:3]]


def test_a_language_that_cannot_be_aligned_gets_words_spread_over_the_voice(
    weights: Path,
) -> None:
    (heard,) = WhisperX.load(weights, "cpu").transcribe([sound(3.0, (0.5, 1.2), (1.6, 2.4))])
    assert tuple(word.text for word in heard.words) == RECITED
    assert heard.words[0].start_s == 0.5
    assert heard.words[-1].end_s == pytest.approx(2.4)
    assert {word.confidence for word in heard.words} == {None}


def test_alignment_finds_letters_where_they_are_heard(align_model: Path) -> None:
    """A model whose answer is known: A B at 0.4 s, C D at 1.2 s, frames of 20 ms."""
    import torch

    class Spelling(torch.nn.Module):
        def forward(self, waveform: Any) -> Any:
            logits = torch.full((1, waveform.shape[-1] // 320, 32), -9.0)
            logits[..., 0] = 9.0
            for frame, letter in ((20, 5), (21, 6), (40, 4), (60, 7), (61, 8)):
                logits[0, frame, 0], logits[0, frame, letter] = -9.0, 9.0
            return SimpleNamespace(logits=logits)

    Aligner.load(str(align_model), "en", "cpu")
    letters = {c: n for n, c in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *"abcd"])}
    words = Aligner(Spelling(), letters, "en", "cpu").align(
        "Ab cd.", np.zeros(2 * RATE, np.float32)
    )
    assert [word.text for word in words] == ["Ab", "cd."]
    assert words[0].start_s == pytest.approx(0.4, abs=0.03)
    assert words[1].start_s == pytest.approx(1.2, abs=0.03)
    assert words[0].end_s <= words[1].start_s


def test_an_alignment_model_that_is_not_here_is_named(weights: Path, tmp_path: Path) -> None:
    asr = WhisperX.load(weights, "cpu", align_model=str(tmp_path / "none"))
    with pytest.raises(StageError, match="alignment model"):
        asr.transcribe([sound(2.0, (0.3, 1.5))])


def test_auto_takes_whisperx_where_it_is(weights: Path) -> None:
    stage = TranscriptStage(TranscriptSettings(model=str(weights)))
    assert "WhisperX" in (stage.remark() or "")
    light = TranscriptStage(TranscriptSettings(model=str(weights), backend="whisper"))
    assert stage.weights_digests() != light.weights_digests()
    assert stage.lacking() is None


@pytest.fixture(scope="module")
def diarisation_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pyannote pipeline of two random networks, in the layout of its hub."""
    pytest.importorskip("whisperx")
    import torch
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.embedding import XVectorSincNet
    from pyannote.audio.models.segmentation import PyanNet

    folder = tmp_path_factory.mktemp("diarisation")
    torch.manual_seed(0)
    lstm = {"hidden_size": 8, "num_layers": 1, "bidirectional": True, "monolithic": True}
    frames = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=2.0,
        classes=["speaker#1", "speaker#2"],
        powerset_max_classes=2,
        permutation_invariant=True,
    )
    chunk = Specifications(
        problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=2.0
    )
    networks = {
        "segmentation": (PyanNet(lstm=lstm, linear={"hidden_size": 8, "num_layers": 1}), frames),
        "embedding": (XVectorSincNet(dimension=16), chunk),
    }
    for name, (network, specifications) in networks.items():
        network.specifications = specifications
        network.build()
        kind = {"module": type(network).__module__, "class": type(network).__name__}
        checkpoint = {
            "state_dict": network.state_dict(),
            "pytorch-lightning_version": "2.5.6",
            "hyper_parameters": dict(network.hparams),
            "pyannote.audio": {
                "versions": {"torch": torch.__version__, "pyannote.audio": "3.4.0"},
                "architecture": kind,
                "specifications": specifications,
            },
        }
        torch.save(checkpoint, folder / f"{name}.bin")
    write_config(folder, folder / "segmentation.bin", folder / "embedding.bin")
    return folder


def write_config(folder: Path, segmentation: Path, embedding: Path) -> None:
    parameters = {
        "clustering": "AgglomerativeClustering",
        "embedding": str(embedding),
        "segmentation": str(segmentation),
    }
    name = "pyannote.audio.pipelines.SpeakerDiarization"
    clustering = {"method": "centroid", "min_cluster_size": 1, "threshold": 0.7}
    config = {
        "version": "3.1.0",
        "pipeline": {"name": name, "params": parameters},
        "params": {"clustering": clustering, "segmentation": {"min_duration_off": 0.0}},
    }
    # JSON is YAML.
    (folder / "config.yaml").write_text(json.dumps(config))


def test_turns_of_a_real_pipeline_lie_in_the_sound(diarisation_model: Path) -> None:
    turns = Diariser.load(str(diarisation_model), "cpu").turns(sound(3.0).samples)
    assert turns
    assert turns[0].speaker == "A"
    assert all(0 <= turn.start_s < turn.end_s <= 3.1 for turn in turns)


def test_words_get_their_speakers_from_the_pipeline(weights: Path, diarisation_model: Path) -> None:
    asr = WhisperX.load(weights, "cpu", diarisation_model=str(diarisation_model))
    (heard,) = asr.transcribe([sound(3.0, (0.3, 2.7))])
    turns = Diariser.load(str(diarisation_model), "cpu").turns(sound(3.0).samples)
    expected = [speaker_of(Word(w.text, w.start_s, w.end_s), turns).speaker for w in heard.words]
    assert [word.speaker for word in heard.words] == expected
    assert any(expected)


class Harmful:
    def __reduce__(self) -> Any:
        return (open, ("harm", "w"))


def test_a_checkpoint_that_would_run_code_is_refused(
    diarisation_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    checkpoint = torch.load(diarisation_model / "segmentation.bin", weights_only=False)
    torch.save({**checkpoint, "callbacks": Harmful()}, tmp_path / "harmful.bin")
    write_config(tmp_path, tmp_path / "harmful.bin", diarisation_model / "embedding.bin")
    with pytest.raises(StageError, match="no diarisation pipeline"):
        Diariser.load(str(tmp_path), "cpu")
    assert not (tmp_path / "harm").exists()
