"""Rows that come once, written as chunks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sdpn.errors import InputError
from sdpn.kmeans.chunks import write_chunks

ROWS = np.random.default_rng(0).normal(size=(25, 3)).astype(np.float32)


@pytest.mark.parametrize("rows_per_chunk", [1, 4, 5, 24, 25, 26])
def test_nothing_is_lost(rows_per_chunk: int, tmp_path: Path) -> None:
    pieces = iter([ROWS[:7], ROWS[7:7], ROWS[7:8].astype(np.float64), ROWS[8:]])
    files = write_chunks(pieces, tmp_path / "rows", rows_per_chunk=rows_per_chunk)
    chunks = [np.load(file) for file in files]
    np.testing.assert_array_equal(np.concatenate(chunks), ROWS)
    assert all(len(chunk) == rows_per_chunk for chunk in chunks[:-1])
    assert {chunk.dtype for chunk in chunks} == {np.dtype(np.float32)}
    assert sorted(file.name for file in (tmp_path / "rows").iterdir()) == [file.name for file in files]


def test_a_buffer_that_is_used_again(tmp_path: Path) -> None:
    def pieces() -> Iterator[np.ndarray]:
        buffer = np.empty((2, 3), dtype=np.float32)
        for number in range(4):
            buffer[:] = number
            yield buffer

    (file,) = write_chunks(pieces(), tmp_path / "rows")
    np.testing.assert_array_equal(np.load(file)[:, 0], [0, 0, 1, 1, 2, 2, 3, 3])


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    for pieces, message in (
        ([ROWS, ROWS[:, :2]], r"shape \(25, 2\); expected \(rows, 3\)"),
        ([ROWS[0]], r"shape \(3,\); expected \(rows, dimensions\)"),
        ([], "there are no rows"),
        ([ROWS[:0]], "there are no rows"),
    ):
        with pytest.raises(InputError, match=message):
            write_chunks(pieces, tmp_path / "rows", rows_per_chunk=4)
    assert list(tmp_path.iterdir()) == []
