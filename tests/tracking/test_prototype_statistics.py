"""Statistics of prototypes, each against a hand calculation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

from sdpn.tracking import prototype_statistics

_LOG_SHARES = torch.tensor([0.5, 0.25, 0.25])


def test_cosine_drift_ignores_length() -> None:
    before = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    after = torch.tensor([[3.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    torch.testing.assert_close(
        prototype_statistics.cosine_drift(before, after), torch.tensor([0.0, 1.0, 2.0])
    )


def test_usage_perplexity_and_dead() -> None:
    assignment = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    torch.testing.assert_close(prototype_statistics.usage(assignment), _LOG_SHARES)
    assert prototype_statistics.perplexity(_LOG_SHARES).item() == pytest.approx(math.exp(1.5 * math.log(2)))
    assert prototype_statistics.perplexity(torch.tensor([1.0, 0.0])).item() == 1
    assert prototype_statistics.perplexity(torch.full((7,), 1 / 7)).item() == pytest.approx(7, rel=1e-5)
    shares = torch.tensor([0.97, 0.02, 0.01, 0.0])  # an equal part is 1/4, a tenth of it 0.025
    assert prototype_statistics.is_dead(shares).tolist() == [False, True, True, True]
    assert prototype_statistics.is_dead(shares, share=0.06).tolist() == [False, False, True, True]


def test_similarity_and_nearest_cosine() -> None:
    angles = torch.tensor([0.0, 60.0, 90.0]).deg2rad()
    points = torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([[1.0], [2.0], [3.0]])
    assert prototype_statistics.prototype_similarity(points)[0, 1].item() == pytest.approx(0.5)
    expected = [0.5, math.cos(math.pi / 6), math.cos(math.pi / 6)]
    np.testing.assert_allclose(prototype_statistics.nearest_cosine(points).numpy(), expected, rtol=1e-5)


def test_nearest_cosine_of_many() -> None:
    """By blocks, as by nearest neighbours of scipy."""
    points_KE = np.random.default_rng(0).standard_normal((2500, 8))
    points_KE /= np.linalg.norm(points_KE, axis=1, keepdims=True)
    distance_K = KDTree(points_KE).query(points_KE, k=2)[0][:, 1]
    found_K = prototype_statistics.nearest_cosine(torch.from_numpy(points_KE))
    np.testing.assert_allclose(found_K.numpy(), 1 - distance_K**2 / 2, atol=1e-9)


def test_effective_rank() -> None:
    # Four points on the axes: centred, with two equal singular values.
    cross = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert prototype_statistics.effective_rank(cross).item() == pytest.approx(2.0, rel=1e-5)
    line = torch.tensor([[1.0, 1.0], [2.0, 2.0], [5.0, 5.0]])
    assert prototype_statistics.effective_rank(line).item() == pytest.approx(1.0, rel=1e-3)


def test_deviation_is_one_when_spread_and_zero_at_collapse() -> None:
    spread = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert prototype_statistics.deviation(spread).item() == pytest.approx(1.0, abs=0.02)
    assert prototype_statistics.deviation(torch.ones(10, 4)).item() == pytest.approx(0.0, abs=1e-6)


def test_order_puts_similar_prototypes_side_by_side() -> None:
    groups = torch.tensor([0, 1, 0, 1, 2, 0, 2])
    points = torch.eye(3)[groups] + 0.01 * torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    order = prototype_statistics.order_by_similarity(prototype_statistics.prototype_similarity(points))
    assert sorted(order.tolist()) == list(range(7))
    assert (groups[order].diff() != 0).sum().item() == 2
