"""Cosine similarity for users."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import cosine_similarity as sklearn_cosine

import sdpn
from sdpn.errors import InputError
from sdpn.verification.similarity import cosine_similarity, unit_rows


def test_by_hand() -> None:
    assert sdpn.similarity([1, 0], [1, 1]) == pytest.approx(np.sqrt(0.5))
    assert sdpn.similarity([3, 4], [-6, -8]) == -1.0
    assert isinstance(sdpn.similarity([1, 0], [0, 1]), float)
    assert sdpn.similarity([1e300, 0], [1e-300, 0]) == 1.0  # squares would over- and underflow


def test_rows_against_rows_as_scipy_does() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((4, 7)), rng.standard_normal((3, 7))
    expected = 1 - cdist(a, b, metric="cosine")
    np.testing.assert_allclose(sdpn.similarity(a, b), expected, atol=1e-12)
    np.testing.assert_allclose(sdpn.similarity(a[0], b), expected[0], atol=1e-12)
    np.testing.assert_allclose(sdpn.similarity(a, b[0]), expected[:, 0], atol=1e-12)


@pytest.mark.parametrize("bad", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [[[1.0]]], [], [1.0, 2.0, 3.0]])
def test_what_has_no_direction(bad: object) -> None:
    with pytest.raises(InputError):
        sdpn.similarity([1.0, 0.0], bad)  # type: ignore[arg-type]


def test_cosine_similarity_is_sklearns() -> None:
    emb = np.random.default_rng(0).normal(size=(30, 16)).astype(np.float32)
    np.testing.assert_allclose(cosine_similarity(emb), sklearn_cosine(emb.astype(np.float64)), atol=1e-12)


def test_lengths_that_cannot_be_squared_are_no_trouble() -> None:
    emb = np.array([[3e-200, 4e-200], [3e200, 4e200]])
    np.testing.assert_allclose(unit_rows(emb), [[0.6, 0.8], [0.6, 0.8]], rtol=1e-15)


def test_only_a_matrix_will_do() -> None:
    with pytest.raises(InputError, match=r"shape \(5,\)"):
        unit_rows(np.ones(5))
