from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.data.speech_crops import crop_start

FPS = Fraction(25)


def starts(num_frames: int, length: int, words: list[tuple[float, float]]) -> set[int]:
    return {
        crop_start(num_frames, length, words, FPS, np.random.default_rng(seed))
        for seed in range(200)
    }


@given(st.integers(0, 20), st.integers(0, 100), st.integers(0, 2**32))
def test_a_crop_lies_within_the_clip_on_the_grid_of_latent_frames(
    k: int, more: int, seed: int
) -> None:
    length = 4 * k + 1
    words = [(0.3, 0.5), (2.0, 99.0)]
    first = crop_start(length + more, length, words, FPS, np.random.default_rng(seed))
    assert first % 4 == 0 and 0 <= first <= more


def test_a_crop_lies_where_words_are_spoken() -> None:
    assert starts(200, 25, [(4.0, 5.04)]) <= {96, 100, 104}


def test_without_words_every_place_of_the_grid_is_drawn() -> None:
    assert starts(50, 25, []) == {0, 4, 8, 12, 16, 20, 24}


def test_crops_that_hold_equally_much_speech_are_all_drawn() -> None:
    assert starts(200, 9, [(1.0, 1.6), (6.0, 6.6)]) == {28, 152, 156}
