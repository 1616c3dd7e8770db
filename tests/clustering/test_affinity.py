"""Similarities against scikit-learn and against graphs small enough to do by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity as sklearn_cosine

from sdpn.clustering.affinity import nearest_neighbour_graph
from sdpn.errors import InputError
from sdpn.verification.similarity import cosine_similarity, unit_rows


def test_cosine_similarity_is_sklearns() -> None:
    emb = np.random.default_rng(0).normal(size=(30, 16)).astype(np.float32)
    np.testing.assert_allclose(cosine_similarity(emb), sklearn_cosine(emb.astype(np.float64)), atol=1e-12)


def test_lengths_that_cannot_be_squared_are_no_trouble() -> None:
    emb = np.array([[3e-200, 4e-200], [3e200, 4e200]])
    np.testing.assert_allclose(unit_rows(emb), [[0.6, 0.8], [0.6, 0.8]], rtol=1e-15)


def test_only_a_matrix_will_do() -> None:
    with pytest.raises(InputError, match=r"shape \(5,\)"):
        unit_rows(np.ones(5))


def test_pruning_keeps_the_strongest_and_averages_with_the_transpose() -> None:
    similarity = np.array(
        [
            [1.0, 0.9, 0.5, -0.2],
            [0.9, 1.0, 0.6, 0.1],
            [0.5, 0.6, 1.0, 0.3],
            [-0.2, 0.1, 0.3, 1.0],
        ]
    )
    # rows keep: 0 -> 1 (0.9); 1 -> 0 (0.9); 2 -> 1 (0.6); 3 -> 2 (0.3)
    expected = np.array(
        [
            [0.0, 0.9, 0.0, 0.0],
            [0.9, 0.0, 0.3, 0.0],
            [0.0, 0.3, 0.0, 0.15],
            [0.0, 0.0, 0.15, 0.0],
        ]
    )
    np.testing.assert_allclose(nearest_neighbour_graph(similarity, 1), expected)


def test_pruning_keeps_ties_and_all_when_all_are_asked_for() -> None:
    similarity = np.ones((4, 4))
    complete = 1.0 - np.eye(4)
    for num_neighbours in (1, 2, 3, 99):
        np.testing.assert_array_equal(nearest_neighbour_graph(similarity, num_neighbours), complete)


def test_opposite_directions_are_not_linked() -> None:
    assert not nearest_neighbour_graph(np.array([[1.0, -0.5], [-0.5, 1.0]]), 1).any()
