"""Chunks: the same rows from any row on, whatever the file; what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdpn.errors import InputError
from sdpn.io.kaldi import vector_writer
from sdpn.kmeans.chunks import (
    ArrayChunk,
    Chunk,
    IterableChunk,
    NpyChunk,
    checked_blocks,
    open_chunk,
)

ROWS = np.random.default_rng(0).normal(size=(23, 3)).astype(np.float32)


def kinds(folder: Path) -> dict[str, Chunk]:
    np.save(folder / "rows.npy", ROWS)
    np.save(folder / "columns.npy", np.asfortranarray(ROWS))
    with vector_writer(folder) as write:
        for number, row in enumerate(ROWS):
            write(f"utt{number}", row)
    return {
        "array": ArrayChunk(name="array", rows_ND=ROWS),
        "npy": open_chunk(folder / "rows.npy"),
        "fortran": open_chunk(folder / "columns.npy"),
        "ark": open_chunk(folder / "embeddings.ark"),
        "scp": open_chunk(folder / "embeddings.scp"),
        "iterable": IterableChunk(name="loader", pieces=lambda: [ROWS[:9], ROWS[9:9], ROWS[9:].tolist()]),
    }


@pytest.mark.parametrize("kind", ["array", "npy", "fortran", "ark", "scp", "iterable"])
@pytest.mark.parametrize(("start", "size"), [(0, 100), (0, 5), (7, 4), (22, 1), (23, 5)])
def test_rows_from_any_row_on(kind: str, start: int, size: int, tmp_path: Path) -> None:
    chunk = kinds(tmp_path)[kind]
    for _ in range(2):  # again and again
        blocks = [
            block
            for block in checked_blocks(chunk, start=start, size=size, dimension=3, directions=True)
            if len(block.rows_BD)
        ]
        assert all(len(block.rows_BD) <= size for block in blocks)
        found = np.concatenate([np.empty((0, 3), np.float32), *(block.rows_BD for block in blocks)])
        np.testing.assert_array_equal(found, ROWS[start:])
        assert found.dtype == np.float32
        if kind in ("ark", "scp"):
            keys = [key for block in blocks for key in block.keys or ()]
            assert keys == [f"utt{number}" for number in range(start, 23)]
        else:
            assert all(block.keys is None for block in blocks)


def test_rows_of_a_table_are_named_by_their_id(tmp_path: Path) -> None:
    with vector_writer(tmp_path) as write:
        write("fine", np.ones(3))
        write("broken", np.array([1, np.nan, 1]))
    chunk = open_chunk(tmp_path / "embeddings.scp")
    with pytest.raises(InputError, match=r"embeddings\.scp: row 1 \('broken'\) contains NaN or infinite"):
        list(checked_blocks(chunk, start=0, size=9, dimension=None, directions=False))


def test_vectors_of_different_length_in_one_table(tmp_path: Path) -> None:
    with vector_writer(tmp_path) as write:
        write("three", np.ones(3))
        write("two", np.ones(2))
    with pytest.raises(InputError, match=r"row 1 \('two'\) has 2 dimensions, the rows before it have 3"):
        list(open_chunk(tmp_path / "embeddings.ark").blocks(0, 9))


@pytest.mark.parametrize(
    ("array", "message"),
    [(np.ones(3), r"has shape \(3,\); expected \(rows, dimensions\)"),
     (np.ones((2, 3, 4)), r"has shape \(2, 3, 4\)"),
     (np.array([["a"]]), "contains <U1; expected integers or real numbers"),
     (np.array([[True]]), "contains bool; expected"),
     (np.array([[{}]], dtype=object), r"is not a complete \.npy file")],
)  # fmt: skip
def test_files_that_hold_no_rows(array: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=rf"bad\.npy: {message}"):
        list(
            checked_blocks(
                open_chunk(tmp_path / "bad.npy"), start=0, size=9, dimension=None, directions=False
            )
        )


def test_files_that_are_damaged_or_no_chunks(tmp_path: Path) -> None:
    np.save(tmp_path / "cut.npy", ROWS)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-10])
    with pytest.raises(InputError, match=r"cut\.npy: is not a complete \.npy file"):
        list(open_chunk(tmp_path / "cut.npy").blocks(0, 9))
    (tmp_path / "rows.txt").touch()
    with pytest.raises(
        InputError, match=r"rows\.txt: is not a chunk file \(expected one of: \.npy, \.ark, \.scp\)"
    ):
        open_chunk(tmp_path / "rows.txt")
    with pytest.raises(InputError, match=r"absent\.npy: no such (chunk|file)"):
        open_chunk(tmp_path / "absent.npy")
    with pytest.raises(InputError, match=r"absent\.npy: no such (chunk|file)"):
        list(NpyChunk(name=str(tmp_path / "absent.npy")).blocks(0, 1))
    with pytest.raises(InputError, match=r"loader: a piece has shape \(3,\)"):
        list(IterableChunk(name="loader", pieces=lambda: [np.ones(3)]).blocks(0, 1))
