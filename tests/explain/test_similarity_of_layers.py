"""CKA and effective rank: values that are known."""

from __future__ import annotations

import numpy as np
import pytest

from sdpn.explain.similarity_of_layers import cka, cka_table, ranks


def test_cka_does_not_see_rotation_and_scale_and_unrelated_layers_are_near_zero() -> None:
    rng = np.random.default_rng(0)
    rows_ND = rng.standard_normal((60, 30))
    rotation, _ = np.linalg.qr(rng.standard_normal((30, 30)))
    assert cka(rows_ND, 3 * rows_ND @ rotation + 5) == pytest.approx(1)
    # the biased estimate of these is about 0.7
    values = [cka(rng.standard_normal((60, 300)), rng.standard_normal((60, 300))) for _ in range(10)]
    assert abs(np.mean(values)) < 0.05


def test_a_table_has_every_pair() -> None:
    rng = np.random.default_rng(0)
    layers = {name: rng.standard_normal((20, 5)) for name in "abc"}
    table = cka_table(layers, layers)
    np.testing.assert_allclose(np.diag(table), 1)
    assert table[0, 1] == pytest.approx(cka(layers["a"], layers["b"]))
    assert table[0, 1] == pytest.approx(table[1, 0])


def test_effective_rank_counts_directions() -> None:
    rows_ND = np.zeros((40, 9), np.float32)
    rows_ND[np.arange(40), np.arange(40) % 4] = 1
    found = ranks({"four": rows_ND, "one": np.outer(np.arange(40.0), np.ones(9)).astype(np.float32)})
    assert found["four"] == pytest.approx(3, abs=0.01)  # centred: one of the four is lost
    assert found["one"] == pytest.approx(1, abs=0.01)
