"""Cosine similarity for users."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import sdpn
from sdpn.errors import InputError


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
