"""The utterances of a step depend on the step alone, and each corpus has its share."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpn.data.sampler import InOrder, Item, Mixture, StepSampler
from sdpn.errors import InputError


def _batches(mixture: Mixture, size: int, start: int, end: int, **more: tuple[int, int]) -> list[list[Item]]:
    return list(StepSampler(mixture, size, seed=3, start_step=start, end_step=end, **more))


def test_every_utterance_comes_once_in_an_epoch_across_batch_borders() -> None:
    items = [item for batch in _batches(Mixture((7,)), 3, 0, 7) for item in batch]
    assert len(items) == 21
    assert Counter(items) == Counter((epoch, index) for epoch in range(3) for index in range(7))
    orders = [[index for e, index in items if e == epoch] for epoch in range(3)]
    assert orders[0] != orders[1] != orders[2]


def test_without_weights_the_borders_of_corpora_do_not_matter() -> None:
    assert _batches(Mixture((4, 3)), 3, 0, 9) == _batches(Mixture((7,)), 3, 0, 9)


def test_without_weights_an_epoch_is_the_permutation_of_seed_and_epoch() -> None:
    (batch,) = _batches(Mixture((9,)), 9, 2, 3)
    assert [index for _, index in batch] == np.random.default_rng((3, 2)).permutation(9).tolist()


def test_each_corpus_has_its_share_of_any_batch_and_its_own_epochs() -> None:
    mixture = Mixture((50, 3, 8), (6.0, 3.0, 1.0))
    batches = _batches(mixture, 20, 0, 600)
    owner = np.repeat([0, 1, 2], mixture.sizes)
    counts = np.array([np.bincount([owner[index] for _, index in batch], minlength=3) for batch in batches])
    assert (np.abs(counts - [12, 6, 2]) <= 1).all()
    assert counts.sum(axis=0).tolist() == [7200, 3600, 1200]  # 12,000 places: 6/10, 3/10, 1/10
    seen = Counter(item for batch in batches for item in batch)
    assert set(seen.values()) == {1}  # an item is an utterance in an epoch of its corpus
    assert max(epoch for epoch, index in seen if owner[index] == 1) == 3600 // 3 - 1


@given(
    weights=st.lists(st.floats(0.01, 100.0), min_size=1, max_size=5),
    size=st.integers(2, 40),
    start=st.integers(0, 10**6),
)
def test_any_step_can_be_looked_up_alone_and_shared(weights: list[float], size: int, start: int) -> None:
    mixture = Mixture(tuple(5 + 3 * index for index in range(len(weights))), tuple(weights))
    whole = _batches(mixture, size, start, start + 3)
    assert whole[2:] == _batches(mixture, size, start + 2, start + 3)
    shares = [_batches(mixture, size, start, start + 3, share=(rank, 2)) for rank in range(2)]
    assert [left + right for left, right in zip(*shares, strict=True)] == whole
    # a corpus' epochs follow each other
    owner = np.repeat(np.arange(len(weights)), mixture.sizes)
    for corpus in range(len(weights)):
        epochs = [epoch for batch in whole for epoch, index in batch if owner[index] == corpus]
        assert all(after - before in (0, 1) for before, after in pairwise(epochs))


@pytest.mark.parametrize(
    ("weights", "message"), [((1.0,), "1 values for 2"), ((1.0, 0.0), "positive"), ((1.0, -2.0), "positive")]
)
def test_weights_that_fit_no_corpora(weights: tuple[float, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Mixture((3, 4), weights)


def test_classes_come_equally_often_and_every_utterance_before_any_again() -> None:
    label_N = np.array([0] * 9 + [1] * 2 + [2] * 4)
    mixture = Mixture((15,), (), label_N)
    batches = _batches(mixture, 5, 0, 60)  # 300 places: 100 for each class
    assert batches[40:] == _batches(mixture, 5, 40, 60)
    items = [item for batch in batches for item in batch]
    assert np.bincount(label_N[[index for _, index in items]]).tolist() == [100, 100, 100]
    assert len(set(items)) == 300  # an item is an utterance in an epoch of its class: no two crops are alike
    for start in range(0, 300, 3):
        assert {int(label_N[index]) for _, index in items[start : start + 3]} == {0, 1, 2}
    of_first = [index for _, index in items if label_N[index] == 0]
    assert all(sorted(of_first[start : start + 9]) == list(range(9)) for start in range(0, 99, 9))
    turns = [
        tuple(int(label_N[index]) for _, index in items[start : start + 3]) for start in range(0, 300, 3)
    ]
    assert len(set(turns)) == 6  # in every order


def test_unlabelled_utterances_have_their_share_beside_balanced_classes() -> None:
    label_N = np.array([0, 0, 0, 1] + [-1] * 5)
    items = [one for batch in _batches(Mixture((4, 5), (0.75, 0.25), label_N), 4, 0, 40) for one in batch]
    counts = Counter(int(label_N[index]) for _, index in items)
    assert counts == {0: 60, 1: 60, -1: 40}
    for start in range(0, 160, 4):
        assert sum(label_N[index] < 0 for _, index in items[start : start + 4]) == 1


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    buffer=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_in_order_every_utterance_comes_once_and_stays_near_where_it_is_read(
    sizes: list[int], buffer: int, seed: int
) -> None:
    starts = np.cumsum([0, *sizes[:-1]])
    order = InOrder(buffer, starts).order(0, sum(sizes), np.random.default_rng(seed))
    assert sorted(order) == list(range(sum(sizes)))
    # the shards by themselves: read from their beginnings, in an order that repeats the first draw
    shards = np.random.default_rng(seed).permutation(len(sizes))
    read = np.concatenate([starts[shard] + np.arange(sizes[shard]) for shard in shards])
    place = {index: number for number, index in enumerate(read.tolist())}
    assert all(abs(place[index] - number) < buffer for number, index in enumerate(order.tolist()))
    if buffer == 1:
        assert order.tolist() == read.tolist()


def test_in_order_epochs_differ_and_any_step_can_be_looked_up_alone() -> None:
    mixture = Mixture((60,), in_order=InOrder(16, np.arange(0, 60, 10)))
    whole = _batches(mixture, 7, 0, 30)
    assert whole[21:] == _batches(mixture, 7, 21, 30)
    items = [item for batch in whole for item in batch]
    assert Counter(items[:180]) == Counter((epoch, index) for epoch in range(3) for index in range(60))
    orders = [[index for e, index in items if e == epoch] for epoch in range(3)]
    assert orders[0] != orders[1] != orders[2]


def test_in_order_with_weights_every_corpus_has_its_own() -> None:
    mixture = Mixture((40, 20), (1.0, 1.0), in_order=InOrder(5, np.arange(0, 60, 8)))  # a shard across both
    seen = Counter(item for batch in _batches(mixture, 4, 0, 20) for item in batch)
    assert set(seen.values()) == {1}
    assert {index for _, index in seen} == set(range(60))
