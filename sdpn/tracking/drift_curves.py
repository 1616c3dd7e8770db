"""Drift curves over the snapshots of a run, as a pure function of prototypes.

Shapes: N snapshots, K prototypes, E projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sdpn.tracking import prototype_statistics


@dataclass(frozen=True)
class DriftCurves:
    """Movement of the prototypes over snapshots. Drift is 1 − cosine, float64.

    Attributes:
        steps: (N,) rising.
        since_first_NK: drift to the first snapshot.
        since_previous_NK: drift to the snapshot before; 0 at the first.
        is_same_NK: bitwise identical to the snapshot before; true at the first.
        nearest_cosine_NK: cosine to the nearest other prototype.
        effective_rank_N: of all prototypes.
    """

    steps: tuple[int, ...]
    since_first_NK: Tensor
    since_previous_NK: Tensor
    is_same_NK: Tensor
    nearest_cosine_NK: Tensor
    effective_rank_N: Tensor

    def scalars(self) -> dict[str, dict[int, float]]:
        """The curves by name and step, named as the board's tags after ``prototypes/`` are.

        ``initial`` is the first snapshot; ``previous`` the one before, so that its curve has no first point.
        A single snapshot has no drift.
        """
        curves = {
            "drift_initial_mean": self.since_first_NK.mean(1),
            "drift_initial_max": self.since_first_NK.amax(1),
            "drift_previous_mean": self.since_previous_NK.mean(1),
            "drift_previous_max": self.since_previous_NK.amax(1),
            "nearest_cosine_mean": self.nearest_cosine_NK.mean(1),
            "effective_rank": self.effective_rank_N,
        }
        by_step = {
            name: dict(zip(self.steps, curve_N.tolist(), strict=True)) for name, curve_N in curves.items()
        }
        for name, points in by_step.items():
            if "previous" in name or ("drift" in name and len(self.steps) == 1):
                del points[self.steps[0]]
        return by_step


def drift_curves(snapshots: Sequence[tuple[int, Tensor]]) -> DriftCurves:
    """Compute the curves.

    Args:
        snapshots: (step, prototypes (K, E)) in the order of the steps; at least one.

    Returns:
        the curves, as many points as there are snapshots.
    """
    steps = tuple(step for step, _ in snapshots)
    all_KE = [prototypes_KE.double() for _, prototypes_KE in snapshots]
    first_KE = all_KE[0]
    before = [first_KE, *all_KE[:-1]]
    return DriftCurves(
        steps,
        torch.stack([_turn(first_KE, now_KE) for now_KE in all_KE]),
        torch.stack([_turn(before_KE, now_KE) for before_KE, now_KE in zip(before, all_KE, strict=True)]),
        torch.stack([(before_KE == now_KE).all(1) for before_KE, now_KE in zip(before, all_KE, strict=True)]),
        torch.stack([prototype_statistics.nearest_cosine(now_KE) for now_KE in all_KE]),
        torch.stack([prototype_statistics.effective_rank(now_KE) for now_KE in all_KE]).double(),
    )


def degrees(cosine_drift: Tensor) -> Tensor:
    """Angles of turn, in degrees, of drifts 1 − cosine; the same shape."""
    return torch.rad2deg(torch.acos((1 - cosine_drift).clamp(-1, 1)))


def _turn(before_KE: Tensor, after_KE: Tensor) -> Tensor:
    """Drift (K,), exactly 0 where nothing changed: the cosine of a row with itself is 1 up to rounding."""
    drift_K = prototype_statistics.cosine_drift(before_KE, after_KE).clamp(min=0)
    return drift_K.masked_fill((before_KE == after_KE).all(1), 0.0)
