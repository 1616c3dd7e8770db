"""Weighted moments and their gradients are those of the formula."""

from __future__ import annotations

import pytest
import torch

from sdpn.models.pooling import PoolingConfig, build_pooling
from sdpn.models.weighted_moments import weighted_moments


def _tensors(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(2, 3, 7, generator=generator, dtype=dtype)
    frames = torch.randn(2, 3, 7, generator=generator, dtype=dtype)
    return weights.requires_grad_(), frames.requires_grad_()


def test_gradients_by_differences() -> None:
    weights, frames = _tensors()
    assert torch.autograd.gradcheck(weighted_moments, (weights, frames))
    with torch.no_grad():
        first, second = weighted_moments(weights, frames)
    torch.testing.assert_close(first, torch.einsum("bct,bct->bc", weights, frames).detach())
    torch.testing.assert_close(second, torch.einsum("bct,bct,bct->bc", weights, frames, frames).detach())


@pytest.mark.parametrize("frozen", [0, 1])
def test_one_that_needs_no_gradient(frozen: int) -> None:
    given = list(_tensors())
    given[frozen] = given[frozen].detach()
    first, second = weighted_moments(*given)
    (first.sum() + second.sum()).backward()
    assert given[1 - frozen].grad is not None


def test_pooling_is_the_same_with_and_without_gradients() -> None:
    torch.manual_seed(0)
    config = PoolingConfig(kind="attentive-statistics", context=True, passes=1, floor=1e-6, unbiased=False)
    pooling = build_pooling(config, 6, bottleneck=4).eval()
    frames = torch.randn(2, 6, 20, requires_grad=True)
    with torch.no_grad():
        expected = pooling(frames)
    assert torch.equal(pooling(frames), expected)
