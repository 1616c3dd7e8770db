"""Batches across the ends of chunks: all rows, from any position, in the order of the epoch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpn.kmeans.survey import Stream
from tests.kmeans.rows import chunks_of


def stream(lengths: list[int], block_rows: int) -> Stream:
    starts = np.cumsum([0, *lengths])
    numbers = [np.arange(start, end)[:, None] for start, end in itertools.pairwise(starts)]
    return Stream(
        chunks=chunks_of(numbers), chunk_rows=lengths, dimension=1, directions=False, block_rows=block_rows
    )


@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    size=st.integers(1, 20),
    block_rows=st.integers(1, 9),
    seed=st.integers(0, 5),
)
def test_every_row_once_and_the_same_batches_from_any_batch_on(
    lengths: list[int], size: int, block_rows: int, seed: int
) -> None:
    chunks = stream(lengths, block_rows)
    order = chunks.epoch_order(seed, 3)
    batches = [batch[:, 0].copy() for batch in chunks.batches(order, position=0, size=size)]
    assert all(len(batch) == size for batch in batches[:-1])
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(sum(lengths)))
    for done in range(len(batches) + 1):
        rest = [
            batch[:, 0].copy()
            for batch in chunks.batches(order, position=sum(map(len, batches[:done])), size=size)
        ]
        assert [list(batch) for batch in rest] == [list(batch) for batch in batches[done:]]


def test_another_order_in_every_epoch() -> None:
    chunks = stream([1] * 30, 9)
    orders = {tuple(chunks.epoch_order(0, epoch)) for epoch in range(5)}
    assert len(orders) == 5
    assert tuple(chunks.epoch_order(0, 2)) in orders
    assert all(sorted(order) == list(range(30)) for order in orders)
    assert tuple(chunks.epoch_order(1, 2)) not in orders


def test_batches_may_be_changed() -> None:
    rows = np.ones((4, 1), dtype=np.float32)
    chunks = Stream(chunks=chunks_of([rows]), chunk_rows=[4], dimension=1, directions=False, block_rows=4)
    for batch in chunks.batches([0], position=0, size=4):
        batch += 1
    assert rows.sum() == 4


@pytest.mark.parametrize("block_rows", [1, 100])
def test_rows_in_all(block_rows: int) -> None:
    assert stream([3, 4], block_rows).num_rows == 7
