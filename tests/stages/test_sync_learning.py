"""Learning: folds, labels, batches with a known truth; the same seed learns the same weights."""

from dataclasses import replace

import numpy as np
import pytest

from stages.errors import StageError
from stages.landmarks import FloatArray
from stages.sync_batches import Batches, principal_directions
from stages.sync_curve import curve_of, peak_of
from stages.sync_estimator import Streams
from stages.sync_examples import TalkingClip, read_speakers, speaker_of, talking_clip
from stages.sync_features import HOPS_PER_FRAME
from stages.sync_figures import auc, logistic, with_interval
from stages.sync_learning import LearningSettings, folds, learn, relabel
from stages.sync_trials import Trial, cut, trials, whole_clip
from tests.stages.talking_head import lips, voice


def clip(number: int, delay_s: float = 0.0, length_s: float = 6.0) -> TalkingClip:
    landmarks_TPC, times_s = lips(25.0, number, length_s)
    made = talking_clip(
        f"{number:016x}",
        f"file:///{number}.mp4",
        f"{number:016x}",
        f"speaker {number}",
        landmarks_TPC,
        times_s,
        voice(number, delay_s, length_s),
        0.0,
    )
    assert made is not None
    return made


CLIPS = [clip(number) for number in range(8)]
NAMES = [each.name for each in CLIPS]


class Copies:
    """Agreement of the opening of the lips with loudness: good enough for made heads."""

    def agreements(self, streams: list[Streams]) -> list[FloatArray]:
        found = []
        for each in streams:
            open_N = each.points_NPC[:, 20:40, 1].std(axis=1)
            loud_M = each.bands_HB.reshape(-1, HOPS_PER_FRAME, 40).mean(axis=(1, 2))
            loud_M = (loud_M - np.nanmean(loud_M)) / np.nanstd(loud_M)
            open_N = (open_N - open_N.mean()) / open_N.std()
            windows = np.lib.stride_tricks.sliding_window_view(loud_M, len(open_N))
            found.append(windows * open_N)
        return found


def test_a_speaker_is_in_one_fold_and_folds_are_of_equal_length() -> None:
    clips = [*CLIPS, replace(CLIPS[0], name="more of the first")]
    dealt = folds(clips, LearningSettings(num_folds=4))
    assert sorted(dealt) == sorted({each.speaker for each in clips})
    total_s = [
        sum(each.length_s for each in clips if dealt[each.speaker] == fold) for fold in range(4)
    ]
    assert max(total_s) - min(total_s) <= 2 * CLIPS[0].length_s + 1e-6


def test_too_few_speakers_are_refused_with_words() -> None:
    with pytest.raises(StageError, match="at least 8 speakers, there are 3"):
        folds(CLIPS[:3], LearningSettings(num_folds=4))


def test_labels_are_offsets_about_those_known_to_be_in_sync() -> None:
    late = [clip(number, 0.2) for number in range(4)]
    clips = [*late, *CLIPS[4:]]
    judges = {each.speaker: Copies() for each in clips}
    offsets_ms = relabel(clips, judges, lambda c: c.name in NAMES[4:], 0.4)
    for each in clips:
        wanted_ms = 200.0 if each in late else 0.0
        assert offsets_ms[each.name] == pytest.approx(wanted_ms, abs=25)


def test_a_batch_holds_one_window_a_speaker_and_its_target_is_the_true_offset() -> None:
    late = [clip(number, 0.2) for number in range(8)]
    pca_XF = principal_directions(late, 24)
    batches = Batches(late, dict.fromkeys(NAMES, 200.0), pca_XF, np.random.default_rng(0))
    hits = []
    for _ in range(4):
        batch = batches.draw()
        assert len(batch.video_SNF) == 8
        num = batch.video_SNF.shape[1]
        for row in range(8):
            open_N = batch.video_SNF[row, :, 48]
            loud_M = batch.audio_SHB[row].mean(axis=1).reshape(-1, HOPS_PER_FRAME).mean(axis=1)
            windows = np.lib.stride_tricks.sliding_window_view(loud_M, num)
            known = np.lib.stride_tricks.sliding_window_view(batch.audio_known_SM[row], num)
            curve = (windows * open_N * known).sum(axis=1) / known.sum(axis=1)
            hits.append(abs(curve.argmax() - batch.target_S[row]) <= 1)
    # Some windows have another voice nearly as loud as their own, or much noise.
    assert np.mean(hits) > 0.75


