"""One small dataset for all tests of the data that only read it."""

from __future__ import annotations

import pytest
import torch

from tests.training.data.made_dataset import MadeClip, make_dataset

CLIPS = (
    *(MadeClip(number, num_frames=40) for number in range(5)),
    *(MadeClip(number, num_frames=30, size_px=(96, 64)) for number in range(5, 9)),
    MadeClip(9, num_frames=12),
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_dataset(tmp_path_factory.mktemp("made"), CLIPS)
