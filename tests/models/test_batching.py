"""Utterances that share a batch."""

from __future__ import annotations

import numpy as np
import pytest

from sdpn.models.batching import batches_by_length


@pytest.mark.parametrize("utterances", [1, 3, 100])
def test_each_once_alike_and_within_bounds(utterances: int) -> None:
    lengths = np.random.default_rng(0).integers(10, 100, 200).tolist()
    batches = batches_by_length(lengths, samples=300, utterances=utterances)
    assert sorted(index for batch in batches for index in batch) == list(range(200))
    for batch in batches:
        own = [lengths[index] for index in batch]
        assert own[0] == max(own) and min(own) >= 0.9 * max(own)
        assert len(own) <= utterances and (len(own) == 1 or len(own) * max(own) <= 300)


def test_by_hand() -> None:
    # longest first: 100 and 95 together; 50, 49 and 46 together, of which 45 is the shortest that may
    assert batches_by_length([50, 100, 44, 49, 95, 46], samples=200, utterances=9) == [[1, 4], [0, 3, 5], [2]]
    assert batches_by_length([500], samples=200, utterances=9) == [[0]]
    assert batches_by_length([], samples=200, utterances=9) == []
