"""The angular margin against its definition with angles."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdpn.distill.margin import with_margin


@given(angle=st.floats(0.01, math.pi - 0.01), margin=st.floats(0, 1.4))
def test_the_own_class_is_turned_away_by_the_margin(angle: float, margin: float) -> None:
    cosine = torch.tensor([[math.cos(angle), 0.3]], dtype=torch.float64)
    own, other = with_margin(cosine, torch.tensor([0]), margin)[0].tolist()
    assert other == 0.3
    if angle + margin < math.pi:
        assert own == pytest.approx(math.cos(angle + margin), abs=1e-9)
    else:  # no second chance beyond π
        assert own <= math.cos(math.pi - margin) - margin * math.sin(margin) + 1e-9


def test_leading_dimensions_share_the_labels() -> None:
    cosine = torch.rand(3, 4, 5, dtype=torch.float64) - 0.5
    labels = torch.tensor([0, 4, 2, 2])
    whole = with_margin(cosine, labels, 0.2)
    for view in range(3):
        torch.testing.assert_close(whole[view], with_margin(cosine[view], labels, 0.2))


def test_the_gradient_is_finite_on_and_opposite_to_the_centre() -> None:
    cosine = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], requires_grad=True)
    with_margin(cosine, torch.tensor([0, 0]), 0.2).sum().backward()
    assert cosine.grad is not None and torch.isfinite(cosine.grad).all()
