"""Purity, NMI and ARI from counts: by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from sdpn.clustering.agreement import Agreement, agreement


def of_labels(clusters: list[int], classes: list[int]) -> Agreement:
    pairs, counts = np.unique(np.stack([clusters, classes]), axis=1, return_counts=True)
    return agreement(pairs[0], pairs[1], counts)


def test_by_hand() -> None:
    """Two clusters of three: one pure, one with two of a class and one of another."""
    found = of_labels([0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1])
    assert found.purity == pytest.approx(5 / 6)
    # 4 pairs together in both (3 + 1), 6 in clusters, 7 in classes, of 15
    assert found.ari == pytest.approx((4 - 6 * 7 / 15) / (6.5 - 6 * 7 / 15))


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), min_size=2, max_size=60))
def test_nmi_and_ari_are_those_of_scikit_learn(items: list[tuple[int, int]]) -> None:
    clusters, classes = map(list, zip(*items, strict=True))
    found = of_labels(clusters, classes)
    assert found.nmi == pytest.approx(normalized_mutual_info_score(classes, clusters), abs=1e-9)
    assert found.ari == pytest.approx(adjusted_rand_score(classes, clusters), abs=1e-9)


def test_perfect_and_useless() -> None:
    assert of_labels([2, 2, 0, 1], [5, 5, 9, 1]) == Agreement(purity=1, nmi=pytest.approx(1), ari=1)
    assert of_labels([0, 0, 0, 0], [0, 1, 2, 3]) == Agreement(purity=0.25, nmi=0, ari=0)


def test_millions_of_pairs_do_not_overflow() -> None:
    counts = np.full(4, 2_500_000_000)
    found = agreement(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), counts)
    assert found.nmi == pytest.approx(0, abs=1e-12)
    assert found.ari == pytest.approx(0, abs=1e-9)
