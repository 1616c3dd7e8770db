"""The objective's terms: hand calculations, other formulas, adversarial input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sdpn.distill.assignment import assign
from sdpn.distill.losses import cross_entropy, frobenius, koleo, mean_entropy_gap, off_diagonal


def test_cross_entropy_by_hand() -> None:
    student = torch.tensor([[[0.5, 0.5], [0.25, 0.75]]]).log()
    targets = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    expected = (math.log(2) + 0.5 * (math.log(4) + math.log(4 / 3))) / 2
    assert cross_entropy(student, targets).item() == pytest.approx(expected)


def test_mean_entropy_gap_by_hand() -> None:
    balanced = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]).clamp(min=1e-30).log()
    assert mean_entropy_gap(balanced).item() == pytest.approx(0, abs=1e-6)
    skewed = torch.tensor([[[0.9, 0.1], [0.7, 0.3]]]).log()  # mean (0.8, 0.2)
    expected = math.log(2) + 0.8 * math.log(0.8) + 0.2 * math.log(0.2)
    assert mean_entropy_gap(skewed).item() == pytest.approx(expected, rel=1e-5)


def test_koleo_by_hand_ignores_length_and_treats_views_apart() -> None:
    # On the circle at 0°, 60° and 180°: nearest distances 1, 1 and √3. The second view is at 0°, 90°, 180°.
    angles = torch.tensor([[0.0, 60.0, 180.0], [0.0, 90.0, 180.0]]).deg2rad()
    points = torch.stack([angles.cos(), angles.sin()], dim=-1) * torch.tensor([1.0, 5.0, 0.1])[None, :, None]
    expected = -(math.log(3) / 2) / 3 - math.log(2) / 2
    assert koleo(points).item() == pytest.approx(expected, rel=1e-5)


def test_koleo_of_duplicates_is_floored_and_its_gradient_bounded() -> None:
    rows = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(0)).repeat(1, 2, 1)
    rows = (rows + 1e-9 * torch.randn_like(rows)).requires_grad_()
    value = koleo(rows, floor=1e-4)
    value.backward()
    assert value.item() == pytest.approx(-math.log(1e-4), rel=1e-5)
    assert rows.grad is not None and rows.grad.abs().max() < 1


def test_koleo_of_one_row_is_zero_with_a_gradient() -> None:
    row = torch.randn(2, 1, 8, requires_grad=True)
    koleo(row).backward()
    assert row.grad is not None and not row.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["huge", "identical", "one-hot"])
def test_adversarial_logits_give_finite_loss_and_gradients(dtype: torch.dtype, kind: str) -> None:
    generator = torch.Generator().manual_seed(2)
    logits = {
        "huge": torch.randn(2, 6, 10, generator=generator).sign() * 1e4,
        "identical": torch.randn(1, 1, 10, generator=generator).repeat(2, 6, 1),
        "one-hot": torch.nn.functional.one_hot(torch.arange(6), 10).float().repeat(2, 1, 1) * 1e4,
    }[kind]
    leaf = logits.to(dtype).requires_grad_()
    log_student = leaf.float().log_softmax(-1)
    total = cross_entropy(log_student, assign(leaf[0].detach(), sharpening=0.25, iterations=3))
    total = total + mean_entropy_gap(log_student)
    total.backward()
    assert torch.isfinite(total) and leaf.grad is not None and torch.isfinite(leaf.grad).all()


def test_dimension_regularisers_equal_numpys_correlations() -> None:
    embedding = torch.randn(2, 30, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    embedding[..., 5] = embedding[..., 0] * -3 + 0.1 * embedding[..., 5]  # a dimension that repeats another
    correlation = np.corrcoef(embedding.flatten(0, 1).numpy(), rowvar=False)
    off = (correlation**2).sum() - 6
    assert off_diagonal(embedding).item() == pytest.approx(off / 6, rel=1e-9)
    assert frobenius(embedding).item() == pytest.approx(math.log((correlation**2).sum() / 6), rel=1e-9)


def test_dimension_regularisers_at_the_extremes() -> None:
    # Rows on the axes, both directions: dimensions are uncorrelated. One shared direction: all correlate.
    spread = torch.cat([torch.eye(4), -torch.eye(4)]).unsqueeze(0)
    assert frobenius(spread).item() == pytest.approx(0, abs=1e-6)
    line = torch.arange(5.0).reshape(1, 5, 1) * torch.tensor([1.0, -2.0, 3.0])
    assert frobenius(line).item() == pytest.approx(math.log(3), rel=1e-5)
    assert off_diagonal(line).item() == pytest.approx(2, rel=1e-5)
    constant = torch.ones(2, 3, 4, requires_grad=True)
    frobenius(constant).backward()
    assert constant.grad is not None and torch.isfinite(constant.grad).all()
