"""An array that grows: what was appended, in little more than its own room."""

from __future__ import annotations

import numpy as np
import pytest

from stages.growing_array import GrowingArray


@pytest.mark.parametrize("num", [0, 1, 16, 17, 1000, 1700])
def test_all_rows_come_back_in_order(num: int) -> None:
    rows = np.random.default_rng(num).standard_normal((num, 5, 3)).astype(np.float32)
    grown = GrowingArray((5, 3), np.float32)
    for row in rows:
        grown.append(row)
    room = rows.nbytes
    assert grown.num_bytes <= max(2 * room, 16 * 60)
    assert grown.num_bytes <= room + 512 * 60
    found = grown.finish()
    assert np.array_equal(found, rows)
    assert found.dtype == np.float32
    assert grown.num_bytes == room
