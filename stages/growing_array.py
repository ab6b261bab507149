"""An array that grows by a row a frame, without a copy of everything at the end.

A list of small arrays takes the same room once more when it is joined, and leaves the heap full of
holes: a worker that measures one source after the other would grow by both.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_FIRST_ROWS, _MOST_ROWS = 16, 512
"""Rows that are added at once: as many again as there are, within these bounds; 512 are 20 s of
picture, 3 MB of landmarks."""


class GrowingArray:
    """Rows of one shape and type, appended one by one.

    Args:
        row_shape: shape of a row.
        dtype: type of the values.
    """

    def __init__(self, row_shape: tuple[int, ...], dtype: Any) -> None:
        self._rows = np.empty((0, *row_shape), dtype)
        self._num_rows = 0

    def append(self, row: np.ndarray) -> None:
        """Copy a row to the end."""
        if self._num_rows == len(self._rows):
            self._resize(self._num_rows + min(max(self._num_rows, _FIRST_ROWS), _MOST_ROWS))
        self._rows[self._num_rows] = row
        self._num_rows += 1

    def finish(self) -> np.ndarray:
        """Free what is not used and return all rows, (N, ...); nothing may be appended later."""
        self._resize(self._num_rows)
        return self._rows

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        return self._rows.nbytes

    def _resize(self, num_rows: int) -> None:
        # In place: the allocator moves large blocks by their pages. No view has been handed out.
        self._rows.resize((num_rows, *self._rows.shape[1:]), refcheck=False)
