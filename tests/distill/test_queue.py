"""The queue of teacher outputs: against a plain list, and through a state dict."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from sdpn.distill.queue import TeacherQueue


@given(size=st.integers(0, 7), batches=st.lists(st.integers(1, 10), max_size=6))
def test_holds_the_last_rows(size: int, batches: list[int]) -> None:
    queue = TeacherQueue(size, 1)
    everything: list[float] = []
    for batch in batches:
        rows = torch.arange(len(everything), len(everything) + batch, dtype=torch.float32)
        everything += rows.tolist()
        queue.push(rows.unsqueeze(1))
    kept = everything[max(0, len(everything) - size) :] if size else []
    assert sorted(queue.rows().flatten().tolist()) == kept
    assert len(queue) == len(kept)


def test_a_restored_queue_goes_on_like_the_saved_one() -> None:
    queue, other = TeacherQueue(5, 2), TeacherQueue(5, 2)
    queue.push(torch.randn(7, 2))
    other.load_state_dict(queue.state_dict())
    rows = torch.randn(2, 2)
    for one in (queue, other):
        one.push(rows)
    assert len(other) == 5 and torch.equal(queue.rows(), other.rows())
