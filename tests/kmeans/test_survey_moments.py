"""Running moments against NumPy's on all rows."""

from __future__ import annotations

import numpy as np
import pytest

from sdpn.kmeans.survey import Moments


@pytest.mark.parametrize("offset", [0.0, 1e3, -1e5])
def test_mean_and_variance_are_those_of_all_rows(offset: float) -> None:
    rng = np.random.default_rng(0)
    rows = (offset + rng.normal(size=(1000, 5)) * [1, 2, 3, 0.1, 0]).astype(np.float32)
    moments = Moments.empty(5)
    for block in np.split(rows, [1, 7, 300, 301]):
        moments.add(block)
        moments = Moments.restore(moments.state())
    exact = rows.astype(np.float64)
    assert moments.count == 1000
    np.testing.assert_allclose(moments.mean_D, exact.mean(axis=0), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(moments.variance_D, exact.var(axis=0), rtol=1e-4, atol=1e-12)


def test_constant_rows_have_no_variance_at_all() -> None:
    moments = Moments.empty(2)
    for num in (3, 1, 1000):
        moments.add(np.full((num, 2), [0.1, 12345.678], dtype=np.float32))
    assert not moments.squares_D.any()
