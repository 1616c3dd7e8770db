"""Sinkhorn assignments: against a plain-space reference, and where plain space breaks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sdpn.distill.assignment import assign


def _plain_reference(logits_BK: Tensor, sharpening: float, iterations: int) -> Tensor:
    """The published form, in plain space: power of a softmax, then alternating normalisation."""
    q = torch.softmax(logits_BK, 1) ** (1 / sharpening)
    q = q / q.sum(1, keepdim=True)
    for _ in range(iterations):
        q = q / q.sum(0, keepdim=True)
        q = q / q.sum(1, keepdim=True)
    return q


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_equals_the_published_form_in_plain_space(iterations: int) -> None:
    logits = torch.randn(12, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    torch.testing.assert_close(
        assign(logits, sharpening=0.25, iterations=iterations),
        _plain_reference(logits, 0.25, iterations),
        rtol=1e-12,
        atol=1e-14,
    )


def test_balances_by_hand() -> None:
    # Two rows that both prefer prototype 0, the second less so: balanced, it must take prototype 1.
    logits = torch.log(torch.tensor([[0.9, 0.1], [0.6, 0.4]], dtype=torch.float64))
    assigned = assign(logits, sharpening=1.0, iterations=200)
    torch.testing.assert_close(assigned.sum(0), torch.ones(2, dtype=torch.float64))
    # The odds ratio survives every scaling of rows and columns: (p/(1-p))² = (0.9·0.4)/(0.1·0.6) = 6.
    odds = 6**0.5
    torch.testing.assert_close(assigned[0, 0], torch.tensor(odds / (1 + odds), dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["huge", "identical", "one-hot"])
def test_adversarial_logits_give_finite_rows_that_sum_to_one(dtype: torch.dtype, kind: str) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = {
        "huge": torch.randn(8, 16, generator=generator).sign() * 1e4,
        "identical": torch.randn(1, 16, generator=generator).repeat(8, 1),
        "one-hot": torch.nn.functional.one_hot(torch.arange(8), 16).float() * 1e4,
    }[kind].to(dtype)
    assigned = assign(logits, sharpening=0.25, iterations=3)
    assert torch.isfinite(assigned).all()
    torch.testing.assert_close(assigned.sum(1), torch.ones(8, dtype=assigned.dtype), rtol=1e-4, atol=1e-4)
