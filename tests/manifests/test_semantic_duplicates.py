"""Semantic duplicates: exact whatever the blocks, the best of each kept, vectors read in parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.measurement import Field
from manifests.reasons import Reason
from manifests.records import clip_schema
from manifests.selection import Rules, select
from manifests.semantic_duplicates import semantic_duplicates


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clustered(seed: int, num_clips: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(5, 8))
    return unit(centres[rng.integers(0, 5, num_clips)] + 0.35 * rng.normal(size=(num_clips, 8)))


def one_by_one(vectors: np.ndarray, min_similarity: float) -> list[int]:
    """The rule in plain words: the first kept clip that is alike."""
    found: list[int] = []
    for row, vector in enumerate(vectors):
        alike = [k for k in range(row) if found[k] < 0 and vectors[k] @ vector >= min_similarity]
        found.append(alike[0] if alike else -1)
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(0, 60),
    st.integers(1, 70),
    st.sampled_from([0.5, 0.8, 0.95]),
)
def test_blocks_change_nothing(
    seed: int, num_clips: int, block_clips: int, min_similarity: float
) -> None:
    vectors = clustered(seed, num_clips)
    found = semantic_duplicates(vectors, min_similarity, block_clips)
    assert found.tolist() == one_by_one(vectors, min_similarity)


def test_a_row_that_is_not_finite_is_like_no_other() -> None:
    vectors = np.tile(unit(np.ones((1, 4))), (4, 1))
    vectors[1, 2] = np.nan
    assert semantic_duplicates(vectors, 0.9).tolist() == [-1, -1, 0, 0]


def test_vectors_may_lie_in_a_file(tmp_path: Path) -> None:
    vectors = clustered(3, 50)
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    assert semantic_duplicates(mapped, 0.8, 7).tolist() == one_by_one(vectors, 0.8)


FIELDS = (
    Field("faces.height_px", float, low=Reason.FACE_TOO_SMALL),
    Field("embedding.vector", tuple[float, ...]),
)
STAGES = frozenset({"faces", "embedding"})


def clips(*given: tuple[str, float, list[float] | None]) -> pa.Table:
    rows = [
        {
            "clip_id": clip_id,
            "duration_s": 4.0,
            "state": "kept",
            "failed_gates": [],
            "measured_stages": sorted(STAGES),
            "faces.height_px": height_px,
            "embedding.vector": vector,
        }
        for clip_id, height_px, vector in given
    ]
    return pa.Table.from_pylist(rows, clip_schema(FIELDS))


TABLE = clips(
    ("a", 100.0, [1.0, 0.0]),
    ("b", 200.0, [0.98, 0.199]),
    ("c", 100.0, [0.0, 1.0]),
    ("d", 400.0, None),
)


def test_of_clips_alike_the_one_with_the_larger_face_is_kept() -> None:
    rows = select(TABLE, Rules((), STAGES, max_similarity=0.95)).to_pylist()
    assert [row["state"] for row in rows] == ["rejected", "kept", "kept", "kept"]
    (gate,) = rows[0]["failed_gates"]
    assert gate["reason"] == "NEAR_DUPLICATE"
    assert gate["field"] == "embedding.vector"
    assert gate["measured"] == "b"


@pytest.mark.parametrize("bound", [None, 0.999])
def test_nothing_is_refused_without_a_bound_or_beyond_it(bound: float | None) -> None:
    rows = select(TABLE, Rules((), STAGES, max_similarity=bound)).to_pylist()
    assert [row["state"] for row in rows] == ["kept"] * 4


def test_clips_without_any_embedding_are_compared_with_nothing() -> None:
    empty = clips(("a", 100.0, None), ("b", 100.0, None))
    rows = select(empty, Rules((), STAGES, max_similarity=0.5)).to_pylist()
    assert [row["state"] for row in rows] == ["kept", "kept"]
