"""Requirements of k-means over chunks, each shown to catch the bug that it is meant for.

A well-known toolkit called ``fit`` on every chunk, so that only the last one counted; later it dropped rows
that did not fill a batch. Both are reproduced here as trainers, and must fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.cluster import KMeans, MiniBatchKMeans

from sdpn.kmeans.fit import fit_stream
from sdpn.kmeans.settings import StreamSettings
from tests.kmeans.rows import blobs, chunks_of, inertia


class Trained(NamedTuple):
    """Centres, and the number of rows that they are computed from."""

    centres: np.ndarray
    num_rows: int


Trainer = Callable[[Sequence[np.ndarray], int], Trained]


def ours(arrays: Sequence[np.ndarray], n_clusters: int) -> Trained:
    settings = StreamSettings(n_clusters=n_clusters, max_iter=8)
    fit = fit_stream(chunks_of(arrays), settings)
    assert len(set(fit.rows_per_pass)) == 1
    return Trained(fit.model.centres_KD, fit.rows_per_pass[0])


def ours_from_a_part(arrays: Sequence[np.ndarray], n_clusters: int) -> Trained:
    """Where the sample is not the whole stream, and the passes have to find the rest."""
    quarter = max(n_clusters, sum(map(len, arrays)) // 4)
    settings = StreamSettings(n_clusters=n_clusters, max_iter=8, init_size=quarter, lloyd_passes=4)
    fit = fit_stream(chunks_of(arrays), settings)
    return Trained(fit.model.centres_KD, fit.rows_per_pass[0])


def fit_on_each_chunk(arrays: Sequence[np.ndarray], n_clusters: int) -> Trained:
    """The famous bug."""
    kmeans = MiniBatchKMeans(n_clusters, random_state=0, n_init=3)
    for rows in arrays:
        if len(rows) >= n_clusters:  # scikit-learn refuses them
            kmeans.fit(rows)
    return Trained(kmeans.cluster_centers_, len(kmeans.labels_))


def whole_batches_only(arrays: Sequence[np.ndarray], n_clusters: int, batch: int = 256) -> Trained:
    """What came after it: ``partial_fit``, but an epoch of the chunks as they come, and no short batch."""
    kmeans = MiniBatchKMeans(n_clusters, random_state=0, batch_size=batch, compute_labels=False)
    num_rows = 0
    for rows in arrays:
        for at in range(0, len(rows), batch):
            if len(rows) - at < batch:
                break
            kmeans.partial_fit(rows[at : at + batch])
            num_rows += batch
    if not num_rows:  # all chunks were too short: nothing was learned
        return Trained(np.zeros((n_clusters, arrays[0].shape[1])), 0)
    return Trained(kmeans.cluster_centers_, num_rows)


ROWS, TRUTH = blobs(2500, 8, noise=0.4)


def centres_cover_all_classes(train: Trainer) -> None:
    by_class = [ROWS[label == TRUTH] for label in range(8)]
    means = np.stack([rows.mean(axis=0) for rows in by_class])
    centres = train(by_class, 8).centres
    distances = np.linalg.norm(means[:, None] - centres, axis=2)
    assert (distances.min(axis=1) < 0.5).all(), "a class has no centre"
    assert len(set(distances.argmin(axis=1))) == 8


def inertia_of_10_chunks_is_that_of_all_rows(train: Trainer) -> None:
    within_2_percent_of_full_batch(train, 10)


def inertia_of_100_chunks_is_that_of_all_rows(train: Trainer) -> None:
    within_2_percent_of_full_batch(train, 100)


def within_2_percent_of_full_batch(train: Trainer, num_chunks: int) -> None:
    rows, _ = blobs(2500, 30, noise=1.5, seed=1)
    full = KMeans(20, n_init=3, random_state=0).fit(rows).inertia_
    assert inertia(rows, train(np.array_split(rows, num_chunks), 20).centres) < 1.02 * full


def the_order_of_chunks_does_not_matter(train: Trainer) -> None:
    rows, _ = blobs(2500, 30, noise=1.5, seed=2)
    chunks = np.array_split(rows, 10)
    orders = [range(10), range(9, -1, -1), np.random.default_rng(0).permutation(10)]
    found = [inertia(rows, train([chunks[at] for at in order], 20).centres) for order in orders]
    assert max(found) < 1.02 * min(found)


def every_chunk_changes_the_result(train: Trainer) -> None:
    chunks = np.array_split(ROWS, 4)
    whole = train(chunks, 8).centres
    for left_out in range(4):
        without = train(chunks[:left_out] + chunks[left_out + 1 :], 8).centres
        assert not np.array_equal(without, whole), f"chunk {left_out} does not count"


def rows_seen_are_rows_given(train: Trainer) -> None:
    assert train([ROWS[:1000], ROWS[1000:1003], ROWS[1003:]], 8).num_rows == len(ROWS)


def a_last_chunk_smaller_than_the_number_of_clusters_counts(train: Trainer) -> None:
    far = np.full((5, ROWS.shape[1]), 40, dtype=np.float32)
    centres = train([ROWS[:1200], ROWS[1200:], far], 9).centres
    assert np.linalg.norm(centres - far[0], axis=1).min() < 1


DEMANDS = [
    centres_cover_all_classes,
    inertia_of_10_chunks_is_that_of_all_rows,
    inertia_of_100_chunks_is_that_of_all_rows,
    the_order_of_chunks_does_not_matter,
    every_chunk_changes_the_result,
    rows_seen_are_rows_given,
    a_last_chunk_smaller_than_the_number_of_clusters_counts,
]


@pytest.mark.parametrize("demand", DEMANDS)
@pytest.mark.parametrize("train", [ours, ours_from_a_part])
def test_what_streaming_owes(train: Trainer, demand: Callable[[Trainer], None]) -> None:
    demand(train)


@pytest.mark.parametrize("demand", DEMANDS)
def test_fitting_each_chunk_is_caught(demand: Callable[[Trainer], None]) -> None:
    with pytest.raises(AssertionError):
        demand(fit_on_each_chunk)


@pytest.mark.parametrize(
    "demand",
    [
        inertia_of_100_chunks_is_that_of_all_rows,
        rows_seen_are_rows_given,
        a_last_chunk_smaller_than_the_number_of_clusters_counts,
    ],
)
def test_dropping_short_batches_is_caught(demand: Callable[[Trainer], None]) -> None:
    with pytest.raises(AssertionError):
        demand(whole_batches_only)


@pytest.mark.parametrize("demand", DEMANDS)
def test_all_rows_at_once_would_pass(demand: Callable[[Trainer], None]) -> None:
    """The demands ask for nothing that k-means itself does not do."""

    def at_once(arrays: Sequence[np.ndarray], n_clusters: int) -> Trained:
        kmeans = KMeans(n_clusters, n_init=3, random_state=0).fit(np.concatenate(arrays))
        return Trained(kmeans.cluster_centers_, len(kmeans.labels_))

    demand(at_once)
