"""Merging with weights: scipy's trees without them, and points that stand for several with them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.cluster.hierarchy
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import adjusted_rand_score

from sdpn.clustering.linkage import Linkage, components, cut_tree, merge_tree, ward_distances


def distances(points: np.ndarray, weights: np.ndarray, linkage: Linkage) -> np.ndarray:
    return ward_distances(points, weights) if linkage == "ward" else squareform(pdist(points))


@pytest.mark.parametrize("linkage", ["average", "ward"])
@pytest.mark.parametrize("seed", range(4))
def test_the_tree_is_scipys(linkage: Linkage, seed: int) -> None:
    points, ones = np.random.default_rng(seed).normal(size=(70, 5)), np.ones(70)
    edges, heights = merge_tree(distances(points, ones, linkage), ones, linkage)
    theirs = scipy.cluster.hierarchy.linkage(points, linkage)
    np.testing.assert_allclose(np.sqrt(heights) if linkage == "ward" else heights, theirs[:, 2], rtol=1e-9)
    for count in (1, 2, 5, 30, 70):
        expected = scipy.cluster.hierarchy.fcluster(theirs, count, "maxclust")
        assert adjusted_rand_score(expected, cut_tree(edges, count)) == 1.0


@pytest.mark.parametrize("linkage", ["average", "ward"])
@pytest.mark.parametrize("seed", range(4))
def test_a_weight_stands_for_so_many_equal_points(linkage: Linkage, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, weights = rng.normal(size=(25, 4)), rng.integers(1, 6, size=25)
    edges, heights = merge_tree(distances(points, weights, linkage), weights, linkage)
    repeated = np.repeat(points, weights, axis=0)
    theirs = scipy.cluster.hierarchy.linkage(repeated, linkage)[:, 2]
    np.testing.assert_allclose(theirs[: len(repeated) - 25], 0.0, atol=1e-6)
    ours = np.sqrt(heights) if linkage == "ward" else heights
    np.testing.assert_allclose(ours, theirs[len(repeated) - 25 :], rtol=1e-9)
    assert sorted(set(cut_tree(edges, 4))) == [0, 1, 2, 3]


@given(
    values=st.lists(st.integers(0, 4), min_size=2, max_size=25),
    linkage=st.sampled_from(["average", "ward"]),
    data=st.data(),
)
def test_ties_still_give_the_number_that_was_asked_for(
    values: list[int], linkage: Linkage, data: st.DataObject
) -> None:
    points, ones = np.array(values, dtype=float)[:, None], np.ones(len(values))
    edges, heights = merge_tree(distances(points, ones, linkage), ones, linkage)
    assert (np.diff(heights) >= 0).all()
    count = data.draw(st.integers(1, len(values)))
    assert sorted(set(cut_tree(edges, count))) == list(range(count))
    if count == len(set(values)):  # equal points come first, at height 0
        assert adjusted_rand_score(values, cut_tree(edges, count)) == 1.0


def test_components_of_a_forest() -> None:
    assert components(np.array([[0, 2], [3, 4]]), 6).tolist() == [0, 1, 0, 2, 2, 3]
    assert components(np.zeros((0, 2), dtype=int), 2).tolist() == [0, 1]
