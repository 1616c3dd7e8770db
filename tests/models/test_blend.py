"""Weights between two models."""

from __future__ import annotations

import pytest
import torch

from sdpn.models.blend import blend_weights

OLD = {"weight": torch.tensor([0.0, 2.0]), "batches": torch.tensor(3)}
NEW = {"weight": torch.tensor([1.0, 4.0]), "batches": torch.tensor(8)}


@pytest.mark.parametrize(("share", "expected"), [(0.0, [0.0, 2.0]), (0.25, [0.25, 2.5]), (1.0, [1.0, 4.0])])
def test_weights_lie_on_the_line(share: float, expected: list[float]) -> None:
    blended = blend_weights(OLD, NEW, share)
    assert blended["weight"].tolist() == expected
    assert blended["batches"].item() == 8 and blended["batches"].dtype == torch.int64
