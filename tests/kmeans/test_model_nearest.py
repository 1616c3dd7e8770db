"""Nearest centres against scipy's distances, and faiss against both."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from sdpn.errors import InputError
from sdpn.kmeans.model import nearest, sums_by_label


@pytest.mark.parametrize("backend", ["sklearn", "faiss"])
@pytest.mark.parametrize("num_clusters", [1, 7, 300])
def test_labels_and_distances_are_those_of_scipy(backend: str, num_clusters: int) -> None:
    if backend == "faiss":
        pytest.importorskip("faiss", reason="the extra 'faiss' is not installed")
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5000, 9)).astype(np.float32)
    centres = rng.normal(size=(num_clusters, 9)).astype(np.float32)
    labels, squares = nearest(rows, centres, backend=backend)  # type: ignore[arg-type]
    expected = cdist(rows, centres, "sqeuclidean")
    np.testing.assert_allclose(squares, expected.min(axis=1), atol=1e-4)
    np.testing.assert_allclose(expected[np.arange(5000), labels], expected.min(axis=1), atol=1e-4)
    assert labels.dtype == np.int32


def test_a_row_on_its_centre_is_at_distance_0() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 9)).astype(np.float32)
    labels, squares = nearest(rows, rows)
    np.testing.assert_array_equal(labels, np.arange(50))
    assert (squares >= 0).all()
    np.testing.assert_allclose(squares, 0, atol=1e-5)


def test_sums_of_the_rows_of_each_cluster() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    sums = sums_by_label(rows, np.array([2, 0, 2, 2, 0, 5]), 7)
    assert sums.dtype == np.float64
    np.testing.assert_array_equal(sums, [[10, 12], [0, 0], [10, 13], [0, 0], [0, 0], [10, 11], [0, 0]])


def test_faiss_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(
        InputError, match=r"needs faiss, which is not installed \(pip install 'sdpn\[faiss\]'\)"
    ):
        nearest(np.ones((1, 2), dtype=np.float32), np.ones((1, 2), dtype=np.float32), backend="faiss")
