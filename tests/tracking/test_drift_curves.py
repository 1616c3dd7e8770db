"""Drift curves of prototypes that turn by known angles."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sdpn.tracking.drift_curves import degrees, drift_curves


def at_angles(*angles_deg: float, length: float = 1.0) -> Tensor:
    """Prototypes (K, 2) in the plane."""
    angles = torch.tensor(angles_deg, dtype=torch.float64).deg2rad()
    return length * torch.stack([angles.cos(), angles.sin()], 1)


def test_each_curve_against_the_angles() -> None:
    curves = drift_curves(
        [(0, at_angles(0, 90, 200)), (10, at_angles(60, 90, 200)), (30, at_angles(90, 90, 200))]
    )
    turned = 1 - np.cos(np.deg2rad([[0, 0, 0], [60, 0, 0], [90, 0, 0]]))
    step = 1 - np.cos(np.deg2rad([[0, 0, 0], [60, 0, 0], [30, 0, 0]]))
    nearest = np.cos(np.deg2rad([[90, 90, 110], [30, 30, 110], [0, 0, 110]]))
    assert curves.steps == (0, 10, 30)
    np.testing.assert_allclose(curves.since_first_NK, turned, atol=1e-12)
    np.testing.assert_allclose(curves.since_previous_NK, step, atol=1e-12)
    np.testing.assert_allclose(curves.nearest_cosine_NK, nearest, atol=1e-12)
    assert curves.is_same_NK.tolist() == [[True] * 3, [False, True, True], [False, True, True]]
    scalars = curves.scalars()
    assert scalars["drift_initial_mean"] == pytest.approx({0: 0, 10: 0.5 / 3, 30: 1 / 3})
    assert scalars["drift_initial_max"] == pytest.approx({0: 0, 10: 0.5, 30: 1})
    assert scalars["drift_previous_mean"] == pytest.approx({10: 0.5 / 3, 30: (1 - math.sqrt(3) / 2) / 3})
    assert scalars["drift_previous_max"] == pytest.approx({10: 0.5, 30: 1 - math.sqrt(3) / 2})
    assert scalars["nearest_cosine_mean"] == pytest.approx(
        dict(zip([0, 10, 30], nearest.mean(1), strict=True))
    )
    # at step 30 the three points lie on two places, hence on a line
    assert scalars["effective_rank"][30] == pytest.approx(1, rel=1e-3)
    assert scalars["effective_rank"][0] > 1.5


def test_the_same_prototypes_have_no_drift_at_all() -> None:
    prototypes_KE = torch.randn(100, 37, generator=torch.Generator().manual_seed(0))
    curves = drift_curves([(0, prototypes_KE), (5, prototypes_KE.clone())])
    assert curves.is_same_NK.all()
    assert not curves.since_first_NK.any() and not curves.since_previous_NK.any()


def test_growing_is_not_turning_but_not_the_same_either() -> None:
    curves = drift_curves([(0, at_angles(10, 20)), (5, at_angles(10, 20, length=3.0))])
    assert curves.since_first_NK.max() < 1e-15
    assert not curves.is_same_NK[1].any()


def test_one_snapshot_has_likeness_and_rank_but_no_drift() -> None:
    scalars = drift_curves([(7, at_angles(0, 60))]).scalars()
    assert scalars["nearest_cosine_mean"] == pytest.approx({7: 0.5})
    assert not any(points for name, points in scalars.items() if "drift" in name)


def test_the_names_are_tags_of_the_board() -> None:
    from sdpn.tracking import board

    assert board.__doc__ is not None
    listed = board.__doc__.replace("(``_max``: largest)", "prototypes/drift_initial_max ")
    for name in drift_curves([(0, at_angles(0, 60))]).scalars():
        if name != "drift_previous_max":  # "the same" of the line before
            assert f"prototypes/{name} " in listed


def test_degrees() -> None:
    assert degrees(torch.tensor([0.0, 0.5, 1.0, 2.0])).tolist() == pytest.approx([0, 60, 90, 180])
    assert degrees(torch.tensor([-1e-9, 2 + 1e-6])).tolist() == pytest.approx([0, 180])  # rounding