def test_the_same_seed_draws_the_same_batches() -> None:
    pca_XF = principal_directions(CLIPS, 24)
    first, second = (
        Batches(CLIPS, dict.fromkeys(NAMES, 0.0), pca_XF, np.random.default_rng(3)).draw()
        for _ in range(2)
    )
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_a_cut_has_nothing_beyond_its_ends_but_what_is_spared() -> None:
    exact = cut(CLIPS[0], CLIPS[0], 2.0, 3.0, 2.1, 0.0)
    assert len(exact.points_NPC) == 75
    assert np.isfinite(exact.bands_HB[:, 0]).sum() == pytest.approx(300, abs=2)
    wide = cut(CLIPS[0], CLIPS[0], 2.0, 3.0, 2.1, 0.4)
    assert np.isfinite(wide.bands_HB[:, 0]).sum() == pytest.approx(380, abs=2)


def test_a_shifted_cut_moves_the_peak_by_the_shift() -> None:
    still = peak_of(curve_of(Copies().agreements([whole_clip(CLIPS[0])])[0]))[0]
    # Sound from 160 ms later in the voice: what is heard comes 160 ms earlier.
    moved = Copies().agreements([cut(CLIPS[0], CLIPS[0], 1.0, 4.0, 1.16, 0.6)])[0]
    assert peak_of(curve_of(moved))[0] - still == pytest.approx(-160, abs=15)


def test_trials_of_an_estimator_that_knows_are_right() -> None:
    long = [clip(number, length_s=9.0) for number in range(3)]
    judged = list(trials(long, lambda _: Copies(), 0, (4.0,)))
    own = [t for t in judged if t.voice == "own"]
    errors = [abs(t.error_ms) for t in own if t.error_ms is not None]
    assert np.median(errors) < 20
    assert {t.voice for t in judged} == {"own", "random", "matching", "shifted"}
    others = [t.score for t in judged if t.voice in ("random", "shifted")]
    assert auc(np.array([t.score for t in own]), np.array(others)) > 0.95


def test_the_confidence_is_the_share_of_own_voices_at_even_odds() -> None:
    rng = np.random.default_rng(0)
    judged = []
    for voice_name, mean, num in (("own", 1.0, 3000), ("random", -1.0, 1000)):
        for score in rng.normal(mean, 1.0, num):
            evidence = np.array([1.0, score, 0.0, 0.0, 0.0, 0.0])
            judged.append(Trial("x", 3.0, voice_name, evidence, float(score)))
    # Two normal distributions 2 apart: the log-odds are 2 * score.
    assert logistic(judged)[:2] == pytest.approx([0.0, 2.0], abs=0.2)


def test_auc_counts_ties_half() -> None:
    assert auc(np.array([1.0, 2.0]), np.array([1.0, 0.0])) == pytest.approx(3.5 / 4)


def test_an_interval_over_speakers_knows_that_segments_of_one_are_alike() -> None:
    alike = [Trial(f"{k}", 3.0, "own", np.zeros(6), float(k % 2)) for k in range(10)] * 50
    mean, low, high = with_interval(alike, lambda of: float(np.mean([t.score for t in of])))
    assert mean == 0.5
    assert high - low > 0.4


def test_speakers_are_named_by_patterns_of_the_end_of_a_uri(tmp_path) -> None:
    listed = tmp_path / "speakers.csv"
    listed.write_text("uri,speaker\n*/anna_*.mp4,anna\n/b.mp4,ben\n")
    known = read_speakers(listed)
    assert speaker_of("file:///x/anna_3.mp4", known) == "anna"
    assert speaker_of("s3://y/b.mp4", known) == "ben"
    assert speaker_of("s3://y/c.mp4", known) is None
    listed.write_text("file,who\na,b\n")
    with pytest.raises(StageError, match="wanted are 'uri'"):
        read_speakers(listed)


def test_the_same_seed_learns_the_same_weights() -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    settings = LearningSettings(
        num_folds=2, round_steps=(2,), num_networks=1, final_steps=2, margin_ratio=-99.0
    )
    first, second = (
        learn(CLIPS, dict.fromkeys(NAMES, 0.0), lambda _: False, settings, lambda text: None)
        for _ in range(2)
    )
    arrays, again = first.estimator.to_arrays(), second.estimator.to_arrays()
    assert sorted(arrays) == sorted(again)
    assert all((arrays[name] == again[name]).all() for name in arrays)
    assert first.offsets_ms == second.offsets_ms
    assert first.estimator.learned_from == set(NAMES)
    seen = [each.learned_from for each in first.held_out]
    assert seen[0] | seen[1] == set(NAMES)
    assert not seen[0] & seen[1]


def test_a_few_steps_bring_the_loss_down() -> None:
    torch = pytest.importorskip("torch")
    from stages.sync_training import train

    torch.set_num_threads(1)
    told: list[str] = []
    train(CLIPS, dict.fromkeys(NAMES, 0.0), 60, 0, told.append)
    first, *_, last = (float(text.rsplit(" ", 1)[1]) for text in told)
    assert last < first - 0.5
