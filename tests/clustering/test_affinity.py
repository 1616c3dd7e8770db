"""The graph against graphs small enough to do by hand."""

from __future__ import annotations

import numpy as np

from sdpn.clustering.affinity import nearest_neighbour_graph


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
